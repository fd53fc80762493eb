"""An S3 server for tests: moto's, in a process of its own, spoken to over HTTP."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.request import urlopen

BUCKET = "pictures"


@dataclass
class S3Server:
    """Its address, and what a process needs to know to use it."""

    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self):
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id="tests",
            aws_secret_access_key="not-a-secret",
            region_name="us-east-1",
        )

    def stored(self) -> list[str]:
        return [each["Key"] for each in self.client().list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(300):
            try:
                urlopen(f"http://127.0.0.1:{self.port}/moto-api/", timeout=5).read()
            except OSError:
                time.sleep(0.1)
            else:
                self.client().create_bucket(Bucket=BUCKET)
                return
        raise RuntimeError("moto's server did not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None


@contextmanager
def s3_server(*, port: int = 0) -> Iterator[S3Server]:
    """A running server with one empty bucket, on a free port where none is named."""
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # A named port may have been used just now.
        free.bind(("127.0.0.1", port))
        server = S3Server(free.getsockname()[1])
    server.start()
    try:
        yield server
    finally:
        server.stop()
