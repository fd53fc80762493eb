"""Optuna's distributions as genes. A genome holds internal representations: choice indices, integers and floats."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from optevo.evolution import CategoricalGene, Gene, IntegerGene, RealGene
from optevo.evolution.genes import Value

Space = Mapping[str, BaseDistribution]


def gene(distribution: BaseDistribution) -> Gene:
    """The gene that takes exactly the distribution's values.

    Raises:
        TypeError: The distribution is none of Optuna's three.
    """
    match distribution:
        case CategoricalDistribution():
            return CategoricalGene(len(distribution.choices), ordered=_ascending(distribution.choices))
        case IntDistribution():
            return IntegerGene(distribution.low, distribution.high, step=distribution.step, log=distribution.log)
        case FloatDistribution():
            return RealGene(distribution.low, distribution.high, step=distribution.step, log=distribution.log)
        case _:
            raise TypeError(f"optevo's samplers know no distribution {type(distribution).__name__}.")


def _ascending(choices: Sequence[Any]) -> bool:
    """Numbers in ascending order, such as channel counts, are alike where they are neighbours."""
    numbers = [choice for choice in choices if isinstance(choice, int | float) and not isinstance(choice, bool)]
    return len(numbers) == len(choices) and all(a < b for a, b in itertools.pairwise(numbers))


def encode(params: Mapping[str, Any], space: Space) -> tuple[Value, ...] | None:
    """Parameters as a genome in the order of `space`; None where one is missing or lies outside its distribution."""
    values: list[Value] = []
    for name, distribution in space.items():
        if name not in params:
            return None
        try:
            internal = distribution.to_internal_repr(params[name])
        except ValueError:
            return None
        if not distribution._contains(internal):
            return None
        values.append(_plain(internal, distribution))
    return tuple(values)


def decode(genome: Sequence[Value], space: Space) -> dict[str, Any]:
    """A genome as parameters: Python's own ints, floats and choices, never numpy's."""
    return {
        name: distribution.to_external_repr(_plain(value, distribution))
        for value, (name, distribution) in zip(genome, space.items(), strict=True)
    }


def _plain(internal: Value, distribution: BaseDistribution) -> Value:
    if not isinstance(distribution, FloatDistribution):
        return int(internal)
    if distribution.step is None:
        return float(internal)
    # Of the numbers near a point of the grid (0.3 and 3 * 0.1) the one that a gene has.
    return RealGene(distribution.low, distribution.high, step=distribution.step).nearest(float(internal))
