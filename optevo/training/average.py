"""The moving average of networks' weights, which makes smoother images than the weights of any single step."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

WARM = 10  # of the first steps' weights less is kept: after step n at most (n + 1) / (n + WARM)


class Average:
    """Exponential moving averages, w <- d w + (1 - d) weights (1710.10196, section 4), with a short memory at first.

    The decay d of step n (from 1) is the smaller of `decay` and (n + 1) / (n + 10), so that a short training is not
    judged by what it began with. Buffers are the newest.

    Args:
        modules: Networks in training, by name.
        decay: In (0, 1).
    """

    def __init__(self, modules: Mapping[str, nn.Module], *, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self._modules = dict(modules)
        self.modules = {name: copy.deepcopy(module).eval().requires_grad_(False) for name, module in modules.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the networks' weights after a step."""
        self.steps += 1
        share = 1 - min(self.decay, (self.steps + 1) / (self.steps + WARM))
        for name, module in self._modules.items():
            mean = self.modules[name]
            torch._foreach_lerp_(list(mean.parameters()), list(module.parameters()), share)
            for kept, newest in zip(mean.buffers(), module.buffers(), strict=True):
                kept.copy_(newest)

    def state(self) -> dict[str, Tensor]:
        """The number of steps; the averages are networks of the training's own."""
        return {"steps": torch.tensor(self.steps)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state()` was taken."""
        self.steps = int(state["steps"])
