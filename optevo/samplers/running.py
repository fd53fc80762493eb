"""Running evolutions with any number of workers: nobody draws a spare where waiting a moment gives a real slot."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from optuna import Study
from optuna.storages import fail_stale_trials
from optuna.trial import Trial

from optevo.samplers.base import SlotSampler, Standing

POLL = 0.5  # seconds between looks at a generation that other workers are finishing

Objective = Callable[[Trial], float]


def evolve(study: Study, objective: Objective, *, trials: int | None = None, **optimize: Any) -> int:
    """Train whatever is free until every generation is complete, in any number of processes at once.

    `Study.optimize` never waits: beside other workers it draws spares at the end of a generation. This waits for the
    next generation instead. Give an `RDBStorage` a `heartbeat_interval`, or the slot of a killed worker is waited for
    without end.

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

    Safe in any number of processes at once: each takes the slots that the others leave.

    Args:
        studies: With a :class:`CoevolutionSampler` each, all of the same `populations`.
        objectives: One a study; :func:`partners_of` tells an objective its trial's partners.
        trials: Stop after so many of this process's trials; None for no such limit.
        optimize: Passed on to `Study.optimize`, such as `catch`.

    Returns:
        The number of trials that this process ran.
    """
    done = 0
    while trials is None or done < trials:
        places = [_next_slot(study) for study in studies]
        free = next((at for at, place in enumerate(places) if not isinstance(place, Standing)), None)
        if free is not None:
            studies[free].optimize(objectives[free], n_trials=1, **optimize)
            done += 1
        elif all(place is Standing.DONE for place in places):
            break
        else:
            for study in studies:
                fail_stale_trials(study)  # Whoever was killed gives its slot back, where the storage keeps heartbeats.
            time.sleep(POLL)
    return done


def _next_slot(study: Study) -> int | Standing:
    if not isinstance(study.sampler, SlotSampler):
        raise TypeError(f"study {study.study_name!r} needs one of optevo's samplers, not {study.sampler!r}.")
    return study.sampler.next_slot(study)
