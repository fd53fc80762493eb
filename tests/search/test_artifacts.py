"""Artifacts in a folder and in S3 (a real server): whole or not at all, checked when read, waited for, collected."""

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import optuna
import pytest
from command_line import SPEC, optevo
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState
from s3_server import BUCKET, S3Server, s3_server

from optevo import api
from optevo.errors import OptevoError, UsageError
from optevo.samplers import claim_of
from optevo.search import artifacts as module
from optevo.search.artifact_rows import artifact_rows, engine_of, find_stored
from optevo.search.artifact_stores import open_url, settle_url
from optevo.search.artifacts import Artifacts, Stored, artifacts_url
from optevo.search.collecting import KEPT_BEST, collect, needed_trials
from optevo.search.patient_store import ArtifactError
from optevo.search.spec import Spec
from optevo.search.store import open_store
from optevo.search.study import delete_study, open_search

pytest.importorskip("moto.server")


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    if server.process is None:
        server.start()
    for key in server.stored():
        server.client().delete_object(Bucket=BUCKET, Key=key)
    return server


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "artifacts")
    request.getfixturevalue("s3")
    return f"s3://{BUCKET}/some/prefix"


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return optuna.create_study(study_name="s", storage=open_store(f"sqlite:///{tmp_path / 'optevo.db'}"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "samples.png"
    path.write_bytes(b"not really a picture" * 1000)
    return path


def names(url: str, s3: S3Server | None = None) -> list[str]:
    if url.startswith("s3://"):
        assert s3 is not None
        return s3.stored()
    return sorted(path.name for path in Path(url).iterdir()) if Path(url).exists() else []


def test_what_is_stored_is_read(url: str, study: optuna.Study, picture: Path):
    trial = study.ask()
    stored = Artifacts(url).attach(trial, picture)
    study.tell(trial, 1.0)
    assert stored is not None
    assert Artifacts(url).read(stored) == picture.read_bytes()
    # Optuna's own functions see it too, and so does a row of the database.
    (meta,) = get_all_artifact_meta(study.trials[0], storage=study._storage)
    assert (meta.artifact_id, meta.filename, meta.mimetype) == (stored.artifact_id, "samples.png", "image/png")
    assert find_stored(engine_of(study), stored.artifact_id) == ("s", stored)


def test_a_damaged_artifact_is_named(url: str, study: optuna.Study, picture: Path):
    artifacts = Artifacts(url)
    stored = artifacts.attach(study.ask(), picture)
    assert stored is not None
    content = bytearray(picture.read_bytes())
    content[5] ^= 1
    for damaged in (bytes(content), bytes(content[:-1])):
        artifacts.store.write(stored.artifact_id, io.BytesIO(damaged))
        with pytest.raises(ArtifactError, match=rf"{stored.artifact_id} \(samples.png\) in {url} is damaged") as error:
            artifacts.read(stored)
        assert "\n" not in str(error.value)
    artifacts.remove(stored.artifact_id)
    with pytest.raises(ArtifactError, match="it is not there"):
        artifacts.read(stored)


class Failing:
    """A store that fails some times, after it has written half."""

    def __init__(self, store, *, times: int, error: Exception) -> None:
        self.store, self.times, self.error = store, times, error

    def write(self, artifact_id: str, content: io.BytesIO) -> None:
        if self.times:
            self.times -= 1
            raise self.error
        self.store.write(artifact_id, content)

    def open_reader(self, artifact_id: str):
        return self.store.open_reader(artifact_id)

    def remove(self, artifact_id: str) -> None:
        self.store.remove(artifact_id)


def test_a_store_that_hiccups_is_tried_again_with_a_line(
    url: str, study: optuna.Study, picture: Path, caplog: pytest.LogCaptureFixture
):
    pauses: list[float] = []
    artifacts = Artifacts(url, sleep=pauses.append)
    artifacts.store = Failing(artifacts.store, times=3, error=ConnectionResetError("reset by peer"))
    stored = artifacts.attach(study.ask(), picture)
    assert stored is not None
    assert pauses == [0.5, 1.0, 2.0]
    assert artifacts.read(stored) == picture.read_bytes()
    assert len(caplog.messages) == 3
    assert f"artifacts {url}: storing samples.png failed (reset by peer); trying again in 0.5 s" in caplog.messages[0]


def test_a_half_stored_artifact_never_counts(url: str, study: optuna.Study, picture: Path):
    artifacts = Artifacts(url, patience=0)
    artifacts.store = Failing(artifacts.store, times=1, error=ConnectionResetError("reset by peer"))
    trial = study.ask()
    with pytest.raises(ArtifactError, match="reset by peer"):
        artifacts.attach(trial, picture)
    assert get_all_artifact_meta(trial) == []
    # But a row says that something may lie there.
    (row,) = artifact_rows(engine_of(study), study=study._study_id)
    assert row.stored is None


def test_a_writer_that_dies_leaves_no_half_file(tmp_path: Path):
    store = open_url(str(tmp_path))

    class Dying(io.BytesIO):
        def read(self, size: int = -1) -> bytes:
            if self.tell():
                raise KeyboardInterrupt
            return super().read(10)

    with pytest.raises(KeyboardInterrupt):
        store.write("abc", Dying(b"0123456789abcdef"))
    with pytest.raises(optuna.artifacts.exceptions.ArtifactNotFound):
        store.open_reader("abc")
    assert names(str(tmp_path)) == ["abc.part"]
    Artifacts(str(tmp_path)).remove("abc")
    assert names(str(tmp_path)) == []


def test_a_swept_trials_file_is_removed(url: str, study: optuna.Study, picture: Path, request):
    s3 = request.getfixturevalue("s3") if url.startswith("s3") else None
    artifacts = Artifacts(url)
    trial = study.ask()
    write = artifacts.store.write

    def slow(artifact_id: str, content: io.BytesIO) -> None:
        write(artifact_id, content)
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    artifacts.store.write = slow  # type: ignore[method-assign]
    assert artifacts.attach(trial, picture) is None
    assert names(url, s3) == []


def test_a_store_that_stays_away_costs_little(study: optuna.Study, picture: Path, tmp_path: Path):
    artifacts = Artifacts(str(tmp_path / "artifacts"), patience=0.3)
    failing = Failing(artifacts.store, times=1000, error=ConnectionRefusedError(111, "refused"))
    artifacts.store = failing
    begun = time.monotonic()
    with pytest.raises(ArtifactError, match="storing"):
        artifacts.attach(study.ask(), picture)
    assert time.monotonic() - begun < 2
    tried, failing.times = 1000 - failing.times, 1000
    assert tried == 2
    with pytest.raises(ArtifactError):  # Once is enough while it is known to be away.
        artifacts.attach(study.ask(), picture)
    assert failing.times == 999
    failing.times = 0
    assert artifacts.attach(study.ask(), picture) is not None


def test_where_artifacts_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPTEVO_ARTIFACTS", raising=False)
    sqlite = "sqlite:///somewhere/optevo.db"
    assert artifacts_url(sqlite) == str(tmp_path / "somewhere" / "artifacts")
    assert artifacts_url("postgresql+psycopg://h/d") == str(tmp_path / "storage" / "artifacts")
    monkeypatch.setenv("OPTEVO_ARTIFACTS", "s3://b/p/")
    assert artifacts_url(sqlite) == "s3://b/p"
    assert artifacts_url(sqlite, recorded="s3://c") == "s3://c"
    assert artifacts_url(sqlite, recorded="s3://c", given="here") == str(tmp_path / "here")
    assert settle_url("file:///a/b%20c") == "/a/b c"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("s3://key:topsecret@bucket/x", "credentials do not belong"),
        ("s3:///x", "names no bucket"),
        ("gs://bucket/x", "gs:// is not known"),
        ("file://host/x", "another host"),
    ],
)
def test_other_urls_are_refused(given: str, message: str):
    with pytest.raises(UsageError, match=message) as error:
        settle_url(given)
    assert "topsecret" not in str(error.value)


def test_a_study_is_not_created_where_nothing_can_be_stored(tiny: Spec, tmp_path: Path, s3: S3Server):
    database = f"sqlite:///{tmp_path / 'optevo.db'}"
    (tmp_path / "file").touch()
    for place, reason in (("s3://no-such-bucket/x", "Not Found"), (str(tmp_path / "file" / "x"), "Not a directory")):
        with pytest.raises(UsageError, match=f"--artifacts {place}: cannot be used .*{reason}"):
            api.create_study("tiny", tiny, storage=database, artifacts=place)
    assert api.list_studies(storage=database) == []


def test_the_command_line_refuses_in_one_line(tmp_path: Path, facades: Path):
    (tmp_path / "spec.toml").write_text(SPEC.format(root=facades))
    done = optevo(tmp_path, "study", "create", "s", "--spec", "spec.toml", "--artifacts", "gs://bucket")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "optevo: --artifacts: gs:// is not known; name a folder, file:///FOLDER or s3://BUCKET/PREFIX."
    ]


@pytest.mark.slow
def test_a_search_keeps_what_the_rule_says(tiny: Spec, url: str, tmp_path: Path, request, monkeypatch):
    """Run a whole search whose workers were told nothing of the store; then look at what is left."""
    monkeypatch.setattr("optevo.search.collecting.KEPT_BEST", 1)
    s3 = request.getfixturevalue("s3") if url.startswith("s3") else None
    database = f"sqlite:///{tmp_path / 'optevo.db'}"
    api.create_study("tiny", tiny, storage=database, artifacts=url)
    api.work("tiny", storage=database)
    search = open_search("tiny", url=database)
    history = search.sampler.history(search.study)
    artifacts = Artifacts(url)
    individuals = {trial.number for generation in history for trial in generation}
    ids = set()
    rows = artifact_rows(engine_of(search.study), study=search.study._study_id)
    by_id = {trial._trial_id: trial for trial in search.study.trials}
    for row in rows:
        ids.add(row.artifact_id)
        if row.stored is not None:
            artifacts.read(row.stored)
    kept = {by_id[row.trial].number for row in rows}
    assert kept == individuals  # of spares and lost claims nothing is kept
    final = artifact_rows(engine_of(search.study), study=search.final()._study_id)
    assert {name.rpartition("/")[2] for name in names(url, s3)} == ids | {row.artifact_id for row in final}
    assert collect(search, artifacts) == 0
    before = names(url, s3)
    copy = f"sqlite:///{tmp_path / 'copy.db'}"
    api.copy_study("tiny", to=copy, storage=database)  # It names the same artifact store.
    delete_study("tiny", url=copy, keep_artifacts=True)
    assert names(url, s3) == before
    delete_study("tiny", url=database)
    assert names(url, s3) == []


@pytest.mark.slow
def test_the_rule_on_a_long_search(tmp_path: Path, tiny: Spec):
    """128 individuals: few files stay, collectors at once do no harm, orphans go, uploads of people stay."""
    database = f"sqlite:///{tmp_path / 'optevo.db'}"
    spec = tiny.model_copy(
        update={"sampler": tiny.sampler.model_copy(update={"population": 16, "generations": 8, "reuse": False})}
    )
    search = api.create_study("tiny", spec, storage=database)
    artifacts = Artifacts(artifacts_url(database))
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(b"weights")
    study = search.study
    begun = 0
    while begun < 8 * 16:
        trial = study.ask(dict(study.sampler.fallback_space()))
        claim = claim_of(study._storage.get_trial(trial._trial_id))
        if claim is None:
            break
        if begun == 3:
            study._storage.set_trial_system_attr(trial._trial_id, module.BEGUN + "0", "orphan")
            artifacts.store.write("0", io.BytesIO(b"orphan"))
        if begun == 4:
            theirs = Stored("1", "notes.txt", "text/plain")
            study._storage.set_trial_system_attr(trial._trial_id, module.COUNTS + "1", json.dumps(theirs.__dict__))
            artifacts.store.write("1", io.BytesIO(b"of a person"))
        artifacts.attach(trial, path)
        study.tell(trial, 1000.0 - begun)
        begun += 1
    history = search.sampler.history(study)
    assert len(history) == 8
    threads = [threading.Thread(target=collect, args=(open_search("tiny", url=database), artifacts)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left = names(artifacts.url)
    assert "0" not in left
    assert "1" in left
    assert 16 <= len(left) - 1 <= 2 * 16 + KEPT_BEST
    needed = needed_trials(search, search.study)
    for row in artifact_rows(engine_of(study), study=study._study_id):
        assert row.artifact_id in left
        assert needed.known[row.trial].state == TrialState.COMPLETE


@pytest.mark.slow
def test_a_worker_goes_on_while_s3_is_away(tiny: Spec, tmp_path: Path, s3: S3Server, monkeypatch, caplog):
    monkeypatch.setattr(Artifacts.__init__, "__defaults__", (0.5, time.sleep, False))
    database = f"sqlite:///{tmp_path / 'optevo.db'}"
    api.create_study("tiny", tiny, storage=database, artifacts=f"s3://{BUCKET}/away")
    s3.stop()
    api.work("tiny", storage=database)
    search = open_search("tiny", url=database)
    trials = [t for t in search.study.trials if "reused_from" not in t.user_attrs]
    assert all(t.state == TrialState.COMPLETE for t in trials)
    assert all("storing samples.png failed" in t.user_attrs["artifacts_missing"] for t in trials)
    assert any("trying again" in message for message in caplog.messages)
    assert any("its value is kept, its picture is not" in message for message in caplog.messages)
    assert all(get_all_artifact_meta(t, storage=search.storage) == [] for t in trials)


@pytest.mark.slow
def test_the_dashboard_shows_pictures_of_both_kinds(tiny: Spec, tmp_path: Path, s3: S3Server):
    database = f"sqlite:///{tmp_path / 'optevo.db'}"
    for name, place in (("bucket", f"s3://{BUCKET}/pictures"), ("folder", None)):
        api.create_study(name, tiny, storage=database, artifacts=place)
        api.work(name, storage=database)
    command = [sys.executable, "-m", "optevo", "dashboard", "--port", "0", "--storage", database]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tmp_path, env=dict(os.environ)) as dashboard:
        assert dashboard.stdout is not None
        address = dashboard.stdout.readline().decode().split()[-1].removesuffix("/dashboard")
        for name in ("bucket", "folder"):
            search = open_search(name, url=database)
            rows = artifact_rows(engine_of(search.study), study=search.study._study_id)
            row = next(row for row in rows if row.stored is not None)
            page = f"{address}/artifacts/{search.study._study_id}/{row.trial}/{row.artifact_id}"
            content = urlopen(page, timeout=60).read()
            row.stored.check(content, where=name)
            # A picture that has gone meanwhile is answered with one that says so.
            Artifacts(artifacts_url(database, recorded=search.record.artifacts)).remove(row.artifact_id)
            other = urlopen(page, timeout=60).read()
            assert other.startswith(b"\x89PNG")
            assert other != content
        dashboard.terminate()


def test_a_bucket_that_refuses_is_not_tried_twice(study: optuna.Study, picture: Path, s3: S3Server, caplog):
    with pytest.raises(OptevoError, match=r"s3://no-such-bucket: storing samples.png failed .*NoSuchBucket"):
        Artifacts("s3://no-such-bucket").attach(study.ask(), picture)
    assert caplog.messages == []
