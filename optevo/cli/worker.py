"""optevo worker: one more worker for a study, from anywhere."""

from typing import Annotated

import typer

from optevo.cli.options import AcceptVersions, Artifacts, Data, Name, Storage, let_threads_sleep


def worker(
    name: Name,
    storage: Storage = None,
    data: Data = None,
    artifacts: Artifacts = None,
    accept_versions: AcceptVersions = False,
    attached: Annotated[bool, typer.Option("--attached", hidden=True)] = False,
) -> None:
    """Train individuals of a study until nothing is left. Any number of workers may join and leave at any time."""
    let_threads_sleep()
    from optevo import api

    count = api.work(
        name, storage=storage, data=data, artifacts=artifacts, accept_versions=accept_versions, attached=attached
    )
    typer.echo(f"trained {count} individuals; nothing is left to do.", err=True)
