"""How long a generator takes, measured."""

import copy
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optevo.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class Latency:
    """Time of one forward pass of a whole batch.

    Attributes:
        median_ms: median over the runs, milliseconds.
        p10_ms: 10th percentile, milliseconds.
        p90_ms: 90th percentile, milliseconds; far above the median means that the machine was busy.
        batch_size: images a pass.
        device: torch's name of the device, e.g. ``cpu`` or ``cuda:0``.
        threads: threads that torch used within an operation (they matter on a CPU only).
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    batch_size: int
    device: str
    threads: int


def latency(
    module: "nn.Module",
    *,
    batch_size: int = 1,
    height: int = 256,
    width: int = 256,
    channels: int = 3,
    device: str = "cpu",
    warmup: int = 3,
    runs: int = 20,
) -> Latency:
    """Time a module's forward pass as a user would run it: eval and inference mode, one batch after another.

    Args:
        module: takes (batch_size, channels, height, width) in its own floating type; left as it is (a copy runs).
        batch_size: images a pass, at least 1.
        height: pixels.
        width: pixels.
        channels: of the input images.
        device: where to run; CUDA is synchronised around each pass.
        warmup: passes before the clock starts (allocator, kernel selection), at least 0.
        runs: timed passes, at least 1.

    Raises:
        UsageError: `batch_size`, `warmup` or `runs` out of range.
    """
    import torch

    for name, value, low in (("batch_size", batch_size, 1), ("warmup", warmup, 0), ("runs", runs, 1)):
        if value < low:
            raise UsageError(f"{name} = {value!r}: must be at least {low}")
    place = torch.device(device)
    throwaway = copy.deepcopy(module).to(place).eval()
    dtype = next((parameter.dtype for parameter in throwaway.parameters()), torch.float32)
    images = torch.rand((batch_size, channels, height, width), device=place).to(dtype) * 2 - 1
    with torch.inference_mode():
        times = [_one_pass(throwaway, images, place) for _ in range(warmup + runs)][warmup:]
    p10, median, p90 = (float(value) for value in np.percentile(times, (10, 50, 90)))
    return Latency(median, p10, p90, batch_size=batch_size, device=str(place), threads=torch.get_num_threads())


def _one_pass(module: "nn.Module", images: "Tensor", device: "torch.device") -> float:
    _synchronise(device)
    start = time.perf_counter()
    module(images)
    _synchronise(device)
    return (time.perf_counter() - start) * 1000.0


def _synchronise(device: "torch.device") -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
