"""CE-GAN written down from its paper: eager, one network at a time, each a copy with an optimizer of its own.

What optevo's trainer is measured against and tested to equal. It takes the same random numbers, and it too reuses the
images that mutants were judged by in the crossover, as the paper says.
"""

import copy
from itertools import combinations

import torch
from torch import Tensor, nn

from optevo.training.recipe import Recipe
from optevo.training.step_draws import StepDraws

Individual = tuple[nn.Module, torch.optim.Adam]


class PlainCEGAN:
    """mu generators and a discriminator; `step` is Algorithm 2."""

    def __init__(self, generators: list[nn.Module], discriminator: nn.Module, recipe: Recipe) -> None:
        self.recipe, self.discriminator = recipe, discriminator
        self.population: list[Individual] = [
            (net, torch.optim.Adam(net.parameters(), lr=recipe.learning_rate, betas=recipe.betas)) for net in generators
        ]
        self.adam = torch.optim.Adam(discriminator.parameters(), lr=recipe.discriminator_rate, betas=recipe.betas)

    def step(self, real: Tensor, draws: StepDraws) -> dict[str, object]:
        """One iteration on the real images that `draws.index` names; what was judged, and who survived."""
        recipe = self.recipe
        shown = recipe.discriminator_steps * recipe.batch_size
        if recipe.order == "paper":
            for k, batch in enumerate(real[:shown].split(recipe.batch_size)):
                self.teach_discriminator(batch, self.fakes(draws.discriminator[k]), draws.mix[k])
        self.discriminator.requires_grad_(False)
        mutants = [
            self.mutate(parent, name, draws.mutation[j, h])
            for j, parent in enumerate(self.population)
            for h, name in enumerate(recipe.mutations)
        ]
        judged = [self.judge(mutant, draws.evaluation, real[shown:]) for mutant in mutants]
        fitness = [each[0] for each in judged]
        pairs = sorted(combinations(range(len(mutants)), 2), key=lambda pair: -(fitness[pair[0]] + fitness[pair[1]]))
        pairs = [tuple(sorted(pair, key=lambda at: -fitness[at])) for pair in pairs[: recipe.crossovers]]
        children = [self.cross(mutants[x], draws.evaluation, teachers=(judged[x][1:], judged[y][1:])) for x, y in pairs]
        judged += [self.judge(child, draws.crossover, real[shown:]) for child in children]
        brood = mutants + children
        best = sorted(range(len(brood)), key=lambda at: -judged[at][0])[: recipe.parents]
        self.population = [brood[at] for at in best]
        if recipe.order == "released":
            seen = torch.cat([judged[at][2] for at in best])[draws.shown].split(recipe.batch_size)
            for batch, fake, mix in zip(real[:shown].split(recipe.batch_size), seen, draws.mix, strict=True):
                self.teach_discriminator(batch, fake, mix)
        return {"fitness": [each[0] for each in judged], "pairs": pairs, "survivors": best}

    @torch.no_grad()
    def fakes(self, noise: Tensor) -> Tensor:
        shares = noise.chunk(len(self.population))
        return torch.cat([net(share) for (net, _), share in zip(self.population, shares, strict=True)])

    def teach_discriminator(self, real: Tensor, fake: Tensor, mix: Tensor) -> None:
        self.discriminator.requires_grad_(True)
        self.adam.zero_grad()
        bce = nn.BCEWithLogitsLoss()
        judged_real, judged_fake = self.discriminator(real), self.discriminator(fake)
        loss = bce(judged_real, torch.ones_like(judged_real)) + bce(judged_fake, torch.zeros_like(judged_fake))
        if self.recipe.penalty_weight:
            u = mix[:, None, None, None].to(real)
            between = (u * real + (1 - u) * fake).requires_grad_()
            (slope,) = torch.autograd.grad(self.discriminator(between).sum(), between, create_graph=True)
            loss = loss + self.recipe.penalty_weight * ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
        loss.backward()
        self.adam.step()

    def mutate(self, parent: Individual, name: str, noise: Tensor) -> Individual:
        net, adam = copy.deepcopy(parent)
        adam.zero_grad()
        d = torch.sigmoid(self.discriminator(net(noise)))
        loss = {
            "minimax": lambda: 0.5 * torch.log(1 - d).mean(),
            "heuristic": lambda: -0.5 * torch.log(d).mean(),
            "least_squares": lambda: ((d - 1) ** 2).mean(),
        }[name]()
        loss.backward()
        adam.step()
        return net, adam

    def judge(self, individual: Individual, noise: Tensor, real: Tensor) -> tuple[float, Tensor, Tensor]:
        """Fitness, the critic's outputs and the images."""
        with torch.no_grad():
            images = individual[0](noise)
        if self.recipe.fitness == "cgan":
            with torch.no_grad():
                critic = self.discriminator(images)
            return critic.mean().item(), critic, images
        self.discriminator.requires_grad_(True)
        critic = self.discriminator(images)
        bce = nn.BCEWithLogitsLoss()
        judged_real = self.discriminator(real)
        loss = bce(judged_real, torch.ones_like(judged_real)) + bce(critic, torch.zeros_like(critic))
        gradients = torch.autograd.grad(loss, list(self.discriminator.parameters()))
        self.discriminator.requires_grad_(False)
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        value = torch.sigmoid(critic).mean() - self.recipe.diversity_weight * torch.log(norm)
        return value.item(), critic.detach(), images

    def cross(
        self, better: Individual, noise: Tensor, *, teachers: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
    ) -> Individual:
        (critic_x, images_x), (critic_y, images_y) = teachers
        net, adam = copy.deepcopy(better)
        adam.zero_grad()
        target = torch.where((critic_y > critic_x)[:, None, None, None], images_y, images_x)
        squares = (net(noise) - target) ** 2
        (squares.mean() if self.recipe.distillation == "mean" else squares.sum()).backward()
        adam.step()
        return net, adam
