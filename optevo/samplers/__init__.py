"""Genetic samplers for any Optuna study. They need no torch and know no search space but the one they are given."""

from optevo.samplers.base import Brood, BroodMismatchError, Individual, SlotSampler, Standing
from optevo.samplers.coevolution import CoevolutionSampler, Rival, partners_of
from optevo.samplers.guest import GuestSampler
from optevo.samplers.lineage import GenerationSummary, Lineage, lineage
from optevo.samplers.masks import masks_of
from optevo.samplers.roster import RosterSampler
from optevo.samplers.roulette_ga import RouletteGASampler
from optevo.samplers.running import coevolve, evolve
from optevo.samplers.slots import Claim, claim_of

__all__ = [
    "Brood",
    "BroodMismatchError",
    "Claim",
    "CoevolutionSampler",
    "GenerationSummary",
    "GuestSampler",
    "Individual",
    "Lineage",
    "Rival",
    "RosterSampler",
    "RouletteGASampler",
    "SlotSampler",
    "Standing",
    "claim_of",
    "coevolve",
    "evolve",
    "lineage",
    "masks_of",
    "partners_of",
]
