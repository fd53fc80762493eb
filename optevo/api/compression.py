"""A co-evolution's winners, and their fine-tuning into a pair folder."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optevo.cost.filters import FilterCost, filter_cost, whole_cost
from optevo.errors import UsageError
from optevo.samplers.masks import Mask, from_hex, split, written
from optevo.search.coevolution import DIRECTIONS, TEACHERS, coevolution_spec, tables_of, unpack_teachers
from optevo.search.progress import best_trials
from optevo.search.study import Search
from optevo.search.versions import versions

if TYPE_CHECKING:
    from PIL import Image

    from optevo.tasks.translators import Translators
    from optevo.tasks.unpaired import UnpairedImages
    from optevo.training.continuing import Checkpoints
    from optevo.training.engine import Engine


@dataclass(frozen=True)
class Compressed:
    """The winner of one population.

    Attributes:
        trial: Its number in the population's study.
        value: Of the newest complete generation, against its partner.
        kept, filters: How many filters of each chromosome are left, and how many there were.
        parameters, exact_macs: What is left.
        share_of_parameters, share_of_macs: Of the teacher's.
    """

    trial: int
    value: float
    kept: dict[str, int]
    filters: dict[str, int]
    parameters: int
    exact_macs: int
    share_of_parameters: float
    share_of_macs: float


@dataclass(frozen=True)
class BestPair:
    """A co-evolution's winners by direction, `"a_to_b"` and `"b_to_a"`."""

    study: str
    halves: dict[str, Compressed]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"study": self.study, **{direction: asdict(half) for direction, half in self.halves.items()}}


def best_pair(search: Search) -> BestPair:
    """The best of either population in its newest complete generation.

    Raises:
        UsageError: A population has none yet.
    """
    tables, halves = tables_of(search.record.facts), {}
    for direction, (trial, masks) in _winners(search).items():
        table = tables[direction]
        left, whole = filter_cost(table, table.kept(masks)), whole_cost(table)
        halves[direction] = Compressed(
            trial=trial.number,
            value=trial.value,
            kept=table.kept(masks),
            filters=dict(table.chromosomes),
            **_counts(left, whole),
        )
    return BestPair(search.name, halves)


def finetune_winners(
    search: Search,
    folder: Path,
    *,
    seed: int,
    data: Path | None,
    checkpoints: "Checkpoints",
    on_step: Callable[[int, int], None],
) -> None:
    """Train both winners together from the weights that they inherit, and write their pair folder.

    Args:
        others: As of :func:`optevo.api.finetune`.

    Raises:
        UsageError: The folder exists already, other images, or a population has no winner yet.
        OptevoError: The loss diverged, or the disk is full.
    """
    from optevo.models.folder import check_target
    from optevo.models.pair import PairFacts, save_pair
    from optevo.models.train import SAMPLES
    from optevo.models.train_pair import first_of
    from optevo.tasks.coevolution import compressed
    from optevo.tasks.coevolution_finetune import finetune_pair
    from optevo.tasks.translators import Translators
    from optevo.tasks.unpaired import load_split
    from optevo.tasks.unpaired_splits import find_unpaired_splits
    from optevo.training.engine import resolve

    check_target(folder)
    spec, winners = coevolution_spec(search), _winners(search)
    search.check_images(root=data)
    splits = find_unpaired_splits(spec.data, root=data, seed=spec.seed)
    teachers = unpack_teachers(search.read_file(TEACHERS))
    masks = {direction: chosen for direction, (_, chosen) in winners.items()}
    students = compressed(teachers, masks, tables=tables_of(search.record.facts), settings=spec)
    engine = resolve(device=spec.engine.device, precision=search.record.precision, threads=spec.finetune.threads)
    model = finetune_pair(
        students,
        spec,
        splits,
        teachers=teachers,
        about={direction: written(trial) for direction, (trial, _) in winners.items()},
        engine=engine,
        seed=seed,
        checkpoints=checkpoints,
        on_step=on_step,
    )
    halves = {name: half.eval() for name, half in model.result().items()}
    trained = Translators(**halves, judge_a=model.judge_a, judge_b=model.judge_b)
    shown = load_split(first_of(splits, SAMPLES), "test", spec.data, device=engine.device, jitter=False)
    facts = PairFacts(
        size=spec.data.size,
        fingerprint=splits.fingerprint,
        title=f"{search.name} winners",
        seed=seed,
        precision=engine.precision,
        training=spec.model_dump(mode="json", include={"training", "finetune", "distillation"}),
        versions=versions(),
    )
    save_pair(folder, trained, facts, samples=_side_by_side(teachers, trained, shown, engine=engine))
    checkpoints.remove()


def _side_by_side(
    teachers: "Translators", trained: "Translators", shown: "UnpairedImages", *, engine: "Engine"
) -> "Image.Image":
    """A picture of images, and of what the teachers and the trained pair make of them."""
    from optevo.models.train_pair import rows_of_pair
    from optevo.reports.pictures import picture

    for _, module in teachers.named():
        engine.place(module)
    generators = {
        "A to B, teacher": teachers.a_to_b, "A to B": trained.a_to_b,
        "B to A, teacher": teachers.b_to_a, "B to A": trained.b_to_a,
    }  # fmt: skip
    with engine.active():
        return picture(rows_of_pair(generators, shown))


def _winners(search: Search) -> dict[Any, tuple[Any, Mapping[str, Mask]]]:
    """By direction: the best trial and its masks by chromosome."""
    tables = tables_of(search.record.facts)
    found: dict[Any, tuple[Any, Mapping[str, Mask]]] = {}
    for (population, direction), trial in zip(DIRECTIONS.items(), best_trials(search), strict=True):
        genome = None if trial is None else written(trial)
        if trial is None or genome is None:
            raise UsageError(
                f"study {search.name!r}: population {population.strip('/')} has no result yet; run "
                f"`optevo study run {search.name}`."
            )
        groups = tables[direction].chromosomes
        found[direction] = trial, split(from_hex(genome, size=sum(groups.values())), groups)
    return found


def _counts(left: FilterCost, whole: FilterCost) -> dict[str, Any]:
    return {
        "parameters": left.parameters,
        "exact_macs": left.exact_macs,
        "share_of_parameters": left.parameters / whole.parameters,
        "share_of_macs": left.exact_macs / whole.exact_macs,
    }
