"""How a child begins its training with what its parents have learned, whatever the architectures.

`distill` is C-filtered knowledge distillation (CE-GAN, Algorithm 1 and Eq. 10) between whole trainings: on each input
the child imitates that parent's output which the critics prefer. `inherit` copies weights instead.

Who judges. Each parent comes with a critic of its own, and generator and critic have trained against each other alone:
a critic is no stranger's judge. It favours its own generator, which has learned to please it (on facades of 32 pixels,
after 200 steps, in 60 % of the cases). C(G(x)) is therefore the mean over both critics, so that what either has for or
against its own stands once on either side, whichever parent is fitter. A critic's verdict on an image is the mean of
its patches' logits. Parents and critics run in eval mode, as they were judged: with batch statistics, a sample's
teacher would depend on what else is in its batch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from optevo.data.plan import Plan
from optevo.data.resident import ResidentPairs
from optevo.training.base import Training
from optevo.training.distillation import distillation_loss, preferred
from optevo.training.pix2pix import Pix2Pix, check_finite

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Teacher:
    """A trained individual: its generator (B, C_in, H, W) to (B, C_out, H, W), and the critic it was trained with."""

    generator: nn.Module
    critic: nn.Module

    def freeze(self) -> "Teacher":
        """In eval mode and without gradients, as it was judged."""
        for network in (self.generator, self.critic):
            network.eval().requires_grad_(False)
        return self


def networks_to_bytes(model: Training) -> bytes:
    """The weights of a training's networks as a safetensors file, without optimizers: a child's begin anew, because
    momentum that belongs to another network's step is what makes CE-GAN's crossover look good."""
    tensors = {
        f"{part}.{name}": value.detach().cpu().contiguous()
        for part, module in model.parts().modules.items()
        for name, value in module.state_dict().items()
    }
    return save(tensors)


def networks_from_bytes(content: bytes) -> dict[str, dict[str, Tensor]]:
    """What :func:`networks_to_bytes` wrote: the state of each network by its name."""
    states: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load(content).items():
        part, _, name = key.partition(".")
        states.setdefault(part, {})[name] = tensor
    return states


@torch.no_grad()
def inherit(child: nn.Module, state: State) -> float:
    """Copy a parent's weights, block by block, wherever a whole block has equal shapes in both; the rest stays.

    A block is a convolution with its norm, which knows the statistics of that convolution alone. Blocks of other shapes
    are not cut to size: which of a U-Net's channels come through a skip depends on the architecture, so the leading
    channels of two networks do not mean the same.

    Args:
        child: Named as `UNetGenerator` or `PatchGAN`; changed in place.
        state: The parent's.

    Returns:
        The fraction of the child's parameters that were copied.
    """
    own = child.state_dict()
    blocks: dict[str, list[str]] = {}
    for name in own:
        blocks.setdefault(name.rsplit(".", 2)[0], []).append(name)
    theirs: dict[str, set[str]] = {}
    for name in state:
        theirs.setdefault(name.rsplit(".", 2)[0], set()).add(name)
    copied = [
        name
        for block, names in blocks.items()
        if theirs.get(block) == set(names) and all(own[name].shape == state[name].shape for name in names)
        for name in names
    ]
    for name in copied:
        own[name].copy_(state[name])
    sizes = {name: parameter.numel() for name, parameter in child.named_parameters()}
    return sum(sizes.get(name, 0) for name in copied) / sum(sizes.values())


def verdict(critics: Sequence[nn.Module], source: Tensor, output: Tensor) -> Tensor:
    """`C(G(x))`: the mean over all critics and patches of their logits, shape (B,), in float32."""
    judged = torch.cat((source, output), dim=1)
    return torch.stack([critic(judged).float().flatten(1).mean(1) for critic in critics]).mean(0)


def filtered_loss(child: Tensor, outputs: tuple[Tensor, Tensor], verdicts: tuple[Tensor, Tensor]) -> Tensor:
    """`L_C` of Eq. 10: per input, the squared distance to the output with the higher verdict; equal ones teach nothing.

    Args:
        child: G_child(x), (B, C, H, W).
        outputs: G_x(x) and G_y(x), likewise.
        verdicts: C of both, (B,) each.
    """
    x, y = verdicts
    return distillation_loss(child, outputs[0], where=preferred(x, y)) + distillation_loss(
        child, outputs[1], where=preferred(y, x)
    )


def distill(
    child: Pix2Pix,
    parents: tuple[Teacher, Teacher],
    data: ResidentPairs,
    plan: Plan,
    *,
    steps: int,
    betas: tuple[float, float],
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Let a child's generator learn from its parents on the first `steps` batches of a plan.

    It has an Adam of its own for that, which is forgotten afterwards: gradients of Eq. 10's sum over pixels are far
    larger than a training's, and would keep Adam's later steps small. Discriminator and targets take no part.

    Args:
        child: Its generator is trained, in place.
        parents: The fitter one first; frozen.
        data, plan, on_step: As for :func:`optevo.training.pix2pix.train`, which goes on at step `steps`.
        betas: Adam's.

    Returns:
        Shape (2,): of all inputs, the fractions on which the first and the second parent taught.

    Raises:
        DivergedError: The loss became NaN or infinite.
    """
    plan = plan.to(data.index_device)
    engine = child.engine
    adam = engine.adam(child.generator.parameters(), learning_rate=child.learning_rate, betas=betas)
    critics = [parent.critic for parent in parents]
    taught = torch.zeros(2, device=engine.device)
    total = torch.zeros((), device=engine.device)
    for step in range(steps):
        source, _ = data.batch(plan.index[step], crop=plan.crop[step], flip=plan.flip[step])
        with torch.no_grad(), engine.autocast():
            x, y = (parent.generator(source).to(source.dtype) for parent in parents)
            verdicts = (verdict(critics, source, x), verdict(critics, source, y))
        adam.zero_grad(set_to_none=True)
        with engine.autocast():
            output = child.generator(source)
        loss = filtered_loss(output.to(source.dtype), (x, y), verdicts)
        loss.backward()
        adam.step()
        total += loss.detach()
        first, second = verdicts
        taught += torch.stack((preferred(first, second).sum(), preferred(second, first).sum()))
        if on_step is not None:
            on_step(step + 1)
    adam.zero_grad(set_to_none=True)
    check_finite(total, steps)
    return taught / max(1, steps * plan.index.shape[1])
