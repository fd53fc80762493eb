"""Several seeds of one architecture trained in one pass: a channel group each, so that small networks fill a CPU.

Operations on the tiny networks of a tabulated benchmark cost a call each, whatever they compute. Grouped convolutions
make one call of S: the seeds share nothing, since every layer works a channel or a group at a time, every loss is a
sum over the seeds and Adam works a weight at a time. Each seed's training is the library's own (`UNetTask.evaluate`),
to float32 accuracy: `python benchmarks/stacked_pix2pix.py --data DIR` trains both ways and prints both.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from optevo.data.plan import Plan, batch_plan
from optevo.spaces.unet import UNetArchitecture
from optevo.tasks.unet import UNetTask, build

LEAK = 0.2
AHEAD = 20  # steps whose batches are gathered at once


@dataclass(frozen=True)
class Quality:
    """Of each seed: means per image over the validation set, shape (S,)."""

    gan: np.ndarray
    l1: np.ndarray


def stacked(layers: Sequence[nn.Module]) -> nn.Module:
    """One layer that does what S equal layers do, each on its own group of channels."""
    first, count = layers[0], len(layers)
    if isinstance(first, nn.Conv2d | nn.ConvTranspose2d):
        made: nn.Module = type(first)(
            first.in_channels * count,
            first.out_channels * count,
            kernel_size=first.kernel_size,
            stride=first.stride,
            padding=first.padding,
            bias=first.bias is not None,
            groups=count,
        )
    elif isinstance(first, nn.BatchNorm2d):
        made = nn.BatchNorm2d(first.num_features * count)
    else:
        return first
    state = {name: torch.cat([layer.state_dict()[name] for layer in layers]) for name, _ in made.named_parameters()}
    made.load_state_dict(made.state_dict() | state)
    return made


def grouped_cat(parts: Sequence[Tensor], *, count: int) -> Tensor:
    """Concatenate (B, S * C_i, H, W) within each of the S groups."""
    whole = torch.cat([part.unflatten(1, (count, -1)) for part in parts], dim=2)
    return whole.flatten(1, 2)


class StackedUNet(nn.Module):
    """S generators of one architecture: (B, S * C_in, H, W) to (B, S * C_out, H, W)."""

    def __init__(self, architecture: UNetArchitecture, generators: Sequence[nn.Module]) -> None:
        super().__init__()
        self.count, self.skips = len(generators), architecture.skips

        def blocks(side: str) -> nn.ModuleList:
            return nn.ModuleList(
                nn.Sequential(*(stacked([getattr(block, part) for block in level]) for part in ("conv", "norm")))
                for level in zip(*(getattr(generator, side) for generator in generators), strict=True)
            )

        self.encoder, self.decoder = blocks("encoder"), blocks("decoder")

    def forward(self, image: Tensor) -> Tensor:
        innermost = len(self.skips)
        x, kept = image, {}
        for level, block in enumerate(self.encoder):
            x = block(x)
            if level < innermost:
                x = F.leaky_relu(x, LEAK)
                kept[level] = x
        for level in range(innermost, -1, -1):
            if level < innermost and self.skips[level]:
                x = grouped_cat((kept[level], x), count=self.count)
            x = self.decoder[level](F.relu(x))
        return torch.tanh(x)


class Stack:
    """S seeds of one architecture in training."""

    def __init__(self, task: UNetTask, genome: dict[str, int], *, seeds: Sequence[int]) -> None:
        architecture = task.space.architecture(genome)
        if architecture.depth > 4 and task.settings.training.dropout:
            raise ValueError("dropout draws from one stream: stack only networks without it")
        models = [build(architecture, task.settings, engine=task.engine, seed=seed) for seed in seeds]
        self.task, self.seeds, self.count = task, seeds, len(seeds)
        self.generator = StackedUNet(architecture, [model.generator for model in models])
        judges = zip(*(model.discriminator.model for model in models), strict=True)
        self.discriminator = nn.Sequential(*(stacked(layers) for layers in judges))
        training = task.settings.training
        rate, betas = training.learning_rate, (training.beta1, training.beta2)
        for network in (self.generator, self.discriminator):
            task.engine.place(network)
        self.adams = [
            task.engine.adam(network.parameters(), learning_rate=rate, betas=betas)
            for network in (self.discriminator, self.generator)
        ]
        self.l1_weight = training.l1_weight

    def train(self) -> None:
        """Every seed follows its own plan to the end."""
        training = self.task.settings.training
        plans = [
            batch_plan(
                len(self.task.train),
                steps=training.steps,
                batch_size=training.batch_size,
                seed=seed,
                jitter_range=self.task.train.jitter_range,
            )
            for seed in self.seeds
        ]
        plan = Plan(*(torch.stack([getattr(one, part) for one in plans], dim=1) for part in ("index", "crop", "flip")))
        for start in range(0, training.steps, AHEAD):
            ahead = slice(start, start + AHEAD)
            index = plan.index[ahead]
            source, target = self.task.train.batch(
                index.flatten(), crop=plan.crop[ahead].flatten(0, 2), flip=plan.flip[ahead].flatten()
            )
            steps = (self._grouped(images, shape=index.shape) for images in (source, target))
            for source_step, target_step in zip(*steps, strict=True):
                self.step(source_step, target_step)

    def _grouped(self, images: Tensor, *, shape: Sequence[int]) -> Tensor:
        """(steps * S * B, C, H, W) to (steps, B, S * C, H, W)."""
        return images.unflatten(0, tuple(shape)).transpose(1, 2).flatten(2, 3).contiguous()

    def step(self, source: Tensor, target: Tensor) -> None:
        """One update of every discriminator, then one of every generator."""
        output = self.generator(source)
        self.discriminator.requires_grad_(True)
        fake = self.discriminator(grouped_cat((source, output.detach()), count=self.count))
        real = self.discriminator(grouped_cat((source, target), count=self.count))
        self._update(0, (self._bce(real, 1.0) + self._bce(fake, 0.0)) / 2)
        self.discriminator.requires_grad_(False)
        judged = self.discriminator(grouped_cat((source, output), count=self.count))
        self._update(1, self._bce(judged, 1.0) + self.l1_weight * self.count * F.l1_loss(output, target))

    def _bce(self, logits: Tensor, label: float) -> Tensor:
        """The sum over seeds of each seed's mean."""
        return self.count * F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

    def _update(self, which: int, loss: Tensor) -> None:
        self.adams[which].zero_grad(set_to_none=True)
        loss.backward()
        self.adams[which].step()

    @torch.no_grad()
    def quality(self) -> Quality:
        """Losses of each seed on the whole validation set, in eval mode."""
        self.generator.eval(), self.discriminator.eval()
        source, target = self.task.val.batch(torch.arange(len(self.task.val)))
        source, target = source.contiguous(), target.contiguous()
        output = self.generator(source.repeat(1, self.count, 1, 1))
        judged = self.discriminator(grouped_cat((source.repeat(1, self.count, 1, 1), output), count=self.count))
        gan = F.binary_cross_entropy_with_logits(judged, torch.ones_like(judged), reduction="none")
        pixel = (output - target.repeat(1, self.count, 1, 1)).abs()
        return Quality(*(self._by_seed(loss) for loss in (gan, pixel)))

    def _by_seed(self, loss: Tensor) -> np.ndarray:
        return loss.unflatten(1, (self.count, -1)).mean(dim=(0, 2, 3, 4)).double().numpy()


def evaluate(task: UNetTask, genome: dict[str, int], *, seeds: Sequence[int]) -> Quality:
    """What `UNetTask.evaluate` finds with each of the seeds."""
    with task.engine.active():
        stack = Stack(task, genome, seeds=seeds)
        stack.train()
        return stack.quality()


def main() -> None:
    """Both ways, side by side, and how long each takes."""
    import time

    from unet_table import FACADES, load_task

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, help="instead of the table's")
    arguments = parser.parse_args()
    task = load_task(arguments.data, replace(FACADES, steps=arguments.steps or FACADES.steps))
    rng = np.random.default_rng(0)
    seeds = range(8)
    for _ in range(4):
        genome = task.space.random(rng)
        started = time.perf_counter()
        together = evaluate(task, genome, seeds=seeds)
        middle = time.perf_counter()
        alone = [task.evaluate(genome, seed=seed).metrics for seed in seeds]
        ended = time.perf_counter()
        l1 = np.array([metrics["l1_val"] for metrics in alone])
        gan = np.array([metrics["gan_val"] for metrics in alone])
        print(
            f"{list(genome.values())}: L1 {l1.mean():.4f}, differs by {np.abs(together.l1 - l1).max():.1e}; "
            f"GAN {gan.mean():.3f}, by {np.abs(together.gan - gan).max():.1e}; spread over seeds {l1.std(ddof=1):.1e}; "
            f"{middle - started:.2f} s against {ended - middle:.2f} s: {(ended - middle) / (middle - started):.1f}x",
            flush=True,
        )


if __name__ == "__main__":
    main()
