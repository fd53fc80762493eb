"""Fetch one file over HTTP, resumable."""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from optevo.errors import OptevoError, UsageError

Progress = Callable[[int, int | None], None]
"""Called with the bytes there are and the bytes there will be (None: the server does not say)."""

_PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before each retry that follows an attempt without progress
_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 18
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # statuses that may pass


class _Interrupted(Exception):
    """The connection failed in a way that a retry may mend."""


@dataclass(frozen=True)
class _State:
    """What is known of a part file: which file on the server it is the beginning of."""

    url: str = ""
    validator: str = ""  # a strong ETag or a Last-Modified date; without one a resumed file could be two halves
    total: int | None = None


def fetch(url: str, part: Path, *, progress: Progress | None = None) -> Path:
    """Download `url` to the file `part`, going on from what is there already.

    An interrupted file is continued (HTTP Range) only while the server's ETag or Last-Modified date is what it was;
    a server without either, or without Range, sends the file anew. Passing failures are retried with growing pauses
    as long as attempts bring nothing; the part file stays for the next call.

    Returns:
        `part`, complete.

    Raises:
        UsageError: `url` is not http or https.
        OptevoError: the server refuses, the connection keeps failing, or the disk is full.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise UsageError(f"{url}: must begin with http:// or https://")
    failures, most = 0, _length(part)
    while True:
        try:
            _attempt(url, part, progress)
            return part
        except _Interrupted as error:
            failures = 0 if _length(part) > most else failures + 1
            most = max(most, _length(part))
            if failures > len(_PAUSES):
                raise OptevoError(
                    f"{url}: {error}, after {failures} attempts; {part} keeps {_length(part):,} bytes: check the "
                    "connection and run the same command again to continue"
                ) from error
            time.sleep(_PAUSES[max(failures, 1) - 1])


def forget(part: Path) -> None:
    """Remove a part file and what is known of it."""
    part.unlink(missing_ok=True)
    _state_file(part).unlink(missing_ok=True)


def _attempt(url: str, part: Path, progress: Progress | None) -> None:
    state = _read_state(part)
    there = _length(part) if state.url == url and state.validator else 0
    if there and there == state.total:
        return
    try:
        with urllib.request.urlopen(_request(url, there, state), timeout=_TIMEOUT) as response:
            _receive(response, url=url, part=part, there=there, progress=progress)
    except urllib.error.HTTPError as error:
        _refused(error, url=url, part=part)
    except (OSError, http.client.HTTPException) as error:  # the disk's own errors are OptevoErrors already
        raise _Interrupted(_reason(error)) from error


def _request(url: str, there: int, state: _State) -> urllib.request.Request:
    headers = {"User-Agent": "optevo", "Accept-Encoding": "identity"}
    if there:
        headers |= {"Range": f"bytes={there}-", "If-Range": state.validator}
    return urllib.request.Request(url, headers=headers)


def _refused(error: urllib.error.HTTPError, *, url: str, part: Path) -> None:
    if error.code == 416:  # the file on the server is shorter than what we have: not the same file
        forget(part)
        raise _Interrupted("the file on the server has changed") from error
    if error.code in _PASSING:
        raise _Interrupted(f"the server answers {error.code} {error.reason}") from error
    raise OptevoError(f"{url}: the server answers {error.code} {error.reason}; check the address") from error


def _receive(
    response: http.client.HTTPResponse, *, url: str, part: Path, there: int, progress: Progress | None
) -> None:
    start, total = _extent(response, there)
    done = start
    with _open(part, start) as file:
        # After the file was emptied: a kill in between must not leave old bytes under a new validator.
        _write_state(part, _State(url=url, validator=_validator(response), total=total))
        while chunk := response.read(_CHUNK):
            _write(file, chunk, part)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
    if total is not None and done != total:
        raise _Interrupted(f"the connection ended at {done:,} of {total:,} bytes")


def _extent(response: http.client.HTTPResponse, there: int) -> tuple[int, int | None]:
    """Where in the file the response begins, and the length of the whole file if the server says it."""
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != there:
            raise _Interrupted("the server sent another part of the file than asked for")
        return there, None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _validator(response: http.client.HTTPResponse) -> str:
    etag: str = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):  # weak ETags must not be used for ranges (RFC 9110, 13.1.5)
        return etag
    date: str = response.headers.get("Last-Modified", "")
    return date


def _open(part: Path, start: int) -> IO[bytes]:
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("r+b" if start else "wb", buffering=0)
        file.seek(start)
        return file
    except OSError as error:
        raise _disk_error(part, error) from error


def _write(file: IO[bytes], chunk: bytes, part: Path) -> None:
    view = memoryview(chunk)
    try:
        while view:  # unbuffered, so a write may be partial
            view = view[file.write(view) :]
    except OSError as error:
        raise _disk_error(part, error) from error


def _disk_error(path: Path, error: OSError) -> OptevoError:
    return OptevoError(
        f"{path}: cannot be written ({_reason(error)}); free some space or choose another folder, and run the same "
        "command again: what is there is kept"
    )


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def _length(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _state_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_state(part: Path) -> _State:
    try:
        return _State(**json.loads(_state_file(part).read_text()))
    except (OSError, ValueError, TypeError):
        return _State()


def _write_state(part: Path, state: _State) -> None:
    try:
        _state_file(part).write_text(json.dumps(asdict(state)))
    except OSError as error:
        raise _disk_error(part, error) from error
