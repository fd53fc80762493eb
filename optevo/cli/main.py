"""The command line. Thin: each command reads its arguments and calls one function."""

import logging
import os
import sys
from typing import Annotated

import typer

from optevo import __version__
from optevo.cli import data, model, study, worker
from optevo.cli.dashboard import dashboard
from optevo.cli.quickstart import quickstart
from optevo.errors import OptevoError

app = typer.Typer(
    name="optevo",
    help="Evolve small, fast GAN generators for your own images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(study.app)
app.add_typer(model.app)
app.add_typer(data.app)
app.command()(worker.worker)
app.command()(dashboard)
app.command()(quickstart)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")] = False,
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Evolve small, fast GAN generators for your own images."""
    if debug:
        os.environ["OPTEVO_DEBUG"] = "1"
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # Where the images lie is worth a line only when it makes things slower, which is a warning.
    for chatty in ("optevo.data", "optuna", "alembic", "botocore", "boto3", "sqlalchemy", "PIL", "matplotlib"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def main() -> None:
    """Run a command; what goes wrong is one line on stderr and an exit code: 1 at run time, 2 wrong usage."""
    try:
        app()
    except OptevoError as error:
        if os.environ.get("OPTEVO_DEBUG"):
            raise
        print(f"optevo: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("optevo: interrupted; run the same command again to continue.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:  # The last stop: whatever nobody foresaw still gets one line, and --debug its traceback.
        if os.environ.get("OPTEVO_DEBUG"):
            raise
        from optevo.search.store import reason

        print(f"optevo: {type(error).__name__}: {reason(error)} (--debug shows where).", file=sys.stderr)
        sys.exit(1)
