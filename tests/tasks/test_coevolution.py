"""One individual of the co-evolution: fitness worked by hand, purity, budgets, and networks that do not fit."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_translators import small_settings, small_task, small_translators
from torch import nn
from unpaired_folder import unpaired_folder

from optevo.cost.counted import exact_macs, literature_macs, parameters
from optevo.errors import UsageError
from optevo.networks.patchgan import PatchGAN
from optevo.networks.slicing import filter_groups, mask_filters
from optevo.tasks.coevolution import CoevolutionTask, check_translators, mean_picture
from optevo.tasks.coevolution_price import price
from optevo.tasks.evaluation import OverBudgetError
from optevo.tasks.filter_tables import example_of, random_mask


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpaired_folder(tmp_path_factory.mktemp("unpaired") / "u")


@pytest.fixture(scope="module")
def task(root: Path) -> CoevolutionTask:
    return small_task(root)


def some_masks(task: CoevolutionTask, direction: str, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: random_mask(size, rng) for name, size in task.tables[direction].chromosomes.items()}


def everything(task: CoevolutionTask, direction: str) -> dict[str, np.ndarray]:
    return {name: np.ones(size, dtype=bool) for name, size in task.tables[direction].chromosomes.items()}


@pytest.mark.parametrize("direction", ["a_to_b", "b_to_a"])
def test_value_is_the_reciprocal_of_the_paper_s_fitness(root: Path, direction: str) -> None:
    """Every term from its definition, one image at a time, on masked networks instead of sliced ones."""
    task = small_task(root, fitness={"gamma": 0.3, "cycle_weight": 2.0, "cost": "exact_macs"})
    other = "b_to_a" if direction == "a_to_b" else "a_to_b"
    masks, partner = some_masks(task, direction, 1), some_masks(task, other, 2)
    found = task.evaluate(direction, masks, partner, seed=0, steps=0)

    def masked(name: str, chosen: dict[str, np.ndarray]) -> nn.Module:
        teacher = getattr(task.teachers, name)
        groups = filter_groups(teacher, example_of(3, (16, 16)))
        return mask_filters(teacher, task.tables[name].expand(chosen), groups=groups).eval()

    teacher, small, back = getattr(task.teachers, direction).eval(), masked(direction, masks), masked(other, partner)
    judge = task.teachers.judge_b if direction == "a_to_b" else task.teachers.judge_a
    images, trained = (task.val.a, task.train) if direction == "a_to_b" else (task.val.b, task.train)
    here, there = (trained.a, trained.b) if direction == "a_to_b" else (trained.b, trained.a)
    sums = np.zeros(4)
    with torch.no_grad():
        mean_here, mean_there = (one.batch(torch.arange(len(one))).mean(0, keepdim=True) for one in (here, there))
        for at in range(len(images)):
            x = images.batch(torch.tensor([at]))
            truth = judge(teacher(x))
            sums += [
                ((judge(small(x)) - truth) ** 2).mean().item(),
                ((back(small(x)) - x) ** 2).mean().item(),
                ((judge(mean_there) - truth) ** 2).mean().item(),
                ((mean_here - x) ** 2).mean().item(),
            ]
    l_dis, l_cyc, unit_dis, unit_cyc = sums / len(images)
    assert found.metrics["l_dis"] == pytest.approx(l_dis, rel=1e-3)
    assert found.metrics["l_cyc"] == pytest.approx(l_cyc, rel=1e-3)
    left = exact_macs(getattr(found.model, direction), 1, 3, 16, 16) / exact_macs(teacher, 1, 3, 16, 16)
    assert found.value == pytest.approx(left + 0.3 * (l_dis / unit_dis + 2.0 * l_cyc / unit_cyc), rel=1e-3)
    raw = small_task(root, fitness={"gamma": 0.3, "cycle_weight": 2.0, "cost": "exact_macs", "unit": "raw"})
    assert raw.evaluate(direction, masks, partner, seed=0, steps=0).value == pytest.approx(
        left + 0.3 * (l_dis + 2.0 * l_cyc), rel=1e-3
    )


def test_the_teacher_itself_has_no_discriminator_loss(task: CoevolutionTask) -> None:
    found = task.evaluate("a_to_b", everything(task, "a_to_b"), None, seed=0)
    assert found.metrics["l_dis"] == pytest.approx(0, abs=1e-9)
    assert found.metrics["share"] == 1
    assert found.metrics["l_cyc"] > 0


def test_means_do_not_depend_on_the_number_of_validation_images(root: Path) -> None:
    task = small_task(root)
    masks = some_masks(task, "a_to_b", 0)
    one = task.evaluate("a_to_b", masks, None, seed=0)
    twice = replace(task.val.a, images=task.val.a.images.repeat(7, 1, 1, 1), names=task.val.a.names * 7)
    task.val = replace(task.val, a=twice)
    task._verdicts.clear()
    task._units.clear()
    again = task.evaluate("a_to_b", masks, None, seed=0)
    assert again.value == pytest.approx(one.value, rel=1e-5)
    assert len(task.val.a) == 21  # more than one batch


def test_the_counts_are_those_of_the_network_really_sliced(task: CoevolutionTask) -> None:
    masks = some_masks(task, "b_to_a", 4)
    found = task.evaluate("b_to_a", masks, None, seed=0)
    small = found.model.b_to_a
    for name, mask in task.tables["b_to_a"].expand(masks).items():
        assert dict(small.named_modules())[name].out_channels == mask.sum()
    shape = (1, 3, 16, 16)
    assert found.metrics["parameters"] == parameters(small)
    assert found.metrics["exact_macs"] == exact_macs(small, *shape)
    assert found.metrics["literature_macs"] == literature_macs(small, *shape)
    table, fitness = task.tables["b_to_a"], task.settings.fitness
    assert found.metrics["share"] == price(table.kept(masks), table, fitness)


def test_an_evaluation_is_a_pure_function_of_its_arguments(task: CoevolutionTask) -> None:
    masks, partner = some_masks(task, "a_to_b", 1), some_masks(task, "b_to_a", 2)
    before = copy.deepcopy([module.state_dict() for _, module in task.teachers.named()])
    first = task.evaluate("a_to_b", masks, partner, seed=1)
    torch.rand(7)  # Whatever else draws from torch's generator changes nothing.
    again, other = (task.evaluate("a_to_b", masks, partner, seed=seed) for seed in (1, 2))
    assert first.value == again.value
    assert dict(first.metrics) == dict(again.metrics)
    assert first.value != other.value
    after = [module.state_dict() for _, module in task.teachers.named()]
    for one, two in zip(before, after, strict=True):
        assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_generation_0_has_its_own_number_of_steps_and_the_whole_teacher_for_a_partner(root: Path) -> None:
    task = small_task(root, training={"steps": 3, "first_steps": 1})
    masks, partner, counted = some_masks(task, "a_to_b", 1), some_masks(task, "b_to_a", 2), []
    for partner_masks, steps in ((None, None), (partner, None), (partner, 2), (partner, 0)):
        seen: list[int] = []
        found = task.evaluate("a_to_b", masks, partner_masks, seed=1, steps=steps, on_step=seen.append)
        counted.append(len(seen))
        assert ("cycle_a" in found.metrics) == bool(seen)
        whole = parameters(found.model.b_to_a) == parameters(task.teachers.b_to_a)
        assert whole == (partner_masks is None)
    assert counted == [1, 3, 2, 0]


def test_training_moves_both_translators_and_both_discriminators(task: CoevolutionTask) -> None:
    masks, partner = some_masks(task, "a_to_b", 1), some_masks(task, "b_to_a", 2)
    still, moved = (task.evaluate("a_to_b", masks, partner, seed=1, steps=steps).model for steps in (0, 2))
    for name in ("a_to_b", "b_to_a", "judge_a", "judge_b"):
        pairs = zip(getattr(still, name).parameters(), getattr(moved, name).parameters(), strict=True)
        assert any(not torch.equal(one, other) for one, other in pairs), name


def test_an_individual_over_budget_is_never_built(root: Path) -> None:
    task = small_task(root)
    masks = some_masks(task, "a_to_b", 1)
    count = int(task.evaluate("a_to_b", masks, None, seed=1).metrics["parameters"])
    tight = small_task(root, fitness={"max_parameters": count - 1})
    with pytest.raises(OverBudgetError, match=r"exceeds fitness\.max_parameters"):
        tight.evaluate("a_to_b", masks, None, seed=1)
    assert small_task(root, fitness={"max_parameters": count}).evaluate("a_to_b", masks, None, seed=1).value > 0
    with pytest.raises(OverBudgetError, match=r"exceeds fitness\.max_macs"):
        small_task(root, fitness={"max_macs": 1}).evaluate("a_to_b", masks, None, seed=1)


def test_masks_that_are_not_this_network_s(task: CoevolutionTask) -> None:
    masks = some_masks(task, "a_to_b", 1)
    for wrong, says in (
        ({"nobody": np.ones(4, dtype=bool)}, "mask nobody: no such chromosome"),
        ({"model.1": np.ones(5, dtype=bool)}, "mask model.1: has 5 bits, but the chromosome has 4"),
        ({"model.1": np.zeros(4, dtype=bool)}, "mask model.1: no filter is left"),
    ):
        with pytest.raises(UsageError, match=says):
            task.evaluate("a_to_b", {**masks, **wrong}, None, seed=0)


def test_grey_on_one_side_and_rectangles(tmp_path: Path) -> None:
    task = small_task(tmp_path / "u", data={"channels_a": 1, "size": [16, 24]}, training={"identity_weight": 0})
    for direction in ("a_to_b", "b_to_a"):
        assert np.isfinite(task.evaluate(direction, some_masks(task, direction, 0), None, seed=0, steps=1).value)


def test_networks_that_do_not_fit_are_named(root: Path) -> None:
    teachers, settings = small_translators(), small_settings(root)
    with pytest.raises(UsageError, match=r"teachers: judge_b does not take images of \(3, 16, 16\)"):
        check_translators(replace(teachers, judge_b=PatchGAN(6, ndf=4, layers=2, norm="instance")), settings)
    with pytest.raises(UsageError, match=r"teachers: judge_a does not take images of .* needs at least 24 pixels"):
        check_translators(replace(teachers, judge_a=PatchGAN(3, ndf=4, layers=3, norm="instance")), settings)
    with pytest.raises(UsageError, match=r"teachers: a_to_b gives images of \(3, 16, 16\), not \(1, 16, 16\)"):
        check_translators(teachers, small_settings(root, data={"channels_b": 1}, training={"identity_weight": 0}))


def test_a_discriminator_that_tells_nothing_is_refused(root: Path) -> None:
    teachers = small_translators()
    with torch.no_grad():
        for parameter in teachers.judge_b.parameters():
            parameter.zero_()
    task = small_task(root, teachers=teachers)
    with pytest.raises(UsageError, match="judges the mean picture as it does all translations"):
        task.evaluate("a_to_b", some_masks(task, "a_to_b", 0), None, seed=0)


def test_the_mean_picture(task: CoevolutionTask) -> None:
    pixels = task.train.a.images.double().mean(0)[1:17, 1:17] / 127.5 - 1
    torch.testing.assert_close(mean_picture(task.train.a)[0].double(), pixels.permute(2, 0, 1), atol=1e-5, rtol=0)
