"""Networks to take filters out of: ours, and two that are not."""

import torch
from torch import Tensor, nn

from optevo.networks.resnet import ResNetGenerator
from optevo.spaces.resnet import cyclegan


class Hourglass(nn.Module):
    """Not ours: batch norms, a concatenated skip, a linear bottleneck of channels, depthwise convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(8, 12, 4, 2, 1), nn.BatchNorm2d(12), nn.LeakyReLU(0.2))
        self.deep = nn.Sequential(
            nn.Conv2d(12, 12, 3, 1, 1, groups=12), nn.BatchNorm2d(12), nn.ReLU6(), nn.Conv2d(12, 10, 1)
        )
        self.up = nn.ConvTranspose2d(10, 6, 4, 2, 1)
        self.last = nn.Conv2d(6 + 8, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        up = self.up(self.deep(self.down(first)))
        return torch.tanh(self.last(torch.cat([torch.relu(up), first], dim=1)))


class Residual(nn.Module):
    """Not ours: pre-activated residual blocks with affine instance norms between two projections."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 9, 5, padding=2)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.InstanceNorm2d(9, affine=True), nn.SiLU(), nn.Conv2d(9, 7, 3, padding=1), nn.ReLU(),
                nn.Conv2d(7, 9, 3, padding=1),
            )
            for _ in range(2)
        )  # fmt: skip
        self.tail = nn.Sequential(nn.Conv2d(9, 5, 1), nn.ReLU(), nn.Conv2d(5, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        for block in self.blocks:
            x = x + block(x)
        return self.tail(x)


def prepared(network: nn.Module, seed: int = 1) -> nn.Module:
    """With parameters and running statistics as after training, none of them at its neutral value."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=random) * 0.5 + 0.1)
                if tensor.dim() > 1:
                    tensor.sub_(0.35)
    return network.eval()


NETWORKS = {
    "cyclegan": lambda: prepared(ResNetGenerator(cyclegan(ngf=4, blocks=3))),
    "hourglass": lambda: prepared(Hourglass()),
    "residual": lambda: prepared(Residual()),
}
