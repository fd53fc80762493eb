"""Trainings that a signal ends at a step, so that the same command continues them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from optevo.errors import InterruptedRunError
from optevo.search.stopping import stopping

# Called with the steps done and the steps in all.
OnStep = Callable[[int, int], None]


@contextmanager
def interruptible(folder: Path, on_step: OnStep | None) -> Iterator[OnStep]:
    """What to call after each step of a training into `folder`: it raises InterruptedRunError after a signal."""
    with stopping(threading.Event()) as stop:

        def after(done: int, total: int) -> None:
            if on_step is not None:
                on_step(done, total)
            if stop.is_set():
                raise InterruptedRunError(
                    f"{folder}: interrupted at step {done} of {total}; the same command continues."
                )

        yield after
