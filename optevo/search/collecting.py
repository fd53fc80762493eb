"""Which artifacts are kept, and the removal of the others: a search of 3,200 individuals must not keep 3,200 files.

The rule. An artifact is kept while one of these trials refers to it (a record of a known individual refers to the files
of the trial that was really trained):

* a trial that is running, or finished in a generation that is not complete yet;
* the newest complete generation: the next one's parents and elites are of it;
* where children learn from their parents (`training.warm_start`) and breed from an archive: the archive;
* the `KEPT_BEST` best individuals of the whole search, or as many as the final has candidates, if those are more;
* the final: its candidates' trials in the search, and every training of its own;
* of pictures, besides, every individual that filled its slot: a picture is some 20 KB, and the dashboard shows it.

What a person uploaded in the dashboard is never removed, and of the final nothing is: it is small.

Everything else goes: checkpoints of earlier generations, of trials that failed or lost their slot, and what a killed
worker left half done. So much stays for P individuals in a generation: 2 P + `KEPT_BEST` files (and the archive's) and
the final's, and a picture for each individual.

Each worker collects with the first individual that it finishes after a generation is complete, and when it leaves.
There is no leader and no lock: what is kept follows from the results alone, so two workers that collect at once remove
the same files, and to remove what is gone is no error. First the file goes, then its row: whoever dies in between
leaves a row, which the next collection removes. Values, parameters and claims of trials are never touched.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from optevo.samplers import claim_of
from optevo.search.artifact_rows import Row, artifact_rows, engine_of, remove
from optevo.search.artifacts import Artifacts
from optevo.search.study import FINAL, Search, best_distinct, sampler_of

KEPT_BEST = 10


@dataclass
class Collector:
    """Collects when there is reason to.

    Args:
        search: The study.
        artifacts: Its store.
    """

    search: Search
    artifacts: Artifacts
    _complete: int = field(default=0, init=False)

    def after_individual(self) -> None:
        """Collect if a generation has become complete since the last time."""
        complete = sum(len(sampler_of(study).history(study)) for study in self.search.studies)
        if complete > self._complete:
            collect(self.search, self.artifacts)
            self._complete = complete


@dataclass(frozen=True)
class Needed:
    """What the rule keeps, by the trials' numbers.

    Attributes:
        everything: Trials whose files are all kept.
        pictures: Trials whose pictures are.
        known: Every trial by its identity in the database, as they were before anything else was read.
    """

    everything: frozenset[int]
    pictures: frozenset[int]
    known: Mapping[int, FrozenTrial]

    def keeps(self, row: Row) -> bool:
        """Whether a row is a reason to keep its file. A trial that began after the trials were read always is one."""
        trial = self.known.get(row.trial)
        if trial is None or trial.number in self.everything:
            return True
        if row.stored is not None and row.stored.sha256 is None:  # Not optevo's; see the rule.
            return True
        is_picture = row.stored is not None and row.stored.mimetype.startswith("image/")
        return is_picture and trial.number in self.pictures


def collect(search: Search, artifacts: Artifacts) -> int:
    """Remove what is no longer needed (see the rule above), in each population.

    Returns:
        How many files were removed.
    """
    return sum(_collect(search, study, artifacts) for study in search.studies)


def _collect(search: Search, study: Study, artifacts: Artifacts) -> int:
    needed = needed_trials(search, study)
    engine = engine_of(study)
    rows = artifact_rows(engine, study=study._study_id)
    held = {(needed.known[row.trial].number, row.artifact_id) for row in rows if row.trial in needed.known}
    alive = [row for row in rows if not _is_dangling(row, held, needed)]
    kept = {row.artifact_id for row in alive if needed.keeps(row)}
    return remove(engine, artifacts, [row for row in rows if row.artifact_id not in kept])


def needed_trials(search: Search, study: Study) -> Needed:
    """Read a population's study, and apply the rule."""
    # Before the history: whoever finishes in between is still running here, and kept.
    trials = study.get_trials(deepcopy=False)
    sampler = sampler_of(study)
    history = sampler.history(study)
    everyone = [trial for generation in history for trial in generation]
    best = best_distinct(everyone, max(KEPT_BEST, search.spec.final.candidates))
    return Needed(
        everything=frozenset(
            [trial.number for trial in trials if _is_open(trial, complete=len(history))]
            + [trial.number for generation in history[-1:] for trial in generation]
            + sampler.lecturers(study, history)
            + [trial.number for trial in best]
            + _final_candidates(search)
        ),
        pictures=frozenset(trial.number for trial in everyone),
        known={trial._trial_id: trial for trial in trials},
    )


def _is_dangling(row: Row, held: Set[tuple[int, str]], needed: Needed) -> bool:
    """Whether a record of a known individual refers to a file that was collected while the record was written."""
    trial = needed.known.get(row.trial)
    claim = None if trial is None else claim_of(trial)
    return claim is not None and claim.reused is not None and (claim.reused, row.artifact_id) not in held


def _is_open(trial: FrozenTrial, *, complete: int) -> bool:
    if not trial.state.is_finished():
        return True
    claim = claim_of(trial)
    return trial.state != TrialState.FAIL and claim is not None and claim.generation >= complete


def _final_candidates(search: Search) -> list[int]:
    try:
        final = optuna.load_study(study_name=search.name + FINAL, storage=search.storage)
    except KeyError:
        return []
    return list(final.user_attrs.get("candidates", []))
