"""A short name for the exact content of a dataset, stored with a study so that no worker trains on other images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from optevo.data.pairs import PairFile
from optevo.errors import UsageError


def fingerprint(pairs: Mapping[str, Sequence[PairFile]]) -> str:
    """The first 16 hexadecimal digits of a SHA-256 over each pair's split, name and file bytes.

    Independent of where the dataset lies, of file times and of the order of `pairs`. Reads every file once.

    Raises:
        UsageError: a file cannot be read.
    """
    entries = sorted(
        ((split, pair.name, pair) for split, members in pairs.items() for pair in members), key=lambda entry: entry[:2]
    )
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        contents = pool.map(lambda entry: _pair_digest(entry[2]), entries)
        total = hashlib.sha256()
        for (split, name, _), content in zip(entries, contents, strict=True):
            # Length prefixes, so that no two different lists of entries give the same bytes.
            for part in (split.encode(), name.encode("utf-8", "surrogateescape"), content):
                total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()[:16]


def _pair_digest(pair: PairFile) -> bytes:
    return _file_digest(pair.a) + (_file_digest(pair.b) if pair.b is not None else b"")


def _file_digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{path}: cannot be read ({reason}); check the path and its permissions") from error
