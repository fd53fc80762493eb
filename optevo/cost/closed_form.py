r"""Parameters and multiply-accumulates of any U-Net of the space, by formula: nothing is built, torch is not loaded.

Level k = 1..depth works on H * W / 4**k positions (its convolution writes them, its transposed convolution reads them).
With a 4x4 kernel, :math:`c_0` the image's channels and :math:`s_k` the skip bit,

- encoder weights :math:`16\,c_{k-1}\,c_k`, decoder weights :math:`16\,(1 + s_k)\,c_k\,c_{k-1}`;
- **exact MACs**: each weight once a position of level k, up and down alike. What `torch.utils.flop_counter` counts,
  halved; biases, batch norms and activations count nothing.
- **literature MACs**: what ``thop.profile`` prints. Convolutions as above, but a transposed convolution at its OUTPUT
  resolution (4 times too much), and 4 operations for each element that a batch norm normalises (2, doubled because it
  is affine); biases, activations, dropout, tanh and concatenation count nothing.
- The **paper's own** convention (arXiv 2002.11581, table 1) is a third: transposed convolutions as in the literature,
  2 operations a batch-norm element, and the last bias: 18146.5 M for the original at 256 x 256, where thop prints
  18152.2 M and the exact count is 6048.2 M. It is within 0.1 % of thop's there and is not computed here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from optevo.errors import UsageError
from optevo.spaces.unet import MAX_CHANNELS, UNetArchitecture, check_size

KERNEL = 4 * 4
UPSAMPLING = 2 * 2  # output positions of a transposed convolution for each input position
THOP_NORM = 4  # operations that thop counts for an element of an affine batch norm
CHUNK = 1 << 14  # genomes at a time: 128 kB an array, so that the arithmetic stays in the cache

Count = TypeVar("Count", int, NDArray[np.int64])


@dataclass(frozen=True)
class Cost:
    """What one generator costs.

    Attributes:
        parameters: trainable numbers (running statistics of batch norms are none).
        exact_macs: multiply-accumulates an image, exactly.
        literature_macs: what thop counts, for comparison with published figures; up to 3 times the exact number.
    """

    parameters: int
    exact_macs: int
    literature_macs: int


@dataclass(frozen=True)
class Costs:
    """What N generators cost; the fields of `Cost`, each of shape (N,), int64."""

    parameters: NDArray[np.int64]
    exact_macs: NDArray[np.int64]
    literature_macs: NDArray[np.int64]


def unet_cost(architecture: UNetArchitecture, *, height: int, width: int) -> Cost:
    """Count one architecture for one image of `height` x `width` pixels.

    Raises:
        UsageError: the size is no multiple of 2**depth.
    """
    architecture.check_size(height, width)
    return Cost(
        *_counts(
            architecture.channels,
            [int(skip) for skip in architecture.skips],
            zero=0,
            pixels=height * width,
            image=(architecture.input_channels, architecture.output_channels),
        )
    )


def unet_costs(
    channels: NDArray[np.integer[Any]],
    skips: NDArray[np.integer[Any] | np.bool_],
    *,
    height: int,
    width: int,
    input_channels: int = 3,
    output_channels: int = 3,
) -> Costs:
    """Count N architectures of one depth at once; the paper's whole space, 8,388,608 of them, in about a second.

    Args:
        channels: (N, depth), c1, any integer type, each 1..65536. A small type (int16) saves memory: the arithmetic is
            int64, a chunk at a time.
        skips: (N, depth - 1), c2, integers 0 and 1 or bools.
        height: pixels, a multiple of 2**depth.
        width: pixels, a multiple of 2**depth.
        input_channels: channels of the input image.
        output_channels: channels of the output image.

    Raises:
        UsageError: wrong shapes or types, values out of range, or counts beyond int64.
    """
    channels, skips = np.asarray(channels), np.asarray(skips)
    _check_arrays(channels, skips)
    check_size(channels.shape[1], height=height, width=width)
    image = (input_channels, output_channels)
    _check_range(channels, skips, height=height, width=width, image=image)
    result = np.empty((3, len(channels)), dtype=np.int64)
    for start in range(0, len(channels), CHUNK):
        part = slice(start, start + CHUNK)
        # one contiguous row a level
        rows, bits = (np.ascontiguousarray(array[part].T, dtype=np.int64) for array in (channels, skips))
        zero = np.zeros(rows.shape[1], dtype=np.int64)
        result[:, part] = _counts(list(rows), list(bits), zero=zero, pixels=height * width, image=image)
    return Costs(*result)


def _counts(
    channels: Sequence[Count], skips: Sequence[Count], *, zero: Count, pixels: int, image: tuple[int, int]
) -> tuple[Count, Count, Count]:
    """(parameters, exact MACs, literature MACs) of Python ints or of arrays: one formula for both."""
    depth = len(channels)
    parameters, exact, literature = zero + image[1], zero, zero  # the only bias is the last layer's
    for level, inner in enumerate(channels, start=1):
        small = pixels >> 2 * level
        big = small * UPSAMPLING
        source = channels[level - 2] if level > 1 else zero + image[0]
        target = channels[level - 2] if level > 1 else zero + image[1]
        joined = inner * (skips[level - 1] + 1) if level < depth else inner
        down, up = source * inner * KERNEL, joined * target * KERNEL
        parameters = parameters + down + up
        exact = exact + (down + up) * small
        literature = literature + down * small + up * big
        if 1 < level < depth:  # batch norm behind the encoder's convolution
            parameters = parameters + inner * 2
            literature = literature + inner * (small * THOP_NORM)
        if level > 1:  # batch norm behind the decoder's
            parameters = parameters + target * 2
            literature = literature + target * (big * THOP_NORM)
    return parameters, exact, literature


def _check_arrays(channels: NDArray[Any], skips: NDArray[Any]) -> None:
    if channels.ndim != 2 or channels.dtype.kind not in "iu":
        raise UsageError(f"channels: shape {channels.shape} of {channels.dtype}; give integers of shape (N, depth)")
    if skips.shape != (channels.shape[0], channels.shape[1] - 1) or skips.dtype.kind not in "iub":
        raise UsageError(f"skips: shape {skips.shape} of {skips.dtype}; give integers or bools of shape (N, depth - 1)")


def _check_range(
    channels: NDArray[Any], skips: NDArray[Any], *, height: int, width: int, image: tuple[int, int]
) -> None:
    if not len(channels):
        return
    low, high = int(channels.min()), int(channels.max())
    if low < 1 or high > MAX_CHANNELS:
        raise UsageError(f"channels: from {low} to {high}; every number must be 1 to {MAX_CHANNELS}")
    if skips.min() < 0 or skips.max() > 1:
        raise UsageError(f"skips: from {skips.min()} to {skips.max()}; every bit must be 0 or 1")
    depth = channels.shape[1]
    widest = UNetArchitecture((high,) * depth, (True,) * (depth - 1), *image)
    # counted in Python's unbounded ints: numpy would wrap around silently
    if unet_cost(widest, height=height, width=width).literature_macs > np.iinfo(np.int64).max:
        raise UsageError(f"height = {height}, width = {width}: counts beyond 64 bits; use smaller images")
