"""Image pairs decoded once, kept as uint8 tensors, and cropped and mirrored where they lie."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from optevo.data.images import DEFAULT_MAX_PIXELS, open_image, open_pair, to_array, to_channels
from optevo.data.pairs import PairFile
from optevo.data.placement import (
    DEVICE_FRACTION,
    HOST_FRACTION,
    Placement,
    available_memory,
    cache_folder,
    choose_placement,
    reserve,
)
from optevo.data.plan import Plan, batch_plan
from optevo.errors import UsageError

__all__ = [
    "Plan",
    "ResidentImages",
    "ResidentPairs",
    "batch_plan",
    "images_of",
    "load_images",
    "load_pairs",
    "load_size",
]

_log = logging.getLogger("optevo.data")

T = TypeVar("T")


@dataclass(frozen=True)
class ResidentImages:
    """Decoded images of one kind, ready to be batched.

    Attributes:
        images: uint8 (N, H, W, channels); H and W are the stored size, larger than `size` with jitter.
        names: their names, in order.
        size: (height, width) of what `batch` gives.
        device: where `batch` gives it.
        placement: where the tensor lies: "device", "host" (memory, moved a batch at a time) or "disk" (memory-mapped).
    """

    images: Tensor
    names: list[str]
    size: tuple[int, int]
    device: torch.device
    placement: Placement

    def __len__(self) -> int:
        return len(self.names)

    @property
    def jitter_range(self) -> tuple[int, int]:
        """The largest top and left crop offset, inclusive; (0, 0) where stored at `size`."""
        return self.images.shape[1] - self.size[0], self.images.shape[2] - self.size[1]

    @property
    def index_device(self) -> torch.device:
        """Where a `Plan` belongs, so that no batch moves it: the device of the stored tensors."""
        return self.images.device

    def batch(self, index: Tensor, *, crop: Tensor | None = None, flip: Tensor | None = None) -> Tensor:
        """The chosen images: float32 (B, channels, *size) in [-1, 1], channels_last in memory, on `device`.

        One gather for all samples, and on CUDA no synchronisation when the arguments lie on `index_device`.

        Args:
            index: int64 (B,), which images, 0..N-1.
            crop: integer (B, 2), top and left offset, 0..`jitter_range`; None takes the centre.
            flip: bool (B,), which images to mirror left to right; None mirrors none.

        Raises:
            ValueError: an index or offset is out of range (seen on the CPU only; a check on CUDA would synchronise).
        """
        where = self.index_device
        index = index.to(where)
        crop = self._centre(len(index)) if crop is None else crop.to(where)
        if where.type == "cpu":
            self._check(index, crop)
        pixels = gather(
            self.images, index=index, crop=crop, flip=None if flip is None else flip.to(where), size=self.size
        )
        # By kind: "cuda" and "cuda:0" differ as devices, but images lie on the host or where they are trained.
        if pixels.device.type != self.device.type:
            # Only from pinned memory does the copy run beside the computation.
            pixels = pixels.pin_memory() if self.device.type == "cuda" else pixels
            pixels = pixels.to(self.device, non_blocking=self.device.type == "cuda")
        # 127.5 and not a factor 2/255, so that 0 and 255 become exactly -1 and 1.
        return pixels.to(torch.float32).div_(127.5).sub_(1.0).permute(0, 3, 1, 2)

    def _centre(self, count: int) -> Tensor:
        top, left = (room // 2 for room in self.jitter_range)
        # Filled on the device: building it from a list would copy from the host, and wait.
        where = self.index_device
        return torch.stack((torch.full((count,), top, device=where), torch.full((count,), left, device=where)), dim=1)

    def _check(self, index: Tensor, crop: Tensor) -> None:
        if len(index) == 0 or index.amin() < 0 or index.amax() >= len(self):
            raise ValueError(f"index must name at least one image, each in 0..{len(self) - 1}, got {index.tolist()}")
        if crop.amin() < 0 or bool((crop.amax(0) > torch.tensor(self.jitter_range)).any()):
            raise ValueError(f"crop offsets must lie in 0..{self.jitter_range}, got {crop.tolist()}")


@dataclass(frozen=True)
class ResidentPairs:
    """Decoded pairs, ready to be batched: inputs and targets of equal number, names and size, in one place."""

    inputs: ResidentImages
    targets: ResidentImages

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def names(self) -> list[str]:
        """The pairs' names, in order."""
        return self.inputs.names

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what `batch` gives."""
        return self.inputs.size

    @property
    def device(self) -> torch.device:
        """Where `batch` gives it."""
        return self.inputs.device

    @property
    def placement(self) -> Placement:
        """Where the tensors lie."""
        return self.inputs.placement

    @property
    def jitter_range(self) -> tuple[int, int]:
        """The largest top and left crop offset, inclusive; (0, 0) where stored at `size`."""
        return self.inputs.jitter_range

    @property
    def index_device(self) -> torch.device:
        """Where a `Plan` belongs, so that no batch moves it: the device of the stored tensors."""
        return self.inputs.index_device

    def batch(self, index: Tensor, *, crop: Tensor | None = None, flip: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the chosen pairs, as `ResidentImages.batch` gives them; both images of a pair get the
        same crop and flip."""
        return self.inputs.batch(index, crop=crop, flip=flip), self.targets.batch(index, crop=crop, flip=flip)


def gather(stored: Tensor, *, index: Tensor, crop: Tensor, flip: Tensor | None, size: tuple[int, int]) -> Tensor:
    """Crop, and mirror, the chosen images: (B, *size, C) of `stored` (N, H, W, C), with `index` (B,), `crop` (B, 2).

    A row of a crop is a run of consecutive bytes, so every row of every sample is one window into the flat storage:
    the windows are a view, and one indexing operation copies those that are wanted.
    """
    _, full_height, full_width, channels = stored.shape
    height, width = size
    run = width * channels
    windows = stored.reshape(-1).unfold(0, run, 1)
    rows = index[:, None] * full_height + crop[:, :1] + torch.arange(height, device=stored.device)
    starts = (rows * full_width + crop[:, 1:]) * channels
    taken = windows[starts].view(len(index), height, width, channels)
    return taken if flip is None else torch.where(flip[:, None, None, None], taken.flip(2), taken)


def load_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size that pix2pix's jitter crops `size` from: 286 for 256, in the same proportion elsewhere."""
    return round(size[0] * 286 / 256), round(size[1] * 286 / 256)


def load_pairs(
    pairs: Sequence[PairFile],
    *,
    size: tuple[int, int],
    direction: Literal["AtoB", "BtoA"],
    input_channels: int,
    target_channels: int,
    device: torch.device,
    jitter: bool,
    threads: int | None = None,
    budget_bytes: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> ResidentPairs:
    """Decode every pair once, resized by Pillow's bicubic filter as pix2pix does.

    The tensors go to the device if they fit its budget, else to host memory, else to a memory-mapped file under
    `$OPTEVO_CACHE` or ~/.cache/optevo that vanishes with the process; a log message of "optevo.data" says when they
    are not on the device. On the CPU, device and host memory are one.

    Args:
        pairs: files, in the order that indices will follow.
        size: (height, width) that `ResidentPairs.batch` gives.
        direction: "AtoB": A is the input and B the target; "BtoA" the other way.
        input_channels: 1 or 3.
        target_channels: 1 or 3.
        device: where batches are wanted.
        jitter: store at `load_size(size)`, to crop from, instead of at `size`.
        threads: decoding threads; by default one a core, at most 8.
        budget_bytes: what may be used on the device; by default 0.4 of its free memory (`placement.DEVICE_FRACTION`).
        max_pixels: as in `read_image`.

    Raises:
        UsageError: there are no pairs, an argument is out of range, or a file cannot be used.
        OptevoError: neither memory nor disk has room.
    """
    if not pairs:
        raise UsageError("there are no image pairs to load; check the dataset's splits with `optevo data check`")
    if direction not in ("AtoB", "BtoA"):
        raise UsageError(f'direction = {direction!r}: must be "AtoB" or "BtoA"')
    _check_channels(input_channels=input_channels, target_channels=target_channels)

    def open_both(pair: PairFile) -> tuple[Image.Image, ...]:
        a, b = open_pair(pair, max_pixels=max_pixels)
        return (b, a) if direction == "BtoA" else (a, b)

    inputs, targets = _decode(
        pairs, open_both, names=[pair.name for pair in pairs], channels=(input_channels, target_channels), size=size,
        device=device, jitter=jitter, threads=threads, budget_bytes=budget_bytes,
    )  # fmt: skip
    return ResidentPairs(inputs, targets)


def load_images(
    paths: Sequence[Path],
    *,
    size: tuple[int, int],
    channels: int,
    device: torch.device,
    jitter: bool,
    threads: int | None = None,
    budget_bytes: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> ResidentImages:
    """Decode every image of one kind once, as `load_pairs` does pairs.

    Raises:
        UsageError: there are no images, an argument is out of range, or a file cannot be used.
        OptevoError: neither memory nor disk has room.
    """
    if not paths:
        raise UsageError("there are no images to load; check the folder's splits")
    _check_channels(channels=channels)
    (images,) = _decode(
        paths, lambda path: (open_image(path, max_pixels=max_pixels),), names=[path.name for path in paths],
        channels=(channels,), size=size, device=device, jitter=jitter, threads=threads, budget_bytes=budget_bytes,
    )  # fmt: skip
    return images


def images_of(pixels: Tensor, *, device: torch.device) -> ResidentImages:
    """Images that are pixels already, such as CIFAR-10's arrays, on the device.

    Args:
        pixels: uint8 (N, H, W, channels), 1 or 3 channels.
        device: where the tensor lies from now on, and where batches are given.

    Raises:
        UsageError: another type or shape, or no images.
    """
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or not len(pixels):
        raise UsageError(
            f"images of {pixels.dtype} with shape {tuple(pixels.shape)}: give uint8 of shape (N, height, width, 1 or 3)"
        )
    size = (pixels.shape[1], pixels.shape[2])
    return ResidentImages(
        pixels.to(device).contiguous(), [str(at) for at in range(len(pixels))], size, device, "device"
    )


def _decode(
    items: Sequence[T],
    open_item: Callable[[T], tuple[Image.Image, ...]],
    *,
    names: list[str],
    channels: tuple[int, ...],
    size: tuple[int, int],
    device: torch.device,
    jitter: bool,
    threads: int | None,
    budget_bytes: int | None,
) -> list[ResidentImages]:
    """The images of every item, as many as `channels`, each kind into a tensor of its own; all at one place."""
    if len(size) != 2 or min(size) < 1:
        raise UsageError(f"size = {size}: must be (height, width), at least 1 each")
    stored = load_size(size) if jitter else size
    shapes = [(len(items), *stored, count) for count in channels]
    placement = _place(sum(int(np.prod(shape)) for shape in shapes), device=device, budget_bytes=budget_bytes)
    tensors = [_allocate(shape, placement=placement, device=device) for shape in shapes]

    def decode(item: T) -> list[NDArray[np.uint8]]:
        images = open_item(item)
        return [_resized(image, size=stored, channels=count) for image, count in zip(images, channels, strict=True)]

    with ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1)) as pool:
        for row, decoded in enumerate(pool.map(decode, items)):
            for tensor, pixels in zip(tensors, decoded, strict=True):
                tensor[row].copy_(torch.from_numpy(pixels))
    return [ResidentImages(tensor, names, size, device, placement) for tensor in tensors]


def _check_channels(**given: int) -> None:
    for key, channels in given.items():
        if channels not in (1, 3):
            raise UsageError(f"{key} = {channels}: must be 1 (grey) or 3 (RGB)")


def _place(need: int, *, device: torch.device, budget_bytes: int | None) -> Placement:
    host = int(available_memory() * HOST_FRACTION)
    budget = budget_bytes
    if budget is None:
        on_gpu = device.type == "cuda"
        budget = int(torch.cuda.mem_get_info(device)[0] * DEVICE_FRACTION) if on_gpu else host
    placement = choose_placement(need, device_budget=budget, host_budget=host, host_is_device=device.type == "cpu")
    if placement == "device":
        _log.info("%s of images on %s", _mib(need), device)
    else:
        where = "host memory" if placement == "host" else "a memory-mapped file"
        text = "%s of images exceed the budget of %s on %s: kept in %s, which is slower"
        _log.warning(text, _mib(need), _mib(budget), device, where)
    return placement


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _allocate(shape: tuple[int, ...], *, placement: Placement, device: torch.device) -> Tensor:
    if placement == "disk":
        return torch.from_numpy(_mapped(shape))
    return torch.empty(shape, dtype=torch.uint8, device=device if placement == "device" else "cpu")


def _mapped(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    folder = cache_folder()
    # A file without a name: the map keeps it alive, and even SIGKILL leaves nothing behind.
    with tempfile.TemporaryFile(dir=folder, prefix="optevo-") as file:
        reserve(file.fileno(), int(np.prod(shape)), folder=folder)
        return np.memmap(file, dtype=np.uint8, mode="r+", shape=shape)


def _resized(image: Image.Image, *, size: tuple[int, int], channels: int) -> NDArray[np.uint8]:
    height, width = size
    # Channels first, then size: pix2pix's order.
    return to_array(to_channels(image, channels=channels).resize((width, height), Image.Resampling.BICUBIC))
