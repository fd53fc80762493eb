"""A study: what is stored with it, how it is created and opened. Loads torch only to create one."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import func, select

from optevo.errors import UsageError
from optevo.samplers import RosterSampler, SlotSampler
from optevo.search.outlines import Outlines
from optevo.search.reading import TRIALS
from optevo.search.spec import Spec, parse_spec
from optevo.search.store import masked, open_store
from optevo.search.systems import System, system_of
from optevo.search.versions import versions

RECORD = "optevo"
FINAL = "/final"
FIRST = ("", "/A2B")  # what systems add to a name for their first population


@dataclass(frozen=True)
class Record:
    """What is fixed when a study is created, and every worker must agree with."""

    spec: dict[str, Any]
    fingerprint: str
    precision: str
    threads: int
    device: str
    facts: dict[str, Any]  # the system's, see optevo.search.systems
    versions: dict[str, str]
    files: dict[str, Any] = field(default_factory=dict)  # the system's, as the artifact store describes them
    artifacts: str | None = None  # None: the default folder of whoever asks, see search/artifacts.py


@dataclass(frozen=True)
class Search:
    """An open study: the specification, the record, and its Optuna studies in one store: one a population, and the
    final's."""

    name: str
    url: str = field(repr=False)  # It may hold a password.
    storage: RDBStorage
    spec: Spec
    record: Record

    @property
    def system(self) -> System:
        """What evolves."""
        return system_of(self.spec)

    @cached_property
    def studies(self) -> tuple[Study, ...]:
        """The populations, each with its sampler."""
        samplers = self.system.samplers(self.spec, facts=self.record.facts, name=self.name)
        names = [self.name + population for population in self.system.populations]
        return tuple(
            optuna.load_study(study_name=name, storage=self.storage, sampler=sampler)
            for name, sampler in zip(names, samplers, strict=True)
        )

    @property
    def study(self) -> Study:
        """The first population's, which holds the record too."""
        return self.studies[0]

    @property
    def sampler(self) -> SlotSampler:
        """The first population's."""
        return sampler_of(self.study)

    @cached_property
    def outlines(self) -> tuple[Outlines, ...]:
        """Each population's trials in outline."""
        return tuple(Outlines(self.storage, study_id=study._study_id) for study in self.studies)

    def final(self) -> Study | None:
        """The final, once someone has begun it. Its roster is read from the store, so all workers have the same."""
        try:
            study = optuna.load_study(study_name=self.name + FINAL, storage=self.storage)
        except KeyError:
            return None
        individuals = study.user_attrs.get("individuals")
        if individuals is None:  # Its maker died between two writes; whoever is next begins it again.
            return None
        study.sampler = RosterSampler(search_space=self.sampler.fallback_space(), individuals=individuals)
        return study

    def read_file(self, name: str, *, artifacts: str | None = None) -> bytes:
        """One of the system's files, as it was when the study was created.

        Args:
            artifacts: Where the study's artifact store is from here, if not where it was created to be.

        Raises:
            ArtifactError: It is not there, or damaged.
        """
        from optevo.search.artifacts import Artifacts, Stored, artifacts_url

        place = artifacts_url(self.url, given=artifacts, recorded=self.record.artifacts)
        return Artifacts(place).read(Stored(**self.record.files[name]))

    def check_images(self, *, root: Path | None = None) -> None:
        """Raise UsageError unless these are the images that the study was created with."""
        found = self.system.fingerprint(self.spec, root=root)
        if found != self.record.fingerprint:
            raise UsageError(
                f"{root or self.spec.data.root}: these are not the images that study {self.name!r} was created with "
                f"(fingerprint {found}, not {self.record.fingerprint}); bring the same ones back, or name their folder "
                "with --data."
            )


def sampler_of(study: Study) -> SlotSampler:
    """The sampler of a population's study."""
    sampler = study.sampler
    assert isinstance(sampler, SlotSampler)
    return sampler


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
    from optevo.search.artifacts import Artifacts, artifacts_url, url_to_record

    place = url_to_record(given=artifacts)
    if place is not None:
        check(place)
    storage = open_store(url)
    system = system_of(spec)
    names = [name + population for population in system.populations]
    if _holder(name, storage) is not None:
        raise UsageError(
            f"study {name!r} exists already in {masked(url)}: `optevo study run {name}` continues it; choose another "
            f"name, or remove it with `optevo study delete {name}`."
        )
    system.check(spec)
    record = replace(_settle(spec), artifacts=place)
    try:
        # The record comes last, in the first population's study: without it nobody works on what is half there.
        studies = [optuna.create_study(study_name=each, storage=storage, direction="minimize") for each in names]
    except optuna.exceptions.DuplicatedStudyError:
        raise UsageError(f"study {name!r}: somebody else has just created it in {masked(url)}.") from None
    store = Artifacts(artifacts_url(url, recorded=place))
    stored = {key: store.attach_to_study(studies[0], key, content) for key, content in system.files(spec).items()}
    record = replace(record, files={key: asdict(each) for key, each in stored.items()})
    studies[0].set_user_attr(RECORD, asdict(record))
    return Search(name=name, url=url, storage=storage, spec=spec, record=record)


def open_search(name: str, *, url: str) -> Search:
    """Open a study that exists.

    Raises:
        UsageError: There is none of that name, or it is not optevo's.
    """
    storage = open_store(url)
    study = _holder(name, storage)
    if study is None:
        names = list(dict.fromkeys(other.partition("/")[0] for other in optuna.get_all_study_names(storage)))
        there = f"it has {', '.join(names[:10])}" if names else "it has none"
        raise UsageError(
            f"study {name!r}: there is none in {masked(url)}; {there}. Create one with `optevo study create`."
        )
    stored = study.user_attrs.get(RECORD)
    if not isinstance(stored, Mapping):
        raise UsageError(f"study {name!r} in {masked(url)} was not created by optevo, or not to the end; delete it.")
    try:
        record = Record(**stored)
    except TypeError:
        raise UsageError(f"study {name!r} in {masked(url)}: its record is of another optevo version.") from None
    spec = parse_spec(record.spec, source=f"study {name!r}")
    return Search(name=name, url=url, storage=storage, spec=spec, record=record)


def _holder(name: str, storage: RDBStorage) -> Study | None:
    """The study that holds the record of `name`: its first population's."""
    for first in FIRST:
        try:
            return optuna.load_study(study_name=name + first, storage=storage)
        except KeyError:
            continue
    return None


def delete_study(name: str, *, url: str, keep_artifacts: bool = False) -> None:
    """Remove a study with its populations and its final from the store, and their artifacts.

    Args:
        keep_artifacts: Leave the files where they are, as for a study whose copy in another database names them too.
    """
    from optevo.search.artifact_rows import remove_all
    from optevo.search.artifacts import Artifacts, artifacts_url

    storage = open_store(url)
    holder = _holder(name, storage)
    if holder is None:
        raise UsageError(f"study {name!r}: there is none in {masked(url)}; nothing was deleted.")
    names = [each for each in optuna.get_all_study_names(storage) if each.startswith(f"{name}/")]
    recorded = dict(holder.user_attrs.get(RECORD) or {})
    artifacts = Artifacts(artifacts_url(url, recorded=recorded.get("artifacts")))
    # What holds the record goes last: until then the same command takes it up again.
    for each in [*(other for other in names if other != holder.study_name), holder.study_name]:
        if not keep_artifacts:
            remove_all(optuna.load_study(study_name=each, storage=storage), artifacts)
        optuna.delete_study(study_name=each, storage=storage)


def summaries(*, url: str) -> list[dict[str, Any]]:
    """One row a study of optevo in the store."""
    storage = open_store(url)
    # Not Optuna's summaries, which read every trial of every study.
    counted = select(TRIALS.c.study_id, func.count(), func.min(TRIALS.c.datetime_start)).group_by(TRIALS.c.study_id)
    with storage.engine.connect() as connection:
        found = {study: (count, begun) for study, count, begun in connection.execute(counted)}
    studies = storage.get_all_studies()
    rows = []
    for each in studies:
        if RECORD in each.user_attrs:
            name, first = each.study_name.partition("/")[0], each.study_name
            parts = [found.get(other._study_id, (0, None)) for other in studies if _is_part(other.study_name, first)]
            begun = min((start for _, start in parts if start), default=None)
            rows.append(
                {
                    "study": name,
                    "system": each.user_attrs[RECORD]["spec"].get("system"),
                    "trials": sum(count for count, _ in parts),
                    "begun": begun.isoformat(sep=" ", timespec="seconds") if begun else None,
                }
            )
    return rows


def _is_part(name: str, first: str) -> bool:
    """Whether a study is a population of the one whose first population is given."""
    whole = first.partition("/")[0]
    return name == first or (first != whole and name.startswith(f"{whole}/"))


def best_distinct(trials: Sequence[FrozenTrial], count: int) -> list[FrozenTrial]:
    """The best finished trials of distinct genomes, best first; of equal values whoever comes earlier in `trials`."""
    seen: dict[tuple[tuple[str, Any], ...], FrozenTrial] = {}
    for trial in trials:
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            key = tuple(sorted(trial.params.items()))
            if key not in seen or trial.value < (seen[key].value or 0):
                seen[key] = trial
    return sorted(seen.values(), key=lambda trial: trial.value or 0)[:count]


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


def _settle(spec: Spec) -> Record:
    from optevo.training.engine import resolve

    system = system_of(spec)
    engine = resolve(device=spec.engine.device, precision=spec.engine.precision, threads=spec.engine.threads)
    return Record(
        spec=spec.model_dump(mode="json"),
        fingerprint=system.fingerprint(spec),
        precision=engine.precision,
        threads=engine.threads,
        device=engine.device.type,
        facts=system.facts(spec),
        versions=versions(),
    )
