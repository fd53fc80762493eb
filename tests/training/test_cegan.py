"""Evolution inside a training: against the plain reference, against plain GAN training, and continued."""

import copy
import importlib.util
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from optevo.cost.dcgan import discriminator_cost, generator_cost
from optevo.data.resident import ResidentImages, images_of
from optevo.errors import OptevoError, UsageError
from optevo.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from optevo.spaces.dcgan import DCGANArchitecture
from optevo.training.cegan import CEGAN, train
from optevo.training.checkpoint import load_checkpoint, save_checkpoint
from optevo.training.engine import Engine, resolve
from optevo.training.history import Patience, VanishedError
from optevo.training.pix2pix import DivergedError
from optevo.training.recipe import PUBLISHED, Recipe
from optevo.training.step_draws import StepDraws, draw

FP32 = Engine(device=torch.device("cpu"), precision="fp32", threads=1)
LATENT = 10
ARCHITECTURE = DCGANArchitecture(generator=(16, 12, 8), discriminator=(8, 12, 16), latent=LATENT)
SMALL = {"batch_size": 4, "evaluation_size": 48}
CEGAN_RECIPE = replace(PUBLISHED["cegan"], **SMALL)


def networks(recipe: Recipe, *, dtype: torch.dtype = torch.float32) -> tuple[list[DCGANGenerator], DCGANDiscriminator]:
    torch.manual_seed(0)
    generators = [DCGANGenerator(ARCHITECTURE).to(dtype) for _ in range(recipe.parents)]
    return generators, DCGANDiscriminator(ARCHITECTURE).to(dtype)


def photos(count: int = 30) -> ResidentImages:
    """Images that are not noise: each of two colours in two halves."""
    random = torch.Generator().manual_seed(5)
    colours = torch.randint(0, 256, (2, count, 1, 1, 3), dtype=torch.uint8, generator=random)
    left = torch.arange(32).lt(16)[None, None, :, None]
    pixels = torch.where(left, colours[0], colours[1]).expand(-1, 32, -1, -1)
    return images_of(pixels, device=torch.device("cpu"))


def draws_for(recipe: Recipe, step: int, *, dtype: torch.dtype = torch.float32) -> StepDraws:
    made = draw(recipe, latent=LATENT, images=30, seed=3, step=step, device=torch.device("cpu"))
    parts = {field.name: getattr(made, field.name) for field in fields(made)}
    return StepDraws(**{name: part.to(dtype) if part.is_floating_point() else part for name, part in parts.items()})


def reference() -> ModuleType:
    """The implementation that the benchmark measures against."""
    path = Path(__file__).parents[2] / "benchmarks" / "cegan_reference.py"
    spec = importlib.util.spec_from_file_location("cegan_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RECIPES = {
    "cegan": CEGAN_RECIPE,
    "cegan-gp, 2 parents, 3 crossovers": replace(PUBLISHED["cegan-gp"], parents=2, crossovers=3, **SMALL),
    "released": replace(
        CEGAN_RECIPE, parents=2, order="released", mutation_noise="shared", crossover_noise="same", evaluation_size=33
    ),
    "sum": replace(CEGAN_RECIPE, distillation="sum"),
    "egan": replace(PUBLISHED["egan"], **SMALL),
    "egan-gp, 2 parents": replace(PUBLISHED["egan-gp"], parents=2, **SMALL),
}


def both_ways(recipe: Recipe, *, steps: int, dtype: torch.dtype) -> tuple[CEGAN, object]:
    """Train with the library and with the reference on the same numbers; who was chosen must agree at every step."""
    generators, discriminator = networks(recipe, dtype=dtype)
    plain = reference().PlainCEGAN(copy.deepcopy(generators), copy.deepcopy(discriminator), recipe)
    model, data = CEGAN(generators, discriminator, engine=FP32, recipe=recipe), photos()
    for step in range(steps):
        draws = draws_for(recipe, step, dtype=dtype)
        real = data.batch(draws.index).to(dtype)
        outcome, expected = model.step(real, draws), plain.step(real, draws)
        torch.testing.assert_close(
            outcome.fitness, torch.tensor(expected["fitness"], dtype=dtype), rtol=1e-4, atol=1e-5
        )
        if dtype == torch.float64:
            assert outcome.survivors.tolist() == expected["survivors"]
            assert outcome.pairs.tolist() == [list(pair) for pair in expected["pairs"]]
    return model, plain


@pytest.mark.parametrize("name", RECIPES)
def test_stepping_all_at_once_equals_one_at_a_time(name: str) -> None:
    """In double precision, so that Adam cannot turn the rounding errors of gradients that are zero into whole steps."""
    model, plain = both_ways(RECIPES[name], steps=4, dtype=torch.float64)
    for at, (network, adam) in enumerate(plain.population):
        mine = model.population.parameters(at)
        for (key, parameter), view in zip(network.named_parameters(), mine.values(), strict=True):
            torch.testing.assert_close(view, parameter.detach(), rtol=1e-9, atol=1e-12, msg=key)
        moments = [adam.state[parameter]["exp_avg_sq"] for parameter in network.parameters()]
        torch.testing.assert_close(model.population.second[at], model.population.layout.row(moments), rtol=1e-6, atol=0)
        assert model.population.steps[at] == adam.state[next(network.parameters())]["step"]


def test_in_float32_the_two_agree_to_rounding() -> None:
    model, plain = both_ways(CEGAN_RECIPE, steps=3, dtype=torch.float32)
    for key, parameter in plain.population[0][0].named_parameters():
        torch.testing.assert_close(model.population.parameters(0)[key], parameter.detach(), rtol=1e-3, atol=2e-6)
    noise = torch.rand(8, LATENT) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(model.champion()(noise), plain.population[0][0](noise), rtol=1e-3, atol=1e-5)


def test_a_step_computes_no_more_than_it_must() -> None:
    """Only what teaches passes through a crossover's child, and nothing is judged where everything survives."""
    counts = {}
    for name, recipe in {"cegan": CEGAN_RECIPE, "gan": replace(PUBLISHED["gan-heuristic"], **SMALL)}.items():
        generators, discriminator = networks(recipe)
        plain = reference().PlainCEGAN(copy.deepcopy(generators), copy.deepcopy(discriminator), recipe)
        model, draws = CEGAN(generators, discriminator, engine=FP32, recipe=recipe), draws_for(recipe, 0)
        real = photos().batch(draws.index)
        for who in (model, plain):
            with FlopCounterMode(display=False) as counter:
                who.step(real, draws)
            counts[name, type(who).__name__] = counter.get_total_flops()
    assert counts["cegan", "CEGAN"] < counts["cegan", "PlainCEGAN"]
    # The straightforward one judges its only child all the same: 48 images through both networks.
    judging = 2 * 48 * (generator_cost(ARCHITECTURE).exact_macs + discriminator_cost(ARCHITECTURE).exact_macs)
    assert counts["gan", "PlainCEGAN"] - counts["gan", "CEGAN"] == judging


def textbook(generator: nn.Module, discriminator: nn.Module, batches: list[tuple[Tensor, StepDraws]]) -> list[float]:
    """A plain GAN with the heuristic loss: three steps of D on fresh images, one of G. The last loss of D each time."""
    g_opt = torch.optim.Adam(generator.parameters(), lr=1e-4, betas=(0.5, 0.99))
    d_opt = torch.optim.Adam(discriminator.parameters(), lr=1e-4, betas=(0.5, 0.99))
    losses = []
    for real, draws in batches:
        for k, batch in enumerate(real.split(4)):
            d_opt.zero_grad()
            fake = generator(draws.discriminator[k]).detach()
            d_real, d_fake = torch.sigmoid(discriminator(batch)), torch.sigmoid(discriminator(fake))
            loss = -torch.log(d_real).mean() - torch.log(1 - d_fake).mean()
            loss.backward()
            d_opt.step()
        losses.append(loss.item())
        g_opt.zero_grad()
        (-torch.log(torch.sigmoid(discriminator(generator(draws.mutation[0, 0])))).mean() / 2).backward()
        g_opt.step()
    return losses


def test_one_parent_one_mutation_and_no_crossover_is_plain_gan_training() -> None:
    recipe = replace(PUBLISHED["gan-heuristic"], **SMALL)
    (generator,), discriminator = networks(recipe, dtype=torch.float64)
    data = photos()
    draws = [draws_for(recipe, step, dtype=torch.float64) for step in range(6)]
    batches = [(data.batch(each.index).double(), each) for each in draws]
    model = CEGAN([copy.deepcopy(generator)], copy.deepcopy(discriminator), engine=FP32, recipe=recipe)
    for real, each in batches:
        outcome = model.step(real, each)
        assert outcome.survivors.tolist() == [0]
    before = copy.deepcopy(generator)
    textbook(generator, discriminator, batches)
    for key, parameter in generator.named_parameters():
        torch.testing.assert_close(model.population.parameters(0)[key], parameter.detach(), rtol=1e-9, atol=1e-12)
        assert not torch.equal(parameter, before.get_parameter(key))
    noise = torch.rand(8, LATENT, dtype=torch.float64)
    judged = model.discriminator(generator(noise)), discriminator(generator(noise))
    torch.testing.assert_close(*judged, rtol=1e-6, atol=1e-9)


def test_survivors_take_their_weights_and_adam_states_along() -> None:
    """The champion is what its operator made of its parent: one Adam step more for a mutant, two for a crossover."""
    recipe = replace(CEGAN_RECIPE, parents=2, crossovers=1)
    model, data, taken = CEGAN(*networks(recipe), engine=FP32, recipe=recipe), photos(), torch.zeros(2)
    for step in range(12):
        draws = draws_for(recipe, step)
        outcome = model.step(data.batch(draws.index), draws)
        parents = torch.cat((torch.arange(6), outcome.pairs[:, 0]))[outcome.survivors] // 3
        taken = taken[parents] + torch.where(outcome.survivors < 6, 1.0, 2.0)
        assert torch.equal(model.population.steps, taken)
        assert outcome.fitness[outcome.survivors].tolist() == sorted(outcome.fitness.tolist(), reverse=True)[:2]
    wins = model.history.wins()
    assert sum(wins.values()) == 24
    assert 0 < wins["crossover"] < 24


def test_a_run_goes_on_from_a_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    recipe, data = replace(CEGAN_RECIPE, parents=2, crossovers=2, average=0.9), photos()
    with FP32.active():
        whole = CEGAN(*networks(recipe), engine=FP32, recipe=recipe)
        train(whole, data, steps=7, seed=11)

        class Killed(Exception):
            pass

        broken = CEGAN(*networks(recipe), engine=FP32, recipe=recipe)

        def stop(step: int) -> None:
            if step == 4:
                save_checkpoint(tmp_path / "c.safetensors", broken, step=step)
                raise Killed

        with pytest.raises(Killed):
            train(broken, data, steps=7, seed=11, on_step=stop)
        resumed = CEGAN(*networks(recipe), engine=FP32, recipe=recipe)
        train(resumed, data, steps=2, seed=99)  # whatever it was before
        start = load_checkpoint(tmp_path / "c.safetensors", resumed)
        train(resumed, data, steps=7, seed=11, start=start)
    assert start == 4
    for part in ("population", "average", "history"):
        expected = whole.parts().others[part].state()
        for name, tensor in resumed.parts().others[part].state().items():
            assert torch.equal(tensor, expected[name]), f"{part}.{name}"
    for name, tensor in resumed.discriminator.state_dict().items():
        assert torch.equal(tensor, whole.discriminator.state_dict()[name]), name
    assert len(resumed.history) == 7


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    save_checkpoint(
        tmp_path / "c.safetensors", CEGAN(*networks(CEGAN_RECIPE), engine=FP32, recipe=CEGAN_RECIPE), step=0
    )
    recipe = replace(CEGAN_RECIPE, parents=2)
    with pytest.raises(OptevoError, match="does not fit this training"):
        load_checkpoint(tmp_path / "c.safetensors", CEGAN(*networks(recipe), engine=FP32, recipe=recipe))


def test_the_average_follows_the_champions() -> None:
    recipe, data = replace(CEGAN_RECIPE, average=0.75), photos()
    model = CEGAN(*networks(recipe), engine=FP32, recipe=recipe)
    expected = model.population.weights[0].clone()
    for step in range(3):
        draws = draws_for(recipe, step)
        model.step(data.batch(draws.index), draws)
        expected = 0.75 * expected + 0.25 * model.population.weights[0]
    found = model.population.layout.row([*model.champion(average=True).parameters()])
    torch.testing.assert_close(found.detach(), expected)
    assert not torch.allclose(found, model.population.weights[0], rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="keeps no average"):
        CEGAN(*networks(CEGAN_RECIPE), engine=FP32, recipe=CEGAN_RECIPE).champion(average=True)


@pytest.mark.slow
def test_the_losses_teach_in_float32_and_bfloat16() -> None:
    """Colour statistics of the images, which an untrained generator (grey) is far from, are approached in both."""
    recipe = replace(CEGAN_RECIPE, batch_size=16, learning_rate=1e-3, discriminator_rate=1e-3)
    data = photos()
    everything = data.batch(torch.arange(30))
    for precision in ("fp32", "bf16"):
        engine = resolve(device="cpu", precision=precision)
        model = CEGAN(*networks(recipe), engine=engine, recipe=recipe)
        noise = torch.rand(64, LATENT) * 2 - 1
        with torch.no_grad():
            grey = model.champion()(noise).std()
        train(model, data, steps=60, seed=1)
        with torch.no_grad():
            made = model.champion()(noise)
        assert grey < 0.01
        assert made.std() > 0.25 * everything.std()
        assert model.population.weights.dtype == torch.float32


@pytest.mark.parametrize(
    "extra", [{"fitness": "egan"}, {"penalty_weight": 10.0}, {"mutations": ("relativistic", "heuristic")}]
)
def test_bf16_takes_every_path(extra: dict[str, object]) -> None:
    recipe = replace(CEGAN_RECIPE, **extra)
    model = CEGAN(*networks(recipe), engine=resolve(device="cpu", precision="bf16"), recipe=recipe)
    train(model, photos(), steps=2, seed=0)
    assert model.history.fitness.isfinite().all()


def test_nan_never_wins_and_ends_the_training() -> None:
    model = CEGAN(*networks(CEGAN_RECIPE), engine=FP32, recipe=CEGAN_RECIPE)
    draws = draws_for(CEGAN_RECIPE, 0)
    real = photos().batch(draws.index)
    broken = replace(draws, mutation=draws.mutation.clone())
    broken.mutation[0, 1] = torch.nan
    outcome = model.step(real, broken)
    assert outcome.fitness.isnan().tolist() == [False, True, False, False]
    assert outcome.survivors.item() != 1
    assert outcome.pairs.tolist() in ([[0, 2]], [[2, 0]])
    with pytest.raises(DivergedError, match="no longer finite at step 1"):
        model.history.check()


def test_vanished_gradients_end_the_training() -> None:
    """A minimax generator against a discriminator that is sure of everything: nothing moves any more."""
    recipe = replace(CEGAN_RECIPE, mutations=("minimax",), crossovers=0, order="released", discriminator_rate=1e-12)
    generators, discriminator = networks(recipe)
    with torch.no_grad():
        discriminator.last.bias.fill_(-500.0)
    model = CEGAN(generators, discriminator, engine=FP32, recipe=recipe)
    with pytest.raises(VanishedError, match="minimax alone has won"):
        train(model, photos(), steps=100, seed=0, patience=Patience(steps=20))


def test_images_of_another_size_are_refused() -> None:
    model = CEGAN(*networks(CEGAN_RECIPE), engine=FP32, recipe=CEGAN_RECIPE)
    with pytest.raises(UsageError, match="40 x 40 pixels with 1 channels: these networks make 32 x 32 with 3"):
        train(model, images_of(torch.zeros(2, 40, 40, 1, dtype=torch.uint8), device=FP32.device), steps=1, seed=0)
    with pytest.raises(ValueError, match="1 generators for a recipe with 2"):
        CEGAN(*networks(CEGAN_RECIPE), engine=FP32, recipe=replace(CEGAN_RECIPE, parents=2))


def test_rates_are_set_for_all() -> None:
    """At a rate of zero nobody moves; the factor applies to the generators and to D."""
    model, data = CEGAN(*networks(CEGAN_RECIPE), engine=FP32, recipe=CEGAN_RECIPE), photos()
    before = model.population.weights.clone(), copy.deepcopy(model.discriminator.state_dict())
    model.set_rate(0.0)
    train(model, data, steps=2, seed=0)
    assert torch.equal(model.population.weights, before[0])
    for name, tensor in model.discriminator.state_dict().items():
        assert torch.equal(tensor, before[1][name])


@pytest.mark.gpu
@pytest.mark.parametrize("name", RECIPES)
def test_no_step_waits_for_a_gpu(name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    engine, recipe = resolve(device="cuda"), RECIPES[name]
    model = CEGAN(*networks(recipe), engine=engine, recipe=recipe)
    data = images_of(photos().images, device=engine.device)

    def step(number: int) -> None:
        draws = draw(recipe, latent=LATENT, images=len(data), seed=0, step=number, device=engine.device)
        model.step(data.batch(draws.index), draws)

    step(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    model.history.check()


# The draws.


def test_draws_are_a_function_of_the_seed_and_the_step() -> None:
    recipe = replace(CEGAN_RECIPE, parents=2)
    one, same = draws_for(recipe, 5), draws_for(recipe, 5)
    for field in fields(one):
        assert torch.equal(getattr(one, field.name), getattr(same, field.name))
    other = draws_for(recipe, 6)
    assert not torch.equal(one.evaluation, other.evaluation)
    assert one.mutation.shape == (2, 3, 4, LATENT)
    assert one.discriminator.shape == (3, 4, LATENT)
    assert -1 <= one.evaluation.min() < -0.9
    assert 0.9 < one.evaluation.max() < 1
    assert one.index.shape == (12,)
    assert not torch.equal(one.mutation[0, 0], one.mutation[0, 1])
    assert not torch.equal(one.evaluation, one.crossover)


def test_noise_is_shared_where_the_recipe_says_so() -> None:
    made = draws_for(replace(CEGAN_RECIPE, mutation_noise="shared", crossover_noise="same"), 0)
    assert torch.equal(made.mutation[0, 0], made.mutation[0, 2])
    assert torch.equal(made.evaluation, made.crossover)


def test_released_draws_show_different_images_of_all_survivors() -> None:
    recipe = replace(CEGAN_RECIPE, parents=2, order="released")
    shown = draws_for(recipe, 0).shown.tolist()
    assert len(set(shown)) == len(shown) == 12
    assert {at // recipe.evaluation_size for at in shown} == {0, 1}
