"""Who lives: trials say whose they are and that they are alive, and what the dead had is given out again."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import Trial, TrialState, create_trial

from optevo.samplers import SlotSampler, claim_of
from optevo.samplers.records import fail_silent
from optevo.samplers.slots import CLAIM
from optevo.search import processes
from optevo.search.processes import PROCESS, is_gone
from optevo.search.store import GRACE, HEARTBEAT, reason

log = logging.getLogger("optevo.worker")


def ask(study: Study) -> Trial:
    """`study.ask`, but of a trial that says from its first moment whose it is.

    Nothing can come between the trial and the name on it, so whatever ends this process, or cuts it off from the
    database, leaves no trial that nobody would ever sweep up.
    """
    assert isinstance(study.sampler, SlotSampler)
    waiting = study._pop_waiting_trial_id()
    storage, mine = study._storage, processes.identity()
    if waiting is None:
        template = create_trial(
            state=TrialState.RUNNING,
            system_attrs={} if mine is None else {PROCESS: mine},
            user_attrs={"worker": processes.name()},
        )
        trial = Trial(study, storage.create_new_trial(study._study_id, template_trial=template))
    else:
        storage.set_trial_system_attr(waiting, PROCESS, mine)
        storage.set_trial_user_attr(waiting, "worker", processes.name())
        trial = Trial(study, waiting)
    for name, distribution in study.sampler.fallback_space().items():
        trial._suggest(name, distribution)
    return trial


@contextmanager
def heartbeat(
    storage: Any, trial_id: int, *, on_error: Callable[[BaseException], None] = lambda error: None
) -> Iterator[None]:
    """Tell the store every few seconds that the trial lives, also through a database that is away for a while.

    Args:
        on_error: Gets what a heartbeat raised; there will be another one.
    """
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT):
            try:
                storage.record_heartbeat(trial_id)
            except Exception as error:  # Whatever the driver raises: the training itself must go on.
                log.warning("no heartbeat (%s); trying again", reason(error))
                on_error(error)

    thread = threading.Thread(target=beat, daemon=True)
    if isinstance(storage, RDBStorage) or hasattr(storage, "record_heartbeat"):
        thread.start()
    try:
        yield
    finally:
        done.set()
        if thread.ident is not None:
            thread.join(timeout=GRACE)


def sweep(study: Study, *, silent: bool = True) -> None:
    """Give the individuals of dead workers out again: of this machine's at once, of others' when they fall silent.

    Also what this very process began and lost to an outage: it is called when it trains nothing. That trial loses its
    claim, too: a database that fails again and again says nothing against an individual.

    Args:
        silent: Whether to look for those who fell silent.
    """
    mine = processes.identity()
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        process = trial.system_attrs.get(PROCESS)
        if process is None or not (process == mine or is_gone(process)):
            continue
        with suppress(UpdateFinishedTrialError):  # Somebody else has just done so.
            if process == mine:
                study._storage.set_trial_system_attr(trial._trial_id, CLAIM, None)
            study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    if silent:
        fail_silent(study)


def anyone_training(study: Study) -> bool:
    """Whether an individual is in training; trials that have not claimed one do not count."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return any(claim_of(trial) is not None for trial in running)
