"""A study that is created once, run to its end and followed line by line."""

from collections.abc import Sequence
from typing import Any

from optevo import api
from optevo.cli.table import summary
from optevo.search.spec import Spec


def run_to_the_end(name: str, spec: Spec | str, *, url: str, workers: int, overrides: Sequence[str] = ()) -> None:
    """Create the study, or go on with it, until nothing is left; a line whenever its state is another."""
    if name not in [row["study"] for row in api.list_studies(storage=url)]:
        api.create_study(name, spec, overrides=overrides, storage=url)
    said: set[str] = set()

    def show(state: Any, _: int) -> None:
        line = summary(name, state).rpartition(", ")[0]
        if line not in said:
            said.add(line)
            print(line, flush=True)

    api.run_study(name, storage=url, workers=workers, on_snapshot=show)
