"""Tabulated benchmarks: every one of 2,048 small U-Nets, really trained on real images, with several seeds.

    optevo data download facades
    python benchmarks/unet_table.py --data data/facades
    python benchmarks/unet_table.py --table cifar10-colour-32 --data cifar10.npz

4 levels, channels from (4, 8, 16, 32), 3 skip bits, at 32 x 32 pixels. facades-32 turns photographs of facades into
label maps. cifar10-colour-32 colours grey photographs of CIFAR-10, which may be given in any form that `optevo study
create` takes for a collection of images; samplers were developed on the former, and are tried on the latter.

Every architecture is trained with the same seeds; those near the top get more, a block at a time, until the standard
error of a mean is at most a quarter of the span of the best 0.5 %, or `--most` seeds are spent. Who is near the top of
one half of the seeds alone gets more, too: samplers search on one half and are judged by the other. So do, to a lesser
degree, those who are nearly as good there. What a seed does to all architectures alike (the same batches in the same
order) is taken out first: it would only blur who is best. What is done lies in `--work`, and in benchmarks/tables once
it is written, and is taken up again after an interruption. `--write` writes the table as it is, and says how sure its
top is.
"""

import argparse
import itertools
import json
import math
import multiprocessing
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from recording import keep, kept
from stacked_pix2pix import evaluate

from optevo.cost.closed_form import unet_cost
from optevo.data.collection import load_collection
from optevo.data.collection_files import find_collection
from optevo.spaces.unet import UNetSpace, original
from optevo.tasks.settings import UNetSettings
from optevo.tasks.splits import find_splits
from optevo.tasks.unet import UNetTask, constant_loss
from optevo.training.engine import resolve

TABLES = Path(__file__).parent / "tables"
SPACE = UNetSpace(channels=(4, 8, 16, 32), depth=4)
SIZE = 32
FIRST, MORE = 4, 16  # seeds trained together: of every architecture, and then of those near the top
TOP = 0.005
NEAR = 0.02  # who looks as good as that on one half of the seeds is what a short search ends with,
KNOWN = 64  # and has so many seeds, or two lucky ones would be the regret that is measured.
DOUBT = 1.5  # standard errors that a row may be better than it looks
ROUND = 256  # rows that get more seeds before all are looked at again


@dataclass(frozen=True)
class Recipe:
    """What a table is made by.

    Attributes:
        data: What its images are called in the table.
        steps, learning_rate: Of a training.
        gammas: Weights of the cost against L_Gen, in units of `constant_loss` over the original network's exact MACs.
        photographs: How many images of a collection become pairs; 0 where the data are pairs.
    """

    data: str
    steps: int
    learning_rate: float
    gammas: tuple[float, ...]
    photographs: int = 0


RECIPES: Mapping[str, Recipe] = {
    "facades-32": Recipe(data="facades", steps=120, learning_rate=1e-3, gammas=(0.008, 0.01)),
    "cifar10-colour-32": Recipe(data="cifar10", steps=60, learning_rate=2e-3, gammas=(0.03, 0.05), photographs=500),
}
FACADES = RECIPES["facades-32"]


def settings(data: str | Path, recipe: Recipe) -> UNetSettings:
    """The specification that every entry of a table was trained by."""
    return UNetSettings.model_validate(
        {
            "data": {"root": str(data), "direction": "AtoB", "size": SIZE},
            "space": {"channels": SPACE.channels, "depth": SPACE.depth},
            "training": {
                "steps": recipe.steps,
                "batch_size": 4,
                "learning_rate": recipe.learning_rate,
                "discriminator_channels": 8,
                "discriminator_layers": 2,
            },
            "engine": {"device": "cpu", "precision": "fp32", "threads": 1},
        }
    )


def colour_pairs(data: Path, *, count: int, folder: Path) -> Path:
    """A folder of AB images, made of photographs: grey as A, as they are as B; every fifth is for validation."""
    photographs = load_collection(
        find_collection(data), size=SIZE, channels=3, device=torch.device("cpu"), most=count
    ).images
    for at, photograph in enumerate(photographs):
        colours = Image.fromarray(photograph.numpy())
        pair = Image.new("RGB", (2 * SIZE, SIZE))
        pair.paste(colours.convert("L").convert("RGB"), (0, 0))
        pair.paste(colours, (SIZE, 0))
        file = folder / ("val" if at % 5 == 4 else "train") / f"{at}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pair.save(file)
    return folder


def load_task(data: str | Path, recipe: Recipe) -> UNetTask:
    """The images, decoded."""
    chosen = settings(data, recipe)
    engine = resolve(device="cpu", precision="fp32", threads=1)
    return UNetTask.load(chosen, find_splits(chosen, seed=0), engine=engine, loss_unit=0.0)


def genomes() -> list[dict[str, int]]:
    """All of the space, in the order of the table's rows."""
    names = list(SPACE.gene_choices)
    grids = np.meshgrid(*(range(len(choices)) for choices in SPACE.gene_choices.values()), indexing="ij")
    rows = np.stack([grid.ravel() for grid in grids], axis=1)
    return [
        {name: SPACE.gene_choices[name][int(index)] for name, index in zip(names, row, strict=True)} for row in rows
    ]


@dataclass
class Rows:
    """What was trained, by row and seed; a file's line a block, so that a killed run loses only what it was at."""

    file: Path
    found: dict[int, dict[int, tuple[float, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for block in kept(self.file):
            self._take(block)

    def adopt(self, table: Path) -> None:
        """Take what a table holds already, so that another machine goes on where this one stopped."""
        with np.load(table) as data:
            gan, l1 = data["gan"], data["l1"]
        for row in range(len(l1)):
            known = self.found.setdefault(row, {})
            for seed in np.flatnonzero(np.isfinite(l1[row])).tolist():
                known.setdefault(seed, (float(gan[row, seed]), float(l1[row, seed])))

    def add(self, block: dict[str, Any]) -> None:
        """Keep a block's results."""
        keep(self.file, block)
        self._take(block)

    def seeds(self, row: int) -> int:
        """How many seeds a row has."""
        return len(self.found.get(row, ()))

    def next_seeds(self, row: int, count: int) -> list[int]:
        """The first `count` seeds that a row has not."""
        known = self.found.get(row, {})
        return list(itertools.islice((seed for seed in itertools.count() if seed not in known), count))

    def _take(self, block: dict[str, Any]) -> None:
        known = self.found.setdefault(block["row"], {})
        known.update(
            {seed: pair for seed, *pair in zip(block["seeds"], block["gan"], block["l1"], strict=True)}  # type: ignore[misc]
        )

    def losses(self, *, size: int = SPACE.size) -> dict[str, np.ndarray]:
        """`gan` and `l1` of shape (size, most seeds), NaN where a row has fewer."""
        most = max((1 + max(known) for known in self.found.values() if known), default=0)
        arrays = {name: np.full((size, most), np.nan, dtype=np.float32) for name in ("gan", "l1")}
        for row, known in self.found.items():
            for seed, (gan, l1) in known.items():
                arrays["gan"][row, seed], arrays["l1"][row, seed] = gan, l1
        return arrays


def macs() -> np.ndarray:
    """Exact MACs of every row over the original network's."""
    return cost_columns()["exact_macs"] / unet_cost(original(ngf=4, depth=4), height=SIZE, width=SIZE).exact_macs


def cost_columns() -> dict[str, np.ndarray]:
    """Parameters and MACs of every row."""
    costs = [unet_cost(SPACE.architecture(genome), height=SIZE, width=SIZE) for genome in genomes()]
    return {key: np.array([getattr(cost, key) for cost in costs]) for key in asdict(costs[0])}


def without_seed_effects(losses: np.ndarray) -> np.ndarray:
    """Losses of shape (rows, seeds), NaN where not trained, less each seed's own effect; those of all seeds add to 0.

    A row's seeds are its first ones, and rows have different numbers of them: a lucky seed would favour those who have
    it. Row means and seed effects are fitted to what is known, in turn, by least squares.
    """
    effects = np.zeros(losses.shape[1])
    for _ in range(100):
        means = np.nanmean(losses - effects, axis=1)
        better = np.nanmean(losses - means[:, None], axis=0)
        better -= better.mean()
        if np.allclose(better, effects, rtol=0, atol=1e-6):
            break
        effects = better
    return losses - effects


def l_gen_of(losses: Mapping[str, np.ndarray]) -> np.ndarray:
    """L_Gen of a table's `gan` and `l1`, shape (rows, seeds)."""
    return (losses["gan"] + 100.0 * losses["l1"]).astype(np.float64)


@dataclass(frozen=True)
class Sureness:
    """How well a table knows its top for one gamma, all in units of L_Gen.

    Attributes:
        span: From the best to the last of the best 0.5 %.
        errors: Of the means, shape (rows,).
        value: The objective, shape (rows,).
        last: Value of the last of the best 0.5 %.
    """

    span: float
    errors: np.ndarray
    value: np.ndarray
    last: float

    @property
    def at_top(self) -> float:
        """The largest error among the best 0.5 %."""
        return float(self.errors[self.value <= self.last].max())


def sureness(l_gen: np.ndarray, *, gamma: float, unit: float) -> Sureness:
    """Of losses of shape (rows, seeds), without seed effects."""
    count = np.isfinite(l_gen).sum(axis=1)
    pooled = np.sqrt(np.nanmean(np.nanvar(l_gen, axis=1, ddof=1)))  # a seed's spread, over all architectures
    spread = np.where(count >= 12, np.nanstd(l_gen, axis=1, ddof=1), pooled)
    value = np.nanmean(l_gen, axis=1) + gamma * unit * macs()
    best = np.sort(value)[: round(TOP * SPACE.size)]
    return Sureness(float(best[-1] - best[0]), spread / np.sqrt(count), value, float(best[-1]))


def wanting(rows: Rows, *, gammas: Sequence[float], unit: float, most: int) -> dict[int, int]:
    """Rows near the top of either objective whose mean is not yet sure enough, and how many more seeds would do."""
    l_gen = without_seed_effects(l_gen_of(rows.losses()))
    wanted: dict[int, int] = {}
    for gamma in gammas:
        found = sureness(l_gen, gamma=gamma, unit=unit)
        # What lies clearly behind the best 0.5 % need not be known better. What does not may look best by luck, and a
        # search that sees one half of the seeds would fall for it.
        hope = found.value - DOUBT * found.errors
        unsure = (found.errors > found.span / 4) & (hope < found.last)
        chosen = {int(row) for row in np.argsort(hope)[:ROUND] if unsure[row]}
        # With half the seeds, an error is larger by the root of 2.
        for half in (l_gen[:, ::2], l_gen[:, 1::2]):
            part = sureness(half, gamma=gamma, unit=unit)
            lucky = (part.value <= part.last) & (part.errors > found.span / 4 * 2**0.5)
            chosen |= set(np.flatnonzero(lucky).tolist())
            near = part.value <= np.sort(part.value)[round(NEAR * SPACE.size)]
            for row in np.flatnonzero(near).tolist():
                if rows.seeds(row) < KNOWN:
                    wanted[row] = max(wanted.get(row, 1), KNOWN - rows.seeds(row))
        for row in chosen:
            lacking = rows.seeds(row) * ((found.errors[row] / (found.span / 4)) ** 2 - 1)
            wanted[row] = max(wanted.get(row, 1), math.ceil(lacking))
    return {row: min(wanted[row], most - rows.seeds(row)) for row in sorted(wanted) if rows.seeds(row) < most}


def plan(rows: Rows, *, gammas: Sequence[float], unit: float, most: int) -> list[tuple[int, list[int]]]:
    """The next blocks: every row's first seeds, then more for the top; empty when the table is done."""
    shuffled = np.random.default_rng(0).permutation(SPACE.size)
    missing = [(int(row), list(range(FIRST))) for row in shuffled if rows.seeds(int(row)) < FIRST]
    if missing:
        return missing
    # The span shrinks as luck leaves the top, so that all is looked at again when half of what is lacking is there; and
    # so it is when a row has half as many seeds again, since most that look near the top are lucky.
    blocks = {
        row: max(1, min(lacking, rows.seeds(row)) // (2 * MORE))
        for row, lacking in wanting(rows, gammas=gammas, unit=unit, most=most).items()
    }
    seeds = {row: rows.next_seeds(row, count * MORE) for row, count in blocks.items()}
    return [(row, mine[at : at + MORE]) for row, mine in seeds.items() for at in range(0, len(mine), MORE)]


_task: UNetTask


def start(data: Path, recipe: Recipe) -> None:
    """A worker's images."""
    global _task
    _task = load_task(data, recipe)


def train(job: tuple[int, list[int]]) -> dict[str, Any]:
    """A block: one row, several seeds."""
    row, seeds = job
    quality = evaluate(_task, genomes()[row], seeds=seeds)
    return {"row": row, "seeds": seeds, "gan": quality.gan.tolist(), "l1": quality.l1.tolist()}


def make(name: str, data: Path, *, work: Path, workers: int, most: int) -> None:
    """Train until the table is done, and write it."""
    recipe, table = RECIPES[name], TABLES / f"{name}.npz"
    if recipe.photographs:
        data = colour_pairs(data, count=recipe.photographs, folder=work / name)
    task = load_task(data, recipe)
    unit = constant_loss(task.train, task.val, l1_weight=task.settings.training.l1_weight)
    rows = Rows(work / f"{name}.jsonl")
    if table.exists():
        rows.adopt(table)
    with multiprocessing.get_context("spawn").Pool(workers, initializer=start, initargs=(data, recipe)) as pool:
        while jobs := plan(rows, gammas=recipe.gammas, unit=unit, most=most):
            print(f"{len(jobs):,} blocks of {len(jobs[0][1])} seeds", flush=True)
            for done, block in enumerate(pool.imap_unordered(train, jobs), start=1):
                rows.add(block)
                if done % 100 == 0:
                    print(f"{done:,} of {len(jobs):,}", flush=True)
    write(rows, recipe, table=table, unit=unit)


def write(rows: Rows, recipe: Recipe, *, table: Path, unit: float) -> None:
    """The table, and by what it was made."""
    about = {
        "settings": settings(recipe.data, recipe).model_dump(mode="json"),
        "unit": unit,
        "genes": [len(choices) for choices in SPACE.gene_choices.values()],
        "chromosomes": [len(names) for names in SPACE.chromosomes.values()],
        "original_macs": unet_cost(original(ngf=4, depth=4), height=SIZE, width=SIZE).exact_macs,
        "gammas": recipe.gammas,
        # Not all need have been trained there: machines differ by rounding, seeds by far more.
        "written_by": {
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
        },
    }
    table.parent.mkdir(exist_ok=True)
    losses = rows.losses()
    np.savez_compressed(table, about=json.dumps(about), **losses, **cost_columns())
    print(f"{table}: {np.isfinite(losses['l1']).sum():,} trainings, {table.stat().st_size / 1024:,.0f} KiB")
    l_gen = without_seed_effects(l_gen_of(losses))
    for gamma in recipe.gammas:
        found = sureness(l_gen, gamma=gamma, unit=unit)
        print(f"gamma {gamma}: the best 0.5 % span {found.span:.3f}, their standard errors reach {found.at_top:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="facades-32", choices=list(RECIPES))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/unet-table"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="train nothing more")
    parser.add_argument("--most", type=int, default=2000, help="seeds of one architecture at most")
    arguments = parser.parse_args()
    most = 0 if arguments.write else arguments.most
    make(arguments.table, arguments.data, work=arguments.work, workers=arguments.workers, most=most)


if __name__ == "__main__":
    main()
