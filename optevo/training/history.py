"""What happened in every step of an evolution, and the signs that it has come to its end."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from optevo.training.pix2pix import DivergedError
from optevo.training.recipe import Recipe

CROSSOVER = "crossover"


class VanishedError(DivergedError):
    """One mutation always wins and fitness stagnates: the others' gradients, or all, have vanished."""


@dataclass(frozen=True)
class Outcome:
    """What happened in one step, on the device: reading it is left to the caller, because on a GPU it would wait.

    Attributes:
        survivors: int64 (mu,), which children survived, best first: 0..S-1 are the mutants, parent by parent in the
            order of the recipe's mutations; S..S+n_c-1 are the crossover's.
        fitness: (S + n_c,), of all children in that order. Where all survive, none is judged: then it is the mean of
            the critic over the parents' images in the mutation.
        pairs: int64 (n_c, 2), the mutants that each crossover learnt from, the fitter one first.
        discriminator_loss: (), mean over the steps of D, with the penalty.
    """

    survivors: Tensor
    fitness: Tensor
    pairs: Tensor
    discriminator_loss: Tensor


@dataclass(frozen=True)
class Patience:
    """When stagnation counts as an end.

    Args:
        steps: For so many steps in a row the same mutation must have made the champion.
        tolerance: And the champions' fitness have stayed within so much, relative to its size where that is above 1.
    """

    steps: int = 500
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        if self.steps < 2 or not self.tolerance >= 0:
            raise ValueError(f"steps = {self.steps}, tolerance = {self.tolerance}: at least 2, and not negative")


class History:
    """The outcomes of all steps so far, on the CPU. New ones stay on the device until `read` takes them in one go.

    Attributes:
        survivors: int64 (T, mu).
        fitness: float32 (T, S + n_c).
        pairs: int64 (T, n_c, 2).
        discriminator_loss: float32 (T,).
    """

    def __init__(self, recipe: Recipe) -> None:
        self._names, self._mutants = recipe.mutations, recipe.mutants
        self._new: list[Outcome] = []
        self.survivors = torch.empty((0, recipe.parents), dtype=torch.int64)
        self.fitness = torch.empty((0, recipe.brood))
        self.pairs = torch.empty((0, recipe.crossovers, 2), dtype=torch.int64)
        self.discriminator_loss = torch.empty(0)

    def __len__(self) -> int:
        return len(self.survivors) + len(self._new)

    def add(self, outcome: Outcome) -> None:
        """Note a step, without a wait."""
        self._new.append(outcome)

    def read(self) -> None:
        """Bring what is new to the CPU."""
        if not self._new:
            return
        for name in _FIELDS:
            new = torch.stack([getattr(outcome, name) for outcome in self._new])
            old = getattr(self, name)
            setattr(self, name, torch.cat((old, new.to(device="cpu", dtype=old.dtype))))
        self._new.clear()

    def operator(self, child: int) -> str:
        """What made a child of this place in the brood: the mutation's name, or `"crossover"`."""
        return self._names[child % len(self._names)] if child < self._mutants else CROSSOVER

    def wins(self, *, start: int = 0, end: int | None = None) -> dict[str, int]:
        """How many survivors each operator made in steps start..end-1 (CE-GAN, Figure 6)."""
        self.read()
        counted = Counter(self.survivors[start:end].flatten().tolist())
        totals = dict.fromkeys((*self._names, *([CROSSOVER] if self.pairs.shape[1] else [])), 0)
        for child, count in counted.items():
            totals[self.operator(child)] += count
        return totals

    def champions(self) -> Tensor:
        """The best survivor's fitness in each step, (T,)."""
        self.read()
        return self.fitness.gather(1, self.survivors[:, :1]).squeeze(1)

    def crossovers(self) -> Tensor:
        """Fitness of the fitter parent, the other one and their child (CE-GAN, Figure 4): (T, n_c, 3)."""
        self.read()
        parents = self.fitness[:, :, None].expand(-1, -1, 2).gather(1, self.pairs)
        return torch.cat((parents, self.fitness[:, self._mutants :, None]), dim=2)

    def check(self, patience: Patience | None = None) -> None:
        """Look for divergence.

        Raises:
            DivergedError: A fitness or a loss of D is NaN or infinite.
            VanishedError: Fitness stagnates while one mutation always wins.
        """
        self.read()
        sound = self.fitness.isfinite().all(1) & self.discriminator_loss.isfinite()
        if not sound.all():
            raise DivergedError(f"fitness or loss is no longer finite at step {int((~sound).nonzero()[0]) + 1}.")
        if patience is not None and len(self) >= patience.steps:
            self._check_progress(patience)

    def _check_progress(self, patience: Patience) -> None:
        recent = slice(len(self) - patience.steps, None)
        winners = {self.operator(child) for child in self.survivors[recent, 0].unique().tolist()}
        best = self.champions()[recent]
        moved = (best.max() - best.min()).item() / max(1.0, best.mean().abs().item())
        if len(winners) == 1 and CROSSOVER not in winners and moved <= patience.tolerance:
            raise VanishedError(
                f"for {patience.steps} steps {winners.pop()} alone has won and fitness moved by {moved:.2g} only, at "
                f"step {len(self)}: gradients have vanished."
            )

    def state(self) -> dict[str, Tensor]:
        """Everything that a checkpoint must keep."""
        self.read()
        return {name: getattr(self, name) for name in _FIELDS}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state()` was taken."""
        self._new.clear()
        for name in _FIELDS:
            if state[name].shape[1:] != getattr(self, name).shape[1:]:
                raise ValueError(f"the history's {name} are those of another recipe")
            setattr(self, name, state[name].cpu())


_FIELDS = [field.name for field in fields(Outcome)]
