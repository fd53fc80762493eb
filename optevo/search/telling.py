"""How a trial ends: with a value, with a failure of its individual, or without one that counts."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import Trial, TrialState

from optevo.samplers.outages import is_outage
from optevo.samplers.slots import CLAIM, FAILURE
from optevo.search.store import GRACE
from optevo.tasks.evaluation import Evaluation, OverBudgetError
from optevo.training.pix2pix import DivergedError

log = logging.getLogger("optevo.worker")


def tell(study: Study, trial: Trial, evaluation: Evaluation, seconds: float) -> None:
    """End a trial with its value, or as pruned."""
    with unless_swept(study, trial):
        for name, value in evaluation.metrics.items():
            trial.set_user_attr(name, value)
        trial.set_user_attr("seconds", round(seconds, 2))
        if evaluation.pruned:
            study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            study.tell(trial, evaluation.value, skip_if_finished=True)


def tell_failure(study: Study, trial: Trial, kind: str, text: str) -> None:
    """End a trial with a failure that counts for its individual, see :func:`failure_kind`."""
    with unless_swept(study, trial):
        trial.set_user_attr("failure", text)
        study._storage.set_trial_system_attr(trial._trial_id, FAILURE, kind)
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


def failure_kind(error: BaseException) -> str:
    """What an exception of a training means, see :data:`optevo.samplers.slots.BOUNDS`."""
    if isinstance(error, DivergedError):
        return "nan"
    if isinstance(error, OverBudgetError):
        return "over_budget"
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        return "out_of_memory"
    return "error"


def give_up(study: Study, trial: Trial, why: str) -> None:
    """End a trial without holding it against its individual."""
    with unless_swept(study, trial):
        trial.set_user_attr("failure", why)
        study._storage.set_trial_system_attr(trial._trial_id, FAILURE, "died")
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


def hand_back(study: Study, trial: Trial, why: str) -> bool:
    """End a trial without its claim: as if its individual had never been given out. False where somebody else did."""
    if study._storage.get_trial(trial._trial_id).state.is_finished():
        log.warning("trial %d was given to another worker meanwhile", trial.number)
        return False
    with unless_swept(study, trial):
        study._storage.set_trial_system_attr(trial._trial_id, CLAIM, None)
    give_up(study, trial, why)
    return True


@contextmanager
def unless_swept(study: Study, trial: Trial) -> Iterator[None]:
    """A trial that was silent for too long belongs to another worker now; what this one found out is dropped."""
    try:
        yield
    except UpdateFinishedTrialError:
        stored = study._storage.get_trial(trial._trial_id)
        # A result, or a marked failure, is its own: stored by an earlier attempt that never learned so.
        if stored.state != TrialState.COMPLETE and FAILURE not in stored.system_attrs:
            log.warning("trial %d was given to another worker meanwhile; this result is dropped", trial.number)


@contextmanager
def unless_away(number: int) -> Iterator[None]:
    """Who is asked to stop does not wait for a database; others will find the trial silent."""
    try:
        yield
    except Exception as error:  # Drivers have errors of their own.
        if not is_outage(error):
            raise
        log.warning("trial %d stays marked as running until it has been silent for %d s", number, GRACE)
