r"""What a small translator can learn from its teacher, each an equation.

OMGD (Online Multi-Granularity Distillation, 2108.06908) trains a student without any discriminator on its teacher's
output: structure (`1 - SSIM`), perceptual features and their Gram matrices, total variation, and, inside the network,
the mean activation of each channel. It takes perceptual features from a VGG network; here they come from the pretrained
discriminator (feature matching, 1711.11585), which needs no weights from elsewhere and knows the domain.

Beware of channel means where norms follow: an instance norm without parameters gives every channel the mean zero
whatever its input, so behind the first residual sum of CycleGAN's generator the means hold nothing new. Kernel
alignment (CAT, 2103.03467) compares which places look alike, at any number of channels, and needs no adapter.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RANGE = 2.0  # images lie in [-1, 1]


def ssim(output: Tensor, target: Tensor, *, window: int = 11, sigma: float = 1.5) -> Tensor:
    r"""Structural similarity, mean over all places, at most 1 (Wang et al. 2004, Eq. 13).

    .. math::
        \frac{2 \mu_x \mu_y + c_1}{\mu_x^2 + \mu_y^2 + c_1} \cdot
        \frac{2 \sigma_{xy} + c_2}{\sigma_x^2 + \sigma_y^2 + c_2}

    Args:
        output, target: (B, C, H, W) in [-1, 1], H and W more than half a window; borders are reflected.
    """
    c1, c2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
    x, y = (F.pad(image.float(), [window // 2] * 4, mode="reflect") for image in (output, target))
    channels, weights = x.shape[1], _gaussian(window, sigma, like=x)

    def blurred(image: Tensor) -> Tensor:
        rows = F.conv2d(image, weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
        return F.conv2d(rows, weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)

    mean_x, mean_y = blurred(x), blurred(y)
    var_x, var_y = blurred(x * x) - mean_x**2, blurred(y * y) - mean_y**2
    covariance = blurred(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (luminance * (2 * covariance + c2) / (var_x + var_y + c2)).mean()


def total_variation(image: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, down plus across. (B, C, H, W).

    OMGD takes the sum, which grows with the image; its weight 1e-5 at 3 x 256 x 256 is 2 here.
    """
    down, across = image[..., 1:, :] - image[..., :-1, :], image[..., :, 1:] - image[..., :, :-1]
    return down.abs().mean() + across.abs().mean()


def feature_matching(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """`mean_k E|F_k(G'(x)) - F_k(G(x))|` over the layers k of one judging network (1711.11585, Eq. 4).

    OMGD's perceptual loss is this with one layer of VGG-16.
    """
    return torch.stack([F.l1_loss(ours, theirs) for ours, theirs in zip(student, teacher, strict=True)]).mean()


def gram(features: Tensor) -> Tensor:
    """`F F^T / (C H W)` of each image (1603.08155, Eq. 3): (B, C, H, W) to (B, C, C)."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat[0].numel()


def style(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """`sum_k E|Gram(F_k(G'(x))) - Gram(F_k(G(x)))|` over the layers k of one judging network (2108.06908, Eq. 5)."""
    parts = [F.l1_loss(gram(ours), gram(theirs)) for ours, theirs in zip(student, teacher, strict=True)]
    return torch.stack(parts).sum()


def channel_distillation(student: Tensor, teacher: Tensor, *, adapter: nn.Module | None = None) -> Tensor:
    """`E[(mean_hw A(F') - mean_hw F)^2]` (2108.06908, section 3.3): how strong each channel is.

    Args:
        student, teacher: (B, C', H, W) and (B, C, H', W').
        adapter: From C' to C channels, a 1x1 convolution that learns with the student; None where C' = C.
    """
    ours = student if adapter is None else adapter(student)
    return F.mse_loss(ours.mean(dim=(2, 3)), teacher.mean(dim=(2, 3)))


def kernel_alignment(student: Tensor, teacher: Tensor) -> Tensor:
    r"""`KA(X, Y) = ||Y^T X||^2 / (||X^T X|| ||Y^T Y||)` in Frobenius norms, in [0, 1] (2103.03467, Eq. 3).

    X and Y hold the features of all places of all images as rows, so KA is the cosine between the two tables of how
    alike each two places are. It is 1 for features that are equal up to a rotation and a factor.

    Args:
        student, teacher: (B, C', H, W) and (B, C, H, W).
    """
    x, y = (features.movedim(1, -1).flatten(0, -2).float() for features in (student, teacher))
    # Unit length first: fourth powers of large activations would overflow, those of small ones vanish.
    x, y = x / x.norm().clamp_min(1e-12), y / y.norm().clamp_min(1e-12)
    aligned: Tensor = (y.T @ x).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm()).clamp_min(1e-12)
    return aligned


@contextmanager
def tapped(module: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Collects what the named layers read while the context lasts: the latest call's inputs, by name.

    Inputs and not outputs: they are what the rest of the network gets, norms and activations done, sums added.
    """
    layers: dict[str, nn.Module] = dict(module.named_modules())
    found: dict[str, Tensor] = {}

    def collecting(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def collect(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
            found[name] = given[0]

        return collect

    handles = [layers[name].register_forward_pre_hook(collecting(name)) for name in names]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def inner_layers(module: nn.Module, *, count: int | None = None) -> list[str]:
    """Names of the convolutions that do not read the image, in order; `count` of them, spread evenly up to the last."""
    names = [name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)][1:]
    if count is None or count >= len(names):
        return names
    return [names[(at + 1) * len(names) // count - 1] for at in range(count)]


def features_of(found: Mapping[str, Tensor], names: Iterable[str]) -> list[Tensor]:
    """Collected features in the order of the names, as float32."""
    return [found[name].float() for name in names]


def _gaussian(window: int, sigma: float, *, like: Tensor) -> Tensor:
    places = torch.arange(window, dtype=like.dtype, device=like.device) - (window - 1) / 2
    weights = torch.exp(-(places**2) / (2 * sigma**2))
    return weights / weights.sum()
