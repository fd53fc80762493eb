"""What every task gives back, and how it may decline."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optevo.errors import OptevoError

OnStep = Callable[[int], None]


class OverBudgetError(OptevoError):
    """An individual costs more than the specification allows."""


@dataclass(frozen=True)
class Evaluation:
    """An individual's result.

    Attributes:
        value: The reciprocal of its fitness, the smaller the better.
        metrics: What it is made of.
        model: The :class:`optevo.training.base.Training` with the networks as they were judged.
    """

    value: float
    metrics: Mapping[str, float]
    model: Any
