"""Whole studies with real training: the same trials whoever trains them, and whatever dies."""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import TrialState
from tiny_study import tiny_document

from optevo import api
from optevo.errors import InterruptedRunError, OptevoError, UsageError
from optevo.samplers.slots import FAILURE, claim_of
from optevo.search.progress import canonical_trials, hours_trained, snapshot, stop_reason
from optevo.search.spec import Spec, parse_spec
from optevo.search.study import open_search
from optevo.search.worker import open_worker, training_seed
from optevo.training.pix2pix import DivergedError


def url_of(folder: Path, name: str = "optevo.db") -> str:
    return f"sqlite:///{folder / name}"


def run_here(spec: Spec, url: str) -> None:
    api.create_study("tiny", spec, storage=url)
    api.work("tiny", storage=url)


def outcome(url: str) -> tuple[list, list]:
    """Genomes, operators and values of the canonical trials, of the search and of the final."""
    search = open_search("tiny", url=url)
    final = search.final()
    assert final is not None
    done = [(claim_of(t).operator, t.params, t.value) for t in canonical_trials(search)]
    finals = sorted((claim_of(t).slot, t.value) for t in final.get_trials() if t.state == TrialState.COMPLETE)
    return done, finals


@pytest.fixture(scope="module")
def serial(tiny: Spec, tmp_path_factory: pytest.TempPathFactory) -> tuple[list, list]:
    folder = tmp_path_factory.mktemp("serial")
    run_here(tiny, url_of(folder))
    return outcome(url_of(folder))


def test_a_search_runs_through(tiny: Spec, tmp_path: Path):
    url = url_of(tmp_path)
    run_here(tiny, url)
    search = open_search("tiny", url=url)
    state = snapshot(search)
    assert (state.phase, state.generation, state.failed) == ("done", 3, 0)
    assert stop_reason(search) == "all 3 generations are complete"
    winner = api.best("tiny", storage=url)
    assert len(winner.candidates) == 2
    assert winner.value == min(candidate.mean for candidate in winner.candidates)
    assert all(candidate.spread is not None and candidate.spread > 0 for candidate in winner.candidates)
    # The second generation holds the first one's best in slot 0, told and not trained.
    history = search.sampler.history(search.study)
    best = min(history[0], key=lambda trial: trial.value)
    assert history[1][0].value == best.value
    assert history[1][0].user_attrs["reused_from"] == best.number
    trained = [t for t in search.study.get_trials() if "reused_from" not in t.user_attrs]
    genomes = {tuple(t.params.values()) for t in trained}
    assert len(genomes) == len(trained) == state.trained
    for trial in trained:
        assert {"l1_val", "parameters", "exact_macs", "seconds", "generation", "slot"} <= set(trial.user_attrs)


def test_the_same_seed_gives_the_same_study_twice(tiny: Spec, tmp_path: Path, serial: tuple[list, list]):
    run_here(tiny, url_of(tmp_path))
    assert outcome(url_of(tmp_path)) == serial


def test_another_seed_gives_another_study(facades: Path, tmp_path: Path, serial: tuple[list, list]):
    run_here(parse_spec({**tiny_document(facades), "seed": 8}, source="tests"), url_of(tmp_path))
    assert outcome(url_of(tmp_path))[0] != serial[0]


@pytest.mark.slow
def test_three_workers_find_what_one_finds(tiny: Spec, tmp_path: Path, serial: tuple[list, list]):
    url = url_of(tmp_path)
    api.create_study("tiny", tiny, storage=url)
    states, lines = [], []
    api.run_study("tiny", storage=url, workers=3, on_snapshot=lambda s, _: states.append(s), on_line=lines.append)
    assert outcome(url) == serial
    workers = {
        t.user_attrs["worker"] for t in open_search("tiny", url=url).study.get_trials() if "worker" in t.user_attrs
    }
    assert len(workers) >= 2
    assert states[-1].phase == "done"


@pytest.mark.slow
def test_a_study_killed_at_random_moments_ends_as_if_undisturbed(tiny: Spec, tmp_path: Path, serial: tuple[list, list]):
    url = url_of(tmp_path)
    api.create_study("tiny", tiny, storage=url)
    environment = {**os.environ, "OPTEVO_STORAGE": url}
    dice, kills = random.Random(3), 0
    for _ in range(60):
        with subprocess.Popen([sys.executable, "-m", "optevo", "worker", "tiny"], env=environment, stderr=-3) as worker:
            # Late enough to be past the imports in most rounds, early enough to hit every stage of a trial.
            try:
                worker.wait(dice.uniform(2.0, 4.5) if kills < 4 else 120)
            except subprocess.TimeoutExpired:
                worker.send_signal(signal.SIGKILL)
                kills += 1
        if snapshot(open_search("tiny", url=url)).phase == "done":
            break
    assert kills >= 1
    assert outcome(url) == serial


def test_a_stopped_worker_leaves_its_slot_free(tiny: Spec, tmp_path: Path, serial: tuple[list, list]):
    url = url_of(tmp_path)
    search = api.create_study("tiny", tiny, storage=url)
    worker = open_worker(search)
    evaluate, calls = worker.task.evaluate, []

    def stopped_in_the_third(*args, **kwargs):
        calls.append(args)
        if len(calls) == 3:
            worker.stop.set()
        return evaluate(*args, **kwargs)

    worker.task.evaluate = stopped_in_the_third
    with pytest.raises(InterruptedRunError):
        worker.run()
    states = [trial.state for trial in search.study.get_trials()]
    assert states == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL]
    api.work("tiny", storage=url)
    assert outcome(url) == serial


def test_nan_counts_at_once_and_out_of_memory_at_the_second_time(tiny: Spec, tmp_path: Path):
    url = url_of(tmp_path)
    search = api.create_study("tiny", tiny, storage=url)
    worker = open_worker(search)
    evaluate, seen = worker.task.evaluate, []

    def faulty(params, **kwargs):
        if kwargs["steps"] is None:
            seen.append(kwargs["seed"])
        if kwargs["seed"] == training_seed(tiny.seed, 0, 0, 1):
            raise DivergedError("the loss is no longer finite at step 1.")
        if kwargs["seed"] == training_seed(tiny.seed, 0, 0, 2):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return evaluate(params, **kwargs)

    worker.task.evaluate = faulty
    worker.run()
    first = search.sampler.history(search.study)[0]
    assert [trial.state for trial in first] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.FAIL,
        TrialState.COMPLETE,
    ]
    assert [trial.system_attrs.get(FAILURE) for trial in first] == [None, "nan", "out_of_memory", None]
    assert seen.count(training_seed(tiny.seed, 0, 0, 1)) == 1
    assert seen.count(training_seed(tiny.seed, 0, 0, 2)) == 2
    assert "no longer finite" in first[1].user_attrs["failure"]
    # Neither fathers anybody.
    numbers = {trial.number for trial in first[1:3]}
    assert not any(numbers & set(claim_of(t).parents) for t in search.sampler.history(search.study)[1])


def test_a_real_nan_ends_only_its_trial(facades: Path, tmp_path: Path):
    # A learning rate at which the loss really overflows, whatever the architecture.
    document = tiny_document(facades)
    document["training"] |= {"learning_rate": 1e30, "steps": 60}
    document["sampler"] |= {"generations": 1}
    spec = parse_spec(document, source="tests")
    search = api.create_study("tiny", spec, storage=url_of(tmp_path))
    open_worker(search).run()
    trials = search.study.get_trials()
    assert {trial.system_attrs[FAILURE] for trial in trials} == {"nan"}
    assert len(trials) == 4
    assert snapshot(search).phase == "done"
    with pytest.raises(UsageError, match="nothing is trained"):
        api.best("tiny", storage=url_of(tmp_path))


def test_unexpected_errors_stop_the_worker_after_three(tiny: Spec, tmp_path: Path):
    search = api.create_study("tiny", tiny, storage=url_of(tmp_path))
    worker = open_worker(search)

    def broken(*args, **kwargs):
        raise RuntimeError("the sky fell")

    worker.task.evaluate = broken
    with pytest.raises(OptevoError, match="3 trainings in a row"):
        worker.run()


def test_budgets_are_never_exceeded(facades: Path, tmp_path: Path):
    document = tiny_document(facades)
    document["fitness"] = {"max_parameters": 1200}
    spec = parse_spec(document, source="tests")
    url = url_of(tmp_path)
    run_here(spec, url)
    trials = open_search("tiny", url=url).study.get_trials()
    assert trials
    assert max(trial.user_attrs["parameters"] for trial in trials) <= 1200
    document["fitness"] = {"max_macs": 10}
    with pytest.raises(UsageError, match="no architecture fits"):
        api.create_study("small", parse_spec(document, source="tests"), storage=url)


def test_patience_ends_the_search(facades: Path, tmp_path: Path):
    document = tiny_document(facades)
    document["sampler"] |= {"generations": 50, "population": 2}
    document["stop"] = {"patience": 1}
    document["final"] = {"candidates": 0}
    run_here(parse_spec(document, source="tests"), url_of(tmp_path))
    search = open_search("tiny", url=url_of(tmp_path))
    reason = stop_reason(search)
    assert reason is not None
    assert "not improved" in reason
    bests = [min(t.value for t in generation) for generation in search.sampler.history(search.study)]
    assert len(bests) < 50
    assert bests[-1] >= bests[-2]
    assert all(later < earlier for earlier, later in itertools.pairwise(bests[:-1]))


def test_hours_count_time_in_which_somebody_trained():
    from datetime import datetime

    def trial(start: int, stop: int) -> optuna.trial.FrozenTrial:
        made = optuna.create_trial(value=1.0)
        made.datetime_start, made.datetime_complete = datetime(2026, 1, 1, start), datetime(2026, 1, 1, stop)
        return made

    assert hours_trained([trial(1, 3), trial(2, 4), trial(6, 7), trial(6, 7)]) == 4.0


def test_a_worker_with_other_images_is_refused(tiny: Spec, facades: Path, tmp_path: Path):
    import shutil

    from PIL import Image

    copy = tmp_path / "copy"
    shutil.copytree(facades, copy)
    url = url_of(tmp_path)
    api.create_study("tiny", tiny, storage=url)
    open_worker(open_search("tiny", url=url), root=copy)
    picture = copy / "train" / "1.png"
    Image.fromarray(255 - np.asarray(Image.open(picture))).save(picture)
    with pytest.raises(UsageError, match="not the images"):
        open_worker(open_search("tiny", url=url), root=copy)


def test_names_that_exist_or_do_not(tiny: Spec, tmp_path: Path):
    url = url_of(tmp_path)
    api.create_study("tiny", tiny, storage=url)
    with pytest.raises(UsageError, match="exists already"):
        api.create_study("tiny", tiny, storage=url)
    with pytest.raises(UsageError, match="it has tiny"):
        open_search("other", url=url)
    with pytest.raises(UsageError, match="must not be empty"):
        api.create_study("a/b", tiny, storage=url)


def test_running_a_finished_study_says_so_at_once(tiny: Spec, tmp_path: Path):
    url = url_of(tmp_path)
    run_here(tiny, url)
    begun = time.monotonic()
    state = api.run_study("tiny", storage=url)
    assert state.phase == "done"
    assert time.monotonic() - begun < 5
