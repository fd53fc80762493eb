"""How far a study is: read from the trials, by whoever asks. Loads no torch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import fmean, stdev
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from optevo.errors import UsageError
from optevo.samplers import claim_of, slots
from optevo.search.reading import numbered_trials
from optevo.search.spec import Spec
from optevo.search.study import Search, sampler_of


@dataclass(frozen=True)
class Candidate:
    """A candidate of the final: its trial in the search, and what its trainings with new seeds gave."""

    trial: FrozenTrial = field(repr=False)
    values: tuple[float, ...]

    @property
    def number(self) -> int:
        """The trial's number."""
        return self.trial.number

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds; None for a single one."""
        return stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Snapshot:
    """The state of a study at one moment.

    `phase` is "search", "final" or "done"; `stopped` is why the search is over. `generation` counts complete
    generations of all populations; `filled` of `slots` belong to the phase's current generation. `trained` counts
    trainings, without individuals whose value was known already, and `failed` those that failed; trials that found no
    free slot, or lost theirs to a worker that was there first, count in neither. `best` are the populations' leaders,
    of those that have one: of a single population the best of all, of several the best of the newest complete
    generation, since others were judged against other partners.
    """

    phase: str
    stopped: str | None
    generation: int
    generations: int
    filled: int
    slots: int
    trained: int
    best: tuple[FrozenTrial, ...]
    mean: float | None
    running: tuple[FrozenTrial, ...]
    failed: int
    seconds_left: float | None


@dataclass(frozen=True)
class Course:
    """A population, generation by generation, as its trials tell it.

    `history` has the canonical trials of every complete generation, slot by slot; `current` has what fills the slots of
    the one that is being trained, None for a slot that is open; it is empty when all are complete.
    """

    trials: Sequence[FrozenTrial]
    history: Sequence[Sequence[FrozenTrial]]
    current: Sequence[FrozenTrial | None]

    @property
    def canonical(self) -> list[FrozenTrial]:
        """The results that count: every complete generation, and what is filled of the one being trained."""
        filled = [trial for trial in self.current if trial is not None]
        return [*(trial for generation in self.history for trial in generation), *filled]

    @property
    def newest(self) -> list[FrozenTrial]:
        """The newest complete generation; before there is one, what is filled of the first."""
        return list(self.history[-1]) if self.history else self.canonical

    @property
    def filled(self) -> int:
        """How many slots of the generation being trained have a result."""
        return sum(trial is not None for trial in self.current)

    def open_slots(self, spec: Spec) -> int:
        """How many slots of this and the coming generations have none."""
        return (spec.sampler.generations - len(self.history)) * spec.sampler.population - self.filled


def course_of(trials: Sequence[FrozenTrial], spec: Spec) -> Course:
    """What a population's trials say. Nothing is bred for it: a generation is complete when all its slots are filled.

    Args:
        trials: All of them; outlines will do.
        spec: The study's.
    """
    claimed = slots.claims_by_generation(trials)
    history: list[list[FrozenTrial]] = []
    while len(history) < spec.sampler.generations:
        results = slots.results(claimed.get(len(history), {}), size=spec.sampler.population)
        filled = [trial for trial in results if trial is not None]
        if len(filled) < len(results):
            return Course(trials, history, results)
        history.append(filled)
    return Course(trials, history, ())


def courses(search: Search) -> list[Course]:
    """Every population's, in outline."""
    return [course_of(outlines.read(), search.spec) for outlines in search.outlines]


def canonical_trials(search: Search) -> list[FrozenTrial]:
    """The results of the first population that count, whole, with their parameters: see :class:`Course`."""
    return course_of(search.study.get_trials(deepcopy=False), search.spec).canonical


def best_trials(search: Search) -> list[FrozenTrial | None]:
    """Each population's leader so far, whole; of equal values the earlier slot's. None where nobody has a value yet."""
    return [
        None if best is None else _whole(search, study, [best.number])[best.number]
        for study, best in zip(search.studies, _leaders(courses(search)), strict=True)
    ]


def _leaders(found: Sequence[Course]) -> list[FrozenTrial | None]:
    several = len(found) > 1
    return [min(_good(course.newest if several else course.canonical), key=_value, default=None) for course in found]


def stop_reason(search: Search) -> str | None:
    """Why the search is over, or None: its last generation, no improvement in any population, or its hours."""
    histories = [sampler_of(study).history(study) for study in search.studies]
    return _stop_reason(
        search.spec, histories, lambda: [t for study in search.studies for t in study.get_trials(deepcopy=False)]
    )


def _stop_reason(
    spec: Spec, histories: Sequence[Sequence[Sequence[FrozenTrial]]], trials: Callable[[], Sequence[FrozenTrial]]
) -> str | None:
    rule = spec.stop
    complete = min(map(len, histories))
    if complete >= spec.sampler.generations:
        return f"all {complete} generations are complete"
    if rule.patience is not None and min(map(_generations_without_improvement, histories)) >= rule.patience:
        return f"the best individual has not improved in {rule.patience} generations"
    if rule.hours is not None and hours_trained(trials()) >= rule.hours:
        return f"{rule.hours:g} hours of training are over"
    return None


def hours_trained(trials: Sequence[FrozenTrial]) -> float:
    """Hours in which at least one individual was in training."""
    spans = sorted(
        (trial.datetime_start, trial.datetime_complete)
        for trial in trials
        if trial.datetime_start and trial.datetime_complete
    )
    total, end = timedelta(), datetime.min
    for start, stop in spans:
        if stop > end:
            total += stop - max(start, end)
            end = stop
    return total.total_seconds() / 3600


def candidates(search: Search) -> list[Candidate]:
    """The candidates of a complete final, best mean first; empty before that.

    A candidate one of whose trainings failed is out: its mean would be of its lucky seeds.
    """
    final = search.final()
    if final is None:
        return []
    results = _final_results(final)
    per = search.spec.final.seeds
    if any(trial is None for trial in results):
        return []
    numbers = final.user_attrs["candidates"]
    by_number = _whole(search, search.study, numbers)
    found = []
    for place, number in enumerate(numbers):
        trained = results[place * per : (place + 1) * per]
        values = [trial.value for trial in trained if trial is not None and trial.state == TrialState.COMPLETE]
        if len(values) == per and number in by_number:
            found.append(Candidate(by_number[number], tuple(v for v in values if v is not None)))
    return sorted(found, key=lambda candidate: candidate.mean)


@dataclass(frozen=True)
class Winner:
    """Of a search with one population: the trial, its value, and the final's candidates, best first.

    Before there was a final, `finalists` is empty and the value that of a single training, where luck decides among
    near equals; after it the value is the mean over the final's seeds.
    """

    trial: FrozenTrial = field(repr=False)
    value: float
    finalists: tuple[Candidate, ...]


def winner_of(search: Search, *, trial: int | None = None) -> Winner:
    """The winner of the final; before that the best of the search so far, or trial number `trial`.

    Raises:
        UsageError: There is no such trial, or none was trained yet.
    """
    finalists = tuple(candidates(search))
    if trial is not None:
        found = _whole(search, search.study, [trial]).get(trial)
        if found is None or found.value is None:
            raise UsageError(
                f"study {search.name!r}: trial {trial} does not exist or has no result; see `optevo study show`."
            )
        return Winner(found, found.value, finalists)
    if finalists:
        return Winner(finalists[0].trial, finalists[0].mean, finalists)
    (top,) = best_trials(search)
    if top is None or top.value is None:
        raise UsageError(f"study {search.name!r}: nothing is trained yet; run `optevo study run {search.name}`.")
    return Winner(top, top.value, ())


def snapshot(search: Search, *, workers: int = 1) -> Snapshot:
    """Read the store once and sum it up. The best and the running trials are whole."""
    final, found = search.final(), courses(search)
    trials = [trial for course in found for trial in course.trials]
    stood = [trial for trial in trials if claim_of(trial) is not None]
    stopped = _stop_reason(search.spec, [course.history for course in found], lambda: trials)
    complete = min(len(course.history) for course in found)
    size = search.spec.sampler.population
    values = [t.value for course in found for t in _good(course.canonical)[-size:] if t.value is not None]
    if final is not None:
        results = _final_results(final)
        filled, total = sum(trial is not None for trial in results), len(results)
        phase = "done" if filled == total else "final"
        left = (total - filled) * _seconds_a_trial(final.get_trials(deepcopy=False), default=_seconds_a_trial(trials))
    else:
        total = size * len(found)
        # A population may be one generation ahead of the other.
        filled = sum(course.filled if len(course.history) == complete else size for course in found)
        filled = filled if any(course.current for course in found) else total
        # Where not one individual could be trained there is nobody to hold a final with.
        has_final = bool(search.spec.final.candidates and values)
        phase = "search" if stopped is None else ("final" if has_final else "done")
        open_slots = sum(course.open_slots(search.spec) for course in found) if not stopped else 0
        left = open_slots * _fresh_share(trials) * _seconds_a_trial(trials)
    return Snapshot(
        phase=phase,
        stopped=stopped,
        generation=complete,
        generations=search.spec.sampler.generations,
        filled=filled,
        slots=total,
        trained=sum(t.state.is_finished() and "reused_from" not in t.user_attrs for t in stood),
        best=tuple(_whole_leaders(search, found)),
        mean=fmean(values) if values else None,
        running=_running(final) if final is not None else tuple(_in_training(search, found)),
        failed=sum(t.state == TrialState.FAIL for t in stood),
        seconds_left=left / max(1, workers) if left == left else None,
    )


def generation_rows(search: Search) -> list[dict[str, Any]]:
    """A row a complete generation: its best and mean value, and how many of its individuals were trained for it. Of
    several populations each has its own rows."""
    rows: list[dict[str, Any]] = []
    found = courses(search)
    for population, course in zip(search.system.populations, found, strict=True):
        named = {"population": population.strip("/")} if len(found) > 1 else {}
        for number, generation in enumerate(course.history):
            values = [trial.value for trial in generation if trial.value is not None]
            rows.append(
                {
                    **named,
                    "generation": number,
                    "best": min(values, default=None),
                    "mean": fmean(values) if values else None,
                    "trained": sum("reused_from" not in trial.user_attrs for trial in generation),
                    "failed": sum(trial.state == TrialState.FAIL for trial in generation),
                }
            )
    return rows


def _whole_leaders(search: Search, found: Sequence[Course]) -> Iterator[FrozenTrial]:
    for study, best in zip(search.studies, _leaders(found), strict=True):
        if best is not None:
            yield _whole(search, study, [best.number])[best.number]


def _in_training(search: Search, found: Sequence[Course]) -> Iterator[FrozenTrial]:
    for study, course in zip(search.studies, found, strict=True):
        running = [t.number for t in course.trials if t.state == TrialState.RUNNING and claim_of(t) is not None]
        yield from _whole(search, study, running).values()


def _generations_without_improvement(history: Sequence[Sequence[FrozenTrial]]) -> int:
    bests = [
        min((t.value for t in generation if t.value is not None and t.state == TrialState.COMPLETE), default=None)
        for generation in history
    ]
    best, since = float("inf"), 0
    for value in bests:
        since += 1
        if value is not None and value < best:
            best, since = value, 0
    return since


def _final_results(final: Study) -> list[FrozenTrial | None]:
    claimed = slots.claims(final.get_trials(deepcopy=False), generation=0)
    return [slots.canonical(claimed.get(slot, ())) for slot in range(len(final.user_attrs["individuals"]))]


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def _good(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [t for t in trials if t.state == TrialState.COMPLETE and t.value is not None]


def _whole(search: Search, study: Study, numbers: Sequence[int]) -> dict[int, FrozenTrial]:
    return numbered_trials(search.storage, study_id=study._study_id, numbers=numbers) if numbers else {}


def _running(study: Study) -> tuple[FrozenTrial, ...]:
    trials = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return tuple(trial for trial in trials if claim_of(trial) is not None)


def _seconds_a_trial(trials: Sequence[FrozenTrial], *, default: float = float("nan")) -> float:
    """Mean of the newest trainings; records of known individuals carry the original attribute, but took no time."""
    seconds = [
        t.user_attrs["seconds"]
        for t in trials
        if t.state == TrialState.COMPLETE and "seconds" in t.user_attrs and "reused_from" not in t.user_attrs
    ]
    return fmean(seconds[-50:]) if seconds else default


def _fresh_share(trials: Sequence[FrozenTrial]) -> float:
    """How many of the slots need training at all: others repeat known individuals."""
    finished = [t for t in trials if t.state == TrialState.COMPLETE]
    fresh = sum("reused_from" not in t.user_attrs for t in finished)
    return fresh / len(finished) if finished else 1.0
