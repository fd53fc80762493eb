"""What a search must know of the system that it evolves: its populations, and who judges an individual."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, Trial

from optevo.samplers import SlotSampler
from optevo.tasks.evaluation import Evaluation, OnStep, Report

if TYPE_CHECKING:
    from optevo.reports.pictures import Pixels
    from optevo.search.spec import Spec
    from optevo.training.continuing import Checkpoints
    from optevo.training.engine import Engine


class Task(Protocol):
    """Trains and judges individuals on this machine: a pure function of the individual and the seed. The metrics become
    the trial's user attributes."""

    def evaluate(
        self,
        individual: Any,
        /,
        *,
        seed: int,
        steps: int | None = None,
        on_step: OnStep | None = None,
    ) -> Evaluation: ...


Left = Callable[[int, str], tuple[FrozenTrial, bytes]]

PICTURED = 4  # validation images in a trial's picture


class System(ABC):
    """One of optevo's systems, as a study sees it. Has no state: what belongs to a study is in its record.

    Attributes:
        populations: What is added to a study's name to name the Optuna study of each population.
    """

    populations: ClassVar[tuple[str, ...]]

    @abstractmethod
    def check(self, spec: "Spec") -> None:
        """Raise UsageError unless individuals of the specification could be trained on its images."""

    @abstractmethod
    def fingerprint(self, spec: "Spec", *, root: Path | None = None) -> str:
        """Of all images that the study sees, in `root` or the specification's folder."""

    def files(self, spec: "Spec") -> Mapping[str, bytes]:
        """By name: what every worker needs besides the images. It is kept with the study's artifacts."""
        return {}

    @abstractmethod
    def facts(self, spec: "Spec") -> dict[str, Any]:
        """JSON-safe: what is found out once, when the study is created, so that all workers agree on it."""

    @abstractmethod
    def samplers(self, spec: "Spec", *, facts: Mapping[str, Any], name: str) -> tuple[SlotSampler, ...]:
        """A sampler for each population of the study `name`."""

    @abstractmethod
    def open_task(
        self,
        spec: "Spec",
        *,
        facts: Mapping[str, Any],
        engine: "Engine",
        read_file: Callable[[str], bytes],
        root: Path | None = None,
    ) -> Task:
        """What evaluates individuals on this machine, with the images decoded.

        Args:
            read_file: Gives the content of one of `files` as it was when the study was created.
        """

    @abstractmethod
    def individual(self, spec: "Spec", trial: Trial, *, facts: Mapping[str, Any], left: Left) -> Any:
        """What the task is told of a trial that has claimed a slot.

        Args:
            left: Gives a trained trial of the same population, by its number, and one of the files that it left.

        Raises:
            ArtifactError: Such a file is missing or damaged: the individual cannot be trained now.
        """

    def leaves(self, spec: "Spec", trial: Trial, evaluation: Evaluation) -> Mapping[str, bytes]:
        """By name: what an individual's children will need of it. It is stored before the trial is told."""
        return {}

    def evaluate(
        self,
        task: Any,
        individual: Any,
        *,
        seed: int,
        steps: int | None,
        on_step: OnStep,
        report: Report,
        checkpoints: "Checkpoints",
    ) -> Evaluation:
        """Have an individual trained. Long trainings report values on the way, and are saved.

        Args:
            report: Stores a value of the running trial; whether the study's pruner gives it up.
            checkpoints: Of this individual, whoever trains it.
        """
        found: Evaluation = task.evaluate(individual, seed=seed, steps=steps, on_step=on_step)
        return found

    def pruner(self, spec: "Spec") -> BasePruner | None:
        """Of Optuna's, which gives hopeless trainings up by what they report; None where none reports."""
        return None

    @abstractmethod
    def pictures(self, trial: Trial, task: Any, evaluation: Evaluation) -> "Mapping[str, Sequence[Pixels]]":
        """Rows of pictures of the first few validation images, by what they show, for people who look at the trial."""

    def files_of(self, trial: Trial, task: Any, evaluation: Evaluation) -> Mapping[str, bytes]:
        """Further files for them, by name."""
        return {}


def system_of(spec: "Spec") -> System:
    """The system of a specification."""
    if spec.system == "coevolution":
        from optevo.search.coevolution import CoevolutionSystem

        return CoevolutionSystem()
    if spec.system == "cegan":
        from optevo.search.recipe import RecipeSystem

        return RecipeSystem()
    from optevo.search.unet import UNetSystem

    return UNetSystem()
