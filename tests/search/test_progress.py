"""How far a study is, read in few statements, is what Optuna's whole trials say."""

import threading
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event

from optevo import api
from optevo.errors import OptevoError
from optevo.samplers import slots
from optevo.samplers.slots import CLAIM, FAILURE
from optevo.search.outlines import SYSTEM, USER
from optevo.search.progress import canonical_trials, course_of, generation_rows, hours_trained, snapshot, stop_reason
from optevo.search.spec import Spec
from optevo.search.study import Search, best_distinct, open_search
from optevo.search.worker import Worker
from optevo.tasks.evaluation import Evaluation
from optevo.training.pix2pix import DivergedError


class Arithmetic:
    """Values from genome and seed alone, equal ones and NaNs among them; stops the worker after `limit` individuals."""

    def __init__(self, stop: threading.Event, limit: int) -> None:
        self.stop, self.left = stop, limit

    def evaluate(self, params: Mapping[str, Any], *, seed: int, **_: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            self.stop.set()
        dice = np.random.default_rng([len(params), seed])
        if dice.uniform() < 0.15:
            raise DivergedError("the loss is nan")
        value = float(dice.integers(4, 12)) / 4
        return Evaluation(value=value, metrics={"half": value / 2, "exact_macs": seed % 1000}, model=None)


def work(url: str, limit: int) -> None:
    stop = threading.Event()
    try:
        Worker(open_search("tiny", url=url), Arithmetic(stop, limit), stop).run()
    except OptevoError:
        assert stop.is_set()


def disturb(search: Search) -> None:
    """Somebody trains, somebody's trial was pruned, one was killed, one found nothing to do, and one has only begun."""
    study, sampler = search.study, search.sampler
    frontier = sampler.frontier(study)
    for state in (TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING):
        if not isinstance(slot := sampler.next_slot(study), int):
            return
        claim = sampler._claim(frontier, slot).to_attribute()
        study.add_trial(optuna.create_trial(state=state, system_attrs={CLAIM: claim}, user_attrs={"worker": "me:1"}))
    study.add_trial(optuna.create_trial(state=TrialState.FAIL))  # it found no free slot
    study._storage.create_new_trial(study._study_id)


def plain(url: str) -> list[FrozenTrial]:
    """All trials as Optuna itself reads them."""
    return optuna.load_study(study_name="tiny", storage=RDBStorage(url)).get_trials()


def whole(trial: FrozenTrial | None) -> dict[str, Any] | None:
    """All of a trial; its parameters in their order, which attributes have none of."""
    return None if trial is None else {**vars(trial), "_params": list(trial.params.items())}


def check(search: Search, url: str) -> str:
    """Everything that is told of the study against Optuna's trials and the sampler; gives the phase."""
    trials = plain(url)
    # As it was defined first: by the sampler's history and the generation that it would train.
    reader = open_search("tiny", url=url)
    history, frontier = reader.sampler.history(reader.study), reader.sampler.frontier(reader.study)
    filled = []
    if frontier is not None:
        rows = [slots.canonical(frontier.trials_of(slot)) for slot in range(len(frontier.brood.individuals))]
        filled = [trial for trial in rows if trial is not None]
    canonical = [trial for generation in history for trial in generation] + filled
    assert [whole(trial) for trial in canonical_trials(reader)] == [whole(trial) for trial in canonical]
    good = [trial for trial in canonical if trial.state == TrialState.COMPLETE]
    top = best_distinct(good, 1)
    population = search.spec.sampler.population

    state = snapshot(search)
    assert state.stopped == stop_reason(reader)
    stood = [t for t in trials if t.system_attrs.get(CLAIM)]
    assert (state.generation, state.failed) == (len(history), sum(t.state == TrialState.FAIL for t in stood))
    assert state.trained == sum(t.state.is_finished() and "reused_from" not in t.user_attrs for t in stood)
    assert [whole(best) for best in state.best] == [whole(trials[each.number]) for each in top[:1]]
    assert state.mean == (fmean(trial.value for trial in good[-population:]) if good else None)
    if search.final() is None:
        running = [t for t in trials if t.state == TrialState.RUNNING and t.system_attrs.get(CLAIM)]
        assert [whole(trial) for trial in state.running] == [whole(trial) for trial in running]
        assert state.filled == (len(filled) if frontier is not None else population)
    for number, (row, generation) in enumerate(zip(generation_rows(search), history, strict=True)):
        values = [trial.value for trial in generation if trial.value is not None]
        assert (row["generation"], row["best"], row["mean"]) == (number, min(values), fmean(values))
        assert row["failed"] == sum(trial.state == TrialState.FAIL for trial in generation)
        assert row["trained"] == sum("reused_from" not in trial.user_attrs for trial in generation)
    assert hours_trained(search.outlines[0].read()) == hours_trained(trials)

    for outlines in (
        search.outlines[0],
        open_search("tiny", url=url).outlines[0],
    ):  # One that has read before, one new.
        for outline, trial in zip(outlines.read(), trials, strict=True):
            assert (outline.number, outline._trial_id, outline.state) == (trial.number, trial._trial_id, trial.state)
            assert (outline.values, outline.datetime_start) == (trial.values, trial.datetime_start)
            assert outline.datetime_complete == trial.datetime_complete
            assert outline.user_attrs == {key: trial.user_attrs[key] for key in USER if key in trial.user_attrs}
            assert outline.system_attrs == {key: trial.system_attrs[key] for key in SYSTEM if key in trial.system_attrs}

    if top and search.final() is None:
        winner = api.best("tiny", storage=url)
        assert (winner.trial, winner.value, winner.candidates) == (top[0].number, top[0].value, ())
        assert api.best("tiny", storage=url, trial=top[0].number) == winner
    return state.phase


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_is_told_is_what_the_trials_say(kind: str, tiny: Spec, tmp_path: Path, request: pytest.FixtureRequest):
    url = f"sqlite:///{tmp_path / 'optevo.db'}" if kind == "sqlite" else request.getfixturevalue("postgres")
    sampler = tiny.sampler.model_copy(update={"generations": 5, "elites": 2})
    api.create_study("tiny", tiny.model_copy(update={"sampler": sampler}), storage=url)
    other = optuna.create_study(study_name="other", storage=RDBStorage(url))
    search = open_search("tiny", url=url)  # One reader through the whole study.
    phases = [check(search, url)]
    for limit in (1, 3, 4):
        work(url, limit)
        other.add_trial(optuna.create_trial(value=0.0))  # Ids have gaps.
        phases.append(check(search, url))
    disturb(open_search("tiny", url=url))
    phases.append(check(search, url))
    for trial in plain(url):
        if trial.state == TrialState.RUNNING:
            search.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    for _ in range(30):
        work(url, 2)
        phases.append(check(search, url))
        if phases[-1] == "done":
            break
    assert phases[0] == "search"
    assert {"final", "done"} <= set(phases)
    states = {trial.state for trial in plain(url)}
    assert {TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED} <= states
    assert any(trial.system_attrs.get(FAILURE) == "nan" for trial in plain(url))
    assert any("reused_from" in trial.user_attrs for trial in plain(url))
    # The final's: every candidate is the search's own trial, with the values of its trainings.
    final = optuna.load_study(study_name="tiny/final", storage=RDBStorage(url))
    trained = {
        trial.system_attrs[CLAIM]["slot"]: trial.value for trial in final.get_trials(states=[TrialState.COMPLETE])
    }
    winner, seeds = api.best("tiny", storage=url), tiny.final.seeds
    assert winner.candidates
    for candidate in winner.candidates:
        place = final.user_attrs["candidates"].index(candidate.number)
        assert candidate.values == tuple(trained[place * seeds + seed] for seed in range(seeds))
        assert whole(candidate.trial) == whole(plain(url)[candidate.number])
    assert (winner.trial, winner.value) == (winner.candidates[0].number, winner.candidates[0].mean)


def test_the_list_counts_as_optuna_does(tiny: Spec, tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'optevo.db'}"
    assert api.list_studies(storage=url) == []
    for name in ("tiny", "later"):
        api.create_study(name, tiny, storage=url)
    optuna.create_study(study_name="other", storage=RDBStorage(url)).add_trial(optuna.create_trial(value=0.0))
    work(url, 3)
    found = {each.study_name: each for each in optuna.get_all_study_summaries(RDBStorage(url))}
    begun = found["tiny"].datetime_start
    assert begun is not None
    assert api.list_studies(storage=url) == [
        {"study": "tiny", "system": "unet", "trials": found["tiny"].n_trials, "begun": begun.isoformat(" ", "seconds")},
        {"study": "later", "system": "unet", "trials": 0, "begun": None},
    ]


def test_all_trials_are_read_in_one_statement(tiny: Spec, tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'optevo.db'}"
    api.create_study("tiny", tiny, storage=url)
    work(url, 6)
    search = open_search("tiny", url=url)
    said: list[str] = []
    event.listen(search.storage.engine, "before_cursor_execute", lambda _c, _k, statement, *_: said.append(statement))
    trials = search.outlines[0].read()
    assert len(trials) >= 6
    assert len([statement for statement in said if "trials" in statement]) == 1
    # What is finished is not read again.
    finished = {id(trial) for trial in trials if trial.state.is_finished()}
    assert finished <= {id(trial) for trial in search.outlines[0].read()}
    assert course_of(trials, tiny).history == course_of(search.outlines[0].read(), tiny).history
