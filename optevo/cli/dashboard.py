"""optevo dashboard: the studies in a browser."""

from typing import Annotated

import typer

from optevo.cli.options import Artifacts, Storage


def dashboard(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    host: Annotated[str, typer.Option(help="The dashboard has no passwords: mind who can reach it.")] = "127.0.0.1",
    storage: Storage = None,
    artifacts: Artifacts = None,
) -> None:
    """Show the studies and their pictures with optuna-dashboard, until Ctrl-C."""
    from optevo import api

    api.dashboard(
        host=host,
        port=port,
        storage=storage,
        artifacts=artifacts,
        on_ready=lambda url: typer.echo(f"Listening on {url}"),
    )
