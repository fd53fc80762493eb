"""Options that several commands share."""

import os
from pathlib import Path
from typing import Annotated

import typer


def let_threads_sleep() -> None:
    """For trainings: threads that wait for each other do so asleep, not spinning. To be called before torch is loaded.

    With one core busy otherwise, two spinning threads made a training step 30 times slower. It is not for measuring
    latency: waking up takes longer than a small generator.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


Storage = Annotated[
    str | None,
    typer.Option(
        help="Database URL; by default OPTEVO_STORAGE, else sqlite:///storage/optevo.db. Leave a password to ~/.pgpass "
        "or PGPASSFILE.",
        show_default=False,
    ),
]
Data = Annotated[
    Path | None, typer.Option(help="The images' folder, where it is not the specification's.", show_default=False)
]
Artifacts = Annotated[
    str | None,
    typer.Option(
        help="Where the artifact store is from here, if not where the study was created to have it.",
        show_default=False,
    ),
]
AcceptVersions = Annotated[
    bool,
    typer.Option(
        "--accept-versions",
        help="Join with releases of packages other than the study's that change results; it is recorded in the study.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Name = Annotated[str, typer.Argument(help="The study's name.", show_default=False)]
