"""optevo study: create, run, list, show, best, estimate, copy, delete."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from optevo.cli.options import AcceptVersions, Artifacts, AsJson, Data, Name, Storage

if TYPE_CHECKING:
    from optevo.search.progress import Candidate

app = typer.Typer(name="study", help="Create and run searches, and see what they found.", no_args_is_help=True)

Spec = Annotated[str, typer.Option(help="A TOML file, or the name of a ready specification.", show_default=False)]
Launcher = Literal["local", "ray", "slurm"]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting on top, such as sampler.population=8; repeatable.", show_default=False),
]


@app.command()
def create(
    name: Name,
    spec: Spec,
    set_: Set = None,
    storage: Storage = None,
    artifacts: Annotated[
        str | None,
        typer.Option(
            help="Where pictures go: a folder or s3://BUCKET/PREFIX; by default OPTEVO_ARTIFACTS, else a folder "
            "beside the SQLite file.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Check the specification and the images, and store the study. Nothing is trained yet."""
    from optevo import api

    search = api.create_study(name, spec, storage=storage, overrides=set_ or [], artifacts=artifacts)
    record = search.record
    typer.echo(
        f"created study {name}: {search.spec.sampler.generations} generations of {search.spec.sampler.population}, "
        f"{record.precision} on {record.device}, {record.threads} threads a trial. Next: optevo study run {name}"
    )


@app.command()
def run(
    name: Name,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default what the machine allows.")] = None,
    launcher: Annotated[
        Launcher, typer.Option(help="Where they run: on this machine, on a Ray cluster, or as jobs of Slurm.")
    ] = "local",
    launcher_option: Annotated[
        list[str] | None,
        typer.Option(
            help="key=value for Ray (address, gpus, cpus) or Slurm (partition, time, gpus, cpus, warning, logs, "
            "cluster, sbatch.KEY); repeatable.",
            show_default=False,
        ),
    ] = None,
    storage: Storage = None,
    data: Data = None,
    artifacts: Artifacts = None,
    accept_versions: AcceptVersions = False,
) -> None:
    """Continue a study until nothing is left to do."""
    from optevo import api
    from optevo.cli.table import watching

    with watching(name) as view:
        state = api.run_study(
            name,
            storage=storage,
            workers=workers,
            launcher=launcher,
            launcher_options=launcher_option or [],
            data=data,
            artifacts=artifacts,
            accept_versions=accept_versions,
            on_snapshot=view.show,
            on_line=view.line,
        )
    if state.phase == "done" and view.shown == 0:
        typer.echo(f"study {name}: nothing is left to do.")
    typer.echo(f"Next: optevo study best {name}, optevo model finetune {name}")


@app.command("list")
def list_(storage: Storage = None, as_json: AsJson = False) -> None:
    """The studies in the store."""
    from optevo import api
    from optevo.cli.table import print_rows

    rows = api.list_studies(storage=storage)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    elif rows:
        print_rows(rows)
    else:
        typer.echo("no studies yet; create one with `optevo study create`.")


@app.command()
def show(name: Name, storage: Storage = None, as_json: AsJson = False) -> None:
    """How far a study is, and its generations."""
    from optevo import api
    from optevo.cli.table import print_rows

    report = api.show(name, storage=storage)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    generations = report.pop("generations")
    accepted = report.pop("accepted_versions")
    for key, value in report.items():
        if not isinstance(value, dict):
            typer.echo(f"{key}: {value:.4f}" if isinstance(value, float) else f"{key}: {value}")
    for each in accepted:
        packages = ", ".join(f"{package} {version}" for package, version in each["versions"].items())
        typer.echo(f"accepted versions: {packages} by {each['by']} at {each['at']}")
    print_rows(generations)


@app.command()
def best(name: Name, storage: Storage = None, as_json: AsJson = False) -> None:
    """The winner, with its spread over the final's seeds; of a co-evolution the winners of both populations."""
    from optevo import api

    winner = api.winners(name, storage=storage)
    if as_json:
        typer.echo(json.dumps(winner.to_dict(), indent=2))
        return
    if isinstance(winner, api.BestPair):
        for direction, half in winner.halves.items():
            kept = ", ".join(f"{name} {half.kept[name]}/{size}" for name, size in half.filters.items())
            typer.echo(
                f"{direction}: trial {half.trial}, value {half.value:.4f}, "
                f"{half.parameters / 1e6:.3f} M parameters ({100 * half.share_of_parameters:.0f} %), "
                f"{half.exact_macs / 1e6:.1f} M exact MACs ({100 * half.share_of_macs:.0f} %)\n  filters kept: {kept}"
            )
        return
    if isinstance(winner, api.Best):
        channels, skips = winner.architecture.channels, winner.architecture.skips
        what, metric = f"channels {list(channels)}, skips {[int(skip) for skip in skips]}", "value"
    else:
        what, metric = ", ".join(f"{key} {value}" for key, value in winner.params.items()), winner.metric
    typer.echo(
        f"trial {winner.trial}: {what}\n"
        f"{winner.parameters / 1e6:.3f} M parameters, {winner.exact_macs / 1e6:.1f} M exact MACs, "
        f"{winner.literature_macs / 1e6:.1f} M literature MACs"
    )
    if not winner.candidates:
        typer.echo(f"{metric} {winner.value:.4f} of one short training; the final will tell luck from quality.")
        return
    _print_candidates(winner.candidates)


def _print_candidates(candidates: "Sequence[Candidate]") -> None:
    from optevo.cli.table import print_rows

    print_rows(
        [
            {
                "trial": c.number,
                "mean": f"{c.mean:.4f}",
                "std": "" if c.spread is None else f"{c.spread:.4f}",
                "values": ", ".join(f"{value:.4f}" for value in c.values),
            }
            for c in candidates
        ]
    )


@app.command()
def estimate(name: Name, storage: Storage = None, data: Data = None, as_json: AsJson = False) -> None:
    """Train one typical individual and say how long, and how much memory and disk, the whole study takes."""
    from optevo import api

    report = api.estimate(name, storage=storage, data=data)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    for key, value in report.items():
        typer.echo(f"{key.replace('_', ' ')}: {value:.3g}" if isinstance(value, float) else f"{key}: {value}")


@app.command()
def copy(
    name: Name,
    to: Annotated[str, typer.Option(help="URL of the database to copy it to.", show_default=False)],
    storage: Storage = None,
    artifacts: Annotated[
        str | None,
        typer.Option(
            help="Where the copy's pictures go: a folder or s3://BUCKET/PREFIX; by default where the original's are, "
            "or beside a SQLite file.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Copy a study, with its final and pictures, into another database; there it goes on as it would have here."""
    from optevo import api
    from optevo.search.store import masked

    copied = api.copy_study(name, to=to, storage=storage, artifacts=artifacts)
    failed = f" ({copied.failed} were running and will be given out again)" if copied.failed else ""
    missing = f" ({copied.missing} were no longer there)" if copied.missing else ""
    typer.echo(
        f"copied study {name}: {copied.trials} trials{failed}, {copied.artifacts} files{missing}, to {masked(to)}. "
        f"Next: optevo study run {name}, with OPTEVO_STORAGE or --storage naming that database"
    )


@app.command()
def delete(
    name: Name,
    storage: Storage = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    keep_artifacts: Annotated[
        bool, typer.Option("--keep-artifacts", help="Leave its pictures, which a copy of it may name too.")
    ] = False,
) -> None:
    """Remove a study from the store, with all its trials and pictures."""
    from optevo.search.store import storage_url
    from optevo.search.study import delete_study

    if not yes and not typer.confirm(f"Delete study {name} and all its trials?"):
        raise typer.Exit(1)
    delete_study(name, url=storage_url(storage), keep_artifacts=keep_artifacts)
    typer.echo(f"deleted study {name}.")
