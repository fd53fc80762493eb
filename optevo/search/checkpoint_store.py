"""The files of checkpoints in an artifact store: which of them count, and whether they are what was stored."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound

from optevo.errors import OptevoError
from optevo.search.artifact_stores import explain
from optevo.search.patient_store import ArtifactError, PatientStore

log = logging.getLogger("optevo.checkpoints")

LATEST = "latest.json"
NAME = re.compile(r"[0-9]{9,}-[0-9a-f]{8}\.safetensors")
MAX_LATEST = 100_000  # bytes
PIECE = 1 << 20  # bytes read at once


class DamagedError(ArtifactError):
    """What the store holds is not what was stored; the message says what to do."""


@dataclass(frozen=True)
class Kept:
    """A checkpoint that counts."""

    name: str
    step: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Latest:
    """`latest.json`: the checkpoints that count, the newest first, and who trains; `run` is None after it stopped."""

    run: str | None = None
    who: str = ""
    kept: tuple[Kept, ...] = ()

    def to_bytes(self) -> bytes:
        """For the store."""
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Latest":
        """What a store holds, checked.

        Raises:
            ValueError: It is something else.
        """
        try:
            document = json.loads(content)
            run, who = document["run"], document["who"]
            latest = cls(run=run, who=who, kept=tuple(Kept(**each) for each in document["kept"]))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        if not isinstance(run, str | None) or not isinstance(who, str):
            raise ValueError("it does not say who trains")
        for each in latest.kept:
            if not isinstance(each.name, str) or not NAME.fullmatch(each.name):
                raise ValueError(f"it names {each.name!r}")
            if not isinstance(each.step, int) or not isinstance(each.size, int) or not isinstance(each.sha256, str):
                raise ValueError(f"what it says of {each.name} is not understood")
        return latest


class CheckpointStore(PatientStore):
    """A store of files that holds checkpoints."""

    HOLDS = "checkpoints"

    def read_latest(self, folder: str) -> Latest | None:
        """What counts in a folder of the store; None where nothing was ever stored.

        Raises:
            ArtifactError: The store stays away.
            DamagedError: The file is damaged.
        """
        name = f"{folder}/{LATEST}"

        def read() -> bytes | None:
            try:
                with self.store.open_reader(name) as reader:
                    return reader.read(MAX_LATEST)
            except ArtifactNotFound:
                return None

        content = self.patiently(read, f"reading {name}")
        if content is None:
            return None
        try:
            return Latest.from_bytes(content)
        except ValueError as error:
            raise DamagedError(
                f"checkpoints {self.url}: {name} is damaged ({error}); bring it back from a backup, or remove the "
                f"folder {folder} there to start again."
            ) from error

    def write_latest(self, folder: str, latest: Latest) -> None:
        """Let other checkpoints count, or another process train."""
        name = f"{folder}/{LATEST}"
        self.patiently(lambda: self.store.put(name, latest.to_bytes()), f"writing {name}")

    def upload(self, name: str, file: BufferedReader) -> None:
        """Store an open local file."""

        def attempt() -> None:
            # A handle for each attempt: boto3 closes what it has uploaded.
            with os.fdopen(os.dup(file.fileno()), "rb") as again:
                again.seek(0)
                self.store.write(name, again)

        self.patiently(attempt, f"storing {name}")

    def download(self, folder: str, kept: Kept, path: Path) -> bool:
        """Bring a checkpoint into a local file. False, with a line, where it is damaged or gone.

        Raises:
            ArtifactError: The store stays away.
            OptevoError: The disk is full.
        """
        name = f"{folder}/{kept.name}"
        temporary = path.with_name(f".{path.name}.{os.getpid()}")

        def attempt() -> str | None:
            try:
                reader = self.store.open_reader(name)
            except ArtifactNotFound:
                return "it is not there"
            with reader:
                found = _write(temporary, reader)
            return None if found == (kept.size, kept.sha256) else "it is not what was stored"

        try:
            wrong = self.patiently(attempt, f"reading {name}")
            if wrong is None:
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        if wrong is not None:
            log.warning("checkpoints %s: %s is damaged (%s)", self.url, name, wrong)
        return wrong is None

    def sweep(self, folder: str, *, but: Latest | None = None) -> None:
        """Remove everything in a folder of the store but what counts; what cannot be removed now stays."""
        keep = {LATEST, *(each.name for each in but.kept)} if but is not None else set()
        try:
            names = self.store.names(folder)
        except Exception as error:  # Any driver's; a role that may not list a bucket is one reason.
            log.warning("checkpoints %s: cannot see what is left in %s (%s)", self.url, folder, explain(error))
            return
        # latest.json first: without it, nothing else counts.
        for name in sorted(names, key=lambda name: not name.endswith(LATEST)):
            if name.removeprefix(f"{folder}/") not in keep:
                self.remove(name)


def digest_of(file: BufferedReader) -> tuple[int, str]:
    """Size in bytes and SHA-256 of an open file."""
    file.seek(0)
    found = hashlib.file_digest(file, "sha256").hexdigest()
    return os.fstat(file.fileno()).st_size, found


def _write(path: Path, reader: BinaryIO) -> tuple[int, str]:
    """Write a file; its size and SHA-256. The disk's errors become OptevoError, the reader's stay what they are."""
    total, size = hashlib.sha256(), 0
    with _on_disk(path):
        file = path.open("wb")
    with file:
        while chunk := reader.read(PIECE):
            total.update(chunk)
            size += len(chunk)
            with _on_disk(path):
                file.write(chunk)
                file.flush()
    return size, total.hexdigest()


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OptevoError(f"{path}: cannot write the checkpoint ({explain(error)}); free some disk space.") from error
