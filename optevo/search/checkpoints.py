"""Checkpoints of long trainings in an artifact store: another machine goes on where this one stopped.

    checkpoints/DIGEST/latest.json                        which files count, and who trains
    checkpoints/DIGEST/000001200-5f0c2a91.safetensors     the state after 1,200 steps

DIGEST is a SHA-256 over what the training must agree with (architecture, settings, images, precision, seed): the same
command finds its own checkpoints from anywhere, and no others.

A checkpoint is first written to a local file, for which the training waits. A thread uploads it: under a name of its
own, then `latest.json` names it with its size and SHA-256, then the one before the last is removed. Whoever dies on the
way leaves a file that does not count, and that the next one who trains removes. When the newest is damaged, the one
before it counts. The local file counts too where it is further, as after an upload that failed.

Two processes at once do no harm: `latest.json` says who trains, and it is always the one that began last. The other one
sees that before and after its next upload, and ends with a line. If both write at the same moment the last one stays.
Nobody waits for a lease of the dead: a killed training goes on elsewhere at once.
"""

import hashlib
import json
import logging
import os
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import Any

from optevo.errors import OptevoError
from optevo.search.artifact_stores import settle_url
from optevo.search.checkpoint_store import CheckpointStore, DamagedError, Kept, Latest, digest_of
from optevo.search.patient_store import ArtifactError
from optevo.search.uploads import Uploads
from optevo.training.base import Training
from optevo.training.checkpoint import read_notes, save_checkpoint
from optevo.training.continuing import Checkpoints, Found, LocalCheckpoints

log = logging.getLogger("optevo.checkpoints")

FOLDER = "checkpoints"
KEPT = 2


class TakenOverError(OptevoError):
    """Another process goes on with this training."""


class StoredCheckpoints:
    """The checkpoints of one training, in a store and, the newest of this machine, in a local file.

    Args:
        store: The store.
        local: The file, also where a checkpoint of the store is brought.
    """

    def __init__(self, store: CheckpointStore, *, local: Path) -> None:
        self.store, self.local = store, local
        self.run, self.who = uuid.uuid4().hex, f"process {os.getpid()} on {socket.gethostname()}"
        self.folder = ""
        self._uploads = Uploads(self._upload)
        self._lost: TakenOverError | None = None
        self._began = False

    def find(self, facts: Mapping[str, Any]) -> Found | None:
        """The newest whole checkpoint, from the store or the local file. From now on it is this process that trains.

        Raises:
            ArtifactError: The store stays away, says no, or holds nothing but damaged checkpoints.
            OptevoError: The local file belongs to another training, or the disk is full.
        """
        self.folder = f"{FOLDER}/{digest(facts)}"
        here = self._find_here(facts)
        with _with_a_cure():
            before = self.store.read_latest(self.folder) or Latest()
        if before.run is not None:
            log.warning(
                "%s trained this and did not say that it stopped; if it still runs, it ends at its next checkpoint",
                before.who,
            )
        found = here
        kept = before.kept
        while kept and (here is None or kept[0].step > here.notes.step):
            if (found := self._fetch(kept[0])) is not None:
                break
            found, kept = here, kept[1:]
        if found is None and before.kept:
            raise DamagedError(
                f"checkpoints {self.store.url}: every checkpoint in {self.folder} is damaged; bring them back from a "
                "backup, or remove that folder there to start again."
            )
        latest = Latest(run=self.run, who=self.who, kept=kept)
        with _with_a_cure():
            self.store.write_latest(self.folder, latest)
        self._began = True
        self.store.sweep(self.folder, but=latest)
        return found

    def save(self, model: Training, *, step: int, facts: Mapping[str, Any]) -> None:
        """Write the local file, at once, and upload it beside the training."""
        save_checkpoint(self.local, model, step=step, facts=facts)
        self._uploads.put(step, self.local.open("rb"))

    def check(self) -> None:
        """Raise TakenOverError where another process has taken the training over."""
        if self._lost is not None:
            raise self._lost

    def close(self) -> None:
        """Wait for the last upload, and let others see that this training has stopped."""
        stored = self._uploads.finish(
            on_wait=lambda: log.info("storing the last checkpoint; it is also here: %s", self.local)
        )
        if not self._began or self._lost is not None:
            return
        if stored is False:
            log.warning("the newest checkpoint is only here: %s", self.local)
        with suppress(OptevoError):  # Nothing but a line on another machine depends on it.
            self._change(lambda latest: replace(latest, run=None))

    def remove(self) -> None:
        """Remove all of them, here and, unless another process trains this too, in the store."""
        self.local.unlink(missing_ok=True)
        if not self._began:
            return
        try:
            latest = self.store.read_latest(self.folder)
        except ArtifactError as error:
            log.warning("%s; its checkpoints stay", error)
            return
        if latest is None or latest.run in (None, self.run):
            self.store.sweep(self.folder)

    def _find_here(self, facts: Mapping[str, Any]) -> Found | None:
        if not self.local.exists():
            return None
        try:
            notes = read_notes(self.local)
        except OptevoError as error:
            log.warning("%s", error)
            self.local.unlink(missing_ok=True)
            return None
        notes.agree({**facts, "threads": notes.facts.get("threads")}, path=self.local)
        return Found(self.local, notes, str(self.local))

    def _fetch(self, kept: Kept) -> Found | None:
        if not self.store.download(self.folder, kept, self.local):
            return None
        return Found(self.local, read_notes(self.local), f"{self.store.url}/{self.folder}/{kept.name}")

    def _upload(self, step: int, file: BufferedReader) -> bool:
        """Runs in the uploading thread. Whether the checkpoint counts now."""
        name = f"{step:09}-{uuid.uuid4().hex[:8]}.safetensors"
        try:
            size, sha256 = digest_of(file)
            self._mine()
            self.store.upload(f"{self.folder}/{name}", file)
            kept = Kept(name, step, size, sha256)
            self._change(lambda latest: replace(latest, kept=(kept, *latest.kept)[:KEPT]), remove=name)
        except TakenOverError as error:
            self._lost = error
            return False
        except (ArtifactError, OSError) as error:
            log.warning("the checkpoint of step %s was not stored: %s; the next one will be", f"{step:,}", error)
            return False
        return True

    def _mine(self) -> Latest:
        """What counts, if this process still trains. A store that somebody emptied is filled again."""
        latest = self.store.read_latest(self.folder) or Latest(run=self.run)
        if latest.run != self.run:
            raise TakenOverError(
                f"{latest.who} has gone on with this training (checkpoints {self.store.url}, {self.folder}); "
                "it ends here."
            )
        return latest

    def _change(self, change: Callable[[Latest], Latest], *, remove: str | None = None) -> None:
        """Write `latest.json` anew and remove what no longer counts; if it is not ours, remove a new file instead."""
        try:
            before = self._mine()
        except TakenOverError:
            if remove is not None:
                self.store.remove(f"{self.folder}/{remove}")
            raise
        after = replace(change(before), who=self.who)
        self.store.write_latest(self.folder, after)
        for each in set(before.kept) - set(after.kept):
            self.store.remove(f"{self.folder}/{each.name}")


def open_checkpoints(local: Path, *, given: str | None, recorded: str | None) -> Checkpoints:
    """Where a training's checkpoints lie.

    Args:
        local: The file beside its model.
        given: What a command was told, if anything: a folder or `s3://BUCKET/PREFIX`.
        recorded: The artifact store of the study that the training belongs to, unless that is the default folder.

    Returns:
        `given`, else `recorded`, else OPTEVO_ARTIFACTS, else the local file alone.

    Raises:
        UsageError: No such kind of store.
    """
    place = given or recorded or os.environ.get("OPTEVO_ARTIFACTS")
    if not place:
        return LocalCheckpoints(local)
    return StoredCheckpoints(CheckpointStore(settle_url(place, option="--checkpoints")), local=local)


@contextmanager
def _with_a_cure() -> Iterator[None]:
    try:
        yield
    except DamagedError:
        raise
    except ArtifactError as error:
        raise ArtifactError(f"{error}; mend that, or name another place with --checkpoints.") from error


def digest(facts: Mapping[str, Any]) -> str:
    """32 hexadecimal digits that name a training. Its number of threads is not part of it: whoever goes on takes it."""
    text = json.dumps({key: value for key, value in facts.items() if key != "threads"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
