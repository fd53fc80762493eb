"""The task of one individual: fitness worked by hand, budgets, and every shape and colour of image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_study import tiny_document

from optevo.data.drawn import draw_facades
from optevo.search.spec import Spec, parse_spec
from optevo.tasks.fitness import cost_of, original_of, over_budget, price, space_of
from optevo.tasks.splits import find_splits
from optevo.tasks.unet import OverBudgetError, UNetTask, constant_loss, load_split
from optevo.training.engine import resolve

CPU = resolve(device="cpu", precision="fp32")
GENOME = {"c1_1": 3, "c1_2": 2, "c1_3": 4, "c2_1": 1, "c2_2": 0}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_facades(tmp_path_factory.mktemp("pairs") / "p", count=8, val=3, test=2, size=(32, 64), seed=3)


def spec(root: Path, **tables: dict) -> Spec:
    document = tiny_document(root)
    for table, values in tables.items():
        document[table] = {**document.get(table, {}), **values}
    return parse_spec(document, source="tests")


def task(made: Spec, *, loss_unit: float = 30.0) -> UNetTask:
    return UNetTask.load(made, find_splits(made, seed=made.seed), engine=CPU, loss_unit=loss_unit)


def test_value_is_the_reciprocal_of_the_paper_s_fitness(root: Path):
    made = spec(root, fitness={"gamma": 0.2})
    found = task(made).evaluate(GENOME, seed=1)
    metrics = found.metrics
    architecture = space_of(made).architecture(GENOME)
    share = cost_of(architecture, made).exact_macs / cost_of(original_of(made), made).exact_macs
    assert metrics["l_gen"] == pytest.approx(metrics["gan_val"] + 100 * metrics["l1_val"], rel=1e-12)
    assert found.value == pytest.approx(metrics["l_gen"] + 0.2 * 30.0 * share, rel=1e-12)
    assert metrics["exact_macs"] == cost_of(architecture, made).exact_macs


@pytest.mark.parametrize("kind", ["exact_macs", "literature_macs", "parameters"])
def test_the_paper_s_unit_is_millions(root: Path, kind: str):
    made = spec(root, fitness={"gamma": 0.01, "cost": kind, "unit": "millions"})
    cost = cost_of(original_of(made), made)
    assert price(cost, made, loss_unit=float("nan")) == pytest.approx(0.01 * getattr(cost, kind) / 1e6)
    relative = spec(root, fitness={"gamma": 0.01, "cost": kind})
    assert price(cost, relative, loss_unit=30.0) == pytest.approx(0.3)


def test_the_original_of_the_paper_s_space_is_pix2pix_s():
    made = parse_spec({"data": {"root": "x"}}, source="tests")
    cost = cost_of(original_of(made), made)
    assert (round(cost.parameters / 1e6, 3), round(cost.exact_macs / 1e6, 1)) == (54.414, 6048.2)


def test_the_unit_of_gamma_is_what_the_best_constant_picture_loses(root: Path):
    made = spec(root)
    splits = find_splits(made, seed=0)
    train, val = (load_split(pairs, made, device=CPU.device, jitter=False) for pairs in (splits.train, splits.val))
    pictures = [
        np.stack([p.astype(np.float64) / 127.5 - 1 for p in each.targets.images.numpy()]) for each in (train, val)
    ]
    # torch's median of an even number of values is the lower of the two in the middle.
    constant = np.sort(pictures[0], axis=0)[(len(pictures[0]) - 1) // 2]
    expected = 100 * np.abs(pictures[1] - constant).mean()
    assert constant_loss(train, val, l1_weight=100.0) == pytest.approx(expected, rel=1e-5)


def test_an_individual_over_budget_is_never_trained(root: Path):
    made = spec(root)
    count = cost_of(space_of(made).architecture(GENOME), made).parameters
    tight = spec(root, fitness={"max_parameters": count - 1})
    steps: list[int] = []
    with pytest.raises(OverBudgetError, match="max_parameters"):
        task(tight).evaluate(GENOME, seed=1, on_step=steps.append)
    assert steps == []
    exact = spec(root, fitness={"max_parameters": count, "max_macs": 10**9})
    assert over_budget(cost_of(space_of(made).architecture(GENOME), made), exact) is None


@pytest.mark.parametrize("mode", ["eval", "pix2pix"])
@pytest.mark.parametrize(
    "data",
    [
        {"size": [32, 64]},
        {"size": [64, 32], "direction": "AtoB"},
        {"size": 32, "input_channels": 1, "target_channels": 3},
        {"size": 40, "input_channels": 3, "target_channels": 1},
    ],
)
def test_rectangles_grey_and_rgb_in_both_directions(root: Path, data: dict, mode: str):
    made = spec(root, data=data, fitness={"mode": mode})
    found = task(made).evaluate(GENOME, seed=1)
    assert np.isfinite(found.value)
    architecture = found.model.generator.architecture
    assert (architecture.input_channels, architecture.output_channels) == (
        data.get("input_channels", 3),
        data.get("target_channels", 3),
    )


def test_grey_files_are_read_as_rgb_and_the_other_way(tmp_path: Path):
    for split, count in (("train", 3), ("val", 1)):
        for number in range(count):
            path = tmp_path / "grey" / split / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (32, 64), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    for channels in (1, 3):
        made = spec(tmp_path / "grey", data={"input_channels": channels, "target_channels": channels})
        assert np.isfinite(task(made).evaluate(GENOME, seed=1).value)


def test_an_evaluation_is_a_pure_function_of_genome_and_seed(root: Path):
    evaluator = task(spec(root))
    first = evaluator.evaluate(GENOME, seed=1)
    torch.rand(7)  # Whatever else draws from torch's generator changes nothing.
    again, other = evaluator.evaluate(GENOME, seed=1), evaluator.evaluate(GENOME, seed=2)
    assert first.value == again.value
    assert first.value != other.value


def test_a_val_split_cut_out_of_train_goes_back_for_the_fine_tuning(tmp_path: Path):
    folder = draw_facades(tmp_path / "p", count=10, val=0, test=2, size=(32, 32), seed=0)
    made = spec(folder, data={"val_fraction": 0.3, "train_images": 4})
    splits = find_splits(made, seed=0)
    assert (len(splits.train), len(splits.val), len(splits.test), len(splits.whole)) == (4, 3, 2, 10)
    assert not {p.name for p in splits.train} & {p.name for p in splits.val}
    given = draw_facades(tmp_path / "q", count=10, val=3, test=2, size=(32, 32), seed=0)
    assert len(find_splits(spec(given), seed=0).whole) == 10
