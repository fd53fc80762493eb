"""Workers on this machine: each a process of its own, the same command that joins a study from anywhere.

Other engines place them elsewhere (:mod:`optevo.search.launch_ray`, :mod:`optevo.search.launch_slurm`); on every place
it is :class:`LocalWorkers` again that starts and ends the process.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from optevo.errors import OptevoError

RESTARTS = 20  # of workers that were killed from outside


class Workers(Protocol):
    """A study's workers, wherever they are.

    Attributes:
        count: How many are to be; settled by `start` at the latest.
    """

    count: int

    def start(self) -> None:
        """Start them, or put them into a queue."""

    def alive(self) -> int:
        """How many work or will. Called about twice a second; replaces those that died by no fault of theirs."""

    def stop(self) -> None:
        """Ask those that are left to end their training at its next step. Also called when none is left."""

    def wait(self) -> int:
        """Wait for all to end; the worst exit code, however often it is asked for."""


@dataclass
class LocalWorkers:
    """Starts `count` workers and keeps them going until they have nothing left to do.

    Args:
        name: Of the study.
        url: Of the store; it travels in the environment, never on a command line that others could read.
        count: Number of processes.
        devices: CUDA devices, handed out in turn; empty on a CPU.
        root: The images' folder, where it is not the specification's.
        artifacts: Their store, where it is not the study's.
        on_line: Gets every line that a worker says.
    """

    name: str
    url: str = field(repr=False)
    count: int
    devices: tuple[int, ...] = ()
    root: Path | None = None
    artifacts: str | None = None
    on_line: Callable[[str], None] = print
    _processes: list[subprocess.Popen[str]] = field(default_factory=list)
    _readers: list[threading.Thread] = field(default_factory=list)
    _restarts: int = 0
    _stopping: bool = False

    def start(self) -> None:
        """Start them all."""
        self._processes = [self._spawn(place) for place in range(self.count)]

    def alive(self) -> int:
        """How many still work. One that was killed from outside is replaced, within reason."""
        for place, process in enumerate(self._processes):
            killed = process.poll() is not None and process.returncode < 0
            if killed and not self._stopping and self._restarts < RESTARTS:
                self._restarts += 1
                self.on_line(f"worker {process.pid} was killed by signal {-process.returncode}; starting another")
                self._processes[place] = self._spawn(place)
        return sum(process.poll() is None for process in self._processes)

    def stop(self) -> None:
        """Ask them to end their training at its next step; what they trained is given out again later."""
        self._stopping = True
        for process in self._processes:
            if process.poll() is None:
                process.terminate()

    def let_go(self) -> None:
        """Ask the same without a signal, as this process's death would."""
        self._stopping = True
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()

    def wait(self) -> int:
        """Wait for all to end; the worst exit code, a death by signal counting as 1."""
        codes = [process.wait() for process in self._processes]
        for reader in self._readers:
            reader.join(timeout=5)
        return max((code if code >= 0 else 1 for code in codes), default=0)

    def _spawn(self, place: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "optevo", "worker", self.name, "--attached"]
        if self.root is not None:
            command += ["--data", str(self.root)]
        if self.artifacts is not None:
            command += ["--artifacts", self.artifacts]
        process = subprocess.Popen(
            command,
            env={**os.environ, **self._environment(place)},
            stdin=subprocess.PIPE,  # Closes when this process dies, however it dies; the worker then stops too.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C goes to this process alone, which then asks each worker once.
            start_new_session=True,
        )
        reader = threading.Thread(target=_relay, args=(process, self.on_line), daemon=True)
        reader.start()
        self._readers.append(reader)
        return process

    def _environment(self, place: int) -> Mapping[str, str]:
        settings = {"OPTEVO_STORAGE": self.url}
        if self.devices:
            settings["CUDA_VISIBLE_DEVICES"] = str(self.devices[place % len(self.devices)])
        return settings


def run_together(commands: Sequence[Sequence[str]], *, url: str, on_line: Callable[[str], None]) -> None:
    """Run several commands of optevo at once, each in a process of its own, and pass on what they say on stderr.

    Raises:
        OptevoError: One failed.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "optevo", *command],
            env={**os.environ, "OPTEVO_STORAGE": url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    readers = [threading.Thread(target=_relay, args=(process, on_line), daemon=True) for process in processes]
    for reader in readers:
        reader.start()
    try:
        codes = [process.wait() for process in processes]
    finally:
        for process in processes:
            process.terminate()
        for reader in readers:
            reader.join(timeout=5)
    for command, code in zip(commands, codes, strict=True):
        if code:
            raise OptevoError(f"`optevo {' '.join(command)}` failed with exit code {code} (above).")


def _relay(process: subprocess.Popen[str], on_line: Callable[[str], None]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        on_line(line.rstrip())
