"""Running evolutions with any number of workers: nobody draws a spare where waiting a moment gives a real slot."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from optuna import Study
from optuna.exceptions import TrialPruned, UpdateFinishedTrialError
from optuna.trial import Trial, TrialState

from optevo.samplers.base import SlotSampler, Standing
from optevo.samplers.outages import is_outage
from optevo.samplers.records import fail_silent
from optevo.samplers.slots import FAILURE

log = logging.getLogger("optevo.samplers")

# Seconds between looks at a generation that other workers are finishing, at first and at most.
SHORTEST, POLL = 0.05, 1.0

# Seconds that a database which is away is waited for, and between attempts, at first and at most.
PATIENCE = 600.0
FIRST, LONGEST = 0.5, 5.0

Objective = Callable[[Trial], float]
T = TypeVar("T")


def pause(waited: float) -> float:
    """Seconds until the next look of somebody who has waited so long: nobody comes later than by a tenth of the wait,
    and who waits for hours does not ask more than once in `POLL` seconds."""
    return min(max(waited / 10, SHORTEST), POLL)


def evolve(study: Study, objective: Objective, *, trials: int | None = None, **optimize: Any) -> int:
    """Train whatever is free until every generation is complete, in any number of processes at once.

    `Study.optimize` never waits: beside other workers it draws spares at the end of a generation. This waits for the
    next generation instead, and for a database that is away. Where two workers reach for the last slot at the same
    moment, the trial of one is PRUNED at once. Give an `RDBStorage` a `heartbeat_interval`, or the slot of a killed
    worker is waited for without end. A callback may call `Study.stop`.

    Args:
        study: With one of optevo's samplers.
        objective: As for `Study.optimize`.
        trials: Stop after so many of this process's trials; None for no such limit.
        optimize: Passed on to `Study.optimize`, such as `catch`.

    Returns:
        The number of trials that this process ran.
    """
    return coevolve((study,), (objective,), trials=trials, **optimize)


def coevolve(
    studies: Sequence[Study],
    objectives: Sequence[Objective],
    *,
    trials: int | None = None,
    **optimize: Any,
) -> int:
    """Train every population until all generations are complete, taking what is free in the order of the studies.

    Where one population without an end has used up its space, all end.

    Safe in any number of processes at once: each takes the slots that the others leave. Neither Ctrl-C nor a database
    that is away counts against an individual; a value that is ready while it is away is told when it is back.

    Args:
        studies: With a :class:`CoevolutionSampler` each, all of the same `populations`.
        objectives: One a study; :func:`partners_of` tells an objective its trial's partners.
        trials: Stop after so many of this process's trials; None for no such limit.
        optimize: Passed on to `Study.optimize`, such as `catch`.

    Returns:
        The number of trials that this process ran.
    """
    done, stopped, idle = 0, False, time.monotonic()
    while (trials is None or done < trials) and not stopped:
        places = _patiently(lambda: _look(studies))
        free = next((at for at, place in enumerate(places) if not isinstance(place, Standing)), None)
        if free is not None:
            done += _run_one(studies[free], objectives[free], optimize)
            stopped, idle = studies[free]._stop_flag, time.monotonic()
        elif all(place is Standing.DONE for place in places):
            break
        elif Standing.DONE in places and _patiently(partial(_is_deserted, studies, places)):
            log.warning("a population is over (its space is used up), so nobody comes to judge the others against")
            break
        else:
            time.sleep(pause(time.monotonic() - idle))
    return done


@dataclass
class _Watched:
    """An objective, and how far it came with its trial: Optuna forgets both where its database goes away."""

    objective: Objective
    sampler: SlotSampler
    trial: Trial | None = None
    value: float | None = None
    state: TrialState = TrialState.FAIL
    was_late: bool = False

    def __call__(self, trial: Trial) -> float:
        self.trial = trial
        try:
            self.was_late = self.sampler.is_late(trial)
            if self.was_late:
                raise TrialPruned("others took the last free slots, so it was not run.")
            self.value = self.objective(trial)
        except TrialPruned:
            self.state = TrialState.PRUNED
            raise
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt) or is_outage(error):
                self.sampler.explain(trial, "died")
            raise
        if _is_nan(self.value):
            self.sampler.explain(trial, "nan")
        return self.value


def _look(studies: Sequence[Study]) -> list[int | Standing]:
    """Each study's free slot, or why it has none. Whoever was killed gives its slot back, where heartbeats are kept."""
    places = [_next_slot(study) for study in studies]
    if all(isinstance(place, Standing) for place in places):
        for study in studies:
            fail_silent(study)
    return places


def _is_deserted(studies: Sequence[Study], places: Sequence[int | Standing]) -> bool:
    """Whether all populations that are not over wait for each other, or for those that are.

    Two looks, for between two of one look somebody may have finished what another waits for.
    """
    waiting = [study for study, place in zip(studies, places, strict=True) if place is not Standing.DONE]
    return not any(_sampler(study).frontier(study) for _ in range(2) for study in waiting)


def _run_one(study: Study, objective: Objective, optimize: Mapping[str, Any]) -> bool:
    """Run a trial; False where others took the slots that were free a moment ago."""
    watched = _Watched(objective, _sampler(study))
    try:
        study.optimize(watched, n_trials=1, **optimize)
    except Exception as error:  # Drivers and objectives have errors of their own.
        if _comes_from_an_outage(error):
            _patiently(lambda: _settle(study, watched))
        elif not _was_given_away(study, watched, error):
            raise
        else:
            log.warning("a trial was silent for too long and was given to another worker; its result is dropped")
    return not watched.was_late


def _is_nan(value: Any) -> bool:
    try:
        return math.isnan(value)
    except (TypeError, ValueError):  # No number at all, as Optuna will say.
        return False


def _settle(study: Study, watched: _Watched) -> None:
    """Tell what there is to tell of a trial that an outage cut off. Without a value, its slot is given out again."""
    if watched.trial is None:  # Not even begun; without heartbeats it is told from a dead worker's.
        return
    if watched.value is not None:
        study.tell(watched.trial, watched.value, skip_if_finished=True)
        return
    if watched.state == TrialState.FAIL:
        watched.sampler.explain(watched.trial, "died")
    study.tell(watched.trial, state=watched.state, skip_if_finished=True)


def _was_given_away(study: Study, watched: _Watched, error: Exception) -> bool:
    """Whether somebody else ended the trial meanwhile: unlike its own failures, it is not marked."""
    if watched.trial is None:
        return isinstance(error, UpdateFinishedTrialError)
    number = watched.trial._trial_id
    stored = _patiently(lambda: study._storage.get_trial(number))
    return stored.state == TrialState.FAIL and FAILURE not in stored.system_attrs


def _comes_from_an_outage(error: BaseException) -> bool:
    """Also where `Study.optimize` stumbled over an outage: it asserts what it could not find out then."""
    found: BaseException | None = error
    while isinstance(found, AssertionError | UnboundLocalError):
        found = found.__context__
    return found is not None and is_outage(found)


def _patiently(step: Callable[[], T]) -> T:
    """Do a step that needs the database, from its beginning again while it is away."""
    begun, delay = None, FIRST
    while True:
        try:
            result = step()
        except Exception as error:  # Drivers have errors of their own.
            if not is_outage(error):
                raise
            now = time.monotonic()
            if begun is None:
                begun = now
                log.warning("the database does not answer (%s); trying again", str(error).partition("\n")[0])
            if now - begun >= PATIENCE:
                raise
            time.sleep(delay)
            delay = min(2 * delay, LONGEST)
        else:
            if begun is not None:
                log.warning("the database is back after %.0f s", time.monotonic() - begun)
            return result


def _next_slot(study: Study) -> int | Standing:
    return _sampler(study).next_slot(study)


def _sampler(study: Study) -> SlotSampler:
    if not isinstance(study.sampler, SlotSampler):
        raise TypeError(f"study {study.study_name!r} needs one of optevo's samplers, not {study.sampler!r}.")
    return study.sampler
