"""A study: what is stored with it, how it is created and opened. Loads torch only to create one."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from optevo.data.check import check_pairs
from optevo.errors import UsageError
from optevo.evolution.screening import Screening
from optevo.samplers import RosterSampler, RouletteGASampler
from optevo.search.spec import Spec, parse_spec
from optevo.search.store import masked, open_store
from optevo.search.versions import versions
from optevo.tasks.fitness import cost_of, over_budget, price, space_of
from optevo.tasks.splits import Splits, find_splits

RECORD = "optevo"
FINAL = "/final"


@dataclass(frozen=True)
class Record:
    """What is fixed when a study is created, and every worker must agree with."""

    spec: dict[str, Any]
    fingerprint: str
    precision: str
    threads: int
    device: str
    loss_unit: float
    versions: dict[str, str]
    artifacts: str | None = None  # None: the default folder of whoever asks, see search/artifacts.py


@dataclass(frozen=True)
class Search:
    """An open study: the specification, the record, and the two Optuna studies (search and final) in one store."""

    name: str
    url: str = field(repr=False)  # It may hold a password.
    storage: RDBStorage
    spec: Spec
    record: Record

    @cached_property
    def study(self) -> Study:
        """The search, with its sampler."""
        return optuna.load_study(
            study_name=self.name, storage=self.storage, sampler=make_sampler(self.spec, loss_unit=self.record.loss_unit)
        )

    @property
    def sampler(self) -> RouletteGASampler:
        sampler = self.study.sampler
        assert isinstance(sampler, RouletteGASampler)
        return sampler

    def final(self) -> Study | None:
        """The final, once someone has begun it. Its roster is read from the store, so all workers have the same."""
        try:
            study = optuna.load_study(study_name=self.name + FINAL, storage=self.storage)
        except KeyError:
            return None
        individuals = study.user_attrs.get("individuals")
        if individuals is None:  # Its maker died between two writes; whoever is next begins it again.
            return None
        study.sampler = RosterSampler(search_space=distributions(self.spec), individuals=individuals)
        return study

    def splits(self, *, root: Path | None = None) -> Splits:
        """The pairs, if they are those that the study was created with.

        Raises:
            UsageError: The images differ.
        """
        splits = find_splits(self.spec, root=root, seed=self.spec.seed)
        if splits.fingerprint != self.record.fingerprint:
            folder = root or Path(self.spec.data.root)
            raise UsageError(
                f"{folder}: these are not the images that study {self.name!r} was created with (fingerprint "
                f"{splits.fingerprint}, not {self.record.fingerprint}); bring the same ones back, or name their "
                "folder with --data."
            )
        return splits


def distributions(spec: Spec) -> dict[str, BaseDistribution]:
    """The search space for Optuna: one categorical parameter a gene, in the order that crossover cuts."""
    return {name: CategoricalDistribution(choices) for name, choices in space_of(spec).gene_choices.items()}


def make_sampler(spec: Spec, *, loss_unit: float) -> RouletteGASampler:
    """The specification's sampler. The cost of an architecture is known exactly, so screening predicts only L_Gen."""
    settings = spec.sampler
    space = space_of(spec)
    limited = spec.fitness.max_parameters is not None or spec.fitness.max_macs is not None

    def feasible(params: dict[str, Any]) -> bool:
        return over_budget(cost_of(space.architecture(params), spec), spec) is None

    def known_price(params: dict[str, Any]) -> float:
        return price(cost_of(space.architecture(params), spec), spec, loss_unit=loss_unit)

    screening = (
        Screening(
            candidates=settings.candidates,
            optimism=settings.optimism,
            immigrants=settings.immigrants,
            memory=settings.memory,
        )
        if settings.candidates
        else None
    )
    return RouletteGASampler(
        search_space=distributions(spec),
        chromosomes=[list(names) for names in space.chromosomes.values()],
        population_size=settings.population,
        generations=settings.generations,
        selection=settings.selection,
        crossover=settings.crossover,
        mutation=settings.mutation,
        scaling=settings.scaling,
        mutation_kind=settings.mutation_kind,
        elites=settings.elites,
        duplicates=settings.duplicates,
        archive=settings.archive or None,
        screening=screening,
        price=known_price if screening is not None else None,
        reuse=settings.reuse,
        feasible=feasible if limited else None,
        seed=spec.seed,
    )


def create_study(name: str, spec: Spec, *, url: str, artifacts: str | None = None) -> Search:
    """Check the images and the budgets, settle what `"auto"` means, and store it all.

    Args:
        artifacts: Where the trials' files go, by default OPTEVO_ARTIFACTS; it is stored with the study.

    Raises:
        UsageError: The name is taken, the images have problems, nothing fits the budgets, or no artifact can be stored.
    """
    if not name or "/" in name:
        raise UsageError(f"study name {name!r}: must not be empty or contain '/'.")
    # Not above: boto3, where it is installed, takes a while to load.
    from optevo.search.artifact_stores import check
    from optevo.search.artifacts import url_to_record

    place = url_to_record(given=artifacts)
    if place is not None:
        check(place)
    storage = open_store(url)
    if name in optuna.get_all_study_names(storage):
        raise UsageError(
            f"study {name!r} exists already in {masked(url)}: `optevo study run {name}` continues it; choose another "
            f"name, or remove it with `optevo study delete {name}`."
        )
    _check_budgets(spec)
    splits = find_splits(spec, seed=spec.seed)
    check_images(Path(spec.data.root))
    record = replace(_settle(spec, splits), artifacts=place)
    try:
        study = optuna.create_study(study_name=name, storage=storage, direction="minimize")
    except optuna.exceptions.DuplicatedStudyError:
        raise UsageError(f"study {name!r}: somebody else has just created it in {masked(url)}.") from None
    study.set_user_attr(RECORD, asdict(record))
    return Search(name=name, url=url, storage=storage, spec=spec, record=record)


def open_search(name: str, *, url: str) -> Search:
    """Open a study that exists.

    Raises:
        UsageError: There is none of that name, or it is not optevo's.
    """
    storage = open_store(url)
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        names = [other for other in optuna.get_all_study_names(storage) if not other.endswith(FINAL)]
        there = f"it has {', '.join(names[:10])}" if names else "it has none"
        raise UsageError(
            f"study {name!r}: there is none in {masked(url)}; {there}. Create one with `optevo study create`."
        ) from None
    stored = study.user_attrs.get(RECORD)
    if not isinstance(stored, Mapping):
        raise UsageError(f"study {name!r} in {masked(url)} was not created by optevo, or not to the end; delete it.")
    try:
        record = Record(**stored)
    except TypeError:
        raise UsageError(f"study {name!r} in {masked(url)}: its record is of another optevo version.") from None
    spec = parse_spec(record.spec, source=f"study {name!r}")
    return Search(name=name, url=url, storage=storage, spec=spec, record=record)


def delete_study(name: str, *, url: str, keep_artifacts: bool = False) -> None:
    """Remove a study and its final from the store, with their artifacts.

    Args:
        keep_artifacts: Leave the files where they are, as for a study whose copy in another database names them too.
    """
    from optevo.search.artifact_rows import remove_all
    from optevo.search.artifacts import Artifacts, artifacts_url

    storage = open_store(url)
    names = optuna.get_all_study_names(storage)
    if name not in names:
        raise UsageError(f"study {name!r}: there is none in {masked(url)}; nothing was deleted.")
    for each in (name + FINAL, name):
        if each in names:
            if not keep_artifacts:
                recorded = dict(optuna.load_study(study_name=name, storage=storage).user_attrs.get(RECORD) or {})
                place = artifacts_url(url, recorded=recorded.get("artifacts"))
                remove_all(optuna.load_study(study_name=each, storage=storage), Artifacts(place))
            optuna.delete_study(study_name=each, storage=storage)


def summaries(*, url: str) -> list[dict[str, Any]]:
    """One row a study of optevo in the store."""
    found = optuna.get_all_study_summaries(open_store(url))
    return [
        {
            "study": each.study_name,
            "system": each.user_attrs[RECORD]["spec"].get("system"),
            "trials": each.n_trials,
            "begun": each.datetime_start.isoformat(sep=" ", timespec="seconds") if each.datetime_start else None,
        }
        for each in found
        if RECORD in each.user_attrs
    ]


def best_distinct(trials: Sequence[FrozenTrial], count: int) -> list[FrozenTrial]:
    """The best finished trials of distinct genomes, best first; of equal values the earlier."""
    seen: dict[tuple[tuple[str, Any], ...], FrozenTrial] = {}
    for trial in trials:
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            key = tuple(sorted(trial.params.items()))
            if key not in seen or trial.value < (seen[key].value or 0):
                seen[key] = trial
    return sorted(seen.values(), key=lambda trial: (trial.value, trial.number))[:count]


def begin_final(search: Search, *, trials: Sequence[FrozenTrial]) -> Study:
    """Begin the final with the best of `trials`, or join it. Only when the search trains nobody any more."""
    settings = search.spec.final
    candidates = best_distinct(trials, settings.candidates)
    individuals = [trial.params for trial in candidates for _ in range(settings.seeds)]
    study = optuna.create_study(
        study_name=search.name + FINAL, storage=search.storage, direction="minimize", load_if_exists=True
    )
    if "individuals" not in study.user_attrs:
        study.set_user_attr("candidates", [trial.number for trial in candidates])
        study.set_user_attr("individuals", individuals)
    joined = search.final()
    assert joined is not None
    return joined


def _settle(spec: Spec, splits: Splits) -> Record:
    from optevo.tasks.unet import constant_loss, load_split
    from optevo.training.engine import resolve

    engine = resolve(device=spec.engine.device, precision=spec.engine.precision, threads=spec.engine.threads)
    cpu = resolve(device="cpu").device
    unit = constant_loss(
        load_split(splits.train, spec, device=cpu, jitter=False),
        load_split(splits.val, spec, device=cpu, jitter=False),
        l1_weight=spec.training.l1_weight,
    )
    return Record(
        spec=spec.model_dump(mode="json"),
        fingerprint=splits.fingerprint,
        precision=engine.precision,
        threads=engine.threads,
        device=engine.device.type,
        loss_unit=unit,
        versions=versions(),
    )


def check_images(root: Path) -> None:
    """Open every image, so that no training dies on one.

    Raises:
        UsageError: Names the first that will not do.
    """
    report = check_pairs(root)
    if report.problems:
        more = f" (and {len(report.problems) - 1} more; `optevo data check {root}` names all)"
        raise UsageError(report.problems[0] + (more if len(report.problems) > 1 else ""))


def _check_budgets(spec: Spec) -> None:
    space = space_of(spec)
    smallest = {name: 0 if name.startswith("c2") else min(choices) for name, choices in space.gene_choices.items()}
    broken = over_budget(cost_of(space.architecture(smallest), spec), spec)
    if broken:
        raise UsageError(f"no architecture fits: even the smallest one's {broken}; raise the budget.")
