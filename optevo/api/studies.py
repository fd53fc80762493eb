"""Studies: create them, look at them, copy them elsewhere."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optevo.search.progress import Snapshot, generation_rows, snapshot
from optevo.search.spec import Spec, find_spec, read_spec
from optevo.search.store import storage_url
from optevo.search.study import Search, open_search, summaries
from optevo.search.study import create_study as _create_study
from optevo.search.versions import acceptances

if TYPE_CHECKING:
    from optevo.search.copying import Copied


def create_study(
    name: str,
    spec: Spec | str | Path,
    *,
    storage: str | None = None,
    overrides: Sequence[str] = (),
    artifacts: str | None = None,
) -> Search:
    """Create a study; nothing is trained yet.

    Args:
        name: Of the study.
        spec: A specification, a TOML file, or the name of one that comes with optevo.
        storage: Database URL; by default OPTEVO_STORAGE, else a SQLite file in `storage/`.
        overrides: Settings on top, such as `"sampler.population=8"`.
        artifacts: Where pictures go: a folder or `s3://BUCKET/PREFIX`; by default OPTEVO_ARTIFACTS, else the folder
            `artifacts` beside a SQLite file, else `storage/artifacts`. It is stored with the study.

    Raises:
        UsageError: The specification, the images, the name or the artifact store will not do.
    """
    if not isinstance(spec, Spec):
        spec = read_spec(find_spec(spec), overrides=overrides)
    from optevo.reports.dashboard import write_note

    search = _create_study(name, spec, url=storage_url(storage), artifacts=artifacts)
    commands = [f"optevo {command} {name}" for command in ("study run", "study best", "model finetune")]
    write_note(search.study, spec=json.dumps(search.record.spec, indent=1), commands=commands)
    return search


def list_studies(*, storage: str | None = None) -> list[dict[str, Any]]:
    """One row a study of optevo: name, system, trials, when it was begun."""
    return summaries(url=storage_url(storage))


def show(name: str, *, storage: str | None = None) -> dict[str, Any]:
    """How far a study is: the state, and a row a complete generation with its best and mean value."""
    search = open_search(name, url=storage_url(storage))
    state = snapshot(search)
    return {
        "study": name,
        "phase": state.phase,
        "stopped": state.stopped,
        "generation": state.generation,
        "filled": state.filled,
        "slots": state.slots,
        "trained": state.trained,
        "failed": state.failed,
        "running": len(state.running),
        **_bests_of(search, state),
        "record": {key: getattr(search.record, key) for key in ("fingerprint", "precision", "threads", "versions")},
        "accepted_versions": acceptances(search.study.user_attrs),
        "generations": generation_rows(search),
    }


def _bests_of(search: Search, state: Snapshot) -> dict[str, Any]:
    """`best_trial` and `best_value`; with a population's name behind where there are several."""
    endings = [population.replace("/", "_") for population in search.system.populations]
    found: dict[str, Any] = {}
    for ending, best in zip(endings, state.best or [None] * len(endings), strict=False):
        found[f"best_trial{ending}"] = None if best is None else best.number
        found[f"best_value{ending}"] = None if best is None else best.value
    return found


def copy_study(name: str, *, to: str, storage: str | None = None, artifacts: str | None = None) -> "Copied":
    """Copy a study with its final and its files into another database, where it goes on with the same individuals.

    See :func:`optevo.search.copying.copy_study`.
    """
    from optevo.search.copying import copy_study as copy

    return copy(name, source=storage_url(storage), target=to, artifacts=artifacts)
