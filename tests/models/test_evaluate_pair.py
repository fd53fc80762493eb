"""A pair judged: the numbers belong to its halves and the data, and a picture shows them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sample_images import truncated_jpeg
from tiny_models import tiny_pair
from torch import Tensor, nn
from unpaired_folder import unpaired_folder

from optevo.data.resident import load_images
from optevo.errors import UsageError
from optevo.metrics.unpaired import Inception, translation_metrics
from optevo.models.evaluate_pair import evaluate_pair, notes, readable
from optevo.models.folder import load_generator, read_facts
from optevo.training.engine import Engine

CPU = torch.device("cpu")
ENGINE = Engine(device=CPU, precision="fp32", threads=1)


class Small(nn.Module):
    """12 features of an image."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1)


@pytest.fixture
def small() -> Inception:
    return Inception(ENGINE, network=Small())


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    return tiny_pair(tmp_path / "pair")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = unpaired_folder(tmp_path / "data", counts={"train": 2, "test": 5})
    (root / "testB" / "0.png").unlink()
    return root


def test_both_directions_are_judged(pair: Path, data: Path, small: Inception, tmp_path: Path) -> None:
    report = evaluate_pair(pair, data=data, device="cpu", picture=tmp_path / "p.png", runs=1, inception=small)
    a, b = (
        load_images(sorted((data / f"test{domain}").iterdir()), size=(32, 32), channels=3, device=CPU, jitter=False)
        for domain in "AB"
    )
    expected = {
        **translation_metrics(
            load_generator(pair / "a_to_b"), a, b, direction="AtoB", split="test", inception=small
        ),
        **translation_metrics(
            load_generator(pair / "b_to_a"), b, a, direction="BtoA", split="test", inception=small
        ),
    }  # fmt: skip
    # Another number of threads rounds otherwise, and a pixel may fall to the other side.
    assert report["metrics"] == pytest.approx(expected, rel=1e-3)
    assert {"fid_AtoB_testB_5x4_32x32_tf", "fid_BtoA_testA_4x5_32x32_tf"} <= set(expected)
    for name in ("a_to_b", "b_to_a"):
        facts, half = read_facts(pair / name), report[name]
        for key in ("parameters", "exact_macs", "literature_macs"):
            assert half[key] == getattr(facts, key)
        assert half["file_bytes"] == (pair / name / "generator.safetensors").stat().st_size
        assert 0 < half["latency_ms_p10"] <= half["latency_ms_median"]
    first, second = readable(report)
    assert (first["protocol"], second["protocol"]) == ("testB_5x4_32x32_tf", "testA_4x5_32x32_tf")
    assert first["FID"] == f"{report['metrics']['fid_AtoB_testB_5x4_32x32_tf']:.2f}"
    assert "untranslated" in notes(report)[0]


def test_the_picture_shows_images_and_their_translations(
    pair: Path, data: Path, small: Inception, tmp_path: Path
) -> None:
    evaluate_pair(pair, data=data, device="cpu", picture=tmp_path / "p.png", runs=1, inception=small)
    shown = np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).astype(int)
    source = np.asarray(Image.open(data / "testA" / "0.png")).astype(np.float32) / 127.5 - 1
    output = load_generator(pair / "a_to_b")(torch.from_numpy(source).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    for row, image in enumerate((source, output.numpy())):
        wanted = np.kron(((image + 1) * 127.5).round(), np.ones((3, 3, 1)))  # 32 pixels are shown as 96
        top = 4 + row * 100
        left = next(
            x for x in range(shown.shape[1]) if abs(shown[top : top + 96, x : x + 3] - wanted[:, :3]).max() <= 1
        )
        assert abs(shown[top : top + 96, left : left + 96] - wanted).max() <= 1


def test_other_splits_and_data_that_will_not_do(pair: Path, data: Path, small: Inception) -> None:
    report = evaluate_pair(pair, data=data, split="train", device="cpu", runs=1, inception=small)
    assert "fid_AtoB_trainB_2x2_32x32_tf" in report["metrics"]
    with pytest.raises(UsageError, match=r"has 0 val images of A, .* --split \(train, test\)"):
        evaluate_pair(pair, data=data, split="val", device="cpu", inception=small)
    for path in list((data / "testB").iterdir())[1:]:
        path.unlink()
    with pytest.raises(UsageError, match="has 1 test images of B, and FID needs at least 2"):
        evaluate_pair(pair, data=data, device="cpu", inception=small)
    truncated_jpeg(data / "testB" / "bad.jpg")
    with pytest.raises(UsageError, match=r"bad\.jpg: is damaged"):
        evaluate_pair(pair, data=data, device="cpu", inception=small)
    with pytest.raises(UsageError, match="not a pair folder"):
        evaluate_pair(pair / "a_to_b", data=data, inception=small)
    shutil.rmtree(pair / "b_to_a")
    with pytest.raises(UsageError, match="the half b_to_a is missing"):
        evaluate_pair(pair, data=data, inception=small)


@pytest.mark.real_data
@pytest.mark.slow
def test_real_photographs_are_nearer_to_their_own_kind(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, horses = real_data / "fid_inception.pth", real_data / "horse2zebra"
    for needed in (weights, horses):
        if not needed.exists():
            pytest.skip(f"OPTEVO_TEST_DATA has no {needed.name}: {needed}")
    monkeypatch.setenv("OPTEVO_INCEPTION", str(weights))
    monkeypatch.setenv("OPTEVO_CACHE", str(tmp_path / "cache"))
    # Six photographs of either kind; noise in the generators makes translations worse than horses are zebras.
    for domain in "AB":
        for split in ("train", "test"):
            folder = tmp_path / "data" / f"{split}{domain}"
            folder.mkdir(parents=True)
            for path in sorted((horses / f"{split}{domain}").iterdir())[:6]:
                shutil.copy(path, folder)
    pair = tiny_pair(tmp_path / "pair", size=(64, 64))
    metrics = evaluate_pair(pair, data=tmp_path / "data", device="cpu", runs=1)["metrics"]
    for direction in ("AtoB", "BtoA"):
        protocol = f"test{direction[-1]}_6x6_64x64_tf"
        untranslated = metrics[f"fid_untranslated_{direction[0]}_{protocol}"]
        assert 0 < untranslated < metrics[f"fid_{direction}_{protocol}"]
    assert len(list((tmp_path / "cache").iterdir())) == 2
