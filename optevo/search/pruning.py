"""Optuna's pruners on generations: a trial is compared with what was known when its generation was bred, no later.

So whether it is given up does not depend on who happens to train beside it, and a study stays a function of its seed.
"""

from collections.abc import Sequence

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from optevo.errors import UsageError
from optevo.samplers import claim_of
from optevo.samplers.guest import inner_study

# By what a specification says. Only pruners that compare finished trials, or look at the one trial alone.
PRUNERS = {
    "median": optuna.pruners.MedianPruner,
    "percentile": optuna.pruners.PercentilePruner,
    "threshold": optuna.pruners.ThresholdPruner,
    "none": optuna.pruners.NopPruner,
}


def make_pruner(name: str, arguments: dict[str, int | float | bool]) -> BasePruner:
    """A pruner of Optuna's.

    Args:
        name: A key of `PRUNERS`.
        arguments: What it is told, as Optuna documents it.

    Raises:
        UsageError: It takes no such arguments.
    """
    try:
        pruner: BasePruner = PRUNERS[name](**arguments)
    except (TypeError, ValueError) as error:
        raise UsageError(f"pruner.arguments: {name} does not take them ({error}).") from None
    return pruner


def is_hopeless(pruner: BasePruner, trial: FrozenTrial, *, earlier: Sequence[FrozenTrial]) -> bool:
    """Whether the pruner gives a minimised trial up.

    Args:
        pruner: Of :func:`make_pruner`.
        trial: As it is now, with what it has reported.
        earlier: The canonical trials of complete generations; records of known individuals do not count again.
    """
    study = inner_study(direction="minimize", pruner=pruner)
    storage = study._storage
    study.add_trials([one for one in earlier if (claim := claim_of(one)) is None or claim.reused is None])
    own = storage.create_new_trial(study._study_id, template_trial=trial)
    return bool(pruner.prune(study, storage.get_trial(own)))
