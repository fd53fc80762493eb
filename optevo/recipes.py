"""What the commands do for a search for recipes, as functions: its winner."""

from dataclasses import dataclass
from typing import Any

from optevo.cost.dcgan import generator_cost
from optevo.errors import UsageError
from optevo.search.progress import Candidate, best_trials, candidates
from optevo.search.reading import numbered_trials
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
    spec, finalists = recipe_spec(search), tuple(candidates(search))
    if trial is not None:
        found = numbered_trials(search.storage, study_id=search.study._study_id, numbers=[trial]).get(trial)
        if found is None or found.value is None:
            raise UsageError(
                f"study {search.name!r}: trial {trial} does not exist or has no result; see `optevo study show`."
            )
        chosen, value = found, found.value
    elif finalists:
        chosen, value = finalists[0].trial, finalists[0].mean
    else:
        (top,) = best_trials(search)
        if top is None or top.value is None:
            raise UsageError(f"study {search.name!r}: nothing is trained yet; run `optevo study run {search.name}`.")
        chosen, value = top, top.value
    cost = generator_cost(assemble(spec, dict(chosen.params))[1])
    metrics = [key for key in chosen.user_attrs if key.startswith(f"{spec.quality.metric}_train_")]
    return BestRecipe(
        study=search.name,
        trial=chosen.number,
        value=value,
        metric=metrics[0] if metrics else spec.quality.metric,
        params=dict(chosen.params),
        parameters=cost.parameters,
        exact_macs=cost.exact_macs,
        literature_macs=cost.literature_macs,
        candidates=finalists,
    )
