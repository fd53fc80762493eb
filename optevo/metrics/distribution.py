"""Distances between two sets of images, by the features of the 2015 Inception network.

FID (1706.08500): the Frechet distance of two Gaussians. KID (1801.01401): the squared maximum mean discrepancy by the
kernel (x.y / d + 1)^3, unbiased also for few images. Neither is comparable across protocols: a name such as
`fid_testA_120x64x64_tf` says which images, how many, and how they came to Inception's 299 pixels (`tf`: the bilinear
resize of the 2015 graph, as in the papers; `antialias`: Pillow's kind).
"""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from optevo.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

Features = NDArray[np.float64]
Resize = Literal["tf", "antialias"]

WEIGHTS = "OPTEVO_INCEPTION"  # environment variable: the file of Inception's weights
DIMENSIONS = 2048
BATCH = 32
GPU_BATCH = 128  # fewer at a time leave a GPU waiting for the host


@dataclass(frozen=True)
class Kid:
    """Mean and standard deviation over subsets."""

    mean: float
    spread: float


def load_inception(*, weights: Path | None = None, resize: Resize = "tf", device: str = "cpu") -> "nn.Module":
    """The 2015 Inception network, ready for :func:`inception_features`.

    Args:
        weights: Its state dict (2015-12-05, in torch-fidelity's key names); by default `$OPTEVO_INCEPTION`, else
            torch-fidelity's own download.
        resize: How images come to 299 pixels.
        device: Where it runs.

    Raises:
        UsageError: The weights cannot be read.
    """
    from torchmetrics.image.fid import NoTrainInceptionV3

    given = weights or (Path(os.environ[WEIGHTS]) if os.environ.get(WEIGHTS) else None)
    if given is not None and not given.is_file():
        raise UsageError(
            f"{given}: there are no Inception weights; check the path, or unset {WEIGHTS} to download them."
        )
    try:
        network: nn.Module = NoTrainInceptionV3(
            name="inception-v3-compat",
            features_list=[str(DIMENSIONS)],
            feature_extractor_weights_path=None if given is None else str(given),
            antialias=resize == "antialias",
        )
    except Exception as error:  # Downloading and unpickling fail in many ways.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"Inception weights: {reason}; name their file in {WEIGHTS}.") from error
    return network.to(device)


def inception_features(batches: Iterable[Tensor], *, network: "nn.Module", device: str = "cpu") -> Features:
    """Features of images, shape (N, 2048).

    Args:
        batches: Of images (B, 1 or 3, H, W), float in [-1, 1] or uint8 in [0, 255]; grey ones are repeated to RGB.
        network: Of :func:`load_inception`, or any that maps uint8 images to features.
    """
    found = []
    least, most = (1, BATCH) if device == "cpu" else (GPU_BATCH, GPU_BATCH)
    with torch.inference_mode():
        for images in _regrouped(batches, least=least):
            for part in images.split(most):
                found.append(network(_bytes(part).to(device)).cpu().double().numpy())
    if not found:
        raise ValueError("there are no images to take features of.")
    return np.concatenate(found)


def _regrouped(batches: Iterable[Tensor], *, least: int) -> Iterator[Tensor]:
    """The same images in the same order, at least so many at a time but for the last."""
    waiting: list[Tensor] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= least:
            yield torch.cat(waiting)
            waiting.clear()
    if waiting:
        yield torch.cat(waiting)


def fid(one: Features, other: Features) -> float:
    """`|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))` (1706.08500, Eq. 6), at least two images a side.

    The trace of the root is the sum of the singular values of the product of the two centred data matrices: exact, and
    cheap where there are fewer images than features.
    """
    _check(one, other)
    centred = [(side - side.mean(axis=0)) / math.sqrt(len(side) - 1) for side in (one, other)]
    distance = ((one.mean(axis=0) - other.mean(axis=0)) ** 2).sum()
    traces = sum((side**2).sum() for side in centred)
    # tr((C1 C2)^(1/2)) with C = X'X: the eigenvalues of C1 C2 are the squared singular values of X1 X2'.
    root = np.linalg.svd(_reduced(centred[0]) @ _reduced(centred[1]).T, compute_uv=False).sum()
    return float(distance + traces - 2 * root)


def kid(one: Features, other: Features, *, subsets: int = 100, size: int = 100, seed: int = 0) -> Kid:
    """The unbiased squared MMD over random subsets (1801.01401, section 4).

    Args:
        subsets: Number of pairs of subsets.
        size: Images in each, at most as many as the smaller side has, at least 2.
        seed: Of their choice.
    """
    _check(one, other)
    size = min(size, len(one), len(other))
    rng = np.random.default_rng(seed)
    values = [
        mmd(one[rng.choice(len(one), size, replace=False)], other[rng.choice(len(other), size, replace=False)])
        for _ in range(subsets)
    ]
    return Kid(mean=float(np.mean(values)), spread=float(np.std(values)))


def mmd(one: Features, other: Features) -> float:
    """The unbiased estimate of the squared MMD between two sets of at least 2."""

    def kernel(x: Features, y: Features) -> Features:
        result: Features = (x @ y.T / x.shape[1] + 1) ** 3
        return result

    def within(x: Features) -> float:
        gram = kernel(x, x)
        return float((gram.sum() - np.trace(gram)) / (len(x) * (len(x) - 1)))

    return within(one) + within(other) - 2 * float(kernel(one, other).mean())


def _reduced(centred: Features) -> Features:
    """A matrix with the same X'X of at most as many rows as columns."""
    if len(centred) <= centred.shape[1]:
        return centred
    triangle: Features = np.linalg.qr(centred)[1]
    return triangle


def _check(one: Features, other: Features) -> None:
    for side in (one, other):
        if side.ndim != 2 or len(side) < 2 or side.shape[1] != one.shape[1]:
            raise ValueError(f"features must be two sets (N, d) with N at least 2, got {one.shape} and {other.shape}.")


def _bytes(images: Tensor) -> Tensor:
    if images.dtype != torch.uint8:
        images = ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
