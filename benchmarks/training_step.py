"""A pix2pix training step through optevo's engine against a plain eager fp32 loop with a PIL DataLoader.

    python benchmarks/training_step.py --data data/facades [--size 256 --batch 8 --steps 6 --rounds 3]

Both train pix2pix's own network on the same images, on all cores, in turn, in one process; the ratio of their median
step times is printed. Then the quality: L1 on held-out pairs after equal steps in fp32 and in the engine's precision,
over several seeds, at a small size; their difference beside the spread that the seed alone makes.

The result goes to benchmarks/results/training-step-DEVICE.json.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from recording import RESULTS, device_name, processor
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import functional as F

from optevo.data.pairs import PairFile, find_pairs, split_pairs
from optevo.data.plan import batch_plan
from optevo.data.resident import load_pairs
from optevo.networks.patchgan import PatchGAN
from optevo.networks.unet import UNetGenerator
from optevo.search.study import versions
from optevo.spaces.unet import original
from optevo.training.engine import Engine, resolve
from optevo.training.pix2pix import Pix2Pix, train
from optevo.training.validation import validate


class PlainPairs(Dataset):
    """AB images read, resized, cropped and flipped by PIL each time they are needed."""

    def __init__(self, pairs: list[PairFile], size: int) -> None:
        self.pairs, self.size, self.load = pairs, size, round(size * 286 / 256)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        both = Image.open(self.pairs[index].a).convert("RGB")
        width, height = both.size
        halves = both.crop((0, 0, width // 2, height)), both.crop((width // 2, 0, width, height))
        target, source = (F.resize(half, [self.load, self.load], F.InterpolationMode.BICUBIC) for half in halves)
        box = transforms.RandomCrop.get_params(source, (self.size, self.size))
        flip = torch.rand(()) < 0.5
        source, target = (
            F.normalize(F.to_tensor(F.hflip(crop) if flip else crop), [0.5] * 3, [0.5] * 3)
            for crop in (F.crop(source, *box), F.crop(target, *box))
        )
        return source, target


def plain_steps(pairs: list[PairFile], *, size: int, batch: int, device: torch.device) -> Iterator[float]:
    """Seconds of each step of the plain loop, loading included."""
    generator, discriminator = networks(size)
    generator, discriminator = generator.to(device), discriminator.to(device)
    g_opt = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    d_opt = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    criterion = nn.BCEWithLogitsLoss()
    loader = DataLoader(PlainPairs(pairs, size), batch, shuffle=True, drop_last=True, num_workers=min(4, cores()))
    while True:
        begun = time.perf_counter()
        for x, y in loader:
            x, y = x.to(device), y.to(device)
            fake = generator(x)
            d_opt.zero_grad()
            judged_fake, judged_real = (
                discriminator(torch.cat([x, fake.detach()], 1)),
                discriminator(torch.cat([x, y], 1)),
            )
            loss = criterion(judged_fake, torch.zeros_like(judged_fake)) + criterion(
                judged_real, torch.ones_like(judged_real)
            )
            (loss / 2).backward()
            d_opt.step()
            g_opt.zero_grad()
            judged = discriminator(torch.cat([x, fake], 1))
            (criterion(judged, torch.ones_like(judged)) + 100 * (fake - y).abs().mean()).backward()
            g_opt.step()
            settle(device)
            yield time.perf_counter() - begun
            begun = time.perf_counter()


def engine_steps(pairs: list[PairFile], engine: Engine, *, size: int, batch: int) -> Iterator[float]:
    """Seconds of each step through the engine, batching included."""
    data = load(pairs, size=size, engine=engine, jitter=True)
    model = Pix2Pix(*networks(size), engine=engine)
    plan = batch_plan(len(data), steps=10_000, batch_size=batch, seed=0, jitter_range=data.jitter_range)
    plan, advance = plan.to(data.index_device), model.stepper()
    for step in range(len(plan)):
        begun = time.perf_counter()
        advance(*data.batch(plan.index[step], crop=plan.crop[step], flip=plan.flip[step]))
        settle(engine.device)
        yield time.perf_counter() - begun


def quality(pairs: dict[str, list[PairFile]], *, precision: str, seeds: int, steps: int, device: str) -> list[float]:
    """L1 on the val split after `steps` steps at 64 pixels, one figure a seed."""
    engine = resolve(device=device, precision=precision, threads=0)
    train_set, val = (load(pairs[split], size=64, engine=engine, jitter=split == "train") for split in ("train", "val"))
    found = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        model = Pix2Pix(UNetGenerator(original(ngf=16, depth=6)), PatchGAN(6, ndf=32), engine=engine)
        plan = batch_plan(len(train_set), steps=steps, batch_size=4, seed=seed, jitter_range=train_set.jitter_range)
        train(model, train_set, plan)
        found.append(validate(model.generator, model.discriminator, val, engine=engine, batch_size=16).l1)
    return found


def networks(size: int) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    depth = min(8, size.bit_length() - 1)
    return UNetGenerator(original(depth=depth)), PatchGAN(6)


def load(pairs: list[PairFile], *, size: int, engine: Engine, jitter: bool) -> Any:
    return load_pairs(
        pairs,
        size=(size, size),
        direction="BtoA",
        input_channels=3,
        target_channels=3,
        device=engine.device,
        jitter=jitter,
    )


def settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def cores() -> int:
    return os.cpu_count() or 1


def in_turn(contestants: dict[str, Iterator[float]], *, rounds: int, steps: int) -> dict[str, list[float]]:
    """A few steps of each, in turn, so that a drift of the machine meets all alike; the first of a round is warm-up."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, stepper in contestants.items():
            times[name] += [next(stepper) for _ in range(steps + 1)][1:]
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    for name, default in (
        ("size", 256),
        ("batch", 8),
        ("steps", 6),
        ("rounds", 3),
        ("seeds", 4),
        ("quality-steps", 400),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    engine = resolve(device=arguments.device, threads=0)
    fp32 = resolve(device=arguments.device, precision="fp32", threads=0)
    pairs = split_pairs(find_pairs(arguments.data), val_fraction=0.1, test_fraction=0.0, seed=0)
    shape: dict[str, int] = {"size": arguments.size, "batch": arguments.batch}
    contestants: dict[str, Callable[[], Iterator[float]]] = {
        "plain fp32": lambda: plain_steps(pairs["train"], device=engine.device, **shape),
        "engine fp32": lambda: engine_steps(pairs["train"], fp32, **shape),
        f"engine {engine.precision}": lambda: engine_steps(pairs["train"], engine, **shape),
    }
    with engine.active():
        times = in_turn(
            {name: make() for name, make in contestants.items()}, rounds=arguments.rounds, steps=arguments.steps
        )
        l1 = {
            precision: quality(
                pairs,
                precision=precision,
                seeds=arguments.seeds,
                steps=arguments.quality_steps,
                device=arguments.device,
            )
            for precision in dict.fromkeys(("fp32", engine.precision))
        }
    medians = {name: statistics.median(values) for name, values in times.items()}
    result = {
        "what": __doc__.splitlines()[0],
        "hardware": {"processor": processor(), "cores": cores(), "device": device_name(engine.device)},
        "amx": engine.device.type == "cpu" and torch.cpu._is_amx_tile_supported(),
        "versions": versions(),
        **shape,
        "seconds_a_step": {
            name: {"median": medians[name], "min": min(values), "max": max(values)} for name, values in times.items()
        },
        "ratio_to_plain": {name: medians["plain fp32"] / median for name, median in medians.items()},
        "l1_after_equal_steps": {
            precision: {"values": values, "mean": statistics.fmean(values), "std": statistics.stdev(values)}
            for precision, values in l1.items()
        },
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"training-step-{engine.device.type}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    for name, median in medians.items():
        print(f"{name:12}  {median:.3f} s a step, {medians['plain fp32'] / median:.2f} x plain")
    for precision, values in l1.items():
        mean, spread = statistics.fmean(values), statistics.stdev(values)
        print(f"L1 in {precision}: {mean:.4f} +- {spread:.4f} over {len(values)} seeds")
    print(path)


if __name__ == "__main__":
    main()
