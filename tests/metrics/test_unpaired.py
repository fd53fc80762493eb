"""FID and KID of translations: what is compared with what, under which name, and what is kept for the next time."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from optevo.data.resident import ResidentImages
from optevo.metrics import unpaired
from optevo.metrics.distribution import fid, inception_features, kid
from optevo.metrics.unpaired import Inception, translation_metrics
from optevo.training.engine import Engine

CPU = torch.device("cpu")
ENGINE = Engine(device=CPU, precision="fp32", threads=1)


class Small(nn.Module):
    """Features that differ where images differ: 12 numbers of an image."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1)


class Darker(nn.Module):
    """A translator whose result is known."""

    def forward(self, images: Tensor) -> Tensor:
        return (images + 1) / 2 - 1


def resident(count: int, *, seed: int, top: int = 256) -> ResidentImages:
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, top, (count, 8, 12, 3), generator=random, dtype=torch.uint8)
    return ResidentImages(pixels, [str(number) for number in range(count)], (8, 12), CPU, "device")


def features(images: Tensor) -> np.ndarray:
    return inception_features([images], network=Small())


def test_translations_and_inputs_are_compared_with_the_other_domain() -> None:
    a, b = resident(21, seed=0), resident(13, seed=1, top=128)
    found = translation_metrics(
        Darker(), a, b, direction="AtoB", split="test", inception=Inception(ENGINE, network=Small())
    )
    assert list(found) == [
        "fid_AtoB_testB_21x13_8x12_tf",
        "kid_AtoB_testB_21x13_8x12_tf",
        "kid_spread_AtoB_testB_21x13_8x12_tf",
        "fid_untranslated_A_testB_21x13_8x12_tf",
        "kid_untranslated_A_testB_21x13_8x12_tf",
        "kid_spread_untranslated_A_testB_21x13_8x12_tf",
    ]
    inputs, real = a.batch(torch.arange(21)), b.batch(torch.arange(13))
    expected = features(Darker()(inputs)), features(inputs), features(real)
    assert found["fid_AtoB_testB_21x13_8x12_tf"] == pytest.approx(fid(expected[0], expected[2]))
    assert found["fid_untranslated_A_testB_21x13_8x12_tf"] == pytest.approx(fid(expected[1], expected[2]))
    distance = kid(expected[0], expected[2])
    assert found["kid_AtoB_testB_21x13_8x12_tf"] == pytest.approx(distance.mean)
    assert found["kid_spread_AtoB_testB_21x13_8x12_tf"] == pytest.approx(distance.spread) != 0
    # Halving the brightness is the translation from all pixels to dark ones.
    assert found["fid_AtoB_testB_21x13_8x12_tf"] < found["fid_untranslated_A_testB_21x13_8x12_tf"] / 5


def test_the_other_way_round_has_other_names_and_another_resize_too() -> None:
    inception = Inception(ENGINE, resize="antialias", network=Small())
    found = translation_metrics(
        Darker(), resident(5, seed=0), resident(3, seed=1), direction="BtoA", split="val", inception=inception
    )
    assert {name.partition("_val")[2] for name in found} == {"A_5x3_8x12_antialias"}
    assert {name.partition("_val")[0] for name in found} == {
        f"{kind}_{label}" for kind in ("fid", "kid", "kid_spread") for label in ("BtoA", "untranslated_B")
    }


def test_a_generator_is_judged_as_it_is_used_and_left_as_it_was() -> None:
    generator = nn.Sequential(nn.Dropout(0.9), Darker()).train()
    a, b = resident(4, seed=0), resident(4, seed=1)
    names = {"direction": "AtoB", "split": "test", "inception": Inception(ENGINE, network=Small())}
    assert translation_metrics(generator, a, b, **names) == translation_metrics(Darker(), a, b, **names)
    assert generator.training


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cache in a folder of its own, and a note for each loading of the network."""
    loaded: list[str] = []
    monkeypatch.setenv("OPTEVO_CACHE", str(tmp_path))
    monkeypatch.delenv("OPTEVO_INCEPTION", raising=False)
    monkeypatch.setattr(unpaired, "load_inception", lambda *, resize, device: loaded.append(resize) or Small())
    return loaded


def test_features_of_real_images_are_kept_by_their_content(counted: list[str], tmp_path: Path) -> None:
    images = resident(4, seed=0)
    first = Inception(ENGINE).features_of(images)
    np.testing.assert_array_equal(first, features(images.batch(torch.arange(4))))
    np.testing.assert_array_equal(Inception(ENGINE).features_of(resident(4, seed=0)), first)
    assert counted == ["tf"]
    Inception(ENGINE, resize="antialias").features_of(images)
    Inception(ENGINE).features_of(resident(4, seed=5))
    assert counted == ["tf", "antialias", "tf"]
    assert len(list(tmp_path.iterdir())) == 3


def test_features_that_were_cut_off_are_taken_anew(counted: list[str], tmp_path: Path) -> None:
    images = resident(4, seed=0)
    first = Inception(ENGINE).features_of(images)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:-8])
    np.testing.assert_array_equal(Inception(ENGINE).features_of(images), first)
    assert len(counted) == 2
    np.testing.assert_array_equal(np.load(kept), first)


def test_other_weights_have_other_features(counted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in ("one", "other"):
        (tmp_path / "weights").write_text(content)
        monkeypatch.setenv("OPTEVO_INCEPTION", str(tmp_path / "weights"))
        Inception(ENGINE).features_of(resident(4, seed=0))
    assert len(counted) == 2
