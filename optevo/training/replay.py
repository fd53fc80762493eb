"""The history of generated images that CycleGAN's discriminators are shown (1612.07828, section 2.3)."""

from collections.abc import Mapping

import torch
from torch import Tensor


class ReplayBuffer:
    """Up to `size` generated images. Each new one goes out itself, or, half of the time, an earlier one in its stead.

    The draws come from a generator of its own, on the CPU, so that no step waits for the device.

    Args:
        size: Images that are kept (CycleGAN: 50); 0 keeps none and gives back what it gets.
        seed: Of the draws.
    """

    def __init__(self, *, size: int, seed: int) -> None:
        if size < 0:
            raise ValueError(f"size must not be negative, but is {size}.")
        self.size = size
        self.images: list[Tensor] = []
        self._random = torch.Generator().manual_seed(seed)

    def exchange(self, images: Tensor) -> Tensor:
        """Images of the same number and shape (B, C, H, W), some of them from earlier calls, without gradients."""
        if not self.size:
            return images.detach()
        return torch.stack([self._exchange_one(image.clone()) for image in images.detach()])

    def _exchange_one(self, image: Tensor) -> Tensor:
        if len(self.images) < self.size:
            self.images.append(image)
            return image
        if torch.rand((), generator=self._random).item() < 0.5:
            return image
        place = int(torch.randint(self.size, (), generator=self._random))
        earlier, self.images[place] = self.images[place], image
        return earlier

    def state(self) -> dict[str, Tensor]:
        """Everything that a checkpoint must keep."""
        images = torch.stack(self.images) if self.images else torch.empty(0)
        return {"images": images, "random": self._random.get_state()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on where :meth:`state` was taken."""
        self.images = list(state["images"].clone().unbind()) if len(state["images"]) else []
        self._random.set_state(state["random"].cpu())
