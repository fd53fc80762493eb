"""One place that decides device, precision, memory format, optimizer and seeds, for every training of optevo."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import nn

from optevo.errors import UsageError

Precision = Literal["fp32", "bf16"]
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Engine:
    """Where and how a training runs. Made by :func:`resolve`.

    Args:
        device: One device.
        precision: `"bf16"` runs forward passes and losses under autocast, weights and Adam's state staying fp32.
        threads: Threads of a CPU operation. Results are equal bit for bit only at equal numbers of threads.
    """

    device: torch.device
    precision: Precision
    threads: int

    def place(self, module: Module) -> Module:
        """The module on the device, its convolutions channels_last: the order that the fastest kernels work in."""
        return module.to(device=self.device).to(memory_format=torch.channels_last)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The precision's context for forward passes in training."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def adam(
        self, parameters: Iterable[nn.Parameter], *, learning_rate: float, betas: tuple[float, float]
    ) -> torch.optim.Adam:
        """Adam whose whole update is one kernel. On a GPU its rate is a tensor, so that graphs see it change."""
        if self.device.type != "cuda":
            return torch.optim.Adam(parameters, lr=learning_rate, betas=betas, fused=True)
        rate = torch.tensor(learning_rate, device=self.device)
        return torch.optim.Adam(parameters, lr=rate, betas=betas, fused=True, capturable=True)

    def seed(self, seed: int) -> None:
        """Seed torch's own generators (initial weights, dropout) on the CPU and on the device."""
        torch.manual_seed(seed)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Set this process's number of threads for as long as the context lasts."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def resolve(*, device: str = "auto", precision: str = "auto", threads: int = 1) -> Engine:
    """Settle what `"auto"` means on this machine.

    Args:
        device: `"auto"` (a GPU where there is one), `"cpu"`, `"cuda"` or `"cuda:N"`.
        precision: `"auto"` (bf16 where the hardware multiplies it), `"bf16"` or `"fp32"`.
        threads: At least 1; 0 means every core.

    Raises:
        UsageError: The device is not there, or an argument is unknown.
    """
    if threads < 0:
        raise UsageError(f"engine.threads = {threads}: give 0 for every core, or a positive number.")
    where = _device(device)
    if precision not in ("auto", "bf16", "fp32"):
        raise UsageError(f"engine.precision = {precision!r}: must be 'auto', 'bf16' or 'fp32'.")
    chosen: Precision = "bf16" if precision == "bf16" or (precision == "auto" and has_bf16(where)) else "fp32"
    return Engine(device=where, precision=chosen, threads=threads or os.cpu_count() or 1)


def has_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 itself: AMX or AVX512-BF16 on a CPU, compute capability 8.0 on a GPU."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    return False


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"engine.device = {name!r}: must be 'auto', 'cpu', 'cuda' or 'cuda:N'.") from None
    if device.type == "cuda":
        # With its number, as tensors name it.
        device = torch.device("cuda", device.index or 0)
    if device.type == "cuda" and device.index >= torch.cuda.device_count():
        raise UsageError(
            f"engine.device = {name!r}: this machine has {torch.cuda.device_count()} CUDA devices; use 'auto' or 'cpu'."
        )
    return device
