"""RouletteGASampler with screening: on a problem whose cost is known and whose quality must be found."""

from collections import Counter
from dataclasses import asdict
from itertools import combinations

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from optevo.evolution.diversity import mean_distance
from optevo.evolution.screening import Screening
from optevo.samplers import RouletteGASampler, claim_of, evolve
from optevo.search.store import open_store

WIDTHS = (8, 16, 32, 64)
SPACE = {f"c{level}": CategoricalDistribution(WIDTHS) for level in range(6)}


def quality(params) -> float:
    """Wide layers help, each half as much as the one before; the last one only beside a wide first."""
    gain = sum(WIDTHS.index(params[f"c{level}"]) / 2**level for level in range(5))
    return 10 - gain - 0.5 * WIDTHS.index(params["c5"]) * (params["c0"] == 64)


def price(params) -> float:
    return sum(params.values()) / 100


def objective(trial) -> float:
    params = {name: trial.suggest_categorical(name, WIDTHS) for name in SPACE}
    return quality(params) + price(params)


BEST = min(
    quality(params) + price(params)
    for params in (
        {f"c{level}": WIDTHS[(number // 4**level) % 4] for level in range(6)} for number in range(4 ** len(SPACE))
    )
)


def make(**settings) -> RouletteGASampler:
    return RouletteGASampler(preset="screened", search_space=SPACE, price=price, **{"seed": 1, **settings})


def run(sampler, trials: int):
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=trials)
    return study


def values(study):
    return [(trial.params, trial.value, claim_of(trial).operator, claim_of(trial).parents) for trial in study.trials]


def test_it_finds_in_80_trials_what_plain_breeding_does_not() -> None:
    screened = [run(make(seed=seed), 80).best_value for seed in range(100, 105)]
    plain = [
        run(RouletteGASampler(preset="plain", search_space=SPACE, population_size=16, seed=seed), 80).best_value
        for seed in range(100, 105)
    ]
    assert max(screened) - BEST < 0.05
    assert sum(screened) < sum(plain)


def test_no_trial_is_spent_on_a_known_genome() -> None:
    study = run(make(), 160)
    genomes = [tuple(trial.params.values()) for trial in study.trials]
    assert len(set(genomes)) == len(genomes) == 160
    assert all(claim_of(trial).reused is None for trial in study.trials)


def test_it_is_a_function_of_the_seed_and_the_results(url: str) -> None:
    whole = run(make(), 48)
    for _ in range(6):
        study = optuna.create_study(storage=open_store(url), study_name="s", load_if_exists=True, sampler=make())
        study.optimize(objective, n_trials=8)
    assert values(study) == values(whole)
    assert values(run(make(seed=2), 48)) != values(whole)


def test_maximising_mirrors_minimising() -> None:
    down = run(make(), 64)
    sampler = RouletteGASampler(preset="screened", search_space=SPACE, price=lambda params: -price(params), seed=1)
    up = optuna.create_study(direction="maximize", sampler=sampler)
    up.optimize(lambda trial: -objective(trial), n_trials=64)
    assert [trial.params for trial in up.trials] == [trial.params for trial in down.trials]


def test_failures_and_odd_values_end_nothing() -> None:
    def odd(trial) -> float:
        value = objective(trial)
        if trial.number % 5 == 1:
            return float("nan")
        return float("inf") if trial.number % 5 == 2 else value

    study = optuna.create_study(sampler=make(population_size=8))
    study.optimize(odd, n_trials=80)
    assert study.best_value < 9


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_first_generation_without_values_ends_nothing(value) -> None:
    study = optuna.create_study(sampler=make(population_size=4))
    study.optimize(lambda trial: value if trial.number < 12 else objective(trial), n_trials=60)
    assert study.best_value == float("-inf") or study.best_value < 9


@pytest.mark.parametrize("given", [float("nan"), float("inf"), None, 10**400])
def test_a_price_that_is_no_number_is_refused_by_name(given) -> None:
    sampler = RouletteGASampler(preset="screened", search_space=SPACE, price=lambda params: given, seed=1)
    study = optuna.create_study(sampler=sampler)
    with pytest.raises(ValueError, match=rf"price must give a finite number, but gives {given} of {{'c0'"):
        study.optimize(objective, n_trials=9)


def test_the_first_generation_shows_each_value_equally_often() -> None:
    def uneven(**settings) -> list[str]:
        trials = run(make(**settings), 8).trials
        return [name for name in SPACE if Counter(t.params[name] for t in trials) != dict.fromkeys(WIDTHS, 2)]

    assert uneven() == []
    assert uneven(founders="random") != []


def test_what_founders_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"founders must be 'random' or 'balanced', but is 'even'\."):
        make(founders="even")
    with pytest.raises(ValueError, match="founders = 'balanced' needs a search_space or masks"):
        RouletteGASampler(founders="balanced")
    study = run(make(), 8)
    study.sampler = make(founders="random")
    with pytest.raises(ValueError, match="founders"):
        study.optimize(objective, n_trials=1)


def test_immigrants_are_candidates_without_parents() -> None:
    operators = {claim_of(t).operator for t in run(make(screening=Screening(immigrants=1.0)), 48).trials}
    assert operators == {"random"}
    some = [claim_of(t) for t in run(make(screening=Screening(immigrants=0.5)), 64).trials]
    later = [claim for claim in some if claim.generation > 0]
    assert {claim.parents == () for claim in later} == {True, False}


def test_those_trained_together_differ_in_half_as_many_genes_as_two_parents_do() -> None:
    sampler = make()
    study = run(sampler, 40)
    history = sampler.history(study)
    genomes = {trial.number: tuple(trial.params.values()) for trial in study.trials}
    for past in range(1, len(history)):
        least = 0.5 * mean_distance([genomes[number] for number in sampler.breeders(study, history[:past])])
        together = [genomes[trial.number] for trial in history[past]]
        assert least > 1
        assert all(sum(a != b for a, b in zip(*pair, strict=True)) >= least for pair in combinations(together, 2))


def test_where_hardly_anything_is_feasible_children_are_bred() -> None:
    """One genome of 2,400 is feasible: what is drawn at random is none, and must not be trained."""
    names = [f"c{level}" for level in range(10)]

    def feasible(params) -> bool:
        return sum(params[name] == WIDTHS[0] for name in names) >= 8

    def size(trial) -> float:
        return -float(sum(trial.suggest_categorical(name, WIDTHS) for name in names))

    sampler = RouletteGASampler(
        preset="screened",
        search_space={name: CategoricalDistribution(WIDTHS) for name in names},
        population_size=8,
        feasible=feasible,
        screening=Screening(candidates=64, immigrants=1.0),
        seed=2,
    )
    study = optuna.create_study(sampler=sampler)
    study.optimize(size, n_trials=48)
    assert all(feasible(trial.params) for trial in study.trials)
    claims = [claim for trial in study.trials if (claim := claim_of(trial)) and claim.generation > 0]
    assert claims
    assert all(claim.parents for claim in claims)
    assert study.best_value == -(8 * WIDTHS[0] + 2 * WIDTHS[-1])


def test_a_space_that_is_used_up_ends_quietly() -> None:
    small = {name: SPACE[name] for name in ("c0", "c1")}
    settings = {"population_size": 6, "screening": Screening(candidates=12)}
    sampler = RouletteGASampler(preset="screened", search_space=small, seed=3, **settings)
    study = optuna.create_study(sampler=sampler)

    def tiny(trial) -> float:
        return float(sum(trial.suggest_categorical(name, WIDTHS) for name in small))

    study.optimize(tiny, n_trials=40)
    trained = [t for t in study.trials if claim_of(t) and claim_of(t).reused is None]
    assert len({tuple(trial.params.values()) for trial in trained}) == len(trained) <= 16
    assert study.best_value == 16


@pytest.mark.parametrize("population", [4, 8])
def test_it_ends_when_everything_was_tried_and_not_before(population) -> None:
    space = {"x": FloatDistribution(0, 1, step=0.01)}
    sampler = RouletteGASampler(preset="screened", search_space=space, population_size=population, seed=0)
    study = optuna.create_study(sampler=sampler)

    def two_wells(trial) -> float:
        x = trial.suggest_float("x", 0, 1, step=0.01)
        return min((x - 0.2) ** 2 + 0.02, abs(x - 0.83) / 2)

    assert evolve(study, two_wells, trials=150) == 101
    assert len({trial.params["x"] for trial in study.trials}) == 101


def test_what_is_given_goes_before_the_preset() -> None:
    sampler = RouletteGASampler(preset="screened", search_space=SPACE, population_size=5, elites=1, archive=7)
    settings = sampler.settings()
    assert (settings["population_size"], settings["elites"], settings["archive"]) == (5, 1, 7)
    assert settings["scaling"] == "rank"
    assert settings["screening"] == asdict(Screening())


def test_elites_stay_where_they_are_wanted() -> None:
    study = run(make(elites=1, population_size=8), 60)
    for generation in range(1, 7):
        members = [t for t in study.trials if claim_of(t).generation == generation]
        assert [claim_of(t).operator for t in members].count("elite") == 1


def test_of_equal_ones_the_archive_keeps_whoever_was_there_first_whoever_trained_it() -> None:
    def roughly(trial) -> float:
        return objective(trial) // 2

    quiet, disturbed = (optuna.create_study(sampler=make(population_size=8, archive=4)) for _ in range(2))
    for _ in range(6):
        quiet.optimize(roughly, n_trials=8)
        # A worker dies at the first slot, so that whoever trains it has the highest number.
        killed = disturbed.ask()
        disturbed.optimize(roughly, n_trials=7)
        disturbed.tell(killed, state=TrialState.FAIL)
        disturbed.optimize(roughly, n_trials=1)
    bred = [
        {(claim_of(t).generation, claim_of(t).slot): t.params for t in study.trials if t.state == TrialState.COMPLETE}
        for study in (quiet, disturbed)
    ]
    assert len(bred[0]) == 6 * 8
    assert bred[0] == bred[1]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"preset": "best"}, "preset must be one of paper, plain, screened"),
        ({"preset": "screened"}, "screening needs a search_space"),
        ({"price": price}, "price needs a search_space"),
        ({"archive": 0}, "archive must be at least 1"),
    ],
)
def test_impossible_settings(settings, match) -> None:
    with pytest.raises(ValueError, match=match):
        RouletteGASampler(**settings)
