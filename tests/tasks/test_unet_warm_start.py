"""An individual that learns from its parents first: a pure function of them, at equal total steps."""

from pathlib import Path

import pytest
import torch
from tiny_study import tiny_document

from optevo.data.drawn import draw_facades
from optevo.errors import UsageError
from optevo.search.spec import Spec, parse_spec
from optevo.tasks.splits import find_splits
from optevo.tasks.unet import Heir, UNetTask
from optevo.training.engine import resolve
from optevo.training.warm_start import networks_to_bytes

CPU = resolve(device="cpu", precision="fp32")
MOTHER = {"c1_1": 3, "c1_2": 2, "c1_3": 4, "c2_1": 1, "c2_2": 0}
FATHER = {"c1_1": 2, "c1_2": 4, "c1_3": 4, "c2_1": 0, "c2_2": 1}
CHILD = {"c1_1": 3, "c1_2": 2, "c1_3": 4, "c2_1": 0, "c2_2": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_facades(tmp_path_factory.mktemp("pairs") / "p", count=8, val=3, test=2, size=(32, 32), seed=3)


def spec(root: Path, **training) -> Spec:
    document = tiny_document(root)
    document["training"] |= {"steps": 8, **training}
    return parse_spec(document, source="tests")


def task(made: Spec) -> UNetTask:
    return UNetTask.load(made, find_splits(made, seed=made.seed), engine=CPU, loss_unit=30.0)


@pytest.fixture(scope="module")
def parents(root: Path) -> list[tuple[dict[str, int], bytes]]:
    plain = task(spec(root))
    found = [plain.evaluate(params, seed=seed) for seed, params in enumerate((MOTHER, FATHER), start=1)]
    return [(params, networks_to_bytes(each.model)) for params, each in zip((MOTHER, FATHER), found, strict=True)]


def test_an_heir_is_a_pure_function_of_its_parents_and_its_seed(root: Path, parents: list):
    learning = task(spec(root, warm_start="distill", warm_start_steps=3))
    first = learning.evaluate(Heir(CHILD, tuple(parents)), seed=5)
    torch.rand(7)  # Whatever else draws from torch's generator changes nothing.
    again = learning.evaluate(Heir(CHILD, tuple(parents)), seed=5)
    assert first.value == again.value
    assert networks_to_bytes(first.model) == networks_to_bytes(again.model)
    swapped = learning.evaluate(Heir(CHILD, tuple(parents[::-1])), seed=5)
    other = learning.evaluate(Heir(CHILD, tuple(parents)), seed=6)
    plain = learning.evaluate(CHILD, seed=5)
    assert len({first.value, swapped.value, other.value, plain.value}) == 4
    shares = first.metrics["taught_by_fitter"], first.metrics["taught_by_other"]
    assert sum(shares) == pytest.approx(1.0)
    # Swapped parents teach the same pictures: the critics judge alike, whoever is called the fitter.
    assert (swapped.metrics["taught_by_other"], swapped.metrics["taught_by_fitter"]) == shares
    assert "taught_by_fitter" not in plain.metrics


@pytest.mark.parametrize("kind", ["inherit", "distill"])
def test_an_heir_takes_as_many_steps_as_anybody(root: Path, parents: list, kind: str):
    heir = Heir(CHILD, tuple(parents[: 1 if kind == "inherit" else 2]))
    seen: list[int] = []
    task(spec(root, warm_start=kind)).evaluate(heir, seed=5, on_step=seen.append)
    assert seen == list(range(1, 9))


def test_without_parents_nothing_changes(root: Path):
    values = {
        task(spec(root, warm_start=kind)).evaluate(individual, seed=5).value
        for kind in ("none", "inherit", "distill")
        for individual in (CHILD, Heir(CHILD, ()))
    }
    assert len(values) == 1


def test_what_is_learned_is_the_parents_own(root: Path, parents: list):
    """At a learning rate of next to nothing, what an heir ends with is what it began with."""
    still = {"learning_rate": 1e-30}
    inherited = task(spec(root, warm_start="inherit", **still)).evaluate(Heir(CHILD, (parents[0],)), seed=5)
    plain = task(spec(root, **still)).evaluate(CHILD, seed=5)
    mother = task(spec(root)).evaluate(MOTHER, seed=1)
    weight = "encoder.1.conv.weight"  # The child has its mother's encoder.
    assert torch.equal(inherited.model.generator.state_dict()[weight], mother.model.generator.state_dict()[weight])
    assert 0 < inherited.metrics["inherited"] < 1
    # With other skips, decoder.0 reads more or fewer channels than the mother's; it is what the seed makes it.
    weight = "decoder.0.conv.weight"
    assert torch.equal(inherited.model.generator.state_dict()[weight], plain.model.generator.state_dict()[weight])
    assert not torch.equal(mother.model.generator.state_dict()[weight], plain.model.generator.state_dict()[weight])
    for name, value in inherited.model.discriminator.named_parameters():
        assert torch.equal(value, mother.model.discriminator.get_parameter(name)), name
    # A child that is taught begins as its seed makes it, but for the discriminator.
    taught = task(spec(root, warm_start="distill", **still)).evaluate(Heir(CHILD, tuple(parents)), seed=5)
    for name, value in taught.model.generator.named_parameters():
        assert torch.allclose(value, plain.model.generator.get_parameter(name), rtol=0, atol=1e-20), name
    for name, value in taught.model.discriminator.named_parameters():
        assert torch.equal(value, mother.model.discriminator.get_parameter(name)), name


@pytest.mark.parametrize(
    ("training", "sampler", "message"),
    [
        (
            {"warm_start": "distill", "warm_start_steps": 8},
            {},
            "tests: training.warm_start_steps = 8: must be below training.steps = 8, which it is a part of.",
        ),
        ({"warm_start": "distill", "steps": 1}, {}, "warm_start_steps = 1: must be below training.steps = 1"),
        ({"warm_start_steps": 3}, {}, 'only training.warm_start = "distill" takes steps; remove it, or set that'),
        ({"warm_start": "inherit", "warm_start_steps": 3}, {}, 'only training.warm_start = "distill" takes steps'),
        ({"warm_start": "distill", "warm_start_steps": 0}, {}, "training.warm_start_steps = 0: input should be"),
        ({"warm_start": "copy"}, {}, 'training.warm_start = "copy": input should be'),
        ({"warm_start": "inherit"}, {"reuse": False}, "sampler.reuse = false: with training.warm_start"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(root: Path, training: dict, sampler: dict, message: str):
    document = tiny_document(root)
    document["training"] |= {"steps": 8, **training}
    document["sampler"] |= sampler
    with pytest.raises(UsageError) as error:
        parse_spec(document, source="tests")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_quarter_of_the_steps_is_distillation_by_default(root: Path):
    steps = {
        total: spec(root, warm_start="distill", steps=total).training.distillation_steps for total in (2, 3, 8, 400)
    }
    assert steps == {2: 1, 3: 1, 8: 2, 400: 100}
    assert spec(root).training.distillation_steps == 0
