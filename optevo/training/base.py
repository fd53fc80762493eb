"""What every training has in common: its networks, its optimizers, and whatever else its next step depends on."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from optevo.training.captured import Captured, is_known
from optevo.training.engine import Engine


class Stateful(Protocol):
    """Something that changes from step to step, such as a history of images, and can be brought back to a state."""

    def state(self) -> Mapping[str, Tensor]:
        """Everything that a checkpoint must keep, on any device."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state()` was taken; the tensors come on the training's device."""
        ...


@dataclass(frozen=True)
class Parts:
    """Everything that the next step depends on, besides the data and torch's own random states.

    A checkpoint finds the parts again by their names, which must differ and hold no dots.

    Args:
        modules: The networks, buffers included.
        adams: Their optimizers. Learning rates are no part of a checkpoint: they follow from the step.
        others: Histories, random generators and the like.
    """

    modules: Mapping[str, nn.Module]
    adams: Mapping[str, torch.optim.Adam]
    others: Mapping[str, Stateful] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [*self.modules, *self.adams, *self.others]
        wrong = [name for name in names if not name or "." in name or name == "random" or names.count(name) > 1]
        if wrong:
            raise ValueError(f"parts of a training need names of their own without dots, not {wrong[0]!r}.")


class Training(ABC):
    """Networks that are trained together. What a checkpoint keeps of them is what `parts` names.

    Attributes:
        engine: Where and how it runs.
        learning_rate: Of all its optimizers at first.
    """

    engine: Engine
    learning_rate: float

    @abstractmethod
    def parts(self) -> Parts:
        """What the next step depends on."""

    def captured(
        self, part: Callable[..., Sequence[Tensor]], *, tuned: bool = False
    ) -> Callable[..., Sequence[Tensor]]:
        """A part of a step that is called many times in a row: on a GPU as one CUDA graph.

        Networks that come from elsewhere may do what a graph cannot hold, such as looking at a number; their steps are
        launched bit by bit. While a graph is used, no checkpoint may be loaded; after that, take a new one.

        Args:
            part: Takes and returns tensors whose shapes stay, and draws nothing on the host.
            tuned: See :class:`optevo.training.captured.Captured`.
        """
        on_gpu = self.engine.device.type == "cuda"
        if not on_gpu or not all(is_known(module) for module in self.parts().modules.values()):
            return part
        return Captured(part, device=self.engine.device, tuned=tuned)

    def set_rate(self, factor: float) -> None:
        """Set all learning rates to `factor` times the initial one."""
        set_rates(self.parts().adams.values(), self.learning_rate * factor)


def set_rates(adams: Iterable[torch.optim.Adam], rate: float) -> None:
    """Give every parameter of these optimizers one learning rate."""
    for adam in adams:
        for group in adam.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
