"""Instance norm that is right in every memory layout, and fast."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm: each channel of each image has mean 0 and variance 1. (B, C, H, W) to the same.

    torch's own instance norm folds batch and channels together, and for a batch of one image with gradients in
    channels_last its backward pass on a CPU silently gives wrong gradients (seen in torch 2.14 and 2.15; CycleGAN
    trains with batches of one). So it is computed as one of two other norms that are the same function:

    - a group norm of one group a channel;
    - on a CPU, but not in an exported graph, whose batches have any size, a batch norm of each image by itself: the
      group norm's backward pass takes 8 (fp32) to 30 (bf16) ns an element there in channels_last, against 1, and was
      two fifths of a training step of CycleGAN.

    Parameters and running statistics, which optevo's own networks do without, are torch's: so it can take the place of
    torch's in any network, see :func:`right_norms`.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4:
            return super().forward(x)
        if self.running_mean is not None and self.running_var is not None:
            if not self.training:  # With kept statistics it is an affine function of the image.
                return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
            self._keep_statistics(x.detach())
        counted = isinstance(x.shape[0], int)  # no int while torch.jit traces
        if x.device.type == "cpu" and counted and not torch.compiler.is_compiling():
            return _by_image(x, self.weight, self.bias, eps=self.eps)
        return F.group_norm(x, x.shape[1], self.weight, self.bias, eps=self.eps)

    def _keep_statistics(self, x: Tensor) -> None:
        """As torch does: the mean over the batch of every image's mean and unbiased variance, exponentially."""
        assert self.running_mean is not None
        assert self.running_var is not None
        variance, mean = torch.var_mean(x.float(), dim=(2, 3))
        weight = self.momentum or 0.0
        with torch.no_grad():
            self.running_mean.lerp_(mean.mean(dim=0).to(self.running_mean.dtype), weight)
            self.running_var.lerp_(variance.mean(dim=0).to(self.running_var.dtype), weight)


def right_norms(module: nn.Module) -> nn.Module:
    """Let every plain `nn.InstanceNorm2d` in a network be :class:`InstanceNorm`, in place.

    Only the way it is computed changes: parameters, statistics, hooks, names and the state dict stay what they are. A
    subclass of somebody's own is left alone, since nobody knows what it computes.
    """
    for layer in module.modules():
        if type(layer) is nn.InstanceNorm2d:
            layer.__class__ = InstanceNorm
    return module


def _by_image(x: Tensor, weight: Tensor | None, bias: Tensor | None, *, eps: float) -> Tensor:
    normed = [F.batch_norm(image, None, None, weight, bias, training=True, eps=eps) for image in x.split(1)]
    return normed[0] if len(normed) == 1 else torch.cat(normed)
