"""Generators of one architecture that evolve side by side: a row of one matrix each, with its row of Adam's state."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.adam import adam

from optevo.training.captured import side_by_side


class Layout:
    """Where each parameter of a network lies in one flat row.

    Kernels lie as channels_last orders them, so that a view into a row has the layout of the fastest convolutions.

    Args:
        module: Any network without buffers: what evolves is its parameters.

    Raises:
        ValueError: The network has buffers, such as running statistics.
    """

    def __init__(self, module: nn.Module) -> None:
        buffers = [name for name, _ in module.named_buffers()]
        if buffers:
            raise ValueError(f"{type(module).__name__} has buffers ({buffers[0]}): only parameters can evolve")
        self.shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]

    def __len__(self) -> int:
        return sum(self.sizes)

    def views(self, row: Tensor) -> dict[str, Tensor]:
        """A row (P,) as the parameters by name, in the same memory."""
        parts = row.split(self.sizes)
        return {name: _unrolled(part, shape) for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)}

    def row(self, tensors: Sequence[Tensor]) -> Tensor:
        """The inverse of `views`, for tensors in its order: a new row (P,)."""
        return torch.cat([_rolled(tensor) for tensor in tensors])


class Individuals:
    """S generators of one architecture, each with its weights and its Adam state.

    All are rows: to inherit, to survive and to average are one operation each on whole matrices, wherever these lie.

    Args:
        module: The architecture; its own weights are not used.
        layout: Of `module`.
        weights, first, second: (S, P), the weights and Adam's moments.
        steps: float32 (S,), Adam steps taken by each.
    """

    def __init__(
        self, module: nn.Module, layout: Layout, *, weights: Tensor, first: Tensor, second: Tensor, steps: Tensor
    ) -> None:
        self.module, self.layout = module, layout
        self.weights, self.first, self.second, self.steps = weights, first, second, steps

    @classmethod
    def founded(cls, modules: Sequence[nn.Module]) -> "Individuals":
        """One individual for each module, which no optimizer has touched yet."""
        layout = Layout(modules[0])
        with torch.no_grad():
            weights = torch.stack([layout.row([*module.parameters()]) for module in modules])
        steps = torch.zeros(len(modules), device=weights.device)
        zeros = torch.zeros_like
        return cls(modules[0], layout, weights=weights, first=zeros(weights), second=zeros(weights), steps=steps)

    def __len__(self) -> int:
        return len(self.weights)

    def room_for(self, count: int) -> "Individuals":
        """Memory for `count` individuals of this kind, its content undefined."""
        return self._like(*(torch.empty((count, *part.shape[1:]), dtype=part.dtype, device=part.device)
                            for part in self.state().values()))  # fmt: skip

    def slice(self, start: int, end: int) -> "Individuals":
        """Individuals start..end-1, in the same memory."""
        return self._like(*(part[start:end] for part in self.state().values()))

    def inherit(self, source: "Individuals", index: Tensor) -> None:
        """Become what `source`, which lies elsewhere in memory, is at `index`, int64 (S,): weights and Adam state."""
        for mine, theirs in zip(self.state().values(), source.state().values(), strict=True):
            torch.index_select(theirs, 0, index, out=mine)

    def parameters(self, at: int, *, grad: bool = False) -> dict[str, Tensor]:
        """The parameters of one individual, views into its row; with `grad` as leaves of a graph."""
        return {name: view.detach().requires_grad_(grad) for name, view in self.layout.views(self.weights[at]).items()}

    def images(self, noise: Tensor) -> Tensor:
        """What every individual makes of the same noise (B, latent), without gradients: (S, B, C, H, W)."""
        with torch.no_grad():
            return torch.stack(
                side_by_side([partial(self.image, self.parameters(at), noise) for at in range(len(self))])
            )

    def image(self, parameters: dict[str, Tensor], noise: Tensor) -> Tensor:
        """What the architecture with these parameters makes of noise (B, latent): (B, C, H, W)."""
        made: Tensor = functional_call(self.module, parameters, (noise.to(self.weights.dtype),))
        return made

    def adam(self, gradients: Sequence[Sequence[Tensor]], *, learning_rate: float, betas: tuple[float, float]) -> None:
        """One Adam step (1412.6980, Algorithm 1) of every individual, in place, in one call.

        Args:
            gradients: Those of each individual, in the order of its parameters.
        """
        with torch.no_grad():
            adam(
                list(self.weights),
                [self.layout.row(rows) for rows in gradients],
                list(self.first),
                list(self.second),
                [],
                list(self.steps),
                fused=True,
                amsgrad=False,
                beta1=betas[0],
                beta2=betas[1],
                lr=learning_rate,
                weight_decay=0.0,
                eps=1e-8,
                maximize=False,
            )

    def state(self) -> dict[str, Tensor]:
        """Everything there is to know about them, by name; writing into the tensors changes the individuals."""
        return {"weights": self.weights, "first": self.first, "second": self.second, "steps": self.steps}

    def _like(self, weights: Tensor, first: Tensor, second: Tensor, steps: Tensor) -> "Individuals":
        return Individuals(self.module, self.layout, weights=weights, first=first, second=second, steps=steps)


def _rolled(tensor: Tensor) -> Tensor:
    return (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).reshape(-1)


def _unrolled(part: Tensor, shape: torch.Size) -> Tensor:
    if len(shape) != 4:
        return part.view(shape)
    return part.view(shape[0], shape[2], shape[3], shape[1]).permute(0, 3, 1, 2)
