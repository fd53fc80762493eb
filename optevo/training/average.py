"""The moving average of a network's weights."""

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

WARM = 10  # the older weights keep at most (n + 1) / (n + WARM) after n steps


def moving_average(module: nn.Module, *, decay: float) -> AveragedModel:
    """An exponential moving average, w <- d w + (1 - d) weights (as in 1710.10196), with a short memory at first.

    It begins as the weights of the first step. After n steps the decay d of the next is the smaller of `decay` and
    (n + 1) / (n + 10), so that a short training is not judged by what it began with. Buffers are the newest.

    Args:
        module: A network in training. `update_parameters(module)` takes it in after each step; `module` of what is
            returned is the averaged network.
        decay: In (0, 1).
    """

    def take_in(kept: list[Tensor], newest: list[Tensor], _: Tensor | int) -> None:
        # The model's own count lies on the CPU; the one that is handed over would make a GPU wait for it.
        steps = int(average.n_averaged)
        get_ema_multi_avg_fn(min(decay, (steps + 1) / (steps + WARM)))(kept, newest, steps)

    average = AveragedModel(module, multi_avg_fn=take_in)  # type: ignore[arg-type]  # a list is what it hands over
    return average.eval().requires_grad_(False)
