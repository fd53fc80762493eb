"""A real Ray cluster of several nodes on this machine, each a raylet with a loopback address of its own."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from process_tree import tree

# Light: nothing is started before it is asked for, and a silent node is given up after seconds.
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}


@dataclass
class RayCluster:
    """Nodes that a test may kill.

    Attributes:
        folder: Ray's own, with its logs.
        address: HOST:PORT of the head.
    """

    folder: Path
    environment: Mapping[str, str]
    address: str = ""
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_node(self, *, cpus: int) -> subprocess.Popen[bytes]:
        """Start one more, the first as the head; wait until it says that it runs."""
        host = f"127.0.0.{2 + len(self.nodes)}"  # Of 127.0.0.1 Ray makes the machine's address in its network.
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", f"--node-ip-address={host}"]
        command += [f"--num-cpus={cpus}", "--num-gpus=0", "--object-store-memory=100000000", "--disable-usage-stats"]
        if self.address:
            command += [f"--address={self.address}"]
        else:
            command += ["--head", "--port=0", "--include-dashboard=false", f"--temp-dir={self.folder / 'ray'}"]
        log = self.folder / f"node-{len(self.nodes)}"
        with log.open("wb") as file:
            node = subprocess.Popen(
                command,
                env={**os.environ, **SETTINGS, **self.environment},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.nodes.append(node)
        until = time.monotonic() + 120
        while "Ray runtime started" not in (said := log.read_text()):
            assert node.poll() is None, said
            assert time.monotonic() < until, said
            time.sleep(0.1)
        if not self.address:
            found = re.search(r"127\.0\.0\.2:\d+", said)
            assert found, said
            self.address = found[0]
        return node

    def kill(self, node: subprocess.Popen[bytes]) -> list[int]:
        """End a node as a power cut does, with whatever ran on it."""
        pids = tree(node.pid)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait()
        return pids


@contextmanager
def ray_cluster(**environment: str) -> Iterator[RayCluster]:
    """A cluster without nodes yet.

    Args:
        environment: What the nodes, and so the workers on them, have in theirs.
    """
    # Not pytest's own folder: names of sockets are limited to 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    # Ray listens on every address of the machine, and runs whatever it is sent.
    guarded = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    cluster = RayCluster(folder, {**guarded, **environment})
    try:
        yield cluster
    finally:
        for node in cluster.nodes:
            cluster.kill(node)
        shutil.rmtree(folder, ignore_errors=True)
