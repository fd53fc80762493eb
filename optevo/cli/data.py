"""optevo data: get and check images, in pairs or not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optevo.data.kinds import Kind

if TYPE_CHECKING:
    from optevo.data.check import CheckReport

app = typer.Typer(name="data", help="Get and check images, in pairs or not.", no_args_is_help=True)

_SIZE_HELP = "HEIGHTxWIDTH, or one number for both"


@app.command()
def download(
    name: Annotated[str, typer.Argument(help="A dataset: drawn-facades, facades, maps, horse2zebra, ...")],
    to: Annotated[Path, typer.Option(help="The folder that gets the dataset's folder.")] = Path("data"),
    size: Annotated[str, typer.Option(help=f"drawn-facades: size of a picture, {_SIZE_HELP}.")] = "64",
    count: Annotated[int, typer.Option(help="drawn-facades: training pictures.")] = 60,
    val: Annotated[int, typer.Option(help="drawn-facades: validation pictures.")] = 12,
    test: Annotated[int, typer.Option(help="drawn-facades: test pictures.")] = 12,
    seed: Annotated[int, typer.Option(help="drawn-facades: seed.")] = 0,
) -> None:
    """Fetch a public dataset (an interrupted download continues), or draw drawn-facades."""
    from optevo.data.download import DRAWN, dataset_folder, draw_dataset
    from optevo.data.download import download as fetch_dataset

    if dataset_folder(name, to=to).exists():
        typer.echo(f"{dataset_folder(name, to=to)}: is already there; remove it to get it anew", err=True)
        return
    if name == DRAWN:
        folder = draw_dataset(to=to, count=count, val=val, test=test, size=parse_size(size), seed=seed)
    else:
        with _bar(name, bytes_=True) as progress:
            folder = fetch_dataset(name, to=to, progress=progress)
    typer.echo(folder)


@app.command()
def check(
    folder: Annotated[
        Path, typer.Argument(help="A folder of image pairs, of images of A and B without pairs, or of one kind alone.")
    ],
    size: Annotated[str | None, typer.Option(help=f"The size to train at, {_SIZE_HELP}.")] = None,
    multiple_of: Annotated[int | None, typer.Option(help="What sizes must be multiples of: 2^depth.")] = None,
    kind: Annotated[
        Kind | None,
        typer.Option(
            help="What it holds; by default alone for an array, unpaired where A and B share no name, else pairs.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Open every image and name what would stop a training. Exit code 2 when there is something."""
    from optevo.data.check import check_alone, check_pairs, check_unpaired, kind_of

    wanted = None if size is None else parse_size(size)
    look = {"pairs": check_pairs, "unpaired": check_unpaired, "alone": check_alone}[kind or kind_of(folder)]
    with _bar("check", bytes_=False) as progress:
        report = look(folder, size=wanted, multiple_of=multiple_of, progress=progress)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
    else:
        _print_report(report)
    if not report.ok:
        raise typer.Exit(2)


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of "64" or "64x128".

    Raises:
        UsageError: it is neither, or a side is 0.
    """
    from optevo.errors import UsageError

    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() and int(side) > 0 for side in sides):
        raise UsageError(f"--size {text}: must be {_SIZE_HELP}, such as 64x128 or 64")
    return int(sides[0]), int(sides[-1])


def _print_report(report: CheckReport) -> None:
    # Plain lines and no table: rich would break long file names.
    noun = "pairs" if report.kind == "pairs" else "images"
    for title, tally in ((noun, report.counts), ("sizes", report.sizes), ("channels", report.channels)):
        typer.echo(f"{title}: " + (", ".join(f"{key} {count}" for key, count in tally.items()) or "none"))
    for warning in report.warnings:
        typer.echo(f"warning: {warning}")
    for problem in report.problems:
        typer.echo(f"problem: {problem}")
    typer.echo(f"{len(report.problems)} problems, {len(report.warnings)} warnings")


@contextmanager
def _bar(title: str, *, bytes_: bool) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on stderr; yields what to call with (done, in all)."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    amount = DownloadColumn() if bytes_ else MofNCompleteColumn()
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn(), console=console, transient=True
    ) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
