"""What an individual's masks cost, known exactly before anything is built. Loads no torch."""

from collections.abc import Mapping
from typing import Any

from optevo.cost.filters import FilterCost, filter_cost, whole_cost
from optevo.spaces.filters import GroupTable
from optevo.tasks.coevolution_settings import CompressionFitnessSettings


def share(cost: FilterCost, table: GroupTable, fitness: CompressionFitnessSettings) -> Any:
    """N: the fraction of the teacher's parameters or multiply-accumulates that is left; an array for arrays."""
    return getattr(cost, fitness.cost) / getattr(whole_cost(table), fitness.cost)


def price(kept: Mapping[str, Any], table: GroupTable, fitness: CompressionFitnessSettings) -> Any:
    """The part of the fitness's reciprocal that is known without training, N.

    Args:
        kept: Filters kept by chromosome, as numbers or as int64 arrays of shape (N,).
    """
    return share(filter_cost(table, kept), table, fitness)


def over_budget(cost: FilterCost, fitness: CompressionFitnessSettings) -> str | None:
    """Which hard budget an individual breaks, or None."""
    for key, count, limit in (
        ("max_parameters", cost.parameters, fitness.max_parameters),
        ("max_macs", cost.exact_macs, fitness.max_macs),
    ):
        if limit is not None and count > limit:
            return f"{count:,} exceeds fitness.{key} = {limit:,}"
    return None
