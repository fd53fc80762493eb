"""optevo model: finetune, evaluate."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from optevo.cli.options import AsJson, Data, Name, Storage

app = typer.Typer(name="model", help="Train a winner whole, and judge models.", no_args_is_help=True)


@app.command()
def finetune(
    name: Name,
    trial: Annotated[int | None, typer.Option(help="A trial's number instead of the winner.")] = None,
    architecture: Annotated[str | None, typer.Option(help="A name instead: original, pix2pix, ...")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random in the training.")] = 0,
    out: Annotated[Path | None, typer.Option(help="The model folder.", show_default=False)] = None,
    storage: Storage = None,
    data: Data = None,
) -> None:
    """Train the winner of a study on the whole training set, into a model folder. Goes on where it was stopped."""
    from optevo import api
    from optevo.cli.table import steps_bar

    with steps_bar("finetune") as on_step:
        folder = api.finetune(
            name,
            trial=trial,
            architecture=architecture,
            seed=seed,
            out=out,
            storage=storage,
            data=data,
            on_step=on_step,
        )
    typer.echo(folder)


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="A model folder.")],
    data: Annotated[Path, typer.Option(help="A folder of pairs.")],
    split: Annotated[Literal["train", "val", "test"], typer.Option(help="Which pairs.")] = "test",
    mode: Annotated[
        Literal["eval", "pix2pix"],
        typer.Option(help="eval: as a user runs it; pix2pix: batch statistics and dropout."),
    ] = "eval",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """L1, PSNR and SSIM on a split; parameters, MACs, size on disk and latency."""
    from optevo import api

    report = api.evaluate(folder, data=data, split=split, device=device, mode=mode)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    for key, value in report.items():
        typer.echo(f"{key}: {value:.4f}" if isinstance(value, float) else f"{key}: {value}")
