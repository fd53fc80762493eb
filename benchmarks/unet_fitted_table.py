"""A second benchmark, named for what it is: a MODEL of the 15-gene space, fitted to U-Nets that were really trained.

    optevo data download facades
    python benchmarks/unet_fitted_table.py --data data/facades

8 levels, channels from (4, 8, 16, 32), 7 skip bits: 8,388,608 architectures at 256 x 256 pixels, photographs to label
maps of facades. Random architectures are trained briefly, some with further seeds; a Gaussian process with a length for
every gene is fitted to the means. Its predictions, with what the process calls noise beyond the seeds' drawn for every
architecture, stand for the truth: what is learnt about samplers here holds for a smooth space of this size, not for
these networks. The trainings and the fit lie in benchmarks/tables/facades-256-fitted.npz; `sampler_quality.py` computes
the rest from them.
"""

import argparse
import json
import multiprocessing
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from unet_table import Rows

from optevo.cost.closed_form import unet_costs
from optevo.evolution.genes import CategoricalGene
from optevo.evolution.screening import features
from optevo.spaces.unet import UNetSpace, original
from optevo.tasks.settings import UNetSettings
from optevo.tasks.splits import find_splits
from optevo.tasks.unet import UNetTask, constant_loss
from optevo.training.engine import resolve

NAME = "facades-256-fitted"
TABLE = Path(__file__).parent / "tables" / f"{NAME}.npz"
SPACE = UNetSpace(channels=(4, 8, 16, 32), depth=8)
SIZE = 256
GAMMAS = (0.005, 0.01)  # With more, the price alone would explain most of the objective.
SAMPLES, SEEDS, AGAIN = 150, 3, 30  # architectures; seeds of the first AGAIN of them


def settings(data: str | Path) -> UNetSettings:
    """The specification that the samples were trained by."""
    return UNetSettings.model_validate(
        {
            "data": {"root": str(data), "direction": "AtoB", "size": SIZE, "val_images": 20},
            "space": {"channels": SPACE.channels, "depth": SPACE.depth},
            "training": {
                "steps": 120,
                "batch_size": 1,
                "learning_rate": 1e-3,
                "discriminator_channels": 8,
            },
            "engine": {"device": "cpu", "precision": "fp32", "threads": 1},
        }
    )


def samples() -> list[dict[str, int]]:
    """The architectures that are trained."""
    rng = np.random.default_rng(0)
    return [SPACE.random(rng) for _ in range(SAMPLES)]


_task: UNetTask


def start(data: str) -> None:
    """A worker's images."""
    global _task
    chosen = settings(data)
    engine = resolve(device="cpu", precision="fp32", threads=1)
    _task = UNetTask.load(chosen, find_splits(chosen, seed=0), engine=engine, loss_unit=0.0)


def train(job: tuple[int, int]) -> dict[str, Any]:
    """One architecture with one seed."""
    place, seed = job
    metrics = _task.evaluate(samples()[place], seed=seed).metrics
    return {"row": place, "seeds": [seed], "gan": [metrics["gan_val"]], "l1": [metrics["l1_val"]]}


def make(data: str, *, work: Path, workers: int) -> None:
    """Train what is missing, and write the table."""
    rows = Rows(work / "fitted-rows.jsonl")
    wanted = [(place, seed) for seed in range(SEEDS) for place in range(SAMPLES if seed == 0 else AGAIN)]
    missing = [(place, seed) for place, seed in wanted if seed not in rows.found.get(place, {})]
    with multiprocessing.get_context("spawn").Pool(workers, initializer=start, initargs=(data,)) as pool:
        for done, block in enumerate(pool.imap_unordered(train, missing), start=1):
            rows.add(block)
            if done % 20 == 0:
                print(f"{done} of {len(missing)}", flush=True)
    start(data)
    unit = constant_loss(_task.train, _task.val, l1_weight=_task.settings.training.l1_weight)
    write(rows, unit=unit)


def write(rows: Rows, *, unit: float) -> None:
    """Fit, and keep what the fit is made of."""
    losses = rows.losses(size=SAMPLES)
    l_gen = losses["gan"] + 100 * losses["l1"]
    known = genome_features([indices(genome) for genome in samples()])
    fit = fitted(known, np.nanmean(l_gen, axis=1))
    about = {
        "settings": settings("facades").model_dump(mode="json"),
        "unit": unit,
        "gammas": GAMMAS,
        "genes": [len(choices) for choices in SPACE.gene_choices.values()],
        "chromosomes": [len(names) for names in SPACE.chromosomes.values()],
        "spread": float(np.sqrt(np.nanmean(np.nanvar(l_gen[:AGAIN], axis=1, ddof=1)))),
        **fit,
    }
    TABLE.parent.mkdir(exist_ok=True)
    np.savez_compressed(TABLE, about=json.dumps(about), **losses)
    print(json.dumps({name: about[name] for name in ("spread", "lengths", "amplitude", "noise", "cross_validated")}))


def fitted(known: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Hyperparameters of the Gaussian process, and how well it predicts what it has not seen."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
    from sklearn.model_selection import KFold, cross_val_predict

    kernel = ConstantKernel(1.0) * RBF(np.full(known.shape[1], 2.0), (0.3, 30.0)) + WhiteKernel(0.3)
    with warnings.catch_warnings():
        # Of a gene that says nothing the length ends at the upper bound, with a warning each time.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = GaussianProcessRegressor(kernel, normalize_y=True).fit(known, values)
        unseen = cross_val_predict(model, known, values, cv=KFold(10, shuffle=True, random_state=0))
    found = model.kernel_
    return {
        "lengths": found.k1.k2.length_scale.round(4).tolist(),
        "amplitude": round(float(found.k1.k1.constant_value), 6),
        "noise": round(float(found.k2.noise_level), 6),
        "cross_validated": round(float(np.corrcoef(unseen, values)[0, 1]), 4),
    }


def indices(genome: dict[str, int]) -> tuple[int, ...]:
    """A genome as indices of its choices."""
    return tuple(SPACE.gene_choices[name].index(value) for name, value in genome.items())


def genome_features(genomes: Any) -> np.ndarray:
    """What the process sees: each gene in [0, 1]."""
    genes = [CategoricalGene(len(choices), ordered=True) for choices in SPACE.gene_choices.values()]
    return features(genomes, genes)


def everything(data: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Predicted quality and relative cost of all 8,388,608 architectures, and the spread of one seed."""
    about = json.loads(str(data["about"]))
    l_gen = np.nanmean(data["gan"] + 100.0 * data["l1"], axis=1)
    known = genome_features([indices(genome) for genome in samples()]) / about["lengths"]
    centre, scale = l_gen.mean(), l_gen.std()
    covariance = about["amplitude"] * _rbf(known, known) + about["noise"] * np.eye(len(known))
    weights = np.linalg.solve(covariance, (l_gen - centre) / scale)
    sizes = about["genes"]
    quality, cost = np.empty(SPACE.size, dtype=np.float32), np.empty(SPACE.size)
    whole = original(ngf=min(SPACE.channels), depth=SPACE.depth)
    reference = unet_costs(np.array([whole.channels]), np.array([whole.skips]), height=SIZE, width=SIZE).exact_macs[0]
    choices = np.array(SPACE.channels)
    for begin in range(0, SPACE.size, 1 << 16):
        rows = np.stack(np.unravel_index(np.arange(begin, min(begin + (1 << 16), SPACE.size)), sizes), axis=1)
        scaled = rows / (np.array(sizes) - 1) / about["lengths"]
        quality[begin : begin + len(rows)] = centre + scale * about["amplitude"] * _rbf(scaled, known) @ weights
        channels, skips = choices[rows[:, : SPACE.depth]], rows[:, SPACE.depth :]
        cost[begin : begin + len(rows)] = unet_costs(channels, skips, height=SIZE, width=SIZE).exact_macs / reference
    beyond_seeds = max(0.0, about["noise"] * scale**2 - about["spread"] ** 2) ** 0.5
    quality += beyond_seeds * np.random.default_rng(0).standard_normal(SPACE.size, dtype=np.float32)
    return quality, cost, about["spread"]


def _rbf(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None] - 2 * one @ other.T
    return np.exp(-0.5 * np.maximum(squares, 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/unet-table"))
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    make(arguments.data, work=arguments.work, workers=arguments.workers)


if __name__ == "__main__":
    main()
