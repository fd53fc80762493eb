r"""Convolutions 4x4 with stride 2 and padding 1, the one kind in pix2pix and DCGAN, as matrix products on small maps.

On a CPU with AMX a product of bfloat16 matrices runs several times faster than the convolution that computes the same
on a map of few positions. Three maps, each linear in both arguments, are all there is to it:

.. math:: \langle y, down(x, w) \rangle = \langle up(y, w), x \rangle = \langle kernel(y, x), w \rangle

with x of shape (N, C, 2h, 2v), y of (N, O, h, v) and w of (O, C, 4, 4): the convolution, the transposed one, and the
gradient by the weights. Each one's gradients are the other two, so they can be differentiated as often as one likes.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

SIDE = 4  # positions of the smaller map, a side, up to which the products are faster
WIDTH = 32  # channels on either side from which they are


class Halving(nn.Conv2d):
    """A convolution 4x4 with stride 2 and padding 1: (N, C, 2h, 2v) to (N, O, h, v)."""

    def __init__(self, channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(channels, out_channels, kernel_size=4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if not _pays(self.weight, (x.shape[2] // 2, x.shape[3] // 2), x) or x.shape[2] % 2 or x.shape[3] % 2:
            return super().forward(x)
        half = torch.bfloat16
        result: Tensor = Down.apply(x.to(half), self.weight.to(half))
        return result if self.bias is None else result + self.bias.to(half)[:, None, None]


class Doubling(nn.ConvTranspose2d):
    """The transposed convolution 4x4 with stride 2 and padding 1: (N, O, h, v) to (N, C, 2h, 2v)."""

    def __init__(self, channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(channels, out_channels, kernel_size=4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if output_size is not None or not _pays(self.weight, (x.shape[2], x.shape[3]), x):
            return super().forward(x, output_size)
        half = torch.bfloat16
        result: Tensor = Up.apply(x.to(half), self.weight.to(half))
        return result if self.bias is None else result + self.bias.to(half)[:, None, None]


class Unfolding(nn.ConvTranspose2d):
    """The transposed convolution of one place to `side` x `side`, (N, I, 1, 1) to (N, O, b, b), as one product."""

    def __init__(self, channels: int, out_channels: int, *, side: int) -> None:
        super().__init__(channels, out_channels, kernel_size=side)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if output_size is not None or x.shape[2:] != (1, 1):
            return super().forward(x, output_size)
        # Channels last, as the layers behind it want them.
        wide, side = self.weight.shape[1], self.weight.shape[2]
        product = x.flatten(1) @ self.weight.permute(0, 2, 3, 1).flatten(1)
        result = product.view(-1, side, side, wide).permute(0, 3, 1, 2)
        return result if self.bias is None else result + self.bias.to(result.dtype)[:, None, None]


class Down(Function):
    """`y = down(x, w)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        n, _, height, width = x.shape
        y = _empty(x, n, len(w), height // 2, width // 2)
        torch.mm(_windows(_padded(x), side=4, step=2), _last(w).flatten(1).t(), out=_last(y).flatten(0, 2))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor | None]:
        (g,), (x, w) = gradients, ctx.saved_tensors
        needs_x, needs_w = ctx.needs_input_grad
        return Up.apply(g, w) if needs_x else None, Kernel.apply(g, x) if needs_w else None


class Up(Function):
    """`x = up(y, w)`. Of the 4x4 kernel, every place of the doubled map takes one of four 2x2 parts."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(y, w)
        n, _, height, width = y.shape
        padded, kernel = _padded(y), _last(w)
        x = _empty(y, n, w.shape[1], 2 * height, 2 * width)
        places = _last(x).view(n, height, 2, width, 2, -1)
        for row in (0, 1):
            for column in (0, 1):
                part = torch.cat([kernel[:, i, j] for i in (3 - row, 1 - row) for j in (3 - column, 1 - column)])
                seen = _windows(padded[:, row : row + height + 1, column : column + width + 1], side=2, step=1)
                places[:, :, row, :, column] = (seen @ part).view(n, height, width, -1)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor | None]:
        (g,), (y, w) = gradients, ctx.saved_tensors
        needs_y, needs_w = ctx.needs_input_grad
        return Down.apply(g, w) if needs_y else None, Kernel.apply(y, g) if needs_w else None


class Kernel(Function):
    """`w = kernel(y, x)`."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(y, x)
        w = _empty(x, y.shape[1], x.shape[1], 4, 4)
        torch.mm(_last(y).flatten(0, 2).t(), _windows(_padded(x), side=4, step=2), out=_last(w).flatten(1))
        return w

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor | None]:
        (g,), (y, x) = gradients, ctx.saved_tensors
        needs_y, needs_x = ctx.needs_input_grad
        return Down.apply(x, g) if needs_y else None, Up.apply(y, g) if needs_x else None


def _last(x: Tensor) -> Tensor:
    """(N, C, H, W) as (N, H, W, C), contiguous: a view where it lies so already."""
    return x.permute(0, 2, 3, 1).contiguous()


def _empty(like: Tensor, *shape: int) -> Tensor:
    """Memory for a result, channels last. Not a view, so that a layer behind it may work in place."""
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _padded(x: Tensor) -> Tensor:
    """(N, C, H, W) as (N, H + 2, W + 2, C) with a border of zeros."""
    n, c, height, width = x.shape
    padded = x.new_zeros((n, height + 2, width + 2, c))
    padded[:, 1:-1, 1:-1] = x.permute(0, 2, 3, 1)
    return padded


def _windows(padded: Tensor, *, side: int, step: int) -> Tensor:
    """All windows of `side` x `side` places of (N, H, W, C): (N * windows, side * side * C), copied."""
    n, height, width, c = padded.shape
    rows, columns = (height - side) // step + 1, (width - side) // step + 1
    per_image, per_row, per_place, _ = padded.stride()
    # Neighbouring places of a row lie side by side, channels and all.
    seen = padded.as_strided(
        (n, rows, columns, side, side * c), (per_image, step * per_row, step * per_place, per_row, 1)
    )
    return seen.reshape(n * rows * columns, side * side * c)


def _pays(weight: Tensor, small: tuple[int, int], x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and max(small) <= SIDE
        and min(weight.shape[:2]) >= WIDTH
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and has_amx()
    )


@cache
def has_amx() -> bool:
    """Whether this CPU multiplies tiles of bfloat16."""
    return bool(torch.cpu._is_amx_tile_supported())
