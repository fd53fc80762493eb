"""The winner of a search for recipes."""

from dataclasses import dataclass
from typing import Any

from optevo.cost.dcgan import generator_cost
from optevo.search.progress import Candidate, winner_of
from optevo.search.recipe import recipe_spec
from optevo.search.study import Search
from optevo.tasks.recipe_settings import assemble


@dataclass(frozen=True)
class BestRecipe:
    """A search's winner: values of what was searched, and what is known of them.

    `metric` is what `value` is, with its protocol. `candidates` are the finalists with their spreads, best first; empty
    while there was no final, in which case the winner is the best of single trainings, where luck decides among near
    equals. The counts are the generator's.
    """

    study: str
    trial: int
    value: float
    metric: str
    params: dict[str, Any]
    parameters: int
    exact_macs: int
    literature_macs: int
    candidates: tuple[Candidate, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        shown = {key: value for key, value in vars(self).items() if key != "candidates"}
        final = [
            {"trial": c.number, "values": list(c.values), "mean": c.mean, "std": c.spread} for c in self.candidates
        ]
        return {**shown, "final": final}


def best_recipe(search: Search, *, trial: int | None = None) -> BestRecipe:
    """The winner of the final; before that the best of the search so far, or trial number `trial`.

    Raises:
        UsageError: There is no such trial, or none was trained yet.
    """
    spec, winner = recipe_spec(search), winner_of(search, trial=trial)
    chosen = winner.trial
    cost = generator_cost(assemble(spec, dict(chosen.params))[1])
    metrics = [key for key in chosen.user_attrs if key.startswith(f"{spec.quality.metric}_train_")]
    return BestRecipe(
        study=search.name,
        trial=chosen.number,
        value=winner.value,
        metric=metrics[0] if metrics else spec.quality.metric,
        params=dict(chosen.params),
        parameters=cost.parameters,
        exact_macs=cost.exact_macs,
        literature_macs=cost.literature_macs,
        candidates=winner.finalists,
    )
