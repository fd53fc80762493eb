"""Workers on a Ray cluster: an actor a worker, each with the same process that LocalWorkers starts here.

Ray places them and, when a node dies, starts its actors again elsewhere (`max_restarts`, `max_task_retries`). What such
a worker had in training is optevo's business: the database gives it out again.

The database's URL, which may hold a password, is an argument of a method. Those travel from this process to the actor
and are kept nowhere else: not in Ray's control store, as arguments of constructors are, and not in a dashboard, as
`runtime_env` is.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optevo.errors import UsageError
from optevo.search import processes
from optevo.search.launch import LocalWorkers
from optevo.search.launch_options import RayOptions
from optevo.search.store import is_sqlite, masked

CONNECT = 10.0  # seconds; Ray itself would try for minutes
PATIENCE = 30.0  # seconds that a worker has to end
POLL = 0.2


class Place:
    """The actor. It is told by one thread of Ray's to run, by another what this process wants meanwhile."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._stop = threading.Event()

    def run(self, name: str, url: str, root: str, artifacts: str, machine: str | None) -> int:
        """Be one worker until nothing is left to do. Returns its exit code.

        Args:
            machine: Refuse to run anywhere else.
        """
        here = f"{socket.gethostname()}:{os.getpid()}"
        if machine is not None and _machine() != machine:
            self._lines.append(f"{here}: a SQLite file cannot be shared with this machine; move to PostgreSQL.")
            return UsageError.exit_code
        team = LocalWorkers(
            name=name, url=url, count=1, root=Path(root), artifacts=artifacts, on_line=self._lines.append
        )
        team.start()
        while team.alive() and not self._stop.wait(POLL):
            pass
        team.let_go()
        return team.wait()

    def stop(self) -> None:
        """End the training at its next step."""
        self._stop.set()

    def lines(self) -> list[str]:
        """What the worker has said since the last call."""
        said = self._lines[:]
        del self._lines[: len(said)]
        return said


@dataclass
class RayWorkers:
    """Starts actors over a Ray cluster. See :class:`optevo.search.launch.Workers` for the methods.

    Args:
        name: Of the study.
        url: Of the store.
        wanted: Number of workers; None: as many as the cluster has room for.
        root: The images' folder, the same on every node.
        artifacts: Their store.
        threads: A trial; what an actor asks for where the options say nothing.
        on_gpu: Whether each asks for a GPU.
        options: Of the launcher.
        on_line: Gets every line that a worker says.
    """

    name: str
    url: str = field(repr=False)
    wanted: int | None
    root: Path
    artifacts: str
    threads: int
    on_gpu: bool
    options: RayOptions
    on_line: Callable[[str], None] = print
    count: int = 0
    _ray: Any = None
    _ours: bool = False  # Whether this object made the connection, and so ends it.
    _actors: dict[Any, Any] = field(default_factory=dict)  # By what their `run` will return.
    _said: dict[Any, Any] = field(default_factory=dict)  # What their `lines` will return, likewise.
    _codes: list[int] = field(default_factory=list)

    def start(self) -> None:
        """Connect, and place the actors.

        Raises:
            UsageError: Ray is not installed, no cluster answers, it has no room, or it cannot share the SQLite file.
        """
        self._ray = _import_ray()
        self._connect()
        try:
            self._refuse_other_machines()
            actor = self._ray.remote(Place).options(
                num_cpus=self._cpus,
                num_gpus=self._gpus,
                max_restarts=-1,
                max_task_retries=-1,
                max_concurrency=3,
                scheduling_strategy="SPREAD",
            )
            machine = _machine() if is_sqlite(self.url) else None
            self.count = self._room()
            for _ in range(self.count):
                place = actor.remote()
                running = place.run.remote(self.name, self.url, str(self.root), self.artifacts, machine)
                self._actors[running] = place
                self._said[running] = place.lines.remote()
        except BaseException:
            self._disconnect()
            raise

    def alive(self) -> int:
        """How many run, or wait for room on a node."""
        if self._actors:
            self._relay()
            ended, _ = self._ray.wait(list(self._actors), num_returns=len(self._actors), timeout=0)
            for running in ended:
                self._end(running)
        return len(self._actors)

    def stop(self) -> None:
        """Ask them to end their training at its next step."""
        for place in self._actors.values():
            place.stop.remote()

    def wait(self) -> int:
        """Wait for all to end, after `stop` for PATIENCE seconds at most: some may still wait for a node."""
        until = time.monotonic() + PATIENCE
        while self.alive() and time.monotonic() < until:
            time.sleep(POLL)
        for place in self._actors.values():
            self._ray.kill(place)
        self._codes += [1] * len(self._actors)
        self._actors.clear()
        self._disconnect()
        return max(self._codes, default=0)

    @property
    def _gpus(self) -> float:
        return (1.0 if self.on_gpu else 0.0) if self.options.gpus is None else self.options.gpus

    @property
    def _cpus(self) -> float:
        return self.options.cpus or self.threads

    def _connect(self) -> None:
        if self._ray.is_initialized():
            return
        address = self.options.address or os.environ.get("RAY_ADDRESS") or "auto"
        cure = "start one (`ray start --head`), or name it by --launcher-option address=HOST:PORT"
        _knock(address, cure=cure)
        try:
            self._ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"--launcher ray: no cluster at {address} ({str(error).splitlines()[0]}); {cure}."
            ) from error
        self._ours = True

    def _disconnect(self) -> None:
        if self._ours:
            self._ours = False
            self._ray.shutdown()

    def _refuse_other_machines(self) -> None:
        """Ray says of every node how its machine calls itself; each actor looks again, by its machine's boot."""
        if not is_sqlite(self.url):
            return
        nodes = {node["NodeManagerHostname"] for node in self._ray.nodes() if node["Alive"]}
        others = sorted(nodes - {socket.gethostname()})
        if others:
            raise UsageError(
                f"--storage {masked(self.url)}: a SQLite file cannot be shared with {', '.join(others[:3])} of the Ray "
                f"cluster; `optevo study copy {self.name} --to postgresql+psycopg://USER@HOST/DATABASE` takes the "
                "study along."
            )

    def _room(self) -> int:
        if self.wanted is not None:
            return self.wanted
        total = self._ray.cluster_resources()
        asked = {"GPU": self._gpus, "CPU": self._cpus}
        room = min(int(total.get(kind, 0) / amount) for kind, amount in asked.items() if amount)
        if not room:
            has = ", ".join(f"{total.get(kind, 0):g} {kind}s" for kind in asked)
            raise UsageError(
                f"--launcher ray: the cluster has {has} and a worker asks for {self._gpus:g} GPUs and {self._cpus:g} "
                "CPUs; ask for less by --launcher-option gpus=... or cpus=..., or say --workers."
            )
        return room

    def _relay(self) -> None:
        """Pass on what the workers said, and ask them again."""
        said, _ = self._ray.wait(list(self._said.values()), num_returns=len(self._said), timeout=0)
        for running, place in self._actors.items():
            if self._said[running] in said:
                self._pass_on(self._said[running])
                self._said[running] = place.lines.remote()

    def _end(self, running: Any) -> None:
        place, said = self._actors.pop(running), self._said.pop(running)
        try:
            self._codes.append(self._ray.get(running))
            self._pass_on(said)
            self._pass_on(place.lines.remote())
        except self._ray.exceptions.RayError as error:
            self._codes.append(1)
            self.on_line(f"a worker's actor failed: {_reason(error)}")

    def _pass_on(self, said: Any) -> None:
        try:
            lines = self._ray.get(said, timeout=PATIENCE)
        except self._ray.exceptions.RayError as error:
            lines = [f"a worker's lines are lost: {_reason(error)}"]
        for line in lines:
            self.on_line(line)


def _machine() -> str:
    try:
        return processes.machine()
    except OSError:  # Off Linux.
        return socket.gethostname()


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise UsageError(f"--launcher ray: {error.name} is not installed; `pip install 'optevo[ray]'`.") from None
    return ray


def _knock(address: str, *, cure: str) -> None:
    """See whether anybody listens at HOST:PORT; other addresses (`auto`, `ray://...`) are Ray's business."""
    host, separator, port = address.rpartition(":")
    if not separator or "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--launcher ray: no cluster at {address} ({error}); {cure}.") from None


def _reason(error: BaseException) -> str:
    """The last line, which is the error's own where Ray wraps a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
