"""What every task gives back, and how it may decline."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optevo.errors import OptevoError

OnStep = Callable[[int], None]

# Told a value and the step that it is of; whether the training shall be given up.
Report = Callable[[float, int], bool]


class OverBudgetError(OptevoError):
    """An individual costs more than the specification allows."""


@dataclass(frozen=True)
class Evaluation:
    """An individual's result.

    Attributes:
        value: The reciprocal of its fitness, the smaller the better.
        metrics: What it is made of.
        model: The :class:`optevo.training.base.Training` with the networks as they were judged.
        pruned: Whether the training was given up before its end; the value is then the last one reported.
    """

    value: float
    metrics: Mapping[str, float]
    model: Any
    pruned: bool = False
