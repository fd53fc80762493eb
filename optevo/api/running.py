"""Run a study: be a worker of it, or start workers and watch them."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optevo.errors import InterruptedRunError, OptevoError
from optevo.samplers.outages import is_outage
from optevo.search.launch import Workers
from optevo.search.launchers import Launcher, check_options, place
from optevo.search.progress import Snapshot, snapshot
from optevo.search.retrying import Patience
from optevo.search.stopping import stopping
from optevo.search.store import storage_url
from optevo.search.study import Search, open_search
from optevo.search.versions import check_versions, versions

if TYPE_CHECKING:
    from optevo.search.collecting import Collector

# Seconds that workers have to find out that nothing is left to do. One that waits for a node never would.
LINGER = 60.0


def run_study(
    name: str,
    *,
    storage: str | None = None,
    workers: int | None = None,
    launcher: Launcher = "local",
    launcher_options: Sequence[str] = (),
    data: Path | None = None,
    artifacts: str | None = None,
    accept_versions: bool = False,
    on_snapshot: Callable[[Snapshot, int], None] | None = None,
    on_line: Callable[[str], None] = print,
) -> Snapshot:
    """Continue a study with workers that this process starts and watches, until nothing is left or it is interrupted.

    Args:
        workers: Processes; by default one a GPU, or as many as the cores allow: here, or in the Ray cluster. Slurm has
            to be told.
        launcher: Where they run: `"local"`, on this machine; `"ray"`, on a Ray cluster; `"slurm"`, as jobs of Slurm.
        launcher_options: `"key=value"`, see :mod:`optevo.search.launch_options`.
        data: The images' folder, where it is not the specification's.
        artifacts: Where the study's artifact store is from here, if not where it was created to be.
        accept_versions: Continue with versions of packages that change results; it is recorded in the study.
        on_snapshot: Called about once a second with the state and the number of living workers.
        on_line: Gets what the workers say.

    Raises:
        UsageError: The launcher, its options, the images or the store will not do, or other versions of packages, see
            :mod:`optevo.search.versions`.
        OptevoError: A worker failed; what it said was passed to `on_line`.
    """
    options = check_options(launcher, launcher_options)
    search = open_search(name, url=storage_url(storage))
    state = snapshot(search)
    if state.phase == "done":
        return state
    # Once for all workers of this installation, or of an equal one elsewhere: they find the acceptance in the study.
    check_versions(search.study, search.record.versions, accept=accept_versions, here=versions())
    search.check_images(root=data)
    team = place(search, options, count=workers, root=data, artifacts=artifacts, on_line=on_line)
    team.start()
    try:
        with stopping(threading.Event()) as stop:
            _watch(search, team, stop, on_snapshot)
    finally:
        team.stop()
        team.wait()
    code = team.wait()
    last = _look(search, team.count)
    if on_snapshot is not None and last is not None:
        on_snapshot(last, 0)
    if code and (last is None or last.phase != "done"):
        raise OptevoError(f"study {name!r}: a worker failed with exit code {code} (above); mend it and run again.")
    return last or Patience(url=search.url, stop=threading.Event()).through(
        lambda: snapshot(search, workers=team.count)
    )


def _watch(
    search: Search,
    team: Workers,
    stop: threading.Event,
    on_snapshot: Callable[[Snapshot, int], None] | None,
) -> None:
    """Until the workers have ended, or the study is done and some are still in a queue."""
    done: float | None = None
    while alive := team.alive():
        seen = _look(search, team.count)
        if seen is not None and on_snapshot is not None:
            on_snapshot(seen, alive)
        if seen is not None and seen.phase == "done":
            done = done or time.monotonic()
            if time.monotonic() - done > LINGER:
                return
        if stop.wait(0.5):
            raise InterruptedRunError(f"study {search.name!r}: interrupted; the same command continues it.")


def _look(search: Search, workers: int) -> Snapshot | None:
    """The state; None while the database is away, which the workers say and wait for."""
    try:
        return snapshot(search, workers=workers)
    except Exception as error:  # Drivers have errors of their own.
        if not is_outage(error):
            raise
        return None


def work(
    name: str,
    *,
    storage: str | None = None,
    data: Path | None = None,
    artifacts: str | None = None,
    accept_versions: bool = False,
    attached: bool = False,
) -> int:
    """Be one worker of a study in this process. Returns the number of individuals trained.

    Args:
        artifacts: Where the study's artifact store is from here, if not where it was created to be.
        accept_versions: Join with versions of packages that change results; it is recorded in the study.
        attached: Stop when standard input closes, that is when whoever started this worker is gone.
    """
    from optevo.search.artifacts import Artifacts, artifacts_url
    from optevo.search.collecting import Collector
    from optevo.search.worker import open_worker

    search = open_search(name, url=storage_url(storage))
    place = search.record.artifacts
    stop = threading.Event()
    if attached:
        _stop_with_stdin(stop)
    with stopping(stop):
        worker = open_worker(search, root=data, artifacts=artifacts, stop=stop, accept_versions=accept_versions)
        collector = Collector(search, Artifacts(artifacts_url(search.url, given=artifacts, recorded=place)))
        worker.keep = _keeper_of_pictures(collector, search, worker.task)
        trained = worker.run()
        worker.patience.through(collector.after_individual)
        return trained


def _keeper_of_pictures(collector: "Collector", search: Search, task: Any) -> Callable[[Any, Any], None]:
    """What stores a trial's sample picture. What is no longer needed is removed before."""
    import logging
    import tempfile

    from optevo.reports.pictures import save_picture
    from optevo.search.living import heartbeat
    from optevo.search.patient_store import ArtifactError

    def keep(trial: Any, evaluation: Any) -> None:
        collector.after_individual()
        rows = search.system.pictures(trial, task, evaluation)
        # An artifact store that is away is waited for; the trial must not look dead meanwhile.
        with tempfile.TemporaryDirectory() as folder, heartbeat(trial.storage, trial._trial_id):
            files = [save_picture(rows, Path(folder) / "samples.png")]
            for label, content in search.system.files_of(trial, task, evaluation).items():
                files.append(Path(folder) / label)
                files[-1].write_bytes(content)
            try:
                for file in files:
                    collector.artifacts.attach(trial, file)
            except ArtifactError as error:
                logging.getLogger("optevo.worker").warning(
                    "trial %d: %s; its value is kept, its picture is not", trial.number, error
                )
                trial.set_user_attr("artifacts_missing", str(error)[:500])

    return keep


def _stop_with_stdin(stop: Any) -> None:
    import sys

    def watch() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=watch, daemon=True).start()
