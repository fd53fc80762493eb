"""Where artifacts lie: a folder, or a bucket of S3 (or of anything that speaks its protocol), named by a URL.

An artifact is written whole or not at all: in a folder under another name first, in a bucket by S3's own rule that an
object appears when all of it has arrived.
"""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from optuna.artifacts import Boto3ArtifactStore, FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from optevo.errors import UsageError

# Seconds that one attempt waits for a silent S3 server. Attempts are repeated by the caller, with a message each.
CONNECT, READ = 5, 10


class ArtifactStore(Protocol):
    """What Optuna and its dashboard ask of a store."""

    def open_reader(self, artifact_id: str) -> BinaryIO: ...
    def write(self, artifact_id: str, content_body: BinaryIO) -> None: ...
    def remove(self, artifact_id: str) -> None: ...


class Store(ArtifactStore, Protocol):
    """What optevo asks of one besides."""

    def put(self, name: str, content: bytes) -> None:
        """Write a small file that others may be writing too: the last one counts, and nobody ever reads half of it."""
        ...

    def names(self, folder: str) -> list[str]:
        """Every file below a folder, under the name that removes it; what a killed writer left included."""
        ...


class Folder(FileSystemArtifactStore):
    """A folder, made when something is first written to it."""

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write under another name, and rename: no reader ever meets half a file."""
        path = self._get_filepath(artifact_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _unfinished(path).open("wb") as file:
            shutil.copyfileobj(content_body, file)
            file.flush()
            os.fsync(file.fileno())
        _unfinished(path).replace(path)

    def remove(self, artifact_id: str) -> None:
        """Remove the artifact, or what a killed writer left of it."""
        path = self._get_filepath(artifact_id)
        _unfinished(path).unlink(missing_ok=True)
        super().remove(artifact_id)
        # Folders within the store are only parts of names, as they are in a bucket.
        for parent in path.relative_to(self._base_path).parents[:-1]:
            try:
                (self._base_path / parent).rmdir()
            except OSError:  # Not empty, as a rule.
                break

    def put(self, name: str, content: bytes) -> None:
        """Write under a name that nobody else takes, and rename."""
        path = self._get_filepath(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", suffix=".part", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).chmod(0o644)  # as other files of the store: for all who share it
                os.replace(file.name, path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise

    def names(self, folder: str) -> list[str]:
        """Files as they lie there now."""
        found = self._get_filepath(folder).rglob("*")
        return sorted(path.relative_to(self._base_path).as_posix() for path in found if path.is_file())


class Bucket(Boto3ArtifactStore):
    """A bucket, under a prefix."""

    def __init__(self, bucket: str, *, prefix: str, client: Any) -> None:
        # Not through a buffer in memory: a checkpoint may be as large as what is left of it.
        super().__init__(bucket, client, avoid_buf_copy=True)
        self._prefix = f"{prefix}/" if prefix else ""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        return super().open_reader(self._prefix + artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        super().write(self._prefix + artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        super().remove(self._prefix + artifact_id)

    def put(self, name: str, content: bytes) -> None:
        """One request: S3 shows an object when all of it has arrived."""
        self.client.put_object(Bucket=self.bucket, Key=self._prefix + name, Body=content)

    def names(self, folder: str) -> list[str]:
        """Objects as they lie there now. Needs the permission to list the bucket."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{self._prefix}{folder}/"
        )
        return [each["Key"].removeprefix(self._prefix) for page in pages for each in page.get("Contents", [])]


def settle_url(given: str, *, option: str = "--artifacts") -> str:
    """A URL that means the same in any working directory of this machine.

    Args:
        given: A folder, a `file://` URL, or `s3://BUCKET/PREFIX`.
        option: What messages call it.

    Raises:
        UsageError: Another kind of URL, or one with credentials in it.
    """
    parts = urlsplit(given)
    if parts.scheme == "s3":
        _check_bucket(given, option=option)
        return f"s3://{parts.netloc}{parts.path.rstrip('/')}"
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise UsageError(f"{option} {given}: a file on another host; write file:///FOLDER.")
        return str(Path(unquote(parts.path)).absolute())
    if "://" in given:
        raise UsageError(
            f"{option}: {parts.scheme}:// is not known; name a folder, file:///FOLDER or s3://BUCKET/PREFIX."
        )
    return str(Path(given).absolute())


def open_url(url: str) -> Store:
    """The store at a URL as :func:`settle_url` gives it. Nothing is asked of it yet.

    Raises:
        UsageError: It is in S3 and boto3 is not installed, or knows no region or credentials.
    """
    parts = urlsplit(url)
    if parts.scheme != "s3":
        return Folder(Path(url))
    return Bucket(parts.netloc, prefix=parts.path.strip("/"), client=_client(url))


def check(url: str) -> None:
    """See that the store is there and can be written to.

    Raises:
        UsageError: The folder cannot be made, or the bucket is not there.
    """
    store = open_url(url)
    try:
        if isinstance(store, Bucket):
            store.client.head_bucket(Bucket=store.bucket)
        else:
            Path(url).mkdir(parents=True, exist_ok=True)
    except Exception as error:  # Whatever a disk or an object store raises.
        cure = (
            "create the bucket, or mend AWS_ENDPOINT_URL or the credentials" if "://" in url else "name another folder"
        )
        raise UsageError(f"--artifacts {url}: cannot be used ({explain(error)}); {cure}.") from error


def remove_quietly(store: ArtifactStore, artifact_id: str) -> None:
    """Remove an artifact; one that is gone already is as well."""
    with suppress(ArtifactNotFound):
        store.remove(artifact_id)


def is_transient(error: Exception) -> bool:
    """Whether to try again may help: not where the store is there and says no, or the disk is full."""
    if isinstance(error, ArtifactNotFound | FileNotFoundError | PermissionError | NotADirectoryError):
        return False
    status = _status(error)
    # 408 and 429 ask for patience; 403 and 404 will be the same tomorrow.
    return status is None or status >= 500 or status in (408, 429)


def explain(error: BaseException) -> str:
    """One line on what went wrong."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ArtifactNotFound):
        return "it is not there"
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _status(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _check_bucket(url: str, *, option: str) -> None:
    netloc = urlsplit(url).netloc
    if "@" in netloc:
        raise UsageError(
            f"{option} s3://...@...: credentials do not belong in the URL; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        )
    if not netloc:
        raise UsageError(f"{option} {url}: names no bucket; write s3://BUCKET/PREFIX.")


def _client(url: str) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise UsageError(f"--artifacts {url}: needs boto3; install optevo[s3].") from None
    try:
        # One attempt: the caller repeats it, and says so. S3 itself wants a region even where it does not matter.
        return boto3.client(
            "s3",
            region_name=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
            config=Config(connect_timeout=CONNECT, read_timeout=READ, retries={"total_max_attempts": 1}),
        )
    except (BotoCoreError, ValueError) as error:
        raise UsageError(f"--artifacts {url}: {explain(error)}; see the AWS_... variables of boto3.") from error
