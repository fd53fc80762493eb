"""Algorithm 1 of 2002.11581, one generation at a time."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optevo.evolution import CategoricalGene, IntegerGene, Parent, RealGene, breed, found, generator
from optevo.evolution.breeding import Recipe

C1, C2 = tuple(range(8)), tuple(range(8, 15))
GENES = (CategoricalGene(4),) * 8 + (CategoricalGene(2),) * 7
PAPER = Recipe(GENES, (C1, C2))


def population(recipe: Recipe, size: int, key: str = "parents") -> list[Parent]:
    rng = generator(key)
    return [Parent(child.genome, 1 + rng.random()) for child in found(recipe, size=size, rng=rng)]


def traceable(**settings) -> tuple[Recipe, list[Parent]]:
    """Parents whose every gene is their own index, so that each gene of a child tells whence it comes."""
    recipe = Recipe((CategoricalGene(51),) * 15, (C1, C2), **settings)
    return recipe, [Parent((i,) * 15, 1.0) for i in range(50)]


# Algorithm 1 again in the simplest words: plain lists, nothing shared with the package but the order of its draws.


def textbook(pool, costs, k, options, rng, s1=0.2, s2=0.7):
    """Lines 7 to 11 for one code: `k` children."""
    fitness = [1 / v for v in costs]
    pr = [f / sum(fitness) for f in fitness]

    def roulette():
        ball, reached = rng.random(), 0.0
        for i, p in enumerate(pr):
            reached += p
            if ball < reached:
                return i
        return len(pr) - 1

    def random_piece():
        a, b = sorted(rng.choice(len(pool[0]) + 1, size=2, replace=False))
        return range(a, b)

    children = []
    while len(children) < k:
        s = rng.random()
        one = list(pool[roulette()])
        if s < s1:
            children.append(one)
        elif s < s1 + s2:
            two = list(pool[roulette()])
            for i in random_piece():
                one[i], two[i] = two[i], one[i]
            children += [one, two]
        else:
            for i in random_piece():
                remaining = [v for v in options[i] if v != one[i]]
                one[i] = remaining[rng.integers(len(remaining))]
            children.append(one)
    return children[:k]


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_textbook_draw_for_draw(seed) -> None:
    parents = population(PAPER, 32, f"parents {seed}")
    brood = breed(PAPER, parents, size=32, rng=generator(seed))
    rng = generator(seed)
    costs = [parent.cost for parent in parents]
    c1 = textbook([p.genome[:8] for p in parents], costs, 31, [range(4)] * 8, rng)
    c2 = textbook([p.genome[8:] for p in parents], costs, 31, [range(2)] * 7, rng)
    best = min(parents, key=lambda parent: parent.cost)
    assert [child.genome for child in brood] == [best.genome] + [(*a, *b) for a, b in zip(c1, c2, strict=True)]


def test_sizes_elites_first_and_unchanged() -> None:
    parents = population(PAPER, 10)
    ranked = sorted(range(10), key=lambda i: parents[i].cost)
    for elites, size in [(0, 10), (1, 10), (3, 10), (3, 2), (10, 10), (1, 1), (2, 33)]:
        recipe = Recipe(GENES, (C1, C2), elites=elites)
        brood = breed(recipe, parents, size=size, rng=generator(elites, size))
        assert len(brood) == size
        kept = min(elites, size)
        assert [child.genome for child in brood[:kept]] == [parents[i].genome for i in ranked[:kept]]
        assert [child.parents for child in brood[:kept]] == [(i,) for i in ranked[:kept]]
        assert [child.operator == "elite" for child in brood] == [True] * kept + [False] * (size - kept)


def test_elites_are_the_best_also_among_failures_infinities_and_ties() -> None:
    costs = [None, float("nan"), float("inf"), 3.0, -float("inf"), 3.0, 2.0]
    parents = [Parent((i % 4,) * 8 + (0,) * 7, cost) for i, cost in enumerate(costs)]
    recipe = Recipe(GENES, (C1, C2), elites=7)
    brood = breed(recipe, parents, size=7, rng=generator(1))
    assert [child.parents[0] for child in brood] == [4, 6, 3, 5, 2, 0, 1]


def test_a_generation_of_failures_still_breeds() -> None:
    parents = [Parent(parent.genome, None) for parent in population(PAPER, 8)]
    brood = breed(PAPER, parents, size=200, rng=generator(1))
    assert {place for child in brood[1:] for place in child.parents} == set(range(8))


def test_failures_have_no_children_while_anyone_succeeded() -> None:
    parents = [Parent(p.genome, p.cost if i == 5 else None) for i, p in enumerate(population(PAPER, 8))]
    brood = breed(PAPER, parents, size=100, rng=generator(1))
    assert {place for child in brood for place in child.parents} == {5}


def test_each_chromosome_has_its_own_parents_and_operators_at_their_shares() -> None:
    s1, s2, s3 = 0.3, 0.5, 0.2
    recipe, parents = traceable(selection=s1, crossover=s2, mutation=s3, elites=0)
    brood = breed(recipe, parents, size=20_000, rng=generator("shares"))
    kinds: list[Counter[str]] = [Counter(), Counter()]
    pairs: Counter[tuple[str, str]] = Counter()
    for child in brood:
        both = child.operator.split("+") if "+" in child.operator else [child.operator] * 2
        pairs[both[0], both[1]] += 1
        for code, kind, places in zip(kinds, both, (C1, C2), strict=True):
            code[kind] += 1
            sources = {child.genome[place] for place in places}
            assert len(sources) == 1 or kind != "selection"
            if kind != "mutation":
                assert sources <= set(child.parents)
    # A crossover fills two places, so its share of the children is 2 s2 / (s1 + 2 s2 + s3).
    total = s1 + 2 * s2 + s3
    for code in kinds:
        for kind, share in {"selection": s1 / total, "crossover": 2 * s2 / total, "mutation": s3 / total}.items():
            assert abs(code[kind] / 20_000 - share) < 0.02
    # c1 and c2 are bred independently of each other.
    for (one, two), count in pairs.items():
        assert abs(count / 20_000 - kinds[0][one] / 20_000 * kinds[1][two] / 20_000) < 0.02
    mothers = Counter((child.genome[0], child.genome[14]) for child in brood if child.operator == "selection")
    assert sum(a == b for a, b in mothers) < len(mothers) / 10


def test_crossover_hands_both_children_on() -> None:
    recipe, parents = traceable(selection=0, crossover=1, mutation=0, elites=0)
    brood = breed(recipe, parents, size=400, rng=generator("pairs"))
    for one, two in zip(brood[::2], brood[1::2], strict=True):
        assert one.parents == two.parents
        for places in (C1, C2):
            both = [{one.genome[place], two.genome[place]} for place in places]
            assert all(pair == both[0] for pair in both)


def test_fitter_parents_have_more_children_as_their_fitness_says() -> None:
    recipe = Recipe((CategoricalGene(3),), ((0,),), selection=1, crossover=0, mutation=0, elites=0)
    parents = [Parent((0,), 1.0), Parent((1,), 2.0), Parent((2,), 4.0)]
    counts = Counter(child.genome[0] for child in breed(recipe, parents, size=14_000, rng=generator(5)))
    for value, expected in {0: 8_000, 1: 4_000, 2: 2_000}.items():
        assert abs(counts[value] - expected) < 5 * expected**0.5


# What may be trained: `accept` and `taken`.


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), forbidden=st.integers(0, 3), elites=st.integers(0, 3))
def test_no_refused_genome_passes(seed, forbidden, elites) -> None:
    def accept(genome):
        return forbidden not in genome[:4]  # 0.75^4 = 0.32 of all

    recipe = Recipe(GENES, (C1, C2), elites=elites)
    founders = found(recipe, size=12, rng=generator(seed), accept=accept)
    assert all(accept(child.genome) for child in founders)
    parents = [Parent(child.genome, 1.0 + i) for i, child in enumerate(founders)]
    # A refused parent with the best value of all: somebody enqueued it.
    parents.append(Parent((forbidden,) * 8 + (0,) * 7, 0.001))
    brood = breed(recipe, parents, size=12, rng=generator(seed, 1), accept=accept)
    assert len(brood) == 12
    assert all(accept(child.genome) for child in brood)


def test_one_acceptable_genome_among_millions_takes_every_place() -> None:
    only = (1,) * 15
    parents = [Parent((0,) * 15, 1.0), Parent(only, 9.0), Parent((2,) * 8 + (1,) * 7, 2.0)]
    brood = breed(PAPER, parents, size=6, rng=generator(2), accept=lambda genome: genome == only)
    assert [child.genome for child in brood] == [only] * 6


def test_where_nothing_is_acceptable_there_is_a_generation_nevertheless() -> None:
    assert len(breed(PAPER, population(PAPER, 4), size=4, rng=generator(2), accept=lambda genome: False)) == 4
    small = Recipe((CategoricalGene(2),), ((0,),))
    assert len(found(small, size=2, rng=generator(2), accept=lambda genome: False)) == 2


def test_taken_genomes_and_twins_are_bred_again_while_the_space_lasts() -> None:
    parents = [Parent((0,) * 15, 1.0)] * 16
    taken = {(0,) * 15}
    for generation in range(5):
        brood = breed(PAPER, parents, size=16, rng=generator(generation), taken=taken.__contains__)
        children = [child.genome for child in brood[1:]]
        assert brood[0].genome == (0,) * 15
        assert len(set(children)) == 15
        assert not taken & set(children)
        taken |= set(children)


def test_without_taken_twins_stay_as_in_the_paper() -> None:
    recipe = Recipe(GENES, (C1, C2), selection=1, crossover=0, mutation=0)
    brood = breed(recipe, [Parent((0,) * 15, 1.0)] * 4, size=4, rng=generator(1))
    assert [child.genome for child in brood] == [(0,) * 15] * 4
    assert not any("repair" in child.operator for child in brood)


def test_taken_and_accept_together_in_a_space_that_is_used_up() -> None:
    recipe = Recipe((CategoricalGene(2),) * 3, ((0, 1, 2),))

    def accept(genome):
        return genome[0] == 1  # four genomes

    parents = [Parent((1, 0, 0), 1.0), Parent((1, 1, 0), 2.0)]
    brood = breed(recipe, parents, size=4, rng=generator(1), accept=accept, taken={(1, 1, 0)}.__contains__)
    assert {child.genome for child in brood[:3]} == {(1, 0, 0), (1, 0, 1), (1, 1, 1)}
    assert all(accept(child.genome) for child in brood)


# Purity.


def test_equal_keys_breed_equal_generations_of_plain_python_values() -> None:
    genes = (
        CategoricalGene(3),
        IntegerGene(1, 100, log=True),
        RealGene(0, 1),
        RealGene(1, 9, step=0.5),
        IntegerGene(2, 9),
    )
    recipe = Recipe(genes, ((0, 1), (2, 3, 4)), mutation=0.8, crossover=0.1, selection=0.1, scaling="rank")
    parents = population(recipe, 12)
    broods = [breed(recipe, parents, size=40, rng=generator(7, 0, 3), taken=lambda genome: False) for _ in range(2)]
    assert broods[0] == broods[1]
    assert broods[0] != breed(recipe, parents, size=40, rng=generator(7, 0, 4), taken=lambda genome: False)
    for child in [*broods[0], *found(recipe, size=5, rng=generator(1))]:
        assert [type(value) for value in child.genome] == [int, int, float, float, int]
        assert all(type(place) is int for place in child.parents)


def test_the_order_of_chromosomes_positions_is_the_order_of_cutting() -> None:
    recipe = Recipe((CategoricalGene(2),) * 4, ((3, 1, 0, 2),), selection=0, crossover=1, mutation=0, elites=0)
    parents = [Parent((0,) * 4, 1.0), Parent((1,) * 4, 1.0)]
    for child in breed(recipe, parents, size=300, rng=generator(4)):
        cut = "".join(str(child.genome[place]) for place in (3, 1, 0, 2))
        assert len(cut.strip("0").strip("1")) == 0 or len(cut.strip("1").strip("0")) == 0


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"selection": 0.3}, "add up to 1"),
        ({"selection": -0.2, "crossover": 1.1}, "add up to 1"),
        ({"scaling": "linear"}, "scaling must be one of proportional, rank, sigma"),
        ({"mutation_kind": "none"}, "mutation_kind must be one of"),
        ({"elites": -1}, "elites"),
        ({"chromosomes": (C1,)}, "every position"),
        ({"chromosomes": (C1, C1, C2)}, "every position"),
        ({"chromosomes": (C1, C2, ())}, "non-empty"),
    ],
)
def test_impossible_recipes_are_refused(change, match) -> None:
    with pytest.raises(ValueError, match=match):
        Recipe(**{"genes": GENES, "chromosomes": (C1, C2), **change})
