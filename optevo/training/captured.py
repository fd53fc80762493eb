"""A training step as one CUDA graph: what takes the host a thousand launches is launched by one call."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

Made = TypeVar("Made")

# Steps that run as they are written, so that all that is made once is made before the capture (optimizer states, what
# the libraries allocate and choose when they are first called).
WARM_UP = 3


class Captured:
    """A function of tensors that always have the same shapes, on one GPU, captured when it has run a few times.

    Where small networks train, a GPU spends most of a step waiting for the host. What the function changes (weights,
    optimizer states) must stay where it is in memory for as long as this is used.

    Args:
        function: Takes and returns tensors; nothing in it may wait for the GPU, or depend on what changes on the host.
            What it draws on the GPU is drawn anew each time.
        device: The GPU.
        tuned: Whether cuDNN first measures which of its algorithms are fastest: a second or two, well spent where
            thousands of steps follow.
    """

    def __init__(self, function: Callable[..., Sequence[Tensor]], *, device: torch.device, tuned: bool = False) -> None:
        self._function, self._device, self._tuned = function, device, tuned
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """What the function returns; the tensors stay as they are when it is called again."""
        self._calls += 1
        if self._calls <= WARM_UP:
            return self._warm_up(inputs)
        if self._graph is None:
            self._graph = self._capture(inputs)
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine.copy_(given, non_blocking=True)
        self._graph.replay()
        return [output.clone() for output in self._outputs]

    def _warm_up(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """A call on a stream of its own, as a capture will be one."""
        here, aside = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside), self._tuning():
            outputs = [output.clone() for output in self._function(*inputs)]
        here.wait_stream(aside)
        # Memory that was taken on the one stream is used and given back on the other.
        for tensor in (*inputs, *outputs):
            tensor.record_stream(aside)
            tensor.record_stream(here)
        return outputs

    def _capture(self, inputs: Sequence[Tensor]) -> torch.cuda.CUDAGraph:
        self._inputs = [tensor.clone() for tensor in inputs]
        graph = torch.cuda.CUDAGraph()
        # Other threads may use CUDA meanwhile.
        try:
            with (
                self._tuning(),
                torch.cuda.device(self._device),
                torch.cuda.graph(graph, capture_error_mode="thread_local"),
            ):
                self._outputs = list(self._function(*self._inputs))
        except RuntimeError as error:
            # Where memory ran out, the end of the capture fails as well, and would hide it.
            if isinstance(error.__context__, torch.OutOfMemoryError):
                raise error.__context__ from None
            raise
        return graph

    @contextmanager
    def _tuning(self) -> Iterator[None]:
        before = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = before or self._tuned
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = before


def side_by_side(works: Sequence[Callable[[], Made]]) -> list[Made]:
    """What each returns; in a graph that is being captured, they run at the same time.

    A small network's kernels leave most of a GPU idle. Launched one by one from the host they could not overlap, so
    elsewhere the works are done in turn. None may depend on another. The backward passes overlap likewise: autograd
    runs them where their forward passes ran.
    """
    if not (torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()) or len(works) == 1:
        return [work() for work in works]
    here = torch.cuda.current_stream()
    branches = [torch.cuda.Stream() for _ in works]
    found = []
    for branch, work in zip(branches, works, strict=True):
        branch.wait_stream(here)
        with torch.cuda.stream(branch):
            found.append(work())
    for branch in branches:
        here.wait_stream(branch)
    return found


def is_known(module: nn.Module) -> bool:
    """Whether all of a network is made of torch's layers and optevo's own, of which a graph can hold each."""
    return all(type(part).__module__.partition(".")[0] in ("torch", "optevo") for part in module.modules())
