"""Run every command of docs/many-machines.md as written, and write the page with what each printed.

It starts a PostgreSQL that asks for passwords over TCP and an S3 server, both of the `dev` extra:

python docs/many_machines.py
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests"))

from s3_server import S3Server, s3_server  # noqa: E402
from tcp_postgres import PASSWORD, SUPERUSER_PASSWORD, TcpServer, tcp_postgres  # noqa: E402

from optevo.data.drawn import draw_facades  # noqa: E402

INTRODUCTION = """# From one machine to many

A study begins on a laptop, in a SQLite file. A team needs one database that many machines reach, over a network and
with a password, and one place for pictures. Only URLs change: the same specification gives the same winner.

Every command below was run as written by `docs/many_machines.py`, with
[docs/many-machines.toml](many-machines.toml) and pictures that optevo drew. The machines were folders of one computer,
each with its own copy of the images; they met only in a PostgreSQL 18 over TCP, which asked for passwords
(scram-sha-256), and an S3 server. Where you have hosts, write their names instead of 127.0.0.1.
"""

LAPTOP = """## On the laptop

The study and its pictures lie in `storage/`.
"""

SERVER = """## The server

[storage/README.md](../storage/README.md) says how to start one with Docker. On a server that is there already, an
administrator makes a database and a role for optevo, once. The role may create tables in one schema of that database
and do nothing else. Its password is in a file, so that it is on no command line.
"""

ACCESS = """## On every machine: where the database is, and the password

The URL names the role and no password. PostgreSQL's client takes it from a password file, `~/.pgpass` or the one that
PGPASSFILE names, which nobody else may read. So it is in no list of processes and in no log. A password within
OPTEVO_STORAGE works too, and optevo prints it as `***`; only on a command line would others on the machine see it.

Workers on many machines need one place for pictures: a folder that all of them mount, or S3. Its address and keys are
boto3's usual variables (`pip install 'optevo[postgres,s3]'`).
"""

COPY = """## Take the laptop's study along

Its trials and pictures, all or nothing; an unfinished study would go on there with the same individuals. The laptop
keeps its own. (Where both name one artifact store, delete the old one with `--keep-artifacts`.)
"""

CREATE = """## A study for all

`--artifacts` is stored with the study; no other command needs it.
"""

WORKERS = """## Workers

Every machine has the same images, here in `data/drawn`; the specification comes from the database. Two shells on two
machines, at the same time. The first was killed without warning on the way:
"""

AFTER_KILL = """What the killed worker had told the database is kept, and what it had in training was given out again:
on the same machine at once, elsewhere after a minute of silence. A worker that is stopped by Ctrl-C or SIGTERM gives
its individual back by itself. `optevo study run team --workers 4` starts four on one machine and shows how far all are.

The winner is the laptop's, to the last digit. Only the trials' numbers differ: they count attempts.
"""

DASHBOARD = """## The dashboard

It shows the studies and their pictures, from wherever the study put them. It has no password and answers this machine
alone; from elsewhere use `ssh -L 8080:127.0.0.1:8080 HOST`.
"""

BACKUP = """## A backup

It is consistent while workers train. [storage/README.md](../storage/README.md) says how to restore it.
"""

RULES = """## What to know

- *A database that is away*: workers wait for ten minutes, say so, and go on.
- *An artifact store that is away*: a picture is tried again for 30 seconds, then the trial's value is stored without it
  (`artifacts_missing` in the trial's attributes says so). A picture that is damaged is never shown as if it were not.
- *Checkpoints of trainings* (`optevo model finetune`) lie there too, so that another machine goes on. They are tried
  again likewise; if the store stays away, the training goes on and the newest one lies beside the model. The last two
  are kept, and all go when the model is written. Where two machines train the same model, the one that began last goes
  on and the other ends with a line.
- *Which pictures stay*: those of the newest generation, of the best of every generation, of the ten best of all and of
  the final. The others are removed as the search goes on; `optevo/search/collecting.py` holds the rule.
- *Other versions*: a worker whose optevo, torch, numpy, scikit-learn, Pillow or optuna is another major or minor
  release than the study's is refused by name, for results would change; a patch release is a warning.
  `--accept-versions` lets it in. Who accepted what is kept in the study, `optevo study show` tells it, and everybody
  else with those releases joins without being asked.
- *Encryption*: `?sslmode=verify-full` in the URL makes the client insist on the server's certificate.
- *SQLite* is for one machine. Its files do not belong on network drives.
- *A Ray cluster or Slurm* may place the workers: [clusters.md](clusters.md).
"""


@dataclass
class Shell:
    """A shell on one machine: its folder, and what was exported in it."""

    folder: Path
    path: str
    exports: list[str] = field(default_factory=list)

    def begin(self, command: str) -> subprocess.Popen[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPTEVO_", "AWS_", "PG"))}
        return subprocess.Popen(
            ["bash", "-c", "\n".join([*self.exports, command])],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**environment, "PATH": self.path, "HOME": str(self.folder)},
        )

    def run(self, command: str, *, codes: tuple[int, ...] = (0,)) -> str:
        """A block for the page: the command and what it printed. It must end with one of the codes."""
        output = self.end(self.begin(command), command, codes=codes)
        if command.startswith("export "):
            self.exports.append(command)
        return block(command, output)

    def end(self, process: subprocess.Popen[str], command: str, *, codes: tuple[int, ...]) -> str:
        output, _ = process.communicate(timeout=600)
        print(f"$ {command}\n{output}", flush=True)
        if process.returncode not in codes:
            raise SystemExit(f"{command} ended with exit code {process.returncode}")
        return output


def block(command: str, output: str) -> str:
    lines = [line.rstrip() for line in output.splitlines()]
    return "\n".join(["```console", f"$ {command}", *lines, "```", ""])


def outcome(page: str) -> str:
    """What `study best` said, without the command and the trials' numbers, which count attempts."""
    return re.sub(r"^(trial )?\d+\b", "", page.split("\n", 2)[2], flags=re.MULTILINE)


def workers(one: Shell, two: Shell) -> Iterator[str]:
    """Two at once, of which the first is killed."""
    commands = ("timeout --signal=KILL 15 optevo worker team", "optevo worker team")
    codes = (-9, 0)
    begun = [shell.begin(command) for shell, command in zip((one, two), commands, strict=True)]
    outputs: dict[int, str] = {}

    def finish(place: int) -> None:
        outputs[place] = (one, two)[place].end(begun[place], commands[place], codes=(codes[place],))

    threads = [threading.Thread(target=finish, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place in (0, 1):
        yield f"On machine {place + 1}:\n"
        yield block(commands[place], outputs[place])


def dashboard(shell: Shell) -> Iterator[str]:
    """Start it, ask it for the studies, and end it as Ctrl-C would."""
    command = "optevo dashboard --port 8080"
    server = shell.begin(f"exec {command}")
    assert server.stdout is not None
    output = server.stdout.readline()
    yield block(command, output)
    yield shell.run(
        "curl --silent http://127.0.0.1:8080/api/studies | "
        'python -c \'import json, sys; print([s["study_name"] for s in json.load(sys.stdin)["study_summaries"]])\''
    )
    server.terminate()
    server.wait()


@contextmanager
def machines(path: str) -> Iterator[tuple[Shell, Shell, Shell]]:
    """The administrator's shell and two machines, each with a copy of the images."""
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / each for each in ("administrator", "machine-1", "machine-2")]
        draw_facades(folders[1] / "data" / "drawn", count=40, val=6, test=6, size=(32, 32), seed=0)
        shutil.copytree(folders[1] / "data", folders[2] / "data")
        shutil.copytree(
            DOCS.parent / "storage", folders[0] / "storage", ignore=shutil.ignore_patterns("*.db*", "artifacts")
        )
        shutil.copy(DOCS / "many-machines.toml", folders[1])
        for folder in folders:
            (folder / "secrets").mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / "secrets" / "optevo_password").write_text(PASSWORD + "\n")
        yield tuple(Shell(folder, path) for folder in folders)  # type: ignore[misc]


def add_access(shell: Shell, server: TcpServer, s3: S3Server) -> Iterator[str]:
    yield shell.run(
        f'(umask 077; echo "127.0.0.1:{server.port}:optevo:optevo:$(cat secrets/optevo_password)" > ~/.pgpass)'
    )
    yield shell.run(f"export OPTEVO_STORAGE=postgresql+psycopg://optevo@127.0.0.1:{server.port}/optevo")
    yield shell.run(f"export AWS_ENDPOINT_URL={s3.environment['AWS_ENDPOINT_URL']}")
    keys = "AWS_ACCESS_KEY_ID=team AWS_SECRET_ACCESS_KEY=of-the-team"
    yield shell.run(f"export {keys}")


def write(server: TcpServer, s3: S3Server, shells: tuple[Shell, Shell, Shell]) -> list[str]:
    administrator, one, two = shells
    page = [INTRODUCTION, LAPTOP, one.run("optevo study create laptop --spec many-machines.toml")]
    page += [one.run("optevo study run laptop --workers 1"), laptop := one.run("optevo study best laptop")]
    administrator.exports.append(f"export PGHOST=127.0.0.1 PGPORT={server.port} PGPASSWORD={SUPERUSER_PASSWORD}")
    page += [SERVER, administrator.run("export OPTEVO_PASSWORD_FILE=secrets/optevo_password")]
    page += [administrator.run("psql --username postgres --dbname postgres --quiet --file storage/role.sql")]
    page += [ACCESS, *add_access(one, server, s3)]
    for _ in add_access(two, server, s3):
        pass
    copy = "optevo study copy laptop --storage sqlite:///storage/optevo.db --artifacts s3://pictures/laptop"
    page += [COPY, one.run(f'{copy} --to "$OPTEVO_STORAGE"'), copied := two.run("optevo study best laptop")]
    if copied != laptop:
        raise SystemExit("the copy's winner is not the laptop's")
    create = "optevo study create team --spec many-machines.toml --artifacts s3://pictures/team"
    page += [CREATE, one.run(create), WORKERS, *workers(one, two)]
    page += [AFTER_KILL, one.run("optevo study show team"), team := one.run("optevo study best team")]
    if outcome(laptop) != outcome(team):
        raise SystemExit("the team's winner is not the laptop's")
    page += [DASHBOARD, *dashboard(two)]
    dump = f"pg_dump --host 127.0.0.1 --port {server.port} --username optevo --dbname optevo --format custom"
    page += [BACKUP, two.run(f"{dump} --file optevo.dump"), RULES]
    return page


def main() -> None:
    begun = time.monotonic()
    with tcp_postgres(role=False, port=5432) as server, s3_server(port=9000) as s3:
        path = f"{Path(sys.executable).parent}:{server.binaries}:{os.environ['PATH']}"
        with machines(path) as shells:
            page = "\n".join(write(server, s3, shells))
            for folder in {str(shell.folder) for shell in shells}:
                page = page.replace(folder, "~")
    for secret in (PASSWORD, SUPERUSER_PASSWORD):
        if secret in page:
            raise SystemExit("a password is on the page")
    (DOCS / "many-machines.md").write_text(page)
    print(f"written in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
