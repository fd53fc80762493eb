"""Workers as jobs of Slurm: a job array through submitit, each job with the process that LocalWorkers starts here.

What Slurm says to a job, and what the job does:

- SIGUSR2, before the time limit or at a preemption: give the individual back and go into the queue again, until nothing
  is left to do.
- SIGTERM, at a preemption: give the individual back and wait for what follows. That is SIGUSR2, or the end by Slurm,
  which puts preempted jobs into the queue by itself unless they ended first.
- SIGINT, from :meth:`SlurmWorkers.stop`: give the individual back and end.

The database's URL, which may hold a password, is in the environment of the jobs. It is in no script, no name of a job
and none of submitit's pickled files.
"""

import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optevo.errors import OptevoError, UsageError
from optevo.search.launch import LocalWorkers
from optevo.search.launch_options import SlurmOptions
from optevo.search.store import is_sqlite, masked

POLL = 0.2
PATIENCE = 60.0  # seconds that jobs have to end
LOOK = 10.0  # seconds between questions to Slurm, which has others to answer
TIMEOUTS = 10_000  # How often a job may reach its limit: as often as the study takes.
GRACE = 600.0  # seconds that a job waits, once told to end, for Slurm to end it

# Slurm sends its signals to every process of a job. The worker takes none, only word from the process that knows what
# they mean.
SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}


class WorkerJob:
    """What submitit stores and a node runs. It holds no URL.

    A thread watches the worker, so that `checkpoint`, which submitit calls in a signal's handler, need not care what
    the main thread was doing: the three share plain attributes and no lock.

    Args:
        name: Of the study.
        root: The images' folder, the same on every node.
        artifacts: Their store.
    """

    def __init__(self, name: str, root: str, artifacts: str) -> None:
        self.name, self.root, self.artifacts = name, root, artifacts
        self._stop = self._running = False
        self._code: int | None = None

    def __call__(self) -> int:
        """Be one worker until nothing is left to do. Returns its exit code."""
        received: list[int] = []
        with _noting(received):
            with _withheld(SIGNALS):
                threading.Thread(target=self._work, daemon=True).start()
            while self._code is None:
                time.sleep(POLL)
                self._stop = self._stop or bool(received)
            if self._code and signal.SIGTERM in received:
                time.sleep(GRACE)  # Who ends by itself is done for Slurm, and not requeued.
        return self._code

    def checkpoint(self) -> Any:
        """For submitit, at SIGUSR2: what the job does when it comes out of the queue again."""
        from submitit.helpers import DelayedSubmission

        self._stop = True
        while self._running:
            time.sleep(POLL)
        return DelayedSubmission(WorkerJob(self.name, self.root, self.artifacts))

    def _work(self) -> None:
        self._running = True
        team = LocalWorkers(
            name=self.name,
            url=os.environ["OPTEVO_STORAGE"],
            count=1,
            root=Path(self.root),
            artifacts=self.artifacts,
            on_line=lambda line: print(line, file=sys.stderr, flush=True),
        )
        try:
            team.start()
            while team.alive() and not self._stop:
                time.sleep(POLL)
            team.let_go()
            self._code = team.wait()
        finally:
            self._running = False
            if self._code is None:
                self._code = OptevoError.exit_code


@contextmanager
def _noting(received: list[int]) -> Iterator[None]:
    """Note SIGINT and SIGTERM; SIGUSR2 is submitit's."""
    before = {
        number: signal.signal(number, lambda number, frame: received.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _withheld(numbers: set[signal.Signals]) -> Iterator[None]:
    """Signals reach this thread only afterwards, and processes that it starts meanwhile never."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class SlurmWorkers:
    """Submits a job array. See :class:`optevo.search.launch.Workers` for the methods.

    Args:
        name: Of the study.
        url: Of the store.
        count: Number of workers, each a job of the array.
        root: The images' folder, the same on every node.
        artifacts: Their store.
        threads: A trial; what a job asks for where the options say nothing.
        on_gpu: Whether each asks for a GPU.
        options: Of the launcher.
        on_line: Gets what there is to say; the jobs' own lines are in their logs.
    """

    name: str
    url: str = field(repr=False)
    count: int
    root: Path
    artifacts: str
    threads: int
    on_gpu: bool
    options: SlurmOptions
    on_line: Callable[[str], None] = print
    _jobs: list[Any] = field(default_factory=list)
    _codes: dict[str, int] = field(default_factory=dict)  # By the numbers of the jobs that have ended.
    _stopping: bool = False
    _looked: float = -math.inf  # time.monotonic() of the last question to Slurm
    _absent: set[str] = field(default_factory=set)  # what it no longer listed then
    _gone: set[str] = field(default_factory=set)

    def start(self) -> None:
        """Submit the jobs.

        Raises:
            UsageError: submitit or Slurm is not installed, Slurm refuses the jobs, or the store is a SQLite file.
        """
        if self.options.cluster == "slurm" and is_sqlite(self.url):
            raise UsageError(
                f"--storage {masked(self.url)}: a SQLite file cannot be shared with the nodes of Slurm; `optevo study "
                f"copy {self.name} --to postgresql+psycopg://USER@HOST/DATABASE` takes the study along."
            )
        executor = self._executor()
        job = WorkerJob(self.name, str(self.root), self.artifacts)
        try:
            with _environment("OPTEVO_STORAGE", self.url), executor.batch():
                self._jobs = [executor.submit(job) for _ in range(self.count)]
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            raise UsageError(f"--launcher slurm: the jobs were not accepted ({_reason(error)}).") from error
        numbers = sorted({job.job_id.partition("_")[0] for job in self._jobs})
        self.on_line(f"submitted {self.count} jobs ({', '.join(numbers)}); their logs are in {executor.folder}")

    def alive(self) -> int:
        """How many run, wait in the queue, or wait there again."""
        self._look()
        for job in self._left:
            if job.paths.result_pickle.exists():
                self._end(job)
            elif job.job_id in self._gone:
                self._codes[job.job_id] = 1
                if not self._stopping:
                    self.on_line(f"job {job.job_id} ended without a result; its log is {job.paths.stderr}")
        return len(self._left)

    def stop(self) -> None:
        """Ask those that run to end their training at its next step, and take the others out of the queue."""
        self._stopping = True
        if self.options.cluster == "local":
            for job in self._left:
                job.cancel()
        elif self._left:
            numbers = [job.job_id for job in self._left]
            _scancel("--state=PENDING", *numbers)
            _scancel("--signal=INT", *numbers)

    def wait(self) -> int:
        """Wait for all to end, for PATIENCE seconds at most; what is left then, Slurm cancels."""
        until = time.monotonic() + PATIENCE
        while self.alive() and time.monotonic() < until:
            time.sleep(2 * POLL)
        for job in self._left:
            job.cancel(check=False)
            self._codes[job.job_id] = 1
        # submitit's local jobs complain when they are let go only as the interpreter ends.
        self._jobs.clear()
        return max(self._codes.values(), default=0)

    @property
    def _left(self) -> list[Any]:
        return [job for job in self._jobs if job.job_id not in self._codes]

    def _look(self) -> None:
        """Find the jobs that are no longer there.

        submitit asks Slurm's accounting, which not every cluster has. A job counts as gone when two questions in a row
        found it gone: on a shared drive its result may be seen later than its end.
        """
        if self.options.cluster == "local":
            self._gone = {job.job_id for job in self._left if job.done()}
            return
        now = time.monotonic()
        if now - self._looked < (2.0 if self._stopping else LOOK):
            return
        self._looked = now
        listed = _squeue()
        if listed is not None:
            absent = {job.job_id for job in self._left} - listed
            self._gone, self._absent = absent & self._absent, absent

    def _executor(self) -> Any:
        submitit = _import_submitit()
        logs = Path(self.options.logs).absolute()
        try:
            executor = submitit.AutoExecutor(logs, cluster=self.options.cluster, slurm_max_num_timeout=TIMEOUTS)
        except (RuntimeError, OSError) as error:
            raise UsageError(
                f"--launcher slurm: {_reason(error)}; run this where sbatch is, or try it here by --launcher-option "
                "cluster=local."
            ) from error
        gpus = (1 if self.on_gpu else 0) if self.options.gpus is None else self.options.gpus
        executor.update_parameters(
            name=f"optevo-{self.name}".replace("/", "-"),
            timeout_min=self.options.time,
            gpus_per_node=gpus or None,
            cpus_per_task=self.options.cpus or self.threads,
            slurm_partition=self.options.partition,
            slurm_signal_delay_s=self.options.warning,
            slurm_additional_parameters={"requeue": True, **self.options.sbatch},
        )
        return executor

    def _end(self, job: Any) -> None:
        try:
            code = int(job.result())
        except Exception as error:  # submitit's for a job that raised, and whatever unpickling does.
            code = 1
            self.on_line(f"job {job.job_id} failed: {_reason(error)}")
        if code and not self._stopping:
            for line in (job.stderr() or "").splitlines()[-3:]:
                self.on_line(f"job {job.job_id}: {line}")
        self._codes[job.job_id] = code


@contextmanager
def _environment(key: str, value: str) -> Iterator[None]:
    before = os.environ.get(key)
    os.environ[key] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before


def _scancel(*arguments: str) -> None:
    """Jobs that ended meanwhile are no error."""
    subprocess.run(["scancel", "--quiet", *arguments], check=False, capture_output=True)


def _squeue() -> set[str] | None:
    """The user's jobs that run or wait, as submitit names them; None while Slurm does not answer."""
    done = subprocess.run(
        ["squeue", "--me", "--noheader", "--array", "--format=%i"], check=False, capture_output=True, text=True
    )
    return set(done.stdout.split()) if done.returncode == 0 else None


def _import_submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise UsageError(f"--launcher slurm: {error.name} is not installed; `pip install 'optevo[slurm]'`.") from None
    logging.getLogger("submitit").setLevel(logging.ERROR)
    return submitit


def _reason(error: BaseException) -> str:
    """The last line, which is the error's own where submitit gives a traceback or what sbatch said."""
    said = getattr(error, "stderr", None) or str(error)
    lines = [line.strip() for line in str(said).splitlines() if line.strip(" -\n")]
    return lines[-1] if lines else type(error).__name__
