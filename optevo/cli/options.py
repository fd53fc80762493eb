"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Storage = Annotated[
    str | None,
    typer.Option(help="Database URL; by default OPTEVO_STORAGE, else sqlite:///storage/optevo.db.", show_default=False),
]
Data = Annotated[
    Path | None, typer.Option(help="The images' folder, where it is not the specification's.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
Name = Annotated[str, typer.Argument(help="The study's name.", show_default=False)]
