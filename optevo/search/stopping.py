"""Ctrl-C and SIGTERM end the work at its next step, so that nothing is left half done."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger("optevo.worker")


@contextmanager
def stopping(stop: threading.Event) -> Iterator[threading.Event]:
    """Let Ctrl-C and SIGTERM set `stop`; a second one ends the process at once.

    Outside the main thread, where Python allows no signal handlers, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, _frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        log.warning("stopping after this step; the same command continues")
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
