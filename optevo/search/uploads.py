"""Uploads beside a training, which must not wait for a network."""

import threading
from collections.abc import Callable
from io import BufferedReader

QUIET = 2.0


class Uploads:
    """A thread that uploads what it is given. While it is busy, only the newest of what comes waits."""

    def __init__(self, upload: Callable[[int, BufferedReader], bool]) -> None:
        self._upload = upload
        self._waiting: tuple[int, BufferedReader] | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._stored: bool | None = None

    def put(self, step: int, file: BufferedReader) -> None:
        """Upload an open file, now or after the one that is under way; it is closed afterwards."""
        with self._lock:
            if self._waiting is not None:
                self._waiting[1].close()
            self._waiting = (step, file)
            if self._thread is None:
                # A daemon: a second Ctrl-C must not wait for a slow network.
                self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)
                self._thread.start()

    def finish(self, *, on_wait: Callable[[], None]) -> bool | None:
        """Wait for all of it. Whether the newest was stored; None where there was none.

        Args:
            on_wait: Called once, where this takes more than `QUIET` seconds.
        """
        seconds: float | None = QUIET
        while (thread := self._thread) is not None:
            thread.join(seconds)
            if thread.is_alive() and seconds is not None:
                on_wait()
                seconds = None
        return self._stored

    def _work(self) -> None:
        try:
            while (waiting := self._next()) is not None:
                step, file = waiting
                self._stored = False
                with file:
                    self._stored = self._upload(step, file)
        except BaseException:
            self._thread = None
            raise

    def _next(self) -> tuple[int, BufferedReader] | None:
        with self._lock:
            waiting, self._waiting = self._waiting, None
            if waiting is None:
                self._thread = None
            return waiting
