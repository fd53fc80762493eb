"""Two populations that are judged against each other, and masks as genomes."""

import os
import subprocess
import sys

import numpy as np
import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import Trial, TrialState

from optevo.samplers import CoevolutionSampler, RouletteGASampler, claim_of, coevolve, masks_of, partners_of
from optevo.samplers.masks import from_hex, split, to_hex
from optevo.search.store import open_store

NAMES = ("demo/left", "demo/right")
GROUPS = {"first": 5, "second": 12}
SIZE = sum(GROUPS.values())


def make(storage, *, populations=NAMES, kind=CoevolutionSampler, **settings):
    """The linked studies over an integer each; without co-evolution the same, each by itself."""
    settings = {"population_size": 8, "generations": 6, "scaling": "rank", "seed": 1, **settings}
    if "masks" not in settings:
        settings["search_space"] = {"x": IntDistribution(0, 40)}
    linked = {"populations": populations} if kind is CoevolutionSampler else {}
    return [
        optuna.create_study(
            study_name=name,
            storage=storage,
            sampler=kind(**linked, **{**settings, "seed": settings["seed"] + place}),
            load_if_exists=True,
        )
        for place, name in enumerate(populations)
    ]


def meet(trial: Trial) -> float:
    """Both shall meet, and the sum of both be large: alone, neither knows where the other is."""
    x = trial.suggest_int("x", 0, 40)
    rivals = partners_of(trial)
    other = next(iter(rivals.values())).params["x"] if rivals else 20
    return abs(x - other) * 3 - (x + other)


@pytest.fixture
def quiet():
    """Without a log line a trial, which would fill a report."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def by_slot(study):
    """Genome, value and partner's genome by slot, whoever trained it and in whatever order."""
    found = {}
    for trial in study.trials:
        claim = claim_of(trial)
        if claim and trial.state == TrialState.COMPLETE:
            partner = {name: chosen["genome"] for name, chosen in (claim.partner or {}).items()}
            found[claim.generation, claim.slot] = (claim.genome, trial.value, partner)
    return found


def test_generation_t_meets_the_best_of_the_right_generation() -> None:
    storage = optuna.storages.InMemoryStorage()
    left, right = make(storage)
    coevolve((left, right), (meet, meet))

    def best(study, generation):
        members = [t for t in study.trials if claim_of(t).generation == generation]
        assert len(members) >= 8
        return min(members, key=lambda t: (t.value, t.number)).number

    for study, other, lag in ((left, right, 1), (right, left, 0)):
        for trial in study.trials:
            claim = claim_of(trial)
            if claim.generation == 0:
                assert claim.partner is None
            else:
                assert claim.partner[other.study_name]["trial"] == best(other, claim.generation - lag)
                shown = trial.user_attrs["partner"]
                assert shown == {other.study_name: claim.partner[other.study_name]["trial"]}
        assert {claim_of(t).generation for t in study.trials} == set(range(6))


def roughly(trial: Trial) -> float:
    """As :func:`meet`, but many are equally good."""
    return meet(trial) // 20


def test_of_equal_partners_the_lower_slot_is_met_whoever_trained_it() -> None:
    quiet, disturbed = (make(optuna.storages.InMemoryStorage(), reuse=False) for _ in range(2))
    for _ in range(6):
        for study, other in zip(quiet, disturbed, strict=True):
            study.optimize(roughly, n_trials=8)
            # A worker dies at the first slot, so that whoever trains it has the highest number.
            killed = other.ask()
            other.optimize(roughly, n_trials=7)
            other.tell(killed, state=TrialState.FAIL)
            other.optimize(roughly, n_trials=1)
    for study, other in zip(quiet, disturbed, strict=True):
        assert len(by_slot(study)) == 6 * 8
        assert by_slot(other) == by_slot(study)


def test_a_value_is_reused_only_against_an_equal_partner() -> None:
    left, right = make(optuna.storages.InMemoryStorage())
    coevolve((left, right), (meet, meet))
    seen = 0
    for study in (left, right):
        trials = {trial.number: trial for trial in study.trials}
        for trial in study.trials:
            claim = claim_of(trial)
            if claim.reused is None:
                continue
            seen += 1
            known = claim_of(trials[claim.reused])
            assert known.genome == claim.genome
            genomes = [
                {name: chosen["genome"] for name, chosen in (one.partner or {}).items()} for one in (known, claim)
            ]
            assert genomes[0] == genomes[1]
    assert seen


# As in compression: every bit costs, and each place must be covered by one of the two. Beside a full partner (the
# teacher of generation 0) nothing is missing, so whoever knows no other partner gives up everything.
BITS = 12
UNCOVERED = 3


def missing(mine: np.ndarray, theirs: np.ndarray) -> int:
    return int((~(mine | theirs)).sum())


def cover(trial: Trial) -> float:
    mine = masks_of(trial, {"bits": BITS})["bits"]
    rivals = [from_hex(rival.genome, size=BITS) for rival in partners_of(trial).values()]
    theirs = rivals[0] if rivals else np.ones(BITS, dtype=bool)
    return float(mine.sum() + UNCOVERED * missing(mine, theirs))


def joint_cost(kind, *, seed: int) -> float:
    """What the best of the two last generations cost together."""
    settings = {"masks": {"bits": BITS}, "population_size": 16, "generations": 30, "mutation_kind": "single"}
    studies = make(optuna.storages.InMemoryStorage(), kind=kind, seed=seed, **settings)
    if kind is CoevolutionSampler:
        coevolve(studies, (cover, cover))
    else:
        for study in studies:
            study.optimize(cover, n_trials=16 * 30)
    masks = []
    for study in studies:
        last = max(claim_of(t).generation for t in study.trials if claim_of(t))
        members = [t for t in study.trials if claim_of(t) and claim_of(t).generation == last]
        masks.append(from_hex(claim_of(min(members, key=lambda t: t.value)).genome, size=BITS))
    return float(masks[0].sum() + masks[1].sum() + UNCOVERED * missing(*masks))


def test_two_populations_find_what_neither_finds_alone(quiet) -> None:
    together = [joint_cost(CoevolutionSampler, seed=seed) for seed in range(2)]
    apart = [joint_cost(RouletteGASampler, seed=seed) for seed in range(2)]
    assert max(together) == BITS
    assert min(apart) > 2 * BITS


def work(url: str, count: int | None) -> None:
    left, right = make(open_store(url))
    coevolve((left, right), (meet, meet), trials=count)


def start(url: str, count: int | None) -> subprocess.Popen[bytes]:
    code = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_coevolution as t; "
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", f"{code}t.work({url!r}, {count})"])


def test_several_processes_find_what_one_finds(url: str, tmp_path) -> None:
    alone = open_store(f"sqlite:///{tmp_path / 'alone.db'}")
    studies = make(alone)
    coevolve(studies, (meet, meet))
    # One of them leaves early: the others, and whoever comes later, go on.
    team = [start(url, count) for count in (None, None, 5)]
    assert [process.wait() for process in team] == [0, 0, 0]
    shared = open_store(url)
    for study in studies:
        other = optuna.load_study(study_name=study.study_name, storage=shared)
        assert by_slot(other) == by_slot(study)
        assert len(by_slot(other)) == 6 * 8


def test_a_study_outside_the_populations_is_refused() -> None:
    sampler = CoevolutionSampler(populations=NAMES, search_space={"x": IntDistribution(0, 3)})
    with pytest.raises(ValueError, match="'other' is none of the sampler's populations"):
        optuna.create_study(study_name="other", sampler=sampler).optimize(meet, n_trials=1)


@pytest.mark.parametrize("populations", [["one"], ["one", "one"]])
def test_impossible_populations(populations) -> None:
    with pytest.raises(ValueError, match="at least two"):
        CoevolutionSampler(populations=populations, search_space={"x": IntDistribution(0, 3)})


# Masks.


def ones(trial: Trial) -> float:
    found = masks_of(trial, GROUPS)
    assert {name: len(mask) for name, mask in found.items()} == GROUPS
    assert all(mask.any() for mask in found.values())
    return float(sum(mask.sum() for mask in found.values()))


def test_masks_evolve_and_every_group_keeps_a_bit() -> None:
    study = optuna.create_study(
        sampler=RouletteGASampler(
            masks=GROUPS, population_size=8, generations=40, scaling="rank", duplicates="mutate", seed=2
        )
    )
    study.optimize(ones, n_trials=281)
    assert study.best_value == len(GROUPS)
    for trial in study.trials:
        claim = claim_of(trial)
        mask = from_hex(claim.genome, size=SIZE)
        assert trial.value == mask.sum()
        assert trial.params == {f"keep_{name}": int(part.sum()) for name, part in split(mask, GROUPS).items()}


def test_a_mask_is_read_again_from_sql_by_another_process(url: str) -> None:
    settings = {"masks": GROUPS, "population_size": 4, "generations": 3, "seed": 3}
    whole = optuna.create_study(sampler=RouletteGASampler(**settings))
    whole.optimize(ones, n_trials=12)
    for _ in range(6):
        study = optuna.create_study(
            storage=open_store(url), study_name="m", load_if_exists=True, sampler=RouletteGASampler(**settings)
        )
        study.optimize(ones, n_trials=2)
    assert [(claim_of(t).genome, t.value) for t in study.trials if claim_of(t)] == [
        (claim_of(t).genome, t.value) for t in whole.trials if claim_of(t)
    ]


def test_spares_and_enqueued_masks() -> None:
    study = optuna.create_study(sampler=RouletteGASampler(masks=GROUPS, population_size=3, generations=1, seed=4))
    full = to_hex(np.ones(SIZE, dtype=bool))
    study.enqueue_trial({}, user_attrs={"mask": full})
    study.optimize(ones, n_trials=5)
    assert study.trials[0].value == SIZE
    assert study.trials[0].params == {f"keep_{name}": size for name, size in GROUPS.items()}
    spares = [trial for trial in study.trials if claim_of(trial) is None]
    assert len(spares) == 2
    assert spares[0].params == {
        f"keep_{name}": int(part.sum())
        for name, part in split(from_hex(spares[0].system_attrs["optevo:spare"], size=SIZE), GROUPS).items()
    }


@pytest.mark.parametrize("sizes", [(3, 60), (60, 3)])
def test_where_one_population_has_used_up_its_space_all_end(sizes, caplog) -> None:
    storage = InMemoryStorage()
    pair = [
        optuna.create_study(
            study_name=name,
            storage=storage,
            sampler=CoevolutionSampler(
                populations=NAMES,
                search_space={"x": IntDistribution(0, size)},
                preset="plain",
                seed=1,
                population_size=8,
            ),
        )
        for name, size in zip(NAMES, sizes, strict=True)
    ]
    goals = [lambda trial, size=size: float(trial.suggest_int("x", 0, size)) for size in sizes]
    assert coevolve(pair, goals, trials=3000) < 3000
    assert "a population is over" in caplog.text
    assert [study.best_value for study in pair] == [0, 0]


def test_partners_are_met_as_they_were_judged_and_not_as_they_were_claimed() -> None:
    met = []

    def note(trial: Trial) -> float:
        met.extend(rival for rival in partners_of(trial).values() if rival.number == 0)
        return ones(trial)

    pair = make(InMemoryStorage(), masks=GROUPS, population_size=4, generations=2)
    fewest = to_hex([place in (0, 5) for place in range(SIZE)])
    pair[1].enqueue_trial({}, user_attrs={"mask": fewest})
    coevolve(pair, [note, note])
    assert met
    assert {rival.genome for rival in met} == {fewest}

    met.clear()
    pair = make(InMemoryStorage(), population_size=4, generations=2)
    pair[1].enqueue_trial({"x": 0})
    coevolve(
        pair,
        [lambda trial: met.extend(partners_of(trial).values()) or 0.0, lambda trial: trial.suggest_int("x", 0, 40)],
    )
    assert {(rival.number, rival.genome["x"], rival.params["x"]) for rival in met} == {(0, 0, 0)}


@pytest.mark.parametrize("size", [1, 7, 8, 9, 640])
def test_hexadecimal_masks_round_trip(size: int) -> None:
    bits = np.random.default_rng(size).random(size) < 0.5
    assert (from_hex(to_hex(bits), size=size) == bits).all()
    with pytest.raises(ValueError, match="hexadecimal digits"):
        from_hex(to_hex(bits) + "00", size=size)


def test_masks_and_a_space_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="not both"):
        RouletteGASampler(masks=GROUPS, search_space={"x": IntDistribution(0, 1)})
    with pytest.raises(ValueError, match="at least one bit"):
        RouletteGASampler(masks={"a": 0})


def test_an_objective_without_a_mask_is_told() -> None:
    with pytest.raises(ValueError, match="has no mask"):
        optuna.create_study().optimize(ones, n_trials=1)


def test_repeated_evaluations_of_a_noisy_objective_are_averaged() -> None:
    """A lucky first value of 1 must not keep an individual on top whose mean is 2; the steady 1.5 must win."""
    seen: dict[int, int] = {}

    def noisy(trial: Trial) -> float:
        x = trial.suggest_int("x", 0, 1)
        seen[x] = seen.get(x, 0) + 1
        return 1.5 if x else (1.0 if seen[x] == 1 else 2.0)

    def share(reuse: bool) -> float:
        seen.clear()
        sampler = RouletteGASampler(
            search_space={"x": IntDistribution(0, 1)},
            population_size=8,
            generations=12,
            scaling="rank",
            reuse=reuse,
            seed=5,
        )
        study = optuna.create_study(sampler=sampler)
        study.optimize(noisy, n_trials=96)
        last = [t for t in study.trials if claim_of(t) and claim_of(t).generation == 11]
        return sum(t.params["x"] for t in last if claim_of(t).operator == "elite")

    assert share(reuse=False) == 1
