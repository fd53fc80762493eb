"""Children that learn from their parents: whom they name, what makes them known, and that nothing depends on luck."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from optevo.evolution import Offspring
from optevo.samplers import RouletteGASampler, claim_of, slots
from optevo.samplers.codings import ParameterCoding
from optevo.samplers.slots import CLAIM, Claim

SPACE = {name: CategoricalDistribution([0, 1, 2, 3]) for name in "abcdef"}
CODING = ParameterCoding(SPACE)


def sampler(**settings) -> RouletteGASampler:
    chosen = {"population_size": 6, "generations": 5, "preset": "plain", "learn_from": 2, "seed": 1, **settings}
    return RouletteGASampler(search_space=SPACE, chromosomes=[list("abc"), list("def")], **chosen)


def objective(trial: optuna.Trial) -> float:
    """Depends on the genome, and on whom it learned from by their values: as weights would."""
    claim = claim_of(trial.storage.get_trial(trial._trial_id))
    value = 1.0 + sum(trial.suggest_categorical(name, [0, 1, 2, 3]) * (i + 1) for i, name in enumerate(SPACE))
    teachers = [t.value for n in (claim.learns_from if claim else ()) for t in trial.study.trials if t.number == n]
    assert all(value is not None for value in teachers)
    return value + sum(0.01 * teacher / (place + 1) for place, teacher in enumerate(teachers))


def run(**settings) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=sampler(**settings))
    while isinstance(study.sampler.next_slot(study), int):
        study.optimize(objective, n_trials=1)
    return study


def trial(number: int, genome: tuple[int, ...], value: float | None, **claimed) -> optuna.trial.FrozenTrial:
    claim = Claim(0, number, "random", (), CODING.write(genome), "d", **claimed)
    made = optuna.create_trial(
        state=TrialState.FAIL if value is None else TrialState.COMPLETE,
        value=value,
        params=CODING.params(genome),
        distributions=SPACE,
        system_attrs={CLAIM: claim.to_attribute()},
    )
    made.number = number
    return made


A, B, C = (0,) * 6, (1,) * 6, (2,) * 6


@pytest.mark.parametrize(
    ("operator", "genome", "parents", "expected"),
    [
        # The two fittest of all parents, the fittest first; where values are equal, the earlier in the claim.
        ("crossover", (0, 1, 0, 0, 0, 0), [trial(4, A, 5.0), trial(7, B, 3.0)], (7, 4)),
        ("crossover", (0, 1, 2, 0, 0, 0), [trial(4, A, 5.0), trial(7, B, 3.0), trial(9, C, 4.0)], (7, 9)),
        ("crossover", (0, 1, 0, 0, 0, 0), [trial(7, B, 3.0), trial(4, A, 3.0)], (7, 4)),
        ("selection+crossover+repair", (0, 1, 0, 3, 0, 0), [trial(4, A, 5.0), trial(7, B, 3.0)], (7, 4)),
        # A record of a known individual leads to the trial that was trained; twice the same is one.
        ("crossover", (0, 1, 0, 0, 0, 0), [trial(4, A, 5.0), trial(7, B, 3.0, reused=2)], (2, 4)),
        ("crossover", A, [trial(4, A, 5.0), trial(7, A, 5.0, reused=4)], ()),
        # One that failed teaches nobody, nor does one alone.
        ("crossover", (0, 1, 0, 0, 0, 0), [trial(4, A, None), trial(7, B, 3.0)], ()),
        ("crossover", (0, 1, 0, 0, 0, 0), [trial(4, A, float("inf")), trial(7, B, 3.0)], ()),
        ("crossover+repair", (0, 1, 0, 0, 0, 0), [trial(4, A, 5.0)], ()),
        # Others learn from nobody,
        ("mutation", (0, 1, 0, 0, 0, 0), [trial(4, A, 5.0, learns_from=(1, 2))], ()),
        ("selection", (0, 0, 0, 1, 1, 1), [trial(4, A, 5.0), trial(7, B, 3.0)], ()),
        ("random", (0, 1, 0, 0, 0, 0), [], ()),
        # but who is a parent unchanged is that parent.
        ("elite", A, [trial(4, A, 5.0, learns_from=(1, 2))], (1, 2)),
        ("selection", A, [trial(4, A, 5.0, learns_from=(1, 2))], (1, 2)),
        ("elite", A, [trial(4, A, 5.0)], ()),
    ],
)
def test_whom_a_child_learns_from(operator: str, genome: tuple[int, ...], parents: list, expected: tuple[int, ...]):
    child = Offspring(genome, operator, tuple(range(len(parents))))
    assert sampler().lessons(child, parents, coding=CODING, sign=1.0) == expected
    assert sampler(learn_from=1).lessons(child, parents, coding=CODING, sign=1.0) == (
        expected[:1] if "crossover" in operator else expected
    )


def test_where_more_is_better_the_larger_value_teaches_first():
    child = Offspring((0, 1, 0, 0, 0, 0), "crossover", (0, 1))
    parents = [trial(4, A, 5.0), trial(7, B, 3.0)]
    assert sampler().lessons(child, parents, coding=CODING, sign=-1.0) == (4, 7)


def test_whom_it_learned_from_is_part_of_what_an_individual_is():
    study = run()
    own = study.sampler
    keys = {
        own.identity_of_trial(trial(1, A, 1.0)),
        own.identity_of_trial(trial(2, A, 2.0, learns_from=(3, 4))),
        own.identity_of_trial(trial(2, A, 2.0, learns_from=(4, 3))),
        own.identity_of_trial(trial(2, A, 2.0, learns_from=(3,))),
    }
    assert len(keys) == 4
    history = own.history(study)
    brood = own.brood(study, history[:2])
    for individual, found in zip(brood.individuals, history[2], strict=True):
        assert own.identity(individual, None) == own.identity_of_trial(found)
        assert individual.learns_from == claim_of(found).learns_from
    assert any(individual.learns_from for individual in brood.individuals)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"duplicates": "keep", "elites": 2},
        {"duplicates": "keep", "archive": 4},
        {"preset": "paper", "population_size": 6},
        {"preset": "screened", "population_size": 6, "archive": 4, "elites": 1},
    ],
)
def test_elites_are_known_and_every_teacher_is_still_at_hand(settings: dict):
    """What a child is told to learn from must be what the collecting rule keeps: the newest generation or the archive,
    as they were when it was bred."""
    study = run(**settings)
    history = study.sampler.history(study)
    assert len(history) == 5
    trials = {trial.number: trial for trial in study.trials}
    learned = 0
    for generation, members in enumerate(history[1:], start=1):
        past = history[:generation]
        breeders = study.sampler.breeders(study, past)
        trained = {slots.trained(found) for found in (*(trials[n] for n in breeders), *past[-1])}
        for found in members:
            claim = claim_of(found)
            if claim.operator == "elite":
                assert claim.reused is not None
                (parent,) = claim.parents
                assert claim.learns_from == claim_of(trials[parent]).learns_from
                assert found.value == trials[parent].value
            elif "crossover" in claim.operator and claim.learns_from:
                learned += 1
                assert set(claim.learns_from) <= trained
                assert found.user_attrs["learns_from"] == list(claim.learns_from)
            if claim.reused is not None:
                source = claim_of(trials[claim.reused])
                assert (source.genome, source.learns_from) == (claim.genome, claim.learns_from)
                assert source.reused is None
                # What is recorded now may be a parent later: its networks must be there.
                assert claim.reused in trained or source.generation == generation
    assert learned > 3


def test_a_genome_is_trained_again_when_it_learns_from_others():
    study = run(duplicates="keep", generations=12)
    trained: dict = {}
    for found in study.trials:
        claim = claim_of(found)
        if claim.reused is None:
            trained.setdefault(tuple(claim.genome.items()), set()).add(claim.learns_from)
    assert max(len(each) for each in trained.values()) > 1


def test_without_learning_claims_and_settings_are_as_ever():
    study = run(learn_from=0)
    assert all("learns_from" not in t.system_attrs[CLAIM] and "learns_from" not in t.user_attrs for t in study.trials)
    plain, learning = sampler(learn_from=0).settings(), sampler().settings()
    assert {key: value for key, value in learning.items() if plain[key] != value} == {"learn_from": 2}
    # The same genomes and operators in generation 1: only then do values differ.
    first, other = (each.sampler.history(each)[1] for each in (study, run()))
    assert [t.params for t in first] == [t.params for t in other]


def test_a_study_is_continued_as_it_was_begun():
    study = run()
    study.sampler = sampler(learn_from=0)
    with pytest.raises(ValueError, match="was begun with learn_from=2"):
        study.sampler.next_slot(study)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learn_from": -1}, "learn_from must be 0"),
        ({"reuse": False}, "with reuse a number of parents"),
    ],
)
def test_arguments_that_do_not_fit(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        sampler(**settings)


def test_it_needs_a_search_space():
    with pytest.raises(ValueError, match="learn_from needs a search_space"):
        RouletteGASampler(learn_from=2)
