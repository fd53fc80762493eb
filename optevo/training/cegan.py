"""E-GAN, C-GAN and CE-GAN: generators that evolve inside one training, one step at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from optevo.data.resident import ResidentImages
from optevo.errors import UsageError
from optevo.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from optevo.training.adversarial import DISCRIMINATOR_LOSSES, MUTATIONS, RELATIVE_MUTATIONS, gradient_penalty
from optevo.training.base import Parts, Stateful, Training, set_rates
from optevo.training.captured import side_by_side
from optevo.training.distillation import distillation_loss, preferred
from optevo.training.engine import Engine
from optevo.training.history import History, Outcome, Patience
from optevo.training.individuals import Individuals
from optevo.training.recipe import Recipe
from optevo.training.selection import critic_fitness, diversity, greedy_pairs, quality, survivors
from optevo.training.step_draws import StepDraws, draw

# A look at the history makes a GPU's host wait, so divergence is looked for once in so many steps.
CHECK_EVERY = 50
# The crossover's batches grow by so many images, so that few shapes of operations have to be prepared.
BLOCK = 32


@dataclass(frozen=True)
class Judged:
    """What the discriminator says of S individuals by n images each.

    Attributes:
        fitness: (S,).
        critic: C(G(z)), (S, n).
        images: (S, n, C, H, W).
    """

    fitness: Tensor
    critic: Tensor
    images: Tensor


class CEGAN(Training):
    """mu generators, one discriminator, and the recipe by which they evolve (CE-GAN, Algorithm 2).

    The individuals lie in the rows of matrices, from which children inherit and into which survivors move, so a step
    copies no module; what one operation can do for all individuals, one does; and nothing in a step waits for a GPU.

    Args:
        generators: mu of one architecture.
        discriminator: The environment that they live in.
        engine: Device and precision; all networks are moved there.
        recipe: Everything else.

    Raises:
        ValueError: There are not as many generators as the recipe has parents.
    """

    def __init__(
        self,
        generators: Sequence[DCGANGenerator],
        discriminator: DCGANDiscriminator,
        *,
        engine: Engine,
        recipe: Recipe,
    ) -> None:
        if len(generators) != recipe.parents:
            raise ValueError(f"{len(generators)} generators for a recipe with {recipe.parents} parents")
        self.engine, self.recipe = engine, recipe
        self.learning_rate, self._factor = recipe.learning_rate, 1.0
        self.architecture = generators[0].architecture
        self.population = Individuals.founded([engine.place(generator).train() for generator in generators])
        self._brood = self.population.room_for(recipe.brood)
        self.discriminator = engine.place(discriminator).train()
        self.discriminator_adam = engine.adam(
            discriminator.parameters(), learning_rate=recipe.discriminator_rate, betas=recipe.betas
        )
        self.history = History(recipe)
        self._average = self.population.weights[0].clone() if recipe.average else None
        self._parent_of = torch.arange(recipe.parents, device=engine.device).repeat_interleave(len(recipe.mutations))

    def step(self, real: Tensor, draws: StepDraws) -> Outcome:
        """One training iteration.

        Args:
            real: The real images that `draws.index` names, in [-1, 1], (recipe.real_images, C, H, W).
        """
        outcome = self._evolve(real, draws)
        self.history.add(outcome)
        return outcome

    def stepper(self) -> Callable[[Tensor, StepDraws], Outcome]:
        """`step` for many steps in a row: on a GPU as one CUDA graph.

        While it is used, no learning rate may be set and no checkpoint be loaded; after that, take a new one.
        """
        captured = self.captured(lambda real, *drawn: _flat(self._evolve(real, StepDraws(*drawn))), tuned=True)

        def step(real: Tensor, draws: StepDraws) -> Outcome:
            outcome = Outcome(*captured(real, *_flat(draws)))
            self.history.add(outcome)
            return outcome

        return step

    def _evolve(self, real: Tensor, draws: StepDraws) -> Outcome:
        recipe = self.recipe
        for_discriminator, others = real.tensor_split([recipe.discriminator_steps * recipe.batch_size])
        for_mutation, for_fitness = others.tensor_split([recipe.batch_size if recipe.needs_real_outputs else 0])
        if recipe.order == "paper":
            loss = self._teach_discriminator(for_discriminator, self._fresh_fakes(draws.discriminator), draws.mix)
        self.discriminator.requires_grad_(False)
        mutants, children = self._brood.slice(0, recipe.mutants), self._brood.slice(recipe.mutants, recipe.brood)
        before = self._mutate(mutants, draws.mutation, for_mutation)
        pairs = torch.empty((0, 2), dtype=torch.int64, device=self.engine.device)
        if recipe.selects:
            judged = [self._judge(mutants, draws.evaluation, for_fitness)]
            if recipe.crossovers:
                pairs = self._cross(children, mutants, judged[0], draws.evaluation)
                judged.append(self._judge(children, draws.crossover, for_fitness))
            fitness = torch.cat([each.fitness for each in judged])
        else:
            fitness = before
        # NaN would sort first: a broken child must never win.
        chosen = survivors(fitness.nan_to_num(nan=-torch.inf), count=recipe.parents)
        self.population.inherit(self._brood, chosen)
        if self._average is not None:
            self._average.lerp_(self.population.weights[0], 1 - recipe.average)
        if recipe.order == "released":
            seen = torch.cat([each.images for each in judged])[chosen].flatten(0, 1)[draws.shown]
            loss = self._teach_discriminator(for_discriminator, seen, draws.mix)
        return Outcome(survivors=chosen, fitness=fitness, pairs=pairs, discriminator_loss=loss)

    def champion(self, *, average: bool = False) -> DCGANGenerator:
        """The fittest survivor as a network of its own, in eval mode.

        Args:
            average: With the moving average of the champions' weights instead; the recipe must keep one.
        """
        if average and self._average is None:
            raise ValueError("this recipe keeps no average: give it a decay, such as average = 0.999")
        row = self._average if average and self._average is not None else self.population.weights[0]
        network = DCGANGenerator(self.architecture)
        with torch.no_grad():
            network.load_state_dict(self.population.layout.views(row))
        return self.engine.place(network).eval()

    def parts(self) -> Parts:
        """The discriminator, its optimizer, all survivors with their Adam states, and what happened so far."""
        others: dict[str, Stateful] = {"population": _Rows(self.population.state()), "history": self.history}
        if self._average is not None:
            others["average"] = _Rows({"weights": self._average})
        return Parts(
            modules={"discriminator": self.discriminator},
            adams={"discriminator_adam": self.discriminator_adam},
            others=others,
        )

    def set_rate(self, factor: float) -> None:
        """Set the generators' and the discriminator's learning rates to `factor` times the recipe's."""
        self._factor = factor
        set_rates([self.discriminator_adam], self.recipe.discriminator_rate * factor)

    def _critic(self, images: Tensor, *, groups: int = 1) -> Tensor:
        with self.engine.autocast():
            return _full(self.discriminator(images, groups=groups))

    def _fresh_fakes(self, noise: Tensor) -> Tensor:
        """Images for all steps of D, (n_D * m, C, H, W): in each an equal part by every parent (line 5)."""
        shares = noise.chunk(self.recipe.parents, dim=1)
        with torch.no_grad(), self.engine.autocast():
            made = [
                self.population.image(self.population.parameters(at), share.flatten(0, 1)).unflatten(0, share.shape[:2])
                for at, share in enumerate(shares)
            ]
        return torch.cat(made, dim=1).flatten(0, 1)

    def _teach_discriminator(self, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
        """n_D steps of D (Algorithm 2, lines 3 to 6) on batches of (n_D * m, C, H, W); the mean loss."""
        self.discriminator.requires_grad_(True)
        losses = [
            self._discriminator_step(*batch)
            for batch in zip(real.split(self.recipe.batch_size), fake.split(self.recipe.batch_size), mix, strict=True)
        ]
        return torch.stack(losses).mean()

    def _discriminator_step(self, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
        fake = fake.to(real.dtype)
        judged_real, judged_fake = self._critic(torch.cat((real, fake)), groups=2).chunk(2)
        loss = DISCRIMINATOR_LOSSES[self.recipe.discriminator_loss](judged_real, judged_fake)
        if self.recipe.penalty_weight:
            loss = loss + self.recipe.penalty_weight * gradient_penalty(self._critic, real, fake, mix=mix.to(real))
        self.discriminator_adam.zero_grad(set_to_none=True)
        loss.backward()
        self.discriminator_adam.step()
        return loss.detach()

    def _mutate(self, mutants: Individuals, noise: Tensor, real: Tensor) -> Tensor:
        """One Adam step of every mutant from its parent by its loss (lines 7 to 11); the critic's means before it."""
        mutants.inherit(self.population, self._parent_of)
        leaves = [mutants.parameters(at, grad=True) for at in range(len(mutants))]
        with self.engine.autocast():
            images = side_by_side(
                [partial(mutants.image, leaf, z) for leaf, z in zip(leaves, noise.flatten(0, 1), strict=True)]
            )
        outputs = self._critic(torch.cat(images), groups=len(mutants)).view(len(mutants), -1)
        of_real = self._critic(real) if len(real) else None
        losses = [
            self._mutation_loss(name, output, of_real)
            for name, output in zip(self.recipe.mutations * self.recipe.parents, outputs, strict=True)
        ]
        self._learn(mutants, leaves, torch.stack(losses).sum())
        return outputs.detach().mean(1)

    def _mutation_loss(self, name: str, fake: Tensor, real: Tensor | None) -> Tensor:
        return MUTATIONS[name](fake) if real is None or name in MUTATIONS else RELATIVE_MUTATIONS[name](fake, real)

    def _judge(self, individuals: Individuals, noise: Tensor, real: Tensor) -> Judged:
        with self.engine.autocast():
            images = individuals.images(noise)
        if self.recipe.fitness == "egan":
            return self._judge_with_diversity(images, real)
        with torch.no_grad():
            critic = self._critic(images.flatten(0, 1), groups=len(images)).view(images.shape[:2])
        return Judged(critic_fitness(critic), critic, images)

    def _judge_with_diversity(self, images: Tensor, real: Tensor) -> Judged:
        """F_E-GAN (Eq. 7). The real images' part of D's gradient is the same for all, and is computed once."""
        self.discriminator.requires_grad_(True)
        weights = list(self.discriminator.parameters())
        shared = torch.autograd.grad(-logsigmoid(self._critic(real)).mean(), weights)
        critic, spread = [], []
        for made in images:
            output = self._critic(made.to(real.dtype))
            own = torch.autograd.grad(-logsigmoid(-output).mean(), weights)
            critic.append(output.detach())
            spread.append(diversity([a + b for a, b in zip(shared, own, strict=True)]))
        self.discriminator.requires_grad_(False)
        outputs = torch.stack(critic)
        return Judged(quality(outputs) + self.recipe.diversity_weight * torch.stack(spread), outputs, images)

    def _cross(self, children: Individuals, mutants: Individuals, judged: Judged, noise: Tensor) -> Tensor:
        """One Adam step of every child from the fitter of its pair, by Eq. 10 (Algorithm 1); the pairs, (n_c, 2).

        The samples by which the mutants were judged are the crossover's (section V-B).
        """
        first, second = greedy_pairs(judged.fitness.nan_to_num(nan=-torch.inf), count=len(children))
        children.inherit(mutants, first)
        better = preferred(judged.critic[second], judged.critic[first])
        leaves = [children.parameters(at, grad=True) for at in range(len(children))]
        teachers = judged.images[second]
        losses = side_by_side(
            [
                partial(self._lesson, children, leaf, noise, teacher, where)
                for leaf, teacher, where in zip(leaves, teachers, better, strict=True)
            ]
        )
        scale = teachers[0].numel() if self.recipe.distillation == "mean" else 1
        self._learn(children, leaves, torch.stack(losses).sum() / scale)
        return torch.stack((first, second), dim=1)

    def _lesson(
        self, children: Individuals, leaf: dict[str, Tensor], noise: Tensor, teacher: Tensor, where: Tensor
    ) -> Tensor:
        """What one child minimises."""
        lessons = self._lessons(where)
        with self.engine.autocast():
            made = children.image(leaf, noise[lessons])
        return distillation_loss(_full(made), _full(teacher[lessons]), where=where[lessons])

    def _lessons(self, where: Tensor) -> Tensor | slice:
        """Which samples to pass through a child: those that teach, filled up to a multiple of `BLOCK`.

        Their number is known to the host only by waiting, so that on a GPU all are passed, as they lie.
        """
        if self.engine.device.type != "cpu":
            return slice(None)
        order = where.to(torch.uint8).argsort(descending=True, stable=True)
        return order[: max(1, -(-int(where.sum()) // BLOCK)) * BLOCK]

    def _learn(self, individuals: Individuals, leaves: list[dict[str, Tensor]], loss: Tensor) -> None:
        """One Adam step of each by the sum of their losses: no loss knows another individual's weights."""
        flat = [tensor for leaf in leaves for tensor in leaf.values()]
        gradients = torch.autograd.grad(loss, flat)
        each = len(leaves[0])
        individuals.adam(
            [gradients[start : start + each] for start in range(0, len(flat), each)],
            learning_rate=self.recipe.learning_rate * self._factor,
            betas=self.recipe.betas,
        )


def train(
    model: CEGAN,
    data: ResidentImages,
    *,
    steps: int,
    seed: int,
    start: int = 0,
    patience: Patience | None = None,
    on_step: Callable[[int], None] | None = None,
) -> None:
    """Go from step `start` to step `steps`; what happens is in `model.history`.

    Args:
        model: What is trained, in place.
        data: The real images, of the networks' size and channels.
        seed: Of every random choice in the run. A run that is continued takes the same.
        patience: When to give up on vanished gradients; by default after 500 steps without any progress.
        on_step: Called with the number of steps done, after each; may raise to end the training.

    Raises:
        UsageError: The images are not of the networks' size.
        DivergedError: A fitness or loss became NaN or infinite, or (`VanishedError`) gradients vanished.
    """
    _check_images(model, data)
    device, recipe, advance = model.engine.device, model.recipe, model.stepper()
    for step in range(start, steps):
        draws = draw(recipe, latent=model.architecture.latent, images=len(data), seed=seed, step=step, device=device)
        advance(data.batch(draws.index), draws)
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == steps:
            model.history.check(patience or Patience())
        if on_step is not None:
            on_step(step + 1)


def _check_images(model: CEGAN, data: ResidentImages) -> None:
    found = (*data.size, data.images.shape[3])
    wanted = (model.architecture.size, model.architecture.size, model.architecture.channels)
    if found != wanted:
        raise UsageError(
            f"images of {found[0]} x {found[1]} pixels with {found[2]} channels: these networks make "
            f"{wanted[0]} x {wanted[1]} with {wanted[2]}; load the images at that size"
        )


class _Rows:
    """Tensors that a checkpoint keeps, written back where they lie."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors

    def state(self) -> dict[str, Tensor]:
        return self.tensors

    def restore(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in self.tensors.items():
            if state[name].shape != tensor.shape:
                raise ValueError(f"{name} of shape {tuple(state[name].shape)} instead of {tuple(tensor.shape)}")
            tensor.copy_(state[name])


def _flat(parts: StepDraws | Outcome) -> list[Tensor]:
    """The tensors, in the order of the fields."""
    return [getattr(parts, field.name) for field in fields(parts)]


def _full(tensor: Tensor) -> Tensor:
    """Half precision to float32; anything wider stays."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
