"""The worker: takes free slots, trains them, tells the store. Any number of workers share a study; none is special."""

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from optevo.errors import InterruptedRunError, OptevoError
from optevo.evolution import generator
from optevo.samplers import SlotSampler, Standing, claim_of
from optevo.samplers.outages import is_outage
from optevo.samplers.running import pause
from optevo.samplers.slots import Claim
from optevo.search.artifacts import Artifacts, artifacts_url
from optevo.search.checkpoint_store import CheckpointStore
from optevo.search.checkpoints import StoredCheckpoints, TakenOverError
from optevo.search.legacies import Legacies
from optevo.search.living import anyone_training, ask, heartbeat, sweep
from optevo.search.patient_store import ArtifactError
from optevo.search.progress import canonical_trials, stop_reason
from optevo.search.pruning import is_hopeless
from optevo.search.retrying import DatabaseAwayError, Patience
from optevo.search.store import GRACE, reason
from optevo.search.study import Search, begin_final, sampler_of
from optevo.search.systems import Task
from optevo.search.telling import failure_kind, give_up, hand_back, tell, tell_failure, unless_away, unless_swept
from optevo.search.versions import check_versions, versions
from optevo.tasks.evaluation import Evaluation, Report
from optevo.training.engine import Engine, resolve

log = logging.getLogger("optevo.worker")

SWEEP = 5.0  # seconds between looks for dead workers, while there is work
ERRORS_IN_A_ROW = 3  # after so many unexpected errors the fault is not the individual's


@dataclass
class Worker:
    """One process's share of a study.

    While the database is away it waits, see :mod:`optevo.search.retrying`: every step that needs the database is one
    that may be begun again.

    Args:
        search: The study, opened by this process.
        task: Evaluates individuals.
        stop: Set from outside (Ctrl-C, SIGTERM) to end the current training at its next step.
        keep: Stores what else belongs to a trial, such as a picture, before its value is told.
        artifacts: Where the study's artifact store is from here, if not where it was created to be.
    """

    search: Search
    task: Task
    stop: threading.Event
    keep: Callable[[Trial, Any], None] = lambda trial, evaluation: None
    artifacts: str | None = None
    _swept: float = field(default=-inf, init=False)

    def run(self) -> int:
        """Train until nothing is left to do.

        Returns:
            The number of individuals that this worker trained.

        Raises:
            OptevoError: Trainings keep failing, or the store does.
            InterruptedRunError: `stop` was set.
        """
        studies = self.patience.through(lambda: self.search.studies)
        trained = self.train_all(studies, self._search_seed, self._search_is_over, steps=None)
        if self.search.spec.final.candidates:
            final = self._open_final()
            if final is not None:
                trained += self.train_all((final,), self._final_seed, lambda: False, steps=self._final_steps)
        return trained

    @cached_property
    def patience(self) -> Patience:
        """What this worker does while its database is away."""
        return Patience(url=self.search.url, stop=self.stop)

    @cached_property
    def legacies(self) -> Legacies:
        """What trials leave to their children."""
        search = self.search
        return Legacies(Artifacts(artifacts_url(search.url, given=self.artifacts, recorded=search.record.artifacts)))

    @property
    def _final_steps(self) -> int:
        return self.search.spec.final.steps or 2 * self.search.spec.training.steps

    def _search_is_over(self) -> bool:
        rule = self.search.spec.stop
        if rule.hours is None and rule.patience is None:
            return False  # The samplers know their last generation.
        reason = stop_reason(self.search)
        if reason:
            log.info("search over: %s", reason)
        return reason is not None

    def _search_seed(self, population: int, claim: Claim) -> int:
        return training_seed(self.search.spec.seed, population, claim.generation, claim.slot)

    def _final_seed(self, _: int, claim: Claim) -> int:
        # Every candidate meets the same seeds, so that their differences are paired; none was met in the search.
        return training_seed(self.search.spec.seed, "final", claim.slot % self.search.spec.final.seeds)

    def _open_final(self) -> Study | None:
        begun = time.monotonic()
        while (final := self.patience.through(self._look_for_final)) is Standing.WAIT:
            self._check_stop()
            self.stop.wait(pause(time.monotonic() - begun))
        if isinstance(final, Study):
            return final
        log.warning("no final: not one individual was trained successfully")
        return None

    def _look_for_final(self) -> Study | Standing:
        """The final, begun where nobody has; DONE where there is nobody to hold it with."""
        final = self.search.final()
        if final is not None:
            return final
        self._sweep(self.search.study)
        if anyone_training(self.search.study):
            return Standing.WAIT
        trials = canonical_trials(self.search)
        if not any(trial.state == TrialState.COMPLETE for trial in trials):
            return Standing.DONE
        return begin_final(self.search, trials=trials)

    def train_all(
        self,
        studies: Sequence[Study],
        seed_of: Callable[[int, Claim], int],
        is_over: Callable[[], bool],
        *,
        steps: int | None,
    ) -> int:
        """Train every individual of all populations.

        Args:
            studies: One a population, with one of optevo's samplers.
            seed_of: The training seed of a population's claim.
            is_over: Looked at before each individual; True ends it early.
            steps: Instead of `training.steps`.

        Returns:
            The number of individuals that this worker trained.
        """
        trained = errors = 0
        idle = time.monotonic()
        while True:
            self._check_stop()
            taken = self.patience.through(lambda: self._take_any(studies, is_over))
            if taken is Standing.DONE:
                return trained
            if isinstance(taken, Standing):
                self.stop.wait(pause(time.monotonic() - idle))
                continue
            if taken is None:
                continue
            population, trial, claim = taken
            seed = seed_of(population, claim)
            failure = self._train_one(studies[population], trial, seed=seed, steps=steps)
            errors = errors + 1 if failure == "error" else 0
            trained += 1
            idle = time.monotonic()
            if errors >= ERRORS_IN_A_ROW:
                raise OptevoError(
                    f"{errors} trainings in a row ended in unexpected errors (above); mend the cause and run again."
                )

    def _take_any(
        self, studies: Sequence[Study], is_over: Callable[[], bool]
    ) -> tuple[int, Trial, Claim] | Standing | None:
        """The first population's individual that is free, as (population, trial, claim); else as `_take`.

        Looking for dead workers costs as much as finding a slot, so while there is work it is done every few seconds;
        but always before waiting and leaving, and after an error, which may have left a trial half begun here.
        """
        due = time.monotonic() - self._swept > SWEEP
        swept, self._swept = (time.monotonic() if due else self._swept), -inf
        if due:
            for study in studies:
                self._sweep(study)
        if is_over():
            return Standing.DONE if due else Standing.WAIT
        standings = []
        for population, study in enumerate(studies):
            taken = self._take(study)
            if not isinstance(taken, Standing):
                self._swept = swept
                return None if taken is None else (population, *taken)
            standings.append(taken)
        return Standing.DONE if due and all(each is Standing.DONE for each in standings) else Standing.WAIT

    def _take(self, study: Study) -> tuple[Trial, Claim] | Standing | None:
        """A new trial and the slot that it claims; why there is none; or None where somebody else was faster.

        A trial that an outage leaves here half begun carries this process's name, and the next attempt sweeps it up.
        """
        assert isinstance(study.sampler, SlotSampler)
        place = study.sampler.next_slot(study)
        if isinstance(place, Standing):
            return place
        try:
            trial = ask(study)
            claim = claim_of(study._storage.get_trial(trial._trial_id))
        except UpdateFinishedTrialError:
            # An outage in the middle of the claim was long enough for others to give the slot away.
            log.warning("a trial was given to another worker before its training began")
            return None
        if claim is None:
            give_up(study, trial, "lost the race for a slot")
            return None
        return trial, claim

    def _sweep(self, study: Study) -> None:
        # After an outage every heartbeat is old. Those who train need a while to be heard again.
        sweep(study, silent=self.patience.calm(GRACE))

    def _train_one(self, study: Study, trial: Trial, *, seed: int, steps: int | None) -> str | None:
        """Train and tell one individual. Returns the kind of its failure, or None."""
        with self._checkpoints() as checkpoints:
            failure = self._train_and_tell(study, trial, checkpoints, seed=seed, steps=steps)
            if failure in (None, "nan"):  # Nobody goes on with it.
                checkpoints.remove()
        return failure

    @contextmanager
    def _checkpoints(self) -> Iterator[StoredCheckpoints]:
        """Of one individual, in the study's artifact store: whoever trains it next goes on."""
        place = artifacts_url(self.search.url, given=self.artifacts, recorded=self.search.record.artifacts)
        with tempfile.TemporaryDirectory(prefix="optevo-") as folder:
            yield StoredCheckpoints(CheckpointStore(place), local=Path(folder) / "checkpoint.safetensors")

    def _reporting(self, study: Study, trial: Trial, *, prunes: bool) -> Report:
        """What stores the values that a training reports."""

        def report(value: float, step: int) -> bool:
            def store() -> bool:
                with unless_swept(study, trial):
                    trial.report(value, step)
                return prunes and self._is_hopeless(study, trial)

            return self.patience.through(store)

        return report

    def _is_hopeless(self, study: Study, trial: Trial) -> bool:
        pruner = self.search.system.pruner(self.search.spec)
        stored = study._storage.get_trial(trial._trial_id)
        claim = claim_of(stored)
        if pruner is None or claim is None:
            return False
        history = sampler_of(study).history(study)[: claim.generation]
        return is_hopeless(pruner, stored, earlier=[one for generation in history for one in generation])

    def _train_and_tell(
        self, study: Study, trial: Trial, checkpoints: StoredCheckpoints, *, seed: int, steps: int | None
    ) -> str | None:
        """As `_train_one`, where the training is saved in `checkpoints`."""
        search = self.search
        try:
            # Files that belong to it are read and written meanwhile, and a store that is away is waited for.
            with heartbeat(study._storage, trial._trial_id, on_error=self.patience.note):
                individual = self.patience.through(lambda: self._individual(study, trial))
                started = time.monotonic()
                evaluation = search.system.evaluate(
                    self.task,
                    individual,
                    seed=seed,
                    steps=steps,
                    on_step=lambda _: self._check_stop(),
                    report=self._reporting(study, trial, prunes=steps is None),
                    checkpoints=checkpoints,
                )
                seconds = time.monotonic() - started
                self.patience.through(lambda: self._leave(trial, evaluation))
        except (InterruptedRunError, KeyboardInterrupt):
            with unless_away(trial.number):
                give_up(study, trial, "interrupted")
            raise
        except DatabaseAwayError:  # Nothing of the individual's.
            raise
        except TakenOverError as error:
            give_up(study, trial, str(error))
            return "taken_over"
        except ArtifactError as error:  # Nor this, see optevo.search.legacies.
            why = str(error)[:500]
            if not self.patience.through(lambda: hand_back(study, trial, why)):
                return "given away"
            raise OptevoError(f"trial {trial.number} is given back: {error}.") from error
        except Exception as error:  # Whatever a training raises ends that trial only; failure_kind says what it was.
            kind = failure_kind(error)
            if kind == "error":
                log.exception("trial %d failed", trial.number)
            log.warning("trial %d: %s (%s)", trial.number, kind, error)
            text = f"{kind}: {error}"[:500]
            self.patience.through(lambda: tell_failure(study, trial, kind, text))
            return kind
        self.patience.through(lambda: self._keep(study, trial, evaluation))
        self.patience.through(lambda: tell(study, trial, evaluation, seconds))
        return None

    def _individual(self, study: Study, trial: Trial) -> Any:
        def left(number: int, name: str) -> tuple[FrozenTrial, bytes]:
            return self.legacies.read(study, number, name)

        return self.search.system.individual(self.search.spec, trial, facts=self.search.record.facts, left=left)

    def _leave(self, trial: Trial, evaluation: Evaluation) -> None:
        files = self.search.system.leaves(self.search.spec, trial, evaluation)
        if files:
            self.legacies.leave(trial, files)

    def _keep(self, study: Study, trial: Trial, evaluation: Evaluation) -> None:
        try:
            with unless_swept(study, trial):
                self.keep(trial, evaluation)
        except Exception as error:  # Whatever a disk or an object store raises.
            if is_outage(error):
                raise
            # It costs the picture, not the result.
            log.warning("trial %d: its files are not stored (%s)", trial.number, reason(error))

    def _check_stop(self) -> None:
        if self.stop.is_set():
            raise InterruptedRunError("stopped; run the same command again to continue.")


def training_seed(*key: int | str) -> int:
    """A seed for torch that depends on the key alone, such as (seed, population, generation, slot)."""
    return int(generator(*key, "training").integers(2**63))


def open_worker(
    search: Search,
    *,
    root: Path | None = None,
    artifacts: str | None = None,
    stop: threading.Event | None = None,
    accept_versions: bool = False,
) -> Worker:
    """Check that this machine can work for the study, and decode the images.

    Args:
        root: The images' folder, where it is not the specification's.
        artifacts: Where the study's artifact store is from here, if not where it was created to be.
        stop: Ends the work when it is set.
        accept_versions: Join with versions of packages that change results; it is recorded in the study.

    Raises:
        UsageError: Other images, or other versions of packages.
        OptevoError: This machine cannot compute what the others do.
    """
    check_versions(search.study, search.record.versions, accept=accept_versions, here=versions())
    task = open_task(search, root=root, artifacts=artifacts)
    return Worker(search=search, task=task, stop=stop or threading.Event(), artifacts=artifacts)


def open_task(search: Search, *, root: Path | None = None, artifacts: str | None = None) -> Task:
    """What evaluates the study's individuals on this machine, with the images decoded.

    Args:
        artifacts: Where the study's artifact store is from here, if not where it was created to be.

    Raises:
        UsageError: Other images.
        OptevoError: This machine cannot compute what the others do.
    """
    engine = _engine(search)
    search.check_images(root=root)

    def read_file(name: str) -> bytes:
        return search.read_file(name, artifacts=artifacts)

    return search.system.open_task(
        search.spec, facts=search.record.facts, engine=engine, read_file=read_file, root=root
    )


def _engine(search: Search) -> Engine:
    return resolve(device=search.spec.engine.device, precision=search.record.precision, threads=search.record.threads)
