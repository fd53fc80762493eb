"""Every random number of one step, made by a pure function of the seed and the step."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from optevo.training.recipe import Recipe


@dataclass(frozen=True)
class StepDraws:
    """What chance decides in one step. Noise is uniform in [-1, 1), as E-GAN and CE-GAN take it.

    A run that is continued needs no random state and no place in the data: the step's number says both. The numbers are
    drawn by NumPy's Philox on the host, the same for every device, and copied to it without a wait.

    Attributes:
        index: int64 (real_images,), which real images, each drawn from all (Algorithm 2, line 4: x ~ p_data).
        discriminator: (n_D, m, latent), noise for D's steps; the parents take equal parts in turn.
        mutation: (mu, n_m, m, latent); equal along n_m where the recipe says `"shared"`.
        evaluation: (n, latent), by which mutants are judged, all by the same; the crossover learns from it.
        crossover: (n, latent), by which children of the crossover are judged; see `Recipe.crossover_noise`.
        mix: (n_D, m) in [0, 1), of the gradient penalty.
        shown: int64 (n_D * m,), which of the survivors' mu * n images D sees in the order `"released"`.
    """

    index: Tensor
    discriminator: Tensor
    mutation: Tensor
    evaluation: Tensor
    crossover: Tensor
    mix: Tensor
    shown: Tensor


def draw(recipe: Recipe, *, latent: int, images: int, seed: int, step: int, device: torch.device) -> StepDraws:
    """The draws of one step.

    Args:
        latent: Numbers that an image is made from.
        images: How many real images there are.
        seed: Of the run, 0..2**64 - 1.
        step: 0 or more.
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, step], dtype=np.uint64)))
    steps, batch, judged = recipe.discriminator_steps, recipe.batch_size, recipe.evaluation_size

    def on_device(drawn: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(drawn)
        # Only from pinned memory does the copy run beside the computation.
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor

    def noise(*shape: int) -> Tensor:
        return on_device(rng.random((*shape, latent), dtype=np.float32) * 2 - 1)

    index = on_device(rng.integers(images, size=recipe.real_images))
    discriminator = noise(steps, batch)
    own = recipe.mutation_noise == "own"
    mutation = noise(recipe.parents, len(recipe.mutations) if own else 1, batch)
    evaluation = noise(judged)
    return StepDraws(
        index=index,
        discriminator=discriminator,
        mutation=mutation.expand(-1, len(recipe.mutations), -1, -1),
        evaluation=evaluation,
        crossover=evaluation if recipe.crossover_noise == "same" else noise(judged),
        mix=on_device(rng.random((steps, batch), dtype=np.float32)),
        shown=on_device(rng.permutation(recipe.parents * judged)[: steps * batch]),
    )
