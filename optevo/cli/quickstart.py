"""optevo quickstart: the whole way, small, on drawn pictures."""

from pathlib import Path
from typing import Annotated

import typer


def quickstart(
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("runs/quickstart"),
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default what the machine allows.")] = None,
) -> None:
    """Search, fine-tune, evaluate and picture a small generator on drawn pictures: a few minutes on a CPU."""
    from optevo import api
    from optevo.cli.table import print_rows, watching

    with watching("quickstart") as view:
        api.quickstart_search(out, workers=workers, on_snapshot=view.show, on_line=view.line)
        view.line("training the winner and the original, side by side")
    result = api.quickstart_models(out, on_line=lambda line: typer.echo(line, err=True))
    print_rows(result.rows)
    for what, where in result.places.items():
        typer.echo(f"{what}: {where}")
