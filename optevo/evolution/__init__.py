"""Genetic operators in numpy: pure functions with an explicit random generator. They know no Optuna and no torch."""

from optevo.evolution.breeding import Offspring, Parent, breed
from optevo.evolution.crossover import swap_segment
from optevo.evolution.founders import found, immigrants
from optevo.evolution.genes import CategoricalGene, Gene, IntegerGene, RealGene
from optevo.evolution.mutation import mutate_segment, mutate_single
from optevo.evolution.randomness import generator
from optevo.evolution.roulette import probabilities, spin
from optevo.evolution.scaling import SCALINGS, proportional, rank, sigma

__all__ = [
    "SCALINGS",
    "CategoricalGene",
    "Gene",
    "IntegerGene",
    "Offspring",
    "Parent",
    "RealGene",
    "breed",
    "found",
    "generator",
    "immigrants",
    "mutate_segment",
    "mutate_single",
    "probabilities",
    "proportional",
    "rank",
    "sigma",
    "spin",
    "swap_segment",
]
