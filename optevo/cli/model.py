"""optevo model: finetune, train, import, evaluate, compare, export, apply, sample."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from optevo.cli.options import AsJson, Data, Name, Storage, let_threads_sleep

app = typer.Typer(name="model", help="Train winners and teachers; judge, export, apply.", no_args_is_help=True)

Split = Annotated[Literal["train", "val", "test"], typer.Option(help="Which pairs.")]
Mode = Annotated[
    Literal["eval", "pix2pix"],
    typer.Option(help="eval: as a user runs it; pix2pix: batch statistics and dropout."),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda:N.")]


@app.command()
def finetune(
    name: Name,
    trial: Annotated[int | None, typer.Option(help="A trial's number instead of the winner.")] = None,
    architecture: Annotated[str | None, typer.Option(help="A name instead: original, pix2pix, ...")] = None,
    onto: Annotated[
        Path | None, typer.Option(help="Another folder of pairs to train on: transfer.", show_default=False)
    ] = None,
    direction: Annotated[
        Literal["AtoB", "BtoA"] | None, typer.Option(help="With --onto; by default the study's.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random in the training.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="How many trainings, with seeds from --seed on.")] = 1,
    out: Annotated[Path | None, typer.Option(help="The model folder.", show_default=False)] = None,
    checkpoints: Annotated[
        str | None,
        typer.Option(
            help="A folder or s3://BUCKET/PREFIX from where the same command on another machine goes on; by default "
            "the study's artifact store or OPTEVO_ARTIFACTS, else a file beside the model.",
            show_default=False,
        ),
    ] = None,
    storage: Storage = None,
    data: Data = None,
) -> None:
    """Train the winner of a study on the whole training set, into a model folder. Goes on where it was stopped."""
    let_threads_sleep()
    from optevo import api
    from optevo.cli.table import print_rows, steps_bar

    options: dict[str, Any] = {
        "trial": trial, "architecture": architecture, "onto": onto, "direction": direction, "storage": storage,
        "data": data, "checkpoints": checkpoints,
    }  # fmt: skip
    with steps_bar("finetune") as on_step:
        if seeds == 1:
            typer.echo(api.finetune(name, seed=seed, out=out, on_step=on_step, **options))
            return
        label = architecture or ("winner" if trial is None else f"trial-{trial}")
        spread = api.finetune_seeds(
            name,
            seeds=range(seed, seed + seeds),
            out=out or Path("models") / "-".join([name, label, *([onto.name] if onto else [])]),
            on_model=typer.echo,
            on_step=on_step,
            **options,
        )
    rows = [{"metric": key, "mean": row["mean"], "std": row["std"]} for key, row in spread["metrics"].items()]
    print_rows(rows)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="The pair folder.", show_default=False)],
    data: Annotated[
        Path | None, typer.Option(help="A folder with trainA, trainB, testA, testB, or A, B.", show_default=False)
    ] = None,
    spec: Annotated[Path | None, typer.Option(help="A TOML file with the settings.", show_default=False)] = None,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH; by default 256.", show_default=False)] = None,
    ngf: Annotated[int | None, typer.Option(help="The generators' first width; 64.", show_default=False)] = None,
    epochs: Annotated[int | None, typer.Option(help="At the full learning rate; 100.", show_default=False)] = None,
    decay_epochs: Annotated[int | None, typer.Option(help="While it decays; 100.", show_default=False)] = None,
    generator: Annotated[
        str | None,
        typer.Option(
            help="The key of a generator of your own, from an installed package; its arguments by "
            "--set networks.arguments.KEY=VALUE.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random; 0.", show_default=False)] = None,
    checkpoints: Annotated[
        str | None,
        typer.Option(
            help="A folder or s3://BUCKET/PREFIX from where the same command on another machine goes on; by default "
            "OPTEVO_ARTIFACTS, else a file beside the pair.",
            show_default=False,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, such as networks.blocks=6; repeatable.", show_default=False),
    ] = None,
) -> None:
    """Train two translators between two folders of unpaired images (CycleGAN). Goes on where it was stopped."""
    let_threads_sleep()
    from optevo import api
    from optevo.cli.data import parse_size
    from optevo.cli.table import steps_bar

    named = {
        "data.size": None if size is None else list(parse_size(size)),
        "networks.generator": None if generator is None else json.dumps(generator),
        "networks.ngf": ngf,
        "training.epochs": epochs,
        "training.decay_epochs": decay_epochs,
        "seed": seed,
    }
    overrides = [f"{key}={value}" for key, value in named.items() if value is not None] + (set_ or [])
    with steps_bar("train") as on_step:
        typer.echo(
            api.train_pair(spec, out=out, data=data, overrides=overrides, checkpoints=checkpoints, on_step=on_step)
        )


@app.command("import")
def import_(
    a_to_b: Annotated[Path, typer.Option(help="Generator from A to B: latest_net_G_A.pth.", show_default=False)],
    b_to_a: Annotated[Path, typer.Option(help="Generator from B to A: latest_net_G_B.pth.", show_default=False)],
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of their images, such as 256.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The pair folder.", show_default=False)],
    judge_a: Annotated[
        Path | None, typer.Option(help="Discriminator of images of A: latest_net_D_B.pth.", show_default=False)
    ] = None,
    judge_b: Annotated[
        Path | None, typer.Option(help="Discriminator of images of B: latest_net_D_A.pth.", show_default=False)
    ] = None,
    generator: Annotated[
        str | None,
        typer.Option(
            help="The key of a generator of your own, from an installed package, that the state dicts are of.",
            show_default=False,
        ),
    ] = None,
    argument: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE for that generator's callable; repeatable.", show_default=False),
    ] = None,
) -> None:
    """Make a pair of what pytorch-CycleGAN-and-pix2pix trained. Its D_A opposes G_A, so it judges images of B."""
    from optevo import api
    from optevo.cli.data import parse_size
    from optevo.search.spec import parse_arguments

    api.import_pair(
        out,
        a_to_b=a_to_b,
        b_to_a=b_to_a,
        judge_a=judge_a,
        judge_b=judge_b,
        size=parse_size(size),
        generator=generator,
        arguments=parse_arguments(argument or []),
    )
    typer.echo(out)


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="A model folder or a pair.")],
    data: Annotated[Path, typer.Option(help="A folder of pairs; for a pair of translators, of images of A and B.")],
    split: Split = "test",
    mode: Mode = "eval",
    device: Device = "auto",
    picture: Annotated[
        Path | None, typer.Option(help="A pair: where a picture of its translations goes.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """L1, PSNR and SSIM on a split, or FID and KID of a pair; parameters, MACs, size on disk and latency."""
    from optevo import api
    from optevo.errors import UsageError
    from optevo.models.pair import is_pair

    if is_pair(folder):
        _evaluate_pair(folder, data=data, split=split, device=device, picture=picture, as_json=as_json)
        return
    if picture is not None:
        raise UsageError("--picture: belongs to a pair of translators; a model folder has its samples.png.")
    report = api.evaluate(folder, data=data, split=split, device=device, mode=mode)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    for key, value in report.items():
        typer.echo(f"{key}: {value:.4f}" if isinstance(value, float) else f"{key}: {value}")


def _evaluate_pair(folder: Path, *, data: Path, split: str, device: str, picture: Path | None, as_json: bool) -> None:
    from optevo import api
    from optevo.cli.table import print_rows
    from optevo.models.evaluate_pair import notes, readable

    report = api.evaluate_pair(folder, data=data, split=split, device=device, picture=picture)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    print_rows(readable(report))
    for note in notes(report):
        typer.echo(note)
    if picture is not None:
        typer.echo(f"picture: {picture}")


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Model folders.", show_default=False)],
    data: Annotated[Path, typer.Option(help="A folder of pairs.", show_default=False)],
    split: Split = "test",
    mode: Mode = "eval",
    device: Device = "auto",
    as_json: AsJson = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table on stdout.")] = False,
) -> None:
    """Judge any number of models on one dataset: quality, parameters, MACs, latency at batch 1 and 8, file size."""
    from optevo import api
    from optevo.errors import UsageError

    if as_json and as_markdown:
        raise UsageError("--json and --markdown: name one of them.")
    rows = api.compare(folders, data=data, split=split, device=device, mode=mode)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    from optevo.cli.table import print_rows
    from optevo.models.compare import markdown, notes, readable

    if as_markdown:
        typer.echo(markdown(rows))
        return
    print_rows(readable(rows))
    for note in notes(rows):
        typer.echo(note)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A model folder.", show_default=False)],
    format: Annotated[Literal["onnx", "pt2"], typer.Option(help="onnx: any size; pt2: one size.")] = "onnx",
    out: Annotated[
        Path | None, typer.Option(help="The file; by default generator.FORMAT in the folder.", show_default=False)
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="float16 weights, computation, input and output.")] = False,
    size: Annotated[
        str | None, typer.Option(help="pt2: HEIGHTxWIDTH; by default the model's own.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="A folder of images to re-run on; by default drawn facades.", show_default=False),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Largest difference accepted; by default 1e-3, with --half 2e-2.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a model as one file for other runtimes, re-run it on real images, and state the largest difference."""
    from optevo import api
    from optevo.cli.data import parse_size

    wanted = None if size is None else parse_size(size)
    report = api.export(folder, format=format, out=out, half=half, size=wanted, images=data, tolerance=tolerance)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
        return
    if report.takes == "noise":
        takes = f"of {report.shapes[0][1]} numbers of noise"
    elif report.size is None:
        takes = f"multiples of {report.multiple} pixels"
    else:
        takes = "{}x{} pixels".format(*report.size)
    opset = "" if report.opset is None else f", opset {report.opset}"
    shapes = ", ".join("x".join(map(str, shape)) for shape in report.shapes)
    typer.echo(f"{report.path}: {report.file_bytes / 2**20:.2f} MiB, {report.format}{opset}, any batch, {takes}")
    typer.echo(f"{'float16' if report.half else 'float32'} weights, computation, input and output")
    typer.echo(
        f"re-run by {report.runtime} on {report.images} as {shapes}: largest difference "
        f"{report.largest_difference:.2e} of outputs in [-1, 1], at most {report.tolerance:.0e} accepted"
    )


@app.command()
def apply(
    model: Annotated[Path, typer.Argument(help="A model folder or an exported .onnx file.", show_default=False)],
    images: Annotated[Path, typer.Argument(help="A folder of pictures, or one.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The folder for the outputs, as PNG files.", show_default=False)],
    device: Device = "auto",
    batch: Annotated[int, typer.Option(min=1, help="Pictures at once, where their sizes are equal.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Translate anew what is there already.")] = False,
) -> None:
    """Translate pictures of any size. What is there already is left, so an interrupted run goes on where it stopped."""
    from optevo import api
    from optevo.cli.table import steps_bar

    problems: list[str] = []
    try:
        with steps_bar("apply") as on_image:
            written = api.apply(
                model,
                images,
                out=out,
                device=device,
                batch_size=batch,
                overwrite=overwrite,
                on_image=on_image,
                on_problem=problems.append,
            )
    finally:
        # After the bar, which would draw over them.
        for problem in problems:
            typer.echo(f"passed over: {problem}", err=True)
    typer.echo(f"{out}: {len(written)} pictures written" + ("" if written else "; all were there already"))


@app.command()
def sample(
    model: Annotated[
        Path,
        typer.Argument(help="A model folder, or an exported .onnx file, that takes noise.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="The folder for the images, as PNG files.", show_default=False)],
    count: Annotated[int, typer.Option(min=1, help="How many images.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda:N.")] = "cpu",
) -> None:
    """Write images of a generator that makes them of noise, such as a search for recipes finds."""
    from optevo import api

    written = api.sample(model, out=out, count=count, seed=seed, device=device)
    typer.echo(f"{out}: {len(written)} images written")
