"""A network that stands for Inception where only the bookkeeping around it is tested: 12 numbers of an image."""

import os

from torch import Tensor, nn

from optevo import api
from optevo.metrics import unpaired


class SmallFeatures(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1)


def work(url: str, cache: str) -> None:
    """Be a worker of the study "r" in a process of its own, judging by these features."""
    os.environ["OPTEVO_CACHE"] = cache
    unpaired.load_inception = lambda **_: SmallFeatures()
    api.work("r", storage=url)
