"""What a study has found."""

from dataclasses import dataclass
from typing import Any

from optevo.api.compression import BestPair, best_pair
from optevo.api.recipes import BestRecipe, best_recipe
from optevo.search.progress import Candidate, winner_of
from optevo.search.store import storage_url
from optevo.search.study import Search, open_search
from optevo.search.unet import unet_spec
from optevo.spaces.unet import UNetArchitecture
from optevo.tasks.fitness import cost_of, space_of


@dataclass(frozen=True)
class Best:
    """A study's winner: an architecture, and what is known of its quality.

    `candidates` are the finalists with their spreads, best first; empty while there was no final, in which case the
    winner is the best of single short trainings, where luck decides among near equals.
    """

    study: str
    trial: int
    value: float
    architecture: UNetArchitecture
    parameters: int
    exact_macs: int
    literature_macs: int
    candidates: tuple[Candidate, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "study": self.study,
            "trial": self.trial,
            "value": self.value,
            "architecture": self.architecture.to_dict(),
            "parameters": self.parameters,
            "exact_macs": self.exact_macs,
            "literature_macs": self.literature_macs,
            "final": [
                {"trial": c.number, "values": list(c.values), "mean": c.mean, "std": c.spread} for c in self.candidates
            ],
        }


def winners(name: str, *, storage: str | None = None) -> Best | BestPair | BestRecipe:
    """What a study of any system has found so far: an architecture, the masks of both translators, or a recipe."""
    search = open_search(name, url=storage_url(storage))
    if search.spec.system == "coevolution":
        return best_pair(search)
    if search.spec.system == "cegan":
        return best_recipe(search)
    return best_architecture(search)


def best(name: str, *, storage: str | None = None, trial: int | None = None) -> Best:
    """As :func:`best_architecture`, of a study by its name."""
    return best_architecture(open_search(name, url=storage_url(storage)), trial=trial)


def best_architecture(search: Search, *, trial: int | None = None) -> Best:
    """The winner of a U-Net search's final; before that the best of the search so far, or trial number `trial`.

    Raises:
        UsageError: There is no such trial, or none was trained yet.
    """
    spec = unet_spec(search)
    found = winner_of(search, trial=trial)
    architecture = space_of(spec).architecture(found.trial.params)
    cost = cost_of(architecture, spec)
    return Best(
        study=search.name,
        trial=found.trial.number,
        value=found.value,
        architecture=architecture,
        parameters=cost.parameters,
        exact_macs=cost.exact_macs,
        literature_macs=cost.literature_macs,
        candidates=found.finalists,
    )
