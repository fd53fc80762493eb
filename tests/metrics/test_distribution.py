"""FID and KID against torchmetrics' own, and values worked by hand."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from optevo.errors import UsageError
from optevo.metrics.distribution import _regrouped, fid, inception_features, kid, load_inception, mmd


class Small(nn.Module):
    """Features that torchmetrics and we can both take: 12 numbers of an image."""

    num_features = 12

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1)


def images(count: int, *, seed: int, shift: float = 0.0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    raw = torch.rand(count, 3, 8, 8, generator=random) + shift * torch.rand(count, 1, 1, 1, generator=random)
    return (raw / (1 + shift) * 255).to(torch.uint8)


def features(*sets: Tensor):
    return [inception_features([one], network=Small()) for one in sets]


@pytest.mark.parametrize("counts", [(200, 150), (9, 7), (40, 5)])
def test_fid_is_torchmetrics(counts: tuple[int, int]) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    real, fake = images(counts[0], seed=0), images(counts[1], seed=1, shift=0.5)
    reference = FrechetInceptionDistance(feature=Small(), normalize=False).set_dtype(torch.float64)
    reference.update(real, real=True)
    reference.update(fake, real=False)
    assert fid(*features(real, fake)) == pytest.approx(float(reference.compute()), rel=1e-4, abs=1e-6)


def test_kid_is_torchmetrics_where_a_subset_is_everything() -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    real, fake = images(30, seed=0), images(30, seed=1, shift=0.5)
    reference = KernelInceptionDistance(feature=Small(), subsets=3, subset_size=30, normalize=False)
    reference.update(real, real=True)
    reference.update(fake, real=False)
    found = kid(*features(real, fake), subsets=3, size=100)
    assert found.mean == pytest.approx(float(reference.compute()[0]), rel=1e-4)
    assert found.spread == pytest.approx(0, abs=1e-9)


def test_values_worked_by_hand() -> None:
    one, other = np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([[1.0, 3.0], [1.0, 5.0]])
    # Means (1, 0) and (1, 4); covariances diag(2, 0) and diag(0, 2), whose product is 0.
    assert fid(one, other) == pytest.approx(16 + 2 + 2)
    assert fid(one, one + np.array([0, 3])) == pytest.approx(9)
    # Kernel (x.y / 2 + 1)^3: within `one` 1, within `other` (8.5 + 0.5 ... ) = (16 / 2 + 1)^3 = 729, across 1, 1, 8, 8.
    assert mmd(one, other) == pytest.approx(1 + 729 - 2 * (1 + 1 + 8 + 8) / 4)


def test_equal_distributions_are_near_and_others_far() -> None:
    same, again, far = features(images(300, seed=0), images(300, seed=1), images(300, seed=2) // 2)
    assert fid(same, same) == pytest.approx(0, abs=1e-9)
    assert fid(same, again) < fid(same, far) / 10
    assert abs(kid(same, again).mean) < 3 * kid(same, again).spread
    close, apart = (kid(same, other, subsets=1, size=300).mean for other in (again, far))
    assert apart > 5 * abs(close)


def test_floats_and_grey_images_are_seen_as_bytes_and_rgb() -> None:
    pixels = images(4, seed=3)
    floats = pixels.float() / 127.5 - 1
    np.testing.assert_array_equal(*features(pixels, floats))
    grey = pixels[:, :1]
    np.testing.assert_array_equal(*features(grey, grey.repeat(1, 3, 1, 1)))


def test_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        fid(np.zeros((1, 3)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="no images"):
        inception_features([], network=Small())


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.pth: there are no Inception weights"):
        load_inception(weights=tmp_path / "nowhere.pth")
    (tmp_path / "bad.pth").write_text("no weights")
    with pytest.raises(UsageError, match="Inception weights: "):
        load_inception(weights=tmp_path / "bad.pth")


@pytest.mark.skipif(
    not os.environ.get("OPTEVO_TEST_DATA") or not (Path(os.environ["OPTEVO_TEST_DATA"]) / "fid_inception.pth").exists(),
    reason="set OPTEVO_TEST_DATA to the folder that holds fid_inception.pth",
)
def test_the_real_network_tells_noise_from_pictures() -> None:
    network = load_inception(weights=Path(os.environ["OPTEVO_TEST_DATA"]) / "fid_inception.pth")
    smooth = nn.functional.interpolate(images(24, seed=0).float(), scale_factor=4, mode="bicubic").clamp(0, 255)
    found = [
        inception_features([one], network=network)
        for one in (smooth[:12].to(torch.uint8), smooth[12:].to(torch.uint8), images(12, seed=5))
    ]
    assert found[0].shape == (12, 2048)
    assert fid(found[0], found[1]) < fid(found[0], found[2])


@pytest.mark.parametrize(
    ("sizes", "least", "expected"), [((3, 3, 3), 1, [3, 3, 3]), ((3, 3, 3), 5, [6, 3]), ((), 5, [])]
)
def test_small_batches_come_together_in_order(sizes: tuple[int, ...], least: int, expected: list[int]) -> None:
    images = torch.arange(sum(sizes))
    found = list(_regrouped(images.split(sizes) if sizes else (), least=least))
    assert [len(each) for each in found] == expected
    assert torch.equal(torch.cat([torch.empty(0, dtype=torch.int64), *found]), images)
