"""Co-evolutionary compression (1907.10804) as a study: two populations of filter masks, one for each translator."""

import io
import logging
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import Trial

from optevo.cost.filters import filter_cost
from optevo.data.check import GREY, check_unpaired
from optevo.errors import UsageError
from optevo.evolution import generator
from optevo.samplers import CoevolutionSampler, SlotSampler, masks_of, partners_of
from optevo.samplers.masks import Mask, from_hex, split
from optevo.search.spec import CoevolutionSpec, Spec
from optevo.search.systems import PICTURED, Left, System
from optevo.search.unet import genetics
from optevo.search.versions import Difference
from optevo.spaces.filters import GroupTable
from optevo.tasks.coevolution_price import over_budget
from optevo.tasks.evaluation import Evaluation, OnStep
from optevo.tasks.unpaired_splits import find_unpaired_splits

if TYPE_CHECKING:
    from optevo.reports.pictures import Pixels
    from optevo.search.study import Search
    from optevo.tasks.coevolution import CoevolutionTask, Direction
    from optevo.tasks.translators import Translators
    from optevo.training.engine import Engine

log = logging.getLogger("optevo.search")

TEACHERS = "teachers.tar"

# The order in which the populations take their turns: the paper's P, then Q.
DIRECTIONS: Mapping[str, "Direction"] = {"/A2B": "a_to_b", "/B2A": "b_to_a"}


@dataclass(frozen=True)
class Masked:
    """An individual of either population, and whom it is judged against.

    Attributes:
        direction: Which translator the masks are of.
        masks: By chromosome.
        partner: The other translator's; None for the whole teacher.
    """

    direction: "Direction"
    masks: Mapping[str, Mask]
    partner: Mapping[str, Mask] | None


@dataclass(frozen=True)
class MaskedTask:
    """:class:`optevo.tasks.coevolution.CoevolutionTask` for a study's individuals."""

    task: "CoevolutionTask"

    def evaluate(
        self, individual: Masked, /, *, seed: int, steps: int | None = None, on_step: OnStep | None = None
    ) -> Evaluation:
        """See :class:`optevo.search.systems.Task`."""
        return self.task.evaluate(
            individual.direction, individual.masks, individual.partner, seed=seed, steps=steps, on_step=on_step
        )


class CoevolutionSystem(System):
    """See the module. The teachers travel with the study, in its artifact store."""

    populations = tuple(DIRECTIONS)

    def check(self, spec: Spec) -> None:
        spec = _of(spec)
        _check_images(spec)
        _check_teachers(spec)

    def fingerprint(self, spec: Spec, *, root: Path | None = None) -> str:
        return find_unpaired_splits(_of(spec).data, root=root, seed=spec.seed).fingerprint

    def files(self, spec: Spec) -> Mapping[str, bytes]:
        return {TEACHERS: _packed(Path(_of(spec).teachers.folder))}

    def facts(self, spec: Spec) -> dict[str, Any]:
        from optevo.tasks.filter_tables import make_table

        spec = _of(spec)
        teachers, data = _load_teachers(spec), spec.data
        tables = {
            direction: make_table(
                getattr(teachers, direction), channels=channels, size=data.size, tie=spec.masks.tie == "trunk"
            )
            for direction, channels in (("a_to_b", data.channels_a), ("b_to_a", data.channels_b))
        }
        for direction, table in tables.items():
            smallest = filter_cost(table, dict.fromkeys(table.chromosomes, 1))
            broken = over_budget(smallest, spec.fitness)
            if broken:
                raise UsageError(f"no masks fit: even the smallest {direction}'s {broken}; raise the budget.")
        packages = _packages_of(teachers)
        return {
            "tables": {direction: table.to_dict() for direction, table in tables.items()},
            **({"packages": packages} if packages else {}),
        }

    def samplers(self, spec: Spec, *, facts: Mapping[str, Any], name: str) -> tuple[SlotSampler, ...]:
        spec, tables = _of(spec), tables_of(facts)
        names = [name + population for population in self.populations]
        return tuple(
            CoevolutionSampler(
                populations=names,
                masks=dict(tables[direction].chromosomes),
                feasible=_feasible(spec, tables[direction]),
                # Two populations of one seed would begin with the same masks.
                seed=int(generator(spec.seed, "population", direction).integers(2**63)),
                **genetics(spec.sampler),
            )
            for direction in DIRECTIONS.values()
        )

    def open_task(
        self,
        spec: Spec,
        *,
        facts: Mapping[str, Any],
        engine: "Engine",
        read_file: Callable[[str], bytes],
        root: Path | None = None,
    ) -> MaskedTask:
        from optevo.tasks.coevolution import CoevolutionTask

        spec = _of(spec)
        splits = find_unpaired_splits(spec.data, root=root, seed=spec.seed)
        teachers = unpack_teachers(read_file(TEACHERS))
        _check_packages(facts.get("packages", {}), _packages_of(teachers))
        return MaskedTask(CoevolutionTask.load(spec, splits, teachers=teachers, tables=tables_of(facts), engine=engine))

    def individual(self, spec: Spec, trial: Trial, *, facts: Mapping[str, Any], left: Left) -> Masked:
        direction = direction_of(trial.study.study_name)
        tables = tables_of(facts)
        masks = masks_of(trial, tables[direction].chromosomes)
        rivals = {direction_of(name): rival.genome for name, rival in partners_of(trial).items()}
        partner = None
        for other, genome in rivals.items():
            groups = tables[other].chromosomes
            partner = split(from_hex(str(genome), size=sum(groups.values())), groups)
        return Masked(direction, masks, partner)

    def pictures(self, trial: Trial, task: Any, evaluation: Evaluation) -> "Mapping[str, Sequence[Pixels]]":
        import torch

        from optevo.models.train import to_pixels
        from optevo.training.validation import evaluated

        direction, whole = direction_of(trial.study.study_name), task.task
        images = whole.val.a if direction == "a_to_b" else whole.val.b
        x = images.batch(torch.arange(min(PICTURED, len(images)), device=images.index_device))
        rows = {"input": to_pixels(x)}
        for label, pair in (("teacher", whole.teachers), ("compressed", evaluation.model)):
            network = getattr(pair, direction)
            with evaluated(network):
                rows[label] = to_pixels(network(x))
        return rows


def coevolution_spec(search: "Search") -> CoevolutionSpec:
    """The specification of a co-evolution.

    Raises:
        UsageError: The study is of another system.
    """
    if not isinstance(search.spec, CoevolutionSpec):
        raise UsageError(
            f"study {search.name!r}: is of the system {search.spec.system!r}, and this needs a co-evolution."
        )
    return search.spec


def tables_of(facts: Mapping[str, Any]) -> dict["Direction", GroupTable]:
    """Both translators' group tables, from a study's record."""
    return {direction: GroupTable.from_dict(facts["tables"][direction]) for direction in DIRECTIONS.values()}


def direction_of(study: str) -> "Direction":
    """Which translator a population's masks are of."""
    return DIRECTIONS["/" + study.rpartition("/")[2]]


def unpack_teachers(packed: bytes) -> "Translators":
    """The pair that :meth:`CoevolutionSystem.files` packed, on the CPU."""
    from optevo.models.pair import load_pair

    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
        return load_pair(folder)


def _of(spec: Spec) -> CoevolutionSpec:
    assert isinstance(spec, CoevolutionSpec)
    return spec


def _feasible(spec: CoevolutionSpec, table: GroupTable) -> Callable[[Mapping[str, Mask]], bool] | None:
    if spec.fitness.max_parameters is None and spec.fitness.max_macs is None:
        return None
    return lambda masks: over_budget(filter_cost(table, table.kept(masks)), spec.fitness) is None


def _load_teachers(spec: CoevolutionSpec) -> "Translators":
    from optevo.models.pair import load_pair

    return load_pair(spec.teachers.folder)


def _packed(folder: Path) -> bytes:
    """A pair folder as one file, whatever the clock and the owner."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(str(path.relative_to(folder)))
            content = path.read_bytes()
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def _packages_of(teachers: "Translators") -> dict[str, str]:
    """The versions here of the packages that generators of the user's own come from."""
    from optevo.networks.custom import CustomGenerator, distribution_of, find

    own = [half for half in (teachers.a_to_b, teachers.b_to_a) if isinstance(half, CustomGenerator)]
    return dict(distribution_of(find(half.architecture.generator)) for half in own)


def _check_packages(recorded: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Let a worker with other versions of the generators' packages in with a warning, or refuse it.

    Raises:
        UsageError: Another major or minor release than the study's, which may compute something else.
    """
    different = [Difference(package, text, here.get(package, "none")) for package, text in recorded.items()]
    different = [each for each in different if each.here != each.recorded]
    decisive = [each for each in different if each.decisive]
    if decisive:
        raise UsageError(
            f"refused, for another release of a generator's package may compute something else: "
            f"{', '.join(map(str, decisive))}; run: "
            f"pip install {' '.join(f'{each.package}=={each.recorded}' for each in decisive)}"
        )
    for each in different:
        log.warning("%s: another patch release, values may differ", each)


def _check_images(spec: CoevolutionSpec) -> None:
    """Open every image, so that no training dies on one, and say which are grey among colours."""
    find_unpaired_splits(spec.data, seed=spec.seed)
    report = check_unpaired(Path(spec.data.root))
    report.demand()
    for warning in report.warnings:
        if GREY in warning:
            log.warning("%s", warning)


def _check_teachers(spec: CoevolutionSpec) -> None:
    from optevo.tasks.coevolution import check_translators

    check_translators(_load_teachers(spec), spec)
