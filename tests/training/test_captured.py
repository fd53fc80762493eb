"""A captured step against the same step launched bit by bit. All of it needs a GPU; elsewhere nothing is captured."""

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import chain

import pytest
import torch
from torch import Tensor, nn

from optevo.data.resident import images_of
from optevo.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from optevo.networks.patchgan import PatchGAN
from optevo.networks.resnet import ResNetGenerator
from optevo.networks.unet import UNetGenerator
from optevo.spaces.dcgan import DCGANArchitecture
from optevo.spaces.resnet import cyclegan as resnet
from optevo.spaces.unet import original
from optevo.training.captured import WARM_UP, Captured, side_by_side
from optevo.training.cegan import CEGAN, train
from optevo.training.cyclegan import CycleGAN
from optevo.training.distilled_cyclegan import DistillationWeights, DistilledCycleGAN, Teacher
from optevo.training.engine import resolve
from optevo.training.pix2pix import Pix2Pix
from optevo.training.recipe import PUBLISHED
from optevo.training.step_draws import StepDraws, draw

ARCHITECTURE = DCGANArchitecture(generator=(64, 48, 32), discriminator=(32, 48, 64), latent=20)
SMALL = {"batch_size": 8, "evaluation_size": 64}
RECIPES = {
    "gan": replace(PUBLISHED["gan-heuristic"], **SMALL),
    "egan": replace(PUBLISHED["egan"], **SMALL),
    "cegan": replace(PUBLISHED["cegan"], average=0.9, **SMALL),
    "cegan-gp, 2 parents, 3 crossovers": replace(PUBLISHED["cegan-gp"], parents=2, crossovers=3, **SMALL),
    "released": replace(PUBLISHED["cegan"], order="released", **SMALL),
}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def model_of(name: str, *, dtype: torch.dtype = torch.float32) -> CEGAN:
    torch.manual_seed(0)
    generators = [DCGANGenerator(ARCHITECTURE).to(dtype) for _ in range(RECIPES[name].parents)]
    engine = resolve(device="cuda", precision="fp32")
    return CEGAN(generators, DCGANDiscriminator(ARCHITECTURE).to(dtype), engine=engine, recipe=RECIPES[name])


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", RECIPES)
def test_a_captured_training_equals_one_that_is_launched_bit_by_bit(name: str) -> None:
    """In double precision, so that Adam cannot turn the rounding errors of gradients that are zero into whole steps."""
    one, other = (model_of(name, dtype=torch.float64) for _ in range(2))
    pixels = torch.randint(0, 256, (40, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    data = images_of(pixels, device=one.engine.device)
    advance = other.stepper()
    for step in range(WARM_UP + 5):
        drawn = draw(RECIPES[name], latent=20, images=40, seed=0, step=step, device=one.engine.device)
        parts = {field.name: getattr(drawn, field.name) for field in fields(drawn)}
        draws = StepDraws(**{key: part.double() if part.is_floating_point() else part for key, part in parts.items()})
        real = data.batch(draws.index).double()
        outcome, captured = one.step(real, draws), advance(real, draws)
        torch.testing.assert_close(captured.fitness, outcome.fitness, rtol=1e-6, atol=1e-8)
        assert captured.survivors.tolist() == outcome.survivors.tolist()
    torch.testing.assert_close(other.population.weights, one.population.weights, rtol=1e-5, atol=1e-7)
    assert len(other.history) == WARM_UP + 5
    assert other.population.steps.tolist() == one.population.steps.tolist()


@pytest.mark.gpu
@needs_gpu
def test_a_training_on_a_gpu_learns_by_its_graph() -> None:
    model = model_of("cegan")
    before = model.population.weights.clone()
    pixels = torch.randint(0, 256, (40, 32, 32, 3), dtype=torch.uint8)
    train(model, images_of(pixels, device=model.engine.device), steps=60, seed=0)
    assert len(model.history) == 60
    assert model.history.fitness.isfinite().all()
    assert len(model.history.fitness.unique(dim=0)) > 50  # outcomes are not one memory, read many times
    assert not torch.equal(before, model.population.weights)


def pix2pix() -> Pix2Pix:
    torch.manual_seed(0)
    engine = resolve(device="cuda", precision="fp32")
    return Pix2Pix(UNetGenerator(original(ngf=16, depth=5)), PatchGAN(6, ndf=16, layers=2), engine=engine)


def cyclegan() -> CycleGAN:
    torch.manual_seed(0)
    engine = resolve(device="cuda", precision="fp32")
    generators = [ResNetGenerator(resnet(ngf=8, blocks=2)) for _ in range(2)]
    judges = [PatchGAN(3, ndf=8, norm="instance") for _ in range(2)]
    return CycleGAN(a_to_b=generators[0], b_to_a=generators[1], judge_a=judges[0], judge_b=judges[1], engine=engine,
                    replay=3, average=0.9)  # fmt: skip


def imitating() -> DistilledCycleGAN:
    torch.manual_seed(0)
    engine = resolve(device="cuda", precision="fp32")
    generators = [ResNetGenerator(resnet(ngf=8, blocks=2)) for _ in range(4)]
    judges = [PatchGAN(3, ndf=8, norm="instance") for _ in range(2)]
    teachers = {name: Teacher(generators[2 + k], judges[k]) for k, name in enumerate(("a_to_b", "b_to_a"))}
    return DistilledCycleGAN(
        teachers=teachers, weights=DistillationWeights(), alone=True, a_to_b=generators[0], b_to_a=generators[1],
        judge_a=judges[0], judge_b=judges[1], engine=engine,
    )  # fmt: skip


def learned(model: Pix2Pix | CycleGAN, *, graphs: bool, dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
    """The losses of some steps, and the kernels after them.

    Kernels only: biases before a norm have no gradient, and Adam makes steps of what rounding leaves there.
    """
    for module in model.parts().modules.values():
        module.to(dtype)
    torch.manual_seed(1)
    advance = model.stepper() if graphs else model.step
    batches = torch.rand(WARM_UP + 6, 2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(2)).mul(2).sub(1)
    losses = []
    for number, (a, b) in enumerate(batches.to("cuda", dtype)):
        model.set_rate(1.0 if number < WARM_UP + 3 else 0.01)
        losses.append(advance(a, b))
    tensors = chain(*(module.parameters() for module in model.parts().modules.values()))
    return torch.stack(losses), [tensor for tensor in tensors if tensor.ndim == 4]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("build", [pix2pix, cyclegan])
def test_translators_learn_by_graphs_as_without(build: Callable[[], Pix2Pix | CycleGAN]) -> None:
    """Dropout draws the same, histories give the same, and the rate that is set meanwhile counts."""
    plain, weights = learned(build(), graphs=False, dtype=torch.float64)
    captured, theirs = learned(build(), graphs=True, dtype=torch.float64)
    torch.testing.assert_close(captured, plain, rtol=1e-4, atol=1e-5)
    for one, other in zip(weights, theirs, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-5)


@pytest.mark.gpu
@needs_gpu
def test_students_learn_by_graphs_as_without() -> None:
    """In single precision, which distillation computes in."""
    plain, _ = learned(imitating(), graphs=False, dtype=torch.float32)
    captured, _ = learned(imitating(), graphs=True, dtype=torch.float32)
    torch.testing.assert_close(captured, plain, rtol=3e-2, atol=3e-3)


@pytest.mark.gpu
@needs_gpu
def test_what_a_call_returned_stays() -> None:
    total = torch.zeros(3, device="cuda")

    def add(x: Tensor) -> list[Tensor]:
        total.add_(x)
        return [total, *side_by_side([lambda: x + 1, lambda: x + 2])]

    captured = Captured(add, device=torch.device("cuda"))
    found = [captured(torch.full((3,), float(k), device="cuda")) for k in range(WARM_UP + 3)]
    sums = [0, 1, 3, 6, 10, 15]
    for k, (after, one, two) in enumerate(found):
        assert (after[0].item(), one[0].item(), two[0].item()) == (sums[k], k + 1, k + 2)


class Foreign(nn.ReLU):
    """A layer of somebody else's."""


@pytest.mark.parametrize(("layer", "graph"), [(nn.ReLU, True), (Foreign, False)])
def test_only_networks_of_known_layers_are_captured(layer: type[nn.Module], graph: bool) -> None:
    cpu = resolve(device="cpu", precision="fp32")
    model = Pix2Pix(nn.Sequential(nn.Conv2d(3, 3, 1), layer()), nn.Conv2d(6, 1, 1), engine=cpu)

    def part() -> list[Tensor]:
        return []

    assert model.captured(part) is part  # there is no GPU
    model.engine = replace(cpu, device=torch.device("cuda", 0))
    assert isinstance(model.captured(part), Captured) == graph


def test_without_a_capture_works_are_done_in_turn() -> None:
    done: list[int] = []
    assert side_by_side([lambda: done.append(1), lambda: done.append(2)]) == [None, None]
    assert done == [1, 2]
