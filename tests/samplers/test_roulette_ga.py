"""RouletteGASampler in plain Optuna studies of one process."""

import itertools
import json
import math
import os
import pickle
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import optuna
import pytest
from optuna import Study
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from optevo.samplers import RouletteGASampler, Standing, claim_of
from optevo.search.store import open_store

optuna.logging.set_verbosity(optuna.logging.ERROR)

C1, C2 = [f"c{i}" for i in range(4)], [f"skip{i}" for i in range(3)]
SPACE = {
    **{name: CategoricalDistribution([64, 128, 256, 512]) for name in C1},
    **{name: CategoricalDistribution([False, True]) for name in C2},
}


def value_of(params: dict[str, Any]) -> float:
    """Rugged enough that values differ, and above 0."""
    return 1 + sum(((i + 3) * hash(int(value)) % 17) / 17 for i, value in enumerate(params.values()))


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    return {name: trial.suggest_categorical(name, SPACE[name].choices) for name in SPACE}


def objective(trial: optuna.Trial) -> float:
    return value_of(suggest(trial))


def sampler(**settings: Any) -> RouletteGASampler:
    return RouletteGASampler(
        **{"search_space": SPACE, "chromosomes": [C1, C2], "population_size": 6, "seed": 5, **settings}
    )


def ints(high: int, **settings: Any) -> RouletteGASampler:
    space = {"x": IntDistribution(0, high)}
    return RouletteGASampler(**{"search_space": space, "population_size": 4, "seed": 1, **settings})


def run(n: int = 40, *, direction: str = "minimize", goal: Any = objective, **settings: Any) -> optuna.Study:
    study = optuna.create_study(sampler=sampler(**settings), direction=direction)
    study.optimize(goal, n_trials=n, catch=(ArithmeticError,))
    return study


def told(study: optuna.Study) -> list[Any]:
    """All that must be equal in two runs."""
    return [[t.state.name, t.values, list(t.params.items()), t.user_attrs] for t in study.get_trials(deepcopy=False)]


def generations(study: optuna.Study) -> list[list[FrozenTrial]]:
    return [list(generation) for generation in study.sampler.history(study)]  # type: ignore[attr-defined]


def trained(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in study.trials if "reused_from" not in trial.user_attrs]


# Determinism.


def test_equal_seeds_give_equal_trials_and_others_others() -> None:
    assert told(run()) == told(run())
    assert told(run()) != told(run(seed=6))


def test_without_a_seed_two_studies_differ_but_each_is_a_function_of_itself() -> None:
    one, two = run(seed=None), run(seed=None)
    assert told(one) != told(two)
    assert [t.params for t in one.trials[:6]] != [t.params for t in two.trials[:6]]
    fresh = sampler(seed=None)
    assert fresh.frontier(one).brood.digest == one.sampler.frontier(one).brood.digest  # type: ignore[attr-defined,union-attr]


PROGRAM = """
import sys, json, optuna
sys.path.insert(0, {folder!r})
import test_roulette_ga as t
from optevo.search.store import open_store
storage = {url!r} and open_store({url!r})
study = optuna.create_study(storage=storage, study_name="s", load_if_exists=True, sampler={make})
study.optimize({goal}, n_trials={n})
print(json.dumps(t.told(study)))
"""


def elsewhere(n: int, *, url: str | None = None, make: str = "t.sampler()", goal: str = "t.objective") -> Any:
    """The same in a process of its own, with other salts for Python's hashes."""
    folder = os.path.dirname(__file__)
    code = PROGRAM.format(folder=folder, url=url, make=make, n=n, goal=goal)
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_another_process_tries_the_same() -> None:
    assert elsewhere(40) == json.loads(json.dumps(told(run(40))))


@pytest.mark.parametrize(
    ("make", "goal"), [("t.sampler()", "t.objective"), ("t.dynamic_sampler()", "t.dynamic")], ids=["space", "dynamic"]
)
def test_a_study_resumed_from_sqlite_equals_an_uninterrupted_one(url, make, goal) -> None:
    for n in (8, 17):
        parts = elsewhere(n, url=url, make=make, goal=goal)
    whole = optuna.create_study(sampler=eval(make.removeprefix("t.")))
    whole.optimize(eval(goal.removeprefix("t.")), n_trials=25)
    assert parts == json.loads(json.dumps(told(whole)))


def test_a_sampler_object_survives_pickling_without_its_storage(url) -> None:
    study = optuna.create_study(storage=open_store(url), sampler=sampler())
    study.optimize(objective, n_trials=15)
    text = pickle.dumps(study.sampler)
    assert b"secret-name" not in text
    study.sampler = pickle.loads(text)
    study.optimize(objective, n_trials=15)
    assert told(study) == told(run(30))


def test_a_study_copied_to_another_name_can_be_continued(url) -> None:
    study = optuna.create_study(storage=open_store(url), study_name="one", sampler=sampler(seed=None))
    study.optimize(objective, n_trials=15)
    one, two = open_store(url), open_store(url)
    optuna.copy_study(from_study_name="one", from_storage=one, to_storage=two, to_study_name="two")
    copied = optuna.load_study(study_name="two", storage=two, sampler=sampler(seed=None))
    study.optimize(objective, n_trials=10)
    copied.optimize(objective, n_trials=10)
    assert [t.params for t in copied.trials] == [t.params for t in study.trials]


def test_a_study_deleted_and_created_again_begins_anew(url) -> None:
    storage = open_store(url)
    mine = sampler()
    study = optuna.create_study(storage=storage, study_name="s", sampler=mine)
    study.optimize(objective, n_trials=20)
    optuna.delete_study(study_name="s", storage=storage)
    study = optuna.create_study(storage=storage, study_name="s", sampler=mine)
    study.optimize(objective, n_trials=20)
    assert told(study) == told(run(20))


def test_one_sampler_object_serves_several_studies() -> None:
    mine = sampler()
    studies = [optuna.create_study(sampler=mine) for _ in range(2)]
    for _ in range(20):
        for study in studies:
            study.optimize(objective, n_trials=1)
    assert told(studies[0]) == told(studies[1]) == told(run(20))


# Values.


def test_maximising_mirrors_minimising() -> None:
    # Whole numbers, so that 1 - v is exact. Proportional scaling only mirrors where the costs are the same numbers.
    for scaling in ("proportional", "rank", "sigma"):
        low = run(goal=lambda trial: -round(objective(trial)), scaling=scaling)
        high = run(goal=lambda trial: round(objective(trial)), scaling=scaling, direction="maximize")
        assert [t.params for t in low.trials] == [t.params for t in high.trials]
        assert len(generations(low)) > 2


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("scaling", ["proportional", "rank", "sigma"])
def test_the_best_gets_worse_in_no_generation_and_better_in_all(direction, scaling) -> None:
    study = run(60, direction=direction, scaling=scaling, population_size=10)
    sign = 1 if direction == "minimize" else -1
    best = [min(sign * t.value for t in generation) for generation in generations(study)]
    assert best == sorted(best, reverse=True)
    assert best[-1] < best[0]


@pytest.mark.parametrize("odd", [0.0, -1e308, 1e308, math.inf, -math.inf, math.nan, None])
def test_odd_values_end_nothing(odd) -> None:
    def goal(trial: optuna.Trial) -> float | None:
        params = suggest(trial)
        return odd if params["c0"] == 64 else value_of(params)

    study = run(45, goal=goal)
    assert len(generations(study)) >= 3
    if odd is None or math.isnan(odd) or odd == math.inf:
        # As the worst, they have no children while anyone is better.
        bad = {t.number for t in study.trials if t.value is None or t.value == math.inf}
        assert bad
        for generation in generations(study):
            if any(t.number not in bad for t in generation):
                numbers = {t.number for t in generation}
                children = [t for t in study.trials if set(t.user_attrs.get("parents", ())) & numbers]
                assert not any(set(t.user_attrs["parents"]) & bad for t in children)


def test_everything_failing_goes_on_until_something_works() -> None:
    calls = Counter()

    def goal(trial: optuna.Trial) -> float:
        params = suggest(trial)
        calls["all"] += 1
        if calls["all"] < 60:
            raise ArithmeticError("broken")
        return value_of(params)

    study = run(100, goal=goal)
    assert any(t.state == TrialState.COMPLETE for generation in generations(study) for t in generation)


def test_a_failing_individual_is_tried_three_times_and_known_afterwards() -> None:
    tried: Counter[Any] = Counter()

    def goal(trial: optuna.Trial) -> float:
        params = suggest(trial)
        tried[tuple(params.values())] += 1
        if params["c0"] in (64, 128):
            raise ArithmeticError("broken")
        return value_of(params)

    run(110, goal=goal)  # Not 100, which ends before the third try of the last.
    assert set(tried.values()) == {1, 3}
    assert all(count == (3 if genome[0] in (64, 128) else 1) for genome, count in tried.items())


def test_a_known_failure_is_recorded_once() -> None:
    def goal(trial: optuna.Trial) -> float:
        suggest(trial)
        raise ArithmeticError("broken")

    study = run(60, goal=goal, selection=1, crossover=0, mutation=0, generations=3, chromosomes=None)
    records = [t for t in study.trials if "reused_from" in t.user_attrs]
    assert len(records) == 2 * 6
    assert {t.state for t in records} == {TrialState.FAIL}


def test_a_pruned_trial_counts_with_its_last_report() -> None:
    def goal(trial: optuna.Trial) -> float:
        params = suggest(trial)
        trial.report(999.0, 0)
        trial.report(value_of(params), 1)
        if params["c0"] in (64, 256):
            raise optuna.TrialPruned
        return value_of(params)

    pruned, whole = run(40, goal=goal), run(40)
    assert [t.params for t in pruned.trials] == [t.params for t in whole.trials]
    assert {t.state for t in pruned.trials} == {TrialState.PRUNED, TrialState.COMPLETE}


def test_a_trial_pruned_before_any_report_is_worst_and_final() -> None:
    def goal(trial: optuna.Trial) -> float:
        params = suggest(trial)
        if params["c0"] != 512:
            raise optuna.TrialPruned
        return value_of(params)

    study = run(60, goal=goal, population_size=10)
    assert max(Counter(tuple(t.params.values()) for t in trained(study) if claim_of(t)).values()) == 1
    for generation in generations(study)[1:]:
        assert generation[0].params["c0"] == 512


@pytest.mark.parametrize("way", ["set_constraint", "old attribute"])
def test_an_infeasible_trial_is_never_preferred(way) -> None:
    def goal(trial: optuna.Trial) -> float:
        params = suggest(trial)
        bad = float(params["c0"] == 64)
        if way == "set_constraint":
            trial.set_constraint("size", bad)
            trial.set_constraint("other", -1.0)
        else:
            trial.storage.set_trial_system_attr(trial._trial_id, "constraints", [bad, -1.0])
        return 0.001 if bad else value_of(params)  # The best of all, were it allowed.

    study = run(80, goal=goal)
    bred = generations(study)
    assert len(bred) > 3
    infeasible = {t.number for t in study.trials if t.params["c0"] == 64}
    assert infeasible
    for before, after in itertools.pairwise(bred):
        assert any(t.number not in infeasible for t in before)
        assert not any(set(t.user_attrs["parents"]) & infeasible for t in after)
        assert after[0].params["c0"] != 64


# Whence individuals come.


def test_enqueued_individuals_are_members_of_the_first_generation_with_their_own_parameters() -> None:
    wanted = dict(zip(SPACE, [512, 64, 64, 512, True, False, True], strict=True))
    study = optuna.create_study(sampler=sampler())
    study.enqueue_trial(wanted)
    study.enqueue_trial({"c0": 128})
    # A glance before the first trial must settle nothing.
    study.sampler.next_slot(study)  # type: ignore[attr-defined]
    study.optimize(lambda trial: 0.0 if suggest(trial) == wanted else 1.0, n_trials=20)
    first, second = study.trials[:2]
    assert first.params == wanted
    assert second.params["c0"] == 128
    assert [t.user_attrs["slot"] for t in (first, second)] == [0, 1]
    assert [t.number for t in generations(study)[0][:2]] == [0, 1]
    elite = generations(study)[1][0]
    assert elite.params == wanted
    assert elite.user_attrs["reused_from"] == 0


@pytest.mark.parametrize("seed", [5, None])
def test_a_glance_at_an_enqueued_study_does_not_change_its_evolution(seed) -> None:
    study = optuna.create_study(sampler=sampler(seed=seed))
    study.enqueue_trial({"c0": 128})
    study.sampler.next_slot(study)  # type: ignore[attr-defined]
    study.optimize(objective, n_trials=10)
    other = sampler(seed=seed)  # another worker
    assert other.frontier(study).brood.digest == study.sampler.frontier(study).brood.digest  # type: ignore[attr-defined,union-attr]


@pytest.mark.filterwarnings("ignore:Fixed parameter")
def test_enqueued_values_outside_the_space_are_nobodys_parents() -> None:
    study = optuna.create_study(sampler=ints(9))
    study.enqueue_trial({"x": 42})
    study.optimize(lambda trial: 100.0 - trial.suggest_int("x", 0, 9), n_trials=30)
    assert study.trials[0].params == {"x": 42}
    assert not any(0 in t.user_attrs.get("parents", ()) for t in study.trials)
    assert all(0 <= t.params["x"] <= 9 for t in study.trials[1:])


def dynamic(trial: optuna.Trial) -> float:
    kind = trial.suggest_categorical("kind", ["linear", "deep"])
    rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    layers = trial.suggest_int("layers", 1, 5) if kind == "deep" else 0
    widths = [trial.suggest_int(f"width{i}", 8, 64, step=8) for i in range(layers)]
    return 1 + abs(math.log10(rate) + 3) + sum(widths) / 100 - layers / 3


def dynamic_sampler() -> RouletteGASampler:
    return RouletteGASampler(population_size=5, seed=9)


def test_conditional_spaces_evolve_without_being_declared() -> None:
    study = optuna.create_study(sampler=dynamic_sampler())
    study.optimize(dynamic, n_trials=60)
    bred = generations(study)
    assert len(bred) == 12
    for before, after in itertools.pairwise(bred):
        assert after[0].params == min(before, key=lambda t: t.value).params, "elites keep all"
        numbers = {t.number: t for t in before}
        for child in after:
            for name in child.params.keys() - {"kind", "rate"}:
                holders = [numbers[n] for n in child.user_attrs["parents"] if name in numbers[n].params]
                if holders and set(child.params) != {"kind", "rate"} and not _shared(before, name):
                    assert child.params[name] == holders[0].params[name]


def _shared(generation: list[FrozenTrial], name: str) -> bool:
    return all(name in trial.params for trial in generation)


def test_a_space_that_changes_in_mid_study_is_followed() -> None:
    study = optuna.create_study(sampler=RouletteGASampler(population_size=4, seed=3))
    study.optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=10)
    study.optimize(lambda t: t.suggest_float("x", 0, 2) + t.suggest_int("y", 0, 5), n_trials=30)
    assert len(generations(study)) == 10
    assert {frozenset(t.params) for t in study.trials[10:]} == {frozenset("xy")}


def test_first_generations_of_undeclared_spaces_differ_between_slots() -> None:
    study = optuna.create_study(sampler=RouletteGASampler(population_size=8, seed=3))
    study.optimize(lambda t: t.suggest_float("x", 0, 1) + t.suggest_float("y", 0, 1), n_trials=8)
    values = [value for t in study.trials for value in t.params.values()]
    assert len(set(values)) == 16


# What is refused.


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"population_size": 7}, r"begun with population_size=6; continue it with that, not with population_size=7"),
        ({"seed": 6}, r"begun with seed=5; continue it with that, not with seed=6"),
        ({"seed": None}, r"seed=5.*seed=None"),
        (
            {"scaling": "rank", "mutation": 0.2, "selection": 0.1},
            r"selection=0\.2, mutation=0\.1, scaling='proportional'",
        ),
        ({"search_space": {**SPACE, "skip2": CategoricalDistribution([True, False])}}, "search_space"),
    ],
)
@pytest.mark.filterwarnings("ignore:Heartbeat")
@pytest.mark.parametrize("glance", [False, True], ids=["ask", "next_slot"])
def test_continuing_with_other_settings_is_refused_with_what_differs(url, change, match, glance) -> None:
    optuna.create_study(storage=open_store(url), study_name="s", sampler=sampler()).optimize(objective, n_trials=2)
    study = optuna.load_study(storage=open_store(url), study_name="s", sampler=sampler(**change))
    begin = study.sampler.next_slot if glance else Study.ask  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=match):
        begin(study)
    # The study itself is not harmed: what was asked for fills no slot.
    study = optuna.load_study(storage=open_store(url), study_name="s", sampler=sampler())
    study.optimize(objective, n_trials=2)
    assert [t.user_attrs.get("slot") for t in study.trials if t.state == TrialState.COMPLETE] == [0, 1, 2, 3]


def test_more_generations_are_welcome(url) -> None:
    optuna.create_study(storage=open_store(url), study_name="s", sampler=sampler(generations=1)).optimize(
        objective, n_trials=6
    )
    study = optuna.load_study(storage=open_store(url), study_name="s", sampler=sampler(generations=2))
    study.optimize(objective, n_trials=2)
    assert study.trials[-1].user_attrs["generation"] == 1


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"population_size": 0}, "population_size"),
        ({"elites": 6}, "elites must be below population_size 6"),
        ({"elites": -1}, "elites"),
        ({"duplicates": "drop"}, "'keep' or 'mutate'"),
        ({"generations": 0}, "generations"),
        ({"seed": -1}, "seed"),
        ({"mutation": 0.5}, "add up to 1"),
        ({"scaling": "cubic"}, "scaling"),
        ({"mutation_kind": "wild"}, "mutation_kind"),
        ({"chromosomes": [C1, [*C2, "nobody"]]}, "'nobody'"),
        ({"chromosomes": [C1]}, "every position"),
        ({"search_space": None}, "chromosomes needs a search_space"),
        ({"search_space": None, "chromosomes": None, "feasible": bool}, "feasible needs a search_space"),
    ],
)
def test_impossible_settings_are_refused_at_once(change, match) -> None:
    with pytest.raises(ValueError, match=match):
        sampler(**change)


# Budgets, reuse and duplicates.


def test_what_is_not_feasible_is_never_trained_not_even_by_a_spare() -> None:
    def feasible(params: dict[str, Any]) -> bool:
        assert list(params) == list(SPACE)
        return params["c0"] + params["c1"] + params["c2"] <= 384

    study = run(150, feasible=feasible, generations=8, duplicates="mutate")
    assert any(claim_of(trial) is None for trial in study.trials)
    assert all(feasible(trial.params) for trial in study.trials)


def test_known_individuals_are_recorded_and_never_trained_again() -> None:
    calls: Counter[Any] = Counter()

    def goal(trial: optuna.Trial) -> float:
        params = suggest(trial)
        trial.set_user_attr("metric", sum(map(int, params.values())))
        calls[tuple(params.values())] += 1
        return value_of(params)

    study = run(40, goal=goal)
    assert set(calls.values()) == {1}
    assert len(calls) == 40 == len(trained(study))
    records = [trial for trial in study.trials if "reused_from" in trial.user_attrs]
    assert len(records) > 20
    for record in records:
        original = study.trials[record.user_attrs["reused_from"]]
        assert "reused_from" not in original.user_attrs, "the pointer leads to a training, not to another record"
        assert (record.params, record.values, record.state) == (original.params, original.values, original.state)
        assert record.user_attrs["metric"] == original.user_attrs["metric"]
        assert original.number < record.number
        assert record.user_attrs["slot"] == claim_of(record).slot  # type: ignore[union-attr]
    for generation in generations(study)[1:]:
        assert generation[0].user_attrs["operator"] == "elite"
        assert "reused_from" in generation[0].user_attrs


def test_twins_of_one_brood_are_trained_once() -> None:
    calls: Counter[int] = Counter()

    def goal(trial: optuna.Trial) -> float:
        calls[trial.suggest_int("x", 0, 2)] += 1
        return 1.0

    study = optuna.create_study(sampler=ints(2, population_size=12, generations=1))
    study.optimize(goal, n_trials=3)
    study.sampler.next_slot(study)  # type: ignore[attr-defined]
    assert calls == {0: 1, 1: 1, 2: 1}
    assert len(study.trials) == 12
    assert [t.user_attrs["slot"] for t in generations(study)[0]] == list(range(12))


def test_while_the_first_twin_is_in_training_the_second_waits() -> None:
    space = {"x": IntDistribution(0, 1)}
    mine = ints(1, population_size=8, generations=1)
    study = optuna.create_study(sampler=mine)
    asked = [study.ask(space) for _ in range(2)]
    assert {trial.params["x"] for trial in asked} == {0, 1}
    assert mine.next_slot(study) is Standing.WAIT
    study.tell(asked[0], state=TrialState.FAIL)  # One of three errors it may have.
    assert mine.next_slot(study) == claim_of(study.trials[0]).slot  # type: ignore[union-attr]
    study.tell(asked[1], 1.0)
    again = study.ask(space)
    assert again.params == asked[0].params


def test_reuse_off_trains_everything() -> None:
    study = run(60, reuse=False)
    assert len(study.trials) == 60
    assert not any("reused_from" in t.user_attrs for t in study.trials)
    assert len({tuple(t.params.values()) for t in study.trials}) < 60
    assert len(generations(study)) == 10


def test_parameters_beyond_the_space_make_every_trial_its_own() -> None:
    def goal(trial: optuna.Trial) -> float:
        return objective(trial) + trial.suggest_float("extra", 0, 1)

    study = run(30, goal=goal)
    assert len(study.trials) == 30


def test_duplicates_mutate_never_breeds_what_is_known() -> None:
    study = run(150, duplicates="mutate", scaling="rank")
    genomes = [tuple(t.params.values()) for t in trained(study)]
    assert len(set(genomes)) == 150
    records = [t for t in study.trials if "reused_from" in t.user_attrs]
    assert {t.user_attrs["operator"] for t in records} == {"elite"}


@pytest.mark.parametrize("duplicates", ["keep", "mutate"])
def test_a_space_that_is_used_up_ends_an_endless_evolution(duplicates) -> None:
    space = {"a": CategoricalDistribution([0, 1]), "b": IntDistribution(0, 1)}
    mine = RouletteGASampler(search_space=space, population_size=4, seed=1, duplicates=duplicates)
    study = optuna.create_study(sampler=mine)
    study.optimize(lambda t: t.suggest_categorical("a", [0, 1]) + t.suggest_int("b", 0, 1), n_trials=20)
    assert len(trained(study)) == 20
    assert len(study.trials) < 400
    assert mine.next_slot(study) is Standing.DONE
    assert claim_of(study.trials[-1]) is None
    assert {tuple(t.params.values()) for t in study.trials} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    # A new worker sees the same.
    again = RouletteGASampler(search_space=space, population_size=4, seed=1, duplicates=duplicates)
    assert again.next_slot(study) is Standing.DONE


def test_a_population_of_one_has_no_elite() -> None:
    study = optuna.create_study(sampler=sampler(population_size=1, elites=0, duplicates="mutate"))
    study.optimize(objective, n_trials=20)
    assert len({tuple(trial.params.values()) for trial in trained(study)}) == 20
    with pytest.raises(ValueError, match="elites must be below population_size 1, but is 1"):
        sampler(population_size=1)


@pytest.mark.parametrize("name", ["population_size", "elites", "archive", "generations", "learn_from"])
def test_what_is_counted_is_whole(name) -> None:
    assert sampler(**{name: np.int64(3)}).settings() == sampler(**{name: 3}).settings()
    with pytest.raises(ValueError, match=rf"{name} must be a whole number, but is 2\.5"):
        sampler(**{name: 2.5})


def test_parameters_that_a_trial_did_not_ask_for_are_as_it_claimed() -> None:
    space = {"n": IntDistribution(1, 3), **{f"w{i}": CategoricalDistribution([1, 2, 3]) for i in range(3)}}

    def conditional(trial: optuna.Trial) -> float:
        count = trial.suggest_int("n", 1, 3)
        return count + sum(trial.suggest_categorical(f"w{i}", [1, 2, 3]) for i in range(count))

    mine = RouletteGASampler(search_space=space, preset="plain", population_size=4, seed=1)
    study = optuna.create_study(sampler=mine)
    study.optimize(conditional, n_trials=60)
    genomes = [tuple(claim_of(trial).genome.values()) for trial in trained(study) if claim_of(trial)]
    assert len(set(genomes)) == len(genomes) == 60


@pytest.mark.parametrize("values", [(math.inf, -math.inf), (1e308, 1.7e308)])
def test_repeated_evaluations_of_any_size_are_averaged(values) -> None:
    study = optuna.create_study(sampler=ints(3, reuse=False))
    study.optimize(lambda trial: values[trial.number % 2] + 0 * trial.suggest_int("x", 0, 3), n_trials=40)
    assert len(study.trials) == 40


def test_a_value_near_the_grid_is_the_grids() -> None:
    grid = FloatDistribution(0, 1, step=0.1)
    space = {"x": grid, "y": grid}
    study = optuna.create_study(
        sampler=RouletteGASampler(search_space=space, preset="plain", population_size=4, seed=1)
    )
    for x in (0.3, 0.6, 0.7):  # 3 * 0.1, 6 * 0.1 and 7 * 0.1 are others.
        study.enqueue_trial({"x": x, "y": 0.3})
    study.optimize(lambda t: sum((t._suggest(name, grid) - 0.3) ** 2 for name in space), n_trials=60)
    points = Counter(tuple(round(value, 6) for value in trial.params.values()) for trial in trained(study))
    assert max(points.values()) == 1


def test_what_lies_outside_is_not_inherited() -> None:
    study = optuna.create_study(sampler=RouletteGASampler(preset="plain", population_size=4, seed=1))
    study.enqueue_trial({"kind": "a", "i": 0, "c": 100.0})
    drawn = []

    def conditional(trial: optuna.Trial) -> float:
        kind, i = trial.suggest_categorical("kind", ["a", "b"]), trial.suggest_int("i", 0, 50)
        drawn.append(trial.suggest_float("c", 0, 1) if kind == "a" else 0.0)
        return i - drawn[-1]

    with pytest.warns(UserWarning, match="100.0"):
        study.optimize(conditional, n_trials=40)
    assert drawn[0] == 100
    assert max(drawn[1:]) <= 1


def test_known_individuals_are_recorded_beside_hyperband() -> None:
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9)
    study = optuna.create_study(sampler=ints(3), pruner=pruner)
    study.optimize(lambda trial: trial.suggest_int("x", 0, 3), n_trials=20)
    assert any("reused_from" in trial.user_attrs for trial in study.trials)


def test_of_another_space_only_what_differs_is_named() -> None:
    study = run(10)
    wider = {**SPACE, "c2": CategoricalDistribution([64, 1024])}
    with pytest.raises(
        ValueError, match=r"begun with search_space\.c2='.*128.*'; .* not with search_space\.c2='.*1024.*'\.$"
    ):
        sampler(search_space=wider).next_slot(study)


def test_a_refused_worker_leaves_no_trial_running() -> None:
    study = run(10)
    study.sampler = sampler(seed=6)
    with pytest.raises(ValueError, match="was begun with seed=5"):
        study.optimize(objective, n_trials=1)
    assert study.trials[-1].state == TrialState.FAIL
    study.sampler = sampler()
    study.optimize(objective, n_trials=20)
    assert [[(t.params, t.value) for t in generation] for generation in generations(study)] == [
        [(t.params, t.value) for t in generation] for generation in generations(run(30))
    ]


def test_after_the_last_generation_come_spares() -> None:
    study = run(40, generations=3, reuse=False)
    claims = [claim_of(t) for t in study.trials]
    assert [claim is not None for claim in claims] == [True] * 18 + [False] * 22
    assert study.sampler.next_slot(study) is Standing.DONE  # type: ignore[attr-defined]
    assert study.sampler.frontier(study) is None  # type: ignore[attr-defined]
    assert len({tuple(t.params.values()) for t in study.trials[18:]}) > 15
    assert told(study) == told(run(40, generations=3, reuse=False))
    assert not any("slot" in t.user_attrs for t in study.trials[18:])


def test_trials_that_were_never_offered_a_slot_are_spares() -> None:
    study = optuna.create_study(sampler=sampler())
    asked = [study.ask(SPACE) for _ in range(10)]
    claims = [claim_of(study._storage.get_trial(t._trial_id)) for t in asked]
    assert [c.slot if c else None for c in claims] == [0, 1, 2, 3, 4, 5, None, None, None, None]
    for trial in reversed(asked):
        study.tell(trial, value_of(trial.params))
    assert [t.number for t in generations(study)[0]] == [0, 1, 2, 3, 4, 5]


def test_what_a_person_sees() -> None:
    study = run(40)
    child = next(t for t in study.trials if t.user_attrs.get("operator") == "crossover")
    assert set(child.user_attrs) == {"generation", "slot", "operator", "parents"}
    parents = [study.trials[n] for n in child.user_attrs["parents"]]
    assert all(p.user_attrs["generation"] == child.user_attrs["generation"] - 1 for p in parents)
    assert all(any(child.params[name] == p.params[name] for p in parents) for name in SPACE)


def test_every_distribution_as_plain_python_values() -> None:
    def goal(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -1, 1)
        n = trial.suggest_int("n", 1, 100, log=True)
        s = trial.suggest_float("s", 0, 1, step=0.25)
        c = trial.suggest_categorical("c", [None, "a", 2.5])
        assert [type(v) for v in (x, n, s)] == [float, int, float]
        return abs(x) + n + s + (c is None)

    space = {
        "x": FloatDistribution(-1, 1),
        "n": IntDistribution(1, 100, log=True),
        "s": FloatDistribution(0, 1, step=0.25),
        "c": CategoricalDistribution([None, "a", 2.5]),
    }
    for declared in (space, None):
        mine = RouletteGASampler(
            search_space=declared, population_size=8, seed=2, scaling="rank", mutation=0.5, crossover=0.3
        )
        study = optuna.create_study(sampler=mine)
        study.optimize(goal, n_trials=120)
        assert study.best_value < 2.5


def test_two_objectives_are_refused() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler())
    with pytest.raises(ValueError, match="multi-objective"):
        study.ask()


def test_the_pointer_of_a_record_never_leads_to_another_record() -> None:
    mine = sampler()
    study = optuna.create_study(sampler=mine)
    first = study.ask(SPACE)
    study.enqueue_trial(first.params)
    study.tell(study.ask(SPACE), 0.5)  # Slot 1 was given the genome of slot 0, and trains it first.
    study._storage.set_trial_state_values(first._trial_id, TrialState.FAIL)
    study.optimize(lambda trial: 1.0 if suggest(trial) else 0.0, n_trials=10)
    slot0, slot1 = generations(study)[0][:2]
    assert slot0.user_attrs["reused_from"] == slot1.number
    assert generations(study)[1][0].user_attrs["reused_from"] == slot1.number
