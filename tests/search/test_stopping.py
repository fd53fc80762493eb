"""Ctrl-C and SIGTERM to the real commands amid a training: it ends, and its individual is given out again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState
from tiny_study import tiny_document

from optevo import api
from optevo.data.drawn import draw_facades
from optevo.samplers.slots import FAILURE, claim_of
from optevo.search.spec import parse_spec
from optevo.search.study import Search


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "facades"
    draw_facades(folder, count=16, val=3, test=3, size=(128, 128), seed=1)
    return folder


@pytest.fixture
def search(images: Path, tmp_path: Path) -> Search:
    """A study whose trainings take a while, in steps of a size that small studies have."""
    document = tiny_document(images)
    document["data"] |= {"size": 128}
    document["space"] = {"channels": [8, 16], "depth": 6}
    document["training"] = {"steps": 25, "batch_size": 4, "discriminator_channels": 16, "discriminator_layers": 3}
    spec = parse_spec(document, source="tests")
    return api.create_study("tiny", spec, storage=f"sqlite:///{tmp_path / 'optevo.db'}")


def running(search: Search) -> list[FrozenTrial]:
    trials = search.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in trials if len(trial.params) == len(search.sampler.fallback_space())]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", [["worker", "tiny"], ["study", "run", "tiny", "--workers", "2"]], ids=" ".join)
def test_a_training_ends_and_its_slot_is_free(
    command: list[str], number: signal.Signals, search: Search, tmp_path: Path, record_property
):
    environment = {**os.environ, "OPTEVO_STORAGE": search.url}
    with subprocess.Popen(
        [sys.executable, "-m", "optevo", *command], env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        # Not in the first training, which still loads parts of torch.
        done = (TrialState.COMPLETE,)
        wait_for(lambda: bool(search.study.get_trials(deepcopy=False, states=done) and running(search)), process)
        time.sleep(0.5)
        wait_for(lambda: bool(running(search)), process)
        sent = datetime.now()
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
        gone = (datetime.now() - sent).total_seconds()
    assert process.returncode == 130, said
    assert said.splitlines()[-1].startswith("optevo: ")
    assert "Traceback" not in said
    trials = search.study.get_trials()
    assert all(trial.state.is_finished() for trial in trials)
    ended = [trial for trial in trials if trial.state == TrialState.FAIL and claim_of(trial)]
    assert ended
    assert {trial.system_attrs[FAILURE] for trial in ended} == {"died"}
    assert {trial.user_attrs["failure"] for trial in ended} == {"interrupted"}
    seconds = max((trial.datetime_complete - sent).total_seconds() for trial in ended)
    record_property("seconds", seconds)
    print(
        f"`optevo {' '.join(command)}`: {number.name} ended the training after {seconds:.2f} s, all after {gone:.2f} s"
    )
    # The next worker is given the same individual.
    first = min(ended, key=lambda trial: claim_of(trial).slot)
    assert search.sampler.next_slot(search.study) == claim_of(first).slot
    again = search.study.ask(dict(search.sampler.fallback_space()))
    assert again.params == first.params
