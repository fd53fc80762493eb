"""The artifacts of every study of a database as one store, for the dashboard: each study's own lie where it says."""

import io
import logging
from functools import cache, cached_property, partial
from typing import BinaryIO

import optuna
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import RDBStorage
from PIL import Image, ImageDraw, ImageFont

from optevo.errors import OptevoError
from optevo.search.artifact_rows import find_stored
from optevo.search.artifacts import Artifacts, artifacts_url
from optevo.search.study import FINAL, RECORD

log = logging.getLogger("optevo.artifacts")

PATIENCE = 5.0  # seconds; somebody looks at the page meanwhile


class ServedArtifacts:
    """Optuna's artifact store interface over the stores of all studies.

    A picture that cannot be had (collected while the page was open, damaged, its store away) is answered with one that
    says so, and a line in the log; without it the dashboard would show a broken picture and log a traceback.

    Args:
        storage: The studies.
        url: Of the database.
        given: One artifact store for all, instead of those that the studies name.
    """

    def __init__(self, storage: RDBStorage, *, url: str, given: str | None = None) -> None:
        self._storage = storage
        self._url = url
        self._given = given
        self._open = cache(partial(Artifacts, patience=PATIENCE))

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The content, checked against what was stored."""
        found = find_stored(self._storage.engine, artifact_id)
        if found is None or found[1].sha256 is None:  # Somebody uploaded it in the dashboard, to the default store.
            return self._default.store.open_reader(artifact_id)
        study, stored = found
        try:
            return io.BytesIO(self._of(study).read(stored))
        except OptevoError as error:
            log.warning("%s", error)
            if not stored.mimetype.startswith("image/"):
                raise
            gone = isinstance(error.__cause__, ArtifactNotFound)
            return io.BytesIO(_notice("no longer kept" if gone else "cannot be read; see the dashboard's log"))

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """What somebody uploads in the dashboard; of which study is not said."""
        self._default.store.write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        """Remove an artifact from its study's store."""
        found = find_stored(self._storage.engine, artifact_id)
        self._default.remove(artifact_id)
        if found is not None:
            self._of(found[0]).remove(artifact_id)

    @cached_property
    def _default(self) -> Artifacts:
        return self._open(artifacts_url(self._url, given=self._given))

    def _of(self, study: str) -> Artifacts:
        loaded = optuna.load_study(study_name=study.removesuffix(FINAL), storage=self._storage)
        recorded = loaded.user_attrs.get(RECORD, {}).get("artifacts")
        return self._open(artifacts_url(self._url, given=self._given, recorded=recorded))


def _notice(text: str) -> bytes:
    """A PNG that says something instead of showing it."""
    image = Image.new("RGB", (360, 80), "lightgray")
    ImageDraw.Draw(image).text((16, 40), text, fill="black", font=ImageFont.load_default(size=16), anchor="lm")
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()
