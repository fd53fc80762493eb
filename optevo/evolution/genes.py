"""What one position of a chromosome may hold: its values, a uniform draw, and a mutation that always changes it."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Value = int | float


class Gene(ABC):
    """One position of a chromosome."""

    @abstractmethod
    def at(self, share: float) -> Value:
        """The value below which a share in [0, 1] of all uniform draws lies: their quantile function."""

    def draw(self, rng: np.random.Generator) -> Value:
        """A uniform draw from all values."""
        return self.at(rng.random())

    @abstractmethod
    def mutate(self, value: Value, rng: np.random.Generator) -> Value:
        """A draw from the REMAINING values (2002.11581, section 3.4); a gene with a single value keeps it."""

    @abstractmethod
    def features(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """What a model of genomes sees: values of shape `(N,)` as `(N, F)` numbers of about unit range."""


@dataclass(frozen=True)
class CategoricalGene(Gene):
    """An index in `[0, size)`. With `size = 2` it is a bit, and mutation flips it.

    Args:
        size: Number of values.
        ordered: Whether neighbouring indices are alike. Only models of genomes see it: mutation draws from all others.

    Raises:
        ValueError: `size` is below 1.
    """

    size: int
    ordered: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, but is {self.size}.")

    def at(self, share: float) -> int:
        return _step(share, self.size)

    def mutate(self, value: Value, rng: np.random.Generator) -> int:
        if self.size == 1:
            return int(value)
        other = int(rng.integers(self.size - 1))
        return other + (other >= value)

    def features(self, values: NDArray[Any]) -> NDArray[np.float64]:
        if self.ordered or self.size <= 2:
            return (values.astype(np.float64) / max(1, self.size - 1))[:, None]
        # Two different values are as far apart as the ends of an ordered gene.
        return np.eye(self.size)[values.astype(np.int64)] / math.sqrt(2)


@dataclass(frozen=True)
class IntegerGene(Gene):
    """An integer in `{low, low + step, ..., high}`, drawn uniformly in value or, with `log`, in its logarithm.

    Mutation takes a step of either sign whose length is geometric, on average `scale` of the range or, with `log`, of
    the value.

    Raises:
        ValueError: The range is empty, or `log` goes with `low < 1` or `step != 1`.
    """

    low: int
    high: int
    step: int = 1
    log: bool = False
    scale: float = 0.15

    def __post_init__(self) -> None:
        if self.low > self.high or self.step < 1:
            raise ValueError(f"an integer gene needs low <= high and step >= 1, but got {self}.")
        if self.log and (self.low < 1 or self.step != 1):
            raise ValueError(f"a logarithmic integer gene needs low >= 1 and step 1, but got {self}.")

    @property
    def _count(self) -> int:
        return (self.high - self.low) // self.step + 1

    def at(self, share: float) -> int:
        if self.log:
            first, last = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return min(max(round(math.exp(first + share * (last - first))), self.low), self.high)
        return self.low + self.step * _step(share, self._count)

    def mutate(self, value: Value, rng: np.random.Generator) -> int:
        if self._count == 1:
            return int(value)
        place = (int(value) - self.low) // self.step
        reach = value if self.log else self._count
        length = int(rng.geometric(1 / max(1.0, self.scale * reach)))
        moved = _reflect(place + (length if rng.random() < 0.5 else -length), self._count - 1)
        if moved == place:
            moved = place + 1 if place == 0 else place - 1
        return self.low + self.step * moved

    def features(self, values: NDArray[Any]) -> NDArray[np.float64]:
        return _unit(values, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class RealGene(Gene):
    """A real number in `[low, high]`, on a grid of `step` where given, uniform in its logarithm with `log`.

    Mutation adds a normal deviate of `scale` times the range (of the logarithm, with `log`), reflected at the ends.

    Raises:
        ValueError: The range is empty or infinite, `step` is not positive, or `log` goes with `low <= 0` or a `step`.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    scale: float = 0.15

    def __post_init__(self) -> None:
        if not (self.low <= self.high and math.isfinite(self.high - self.low)):
            raise ValueError(f"a real gene needs finite low <= high, but got {self}.")
        if self.step is not None and not self.step > 0:
            raise ValueError(f"a real gene needs a step above 0, but got {self}.")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError(f"a logarithmic real gene needs low > 0 and no step, but got {self}.")

    def at(self, share: float) -> float:
        if self.step is not None:
            return self._on_grid(_step(share, self._last + 1))
        return self._from_unit(share)

    def mutate(self, value: Value, rng: np.random.Generator) -> float:
        if self.low == self.high:
            return float(value)
        if self.step is not None:
            steps = IntegerGene(0, self._last, scale=self.scale)
            return self._on_grid(steps.mutate(self._place(value), rng))
        unit = self._to_unit(value) + self.scale * float(rng.standard_normal())
        unit %= 2
        moved = self._from_unit(min(unit, 2 - unit))
        # Between very near ends a step may round to the value itself.
        return moved if moved != value else math.nextafter(value, self.low if value > self.low else self.high)

    def features(self, values: NDArray[Any]) -> NDArray[np.float64]:
        return _unit(values, self.low, self.high, log=self.log)

    @property
    def _last(self) -> int:
        assert self.step is not None
        # One part in 10^8 of a step: 0.3 / 0.1 must give 3 grid steps, not 2.
        return int((self.high - self.low) / self.step + 1e-8)

    @property
    def _span(self) -> float:
        return math.log(self.high) - math.log(self.low)

    def nearest(self, value: Value) -> float:
        """The value of the grid that is nearest; without a `step`, the value itself."""
        return float(value) if self.step is None else self._on_grid(self._place(value))

    def _place(self, value: Value) -> int:
        assert self.step is not None
        return round((value - self.low) / self.step)

    def _on_grid(self, place: int) -> float:
        assert self.step is not None
        return min(self.low + place * self.step, self.high)

    def _to_unit(self, value: float) -> float:
        if self.log:
            return (math.log(value) - math.log(self.low)) / self._span
        return (value - self.low) / (self.high - self.low)

    def _from_unit(self, unit: float) -> float:
        if self.log:
            # Not from high / low, which overflows where the range spans more than 308 decades.
            value = math.exp(min(math.log(self.low) + unit * self._span, math.log(self.high)))
        else:
            value = self.low + unit * (self.high - self.low)
        return min(max(value, self.low), self.high)


def _step(share: float, count: int) -> int:
    """The step of a stair of `count` equal ones that a share of its width leads to; the whole width to the last."""
    return min(int(share * count), count - 1)


def _unit(values: NDArray[Any], low: float, high: float, *, log: bool) -> NDArray[np.float64]:
    """Values as shares of the range, or of its logarithm, shape `(N, 1)`."""
    places = values.astype(np.float64)[:, None]
    if log:
        places, low, high = np.log(places), math.log(low), math.log(high)
    return (places - low) / (high - low) if high > low else np.zeros_like(places)


def _reflect(place: int, last: int) -> int:
    """Fold an index back into `[0, last]` as a ball between two walls."""
    place %= 2 * last
    return min(place, 2 * last - place)
