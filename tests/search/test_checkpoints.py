"""Long trainings go on elsewhere from an artifact store, a folder or S3 (a real server), whatever dies on the way."""

import contextlib
import json
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cyclegan_run import model
from s3_server import BUCKET, S3Server, s3_server
from tiny_study import tiny_document

from optevo import api
from optevo.errors import InterruptedRunError, OptevoError, UsageError
from optevo.models.folder import load_generator
from optevo.search.artifact_stores import open_url
from optevo.search.checkpoint_store import LATEST, CheckpointStore, Latest
from optevo.search.checkpoints import StoredCheckpoints, TakenOverError, digest, open_checkpoints
from optevo.search.patient_store import ArtifactError
from optevo.search.spec import parse_spec
from optevo.training.checkpoint import load_checkpoint
from optevo.training.continuing import LocalCheckpoints

pytest.importorskip("moto.server")

FACTS = {"seed": 1, "threads": 1}
FOLDER = f"checkpoints/{digest(FACTS)}"


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
        return str(tmp_path / "store")
    request.getfixturevalue("s3")
    return f"s3://{BUCKET}/team"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second of patience with a store that is away."""
    monkeypatch.setattr(CheckpointStore.__init__, "__defaults__", (0.5, time.sleep, False))


def machine(url: str, folder: Path) -> StoredCheckpoints:
    """The checkpoints as a process in this folder sees them."""
    folder.mkdir(exist_ok=True)
    return StoredCheckpoints(CheckpointStore(url, patience=0.2), local=folder / ".model.checkpoint.safetensors")


def saved(checkpoints: StoredCheckpoints, *steps: int) -> None:
    """Save after each of these steps; each is uploaded before the next."""
    trained = model(3)
    for step in steps:
        checkpoints.save(trained, step=step, facts=FACTS)
        checkpoints._uploads.finish(on_wait=lambda: None)


def latest(url: str) -> Latest:
    with open_url(url).open_reader(f"{FOLDER}/{LATEST}") as reader:
        return Latest.from_bytes(reader.read())


def damage(url: str, name: str) -> None:
    store = open_url(url)
    with store.open_reader(f"{FOLDER}/{name}") as reader:
        content = bytearray(reader.read())
    content[-5] ^= 1
    store.put(f"{FOLDER}/{name}", bytes(content))


# What the store holds.


def test_another_machine_finds_the_newest_checkpoint_and_two_are_kept(url: str, tmp_path: Path) -> None:
    one, other = machine(url, tmp_path / "a"), machine(url, tmp_path / "b")
    assert one.find(FACTS) is None
    saved(one, 3, 5, 9)
    one.close()
    assert [each.step for each in latest(url).kept] == [9, 5]
    assert len(open_url(url).names(FOLDER)) == 3
    found = other.find(FACTS)
    assert found is not None
    assert (found.notes.step, found.notes.facts) == (9, FACTS)
    assert found.place == f"{url}/{FOLDER}/{latest(url).kept[0].name}"
    restored = model(8)
    assert load_checkpoint(found.path, restored, facts=FACTS) == 9
    for mine, theirs in zip(restored.a_to_b.parameters(), model(3).a_to_b.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    other.remove()
    assert open_url(url).names("checkpoints") == []
    assert list((tmp_path / "b").iterdir()) == []
    if "://" not in url:
        assert list(Path(url).iterdir()) == []


def test_other_facts_have_other_checkpoints_but_any_number_of_threads_finds_them(url: str, tmp_path: Path) -> None:
    saved_by = machine(url, tmp_path / "a")
    saved_by.find(FACTS)
    saved(saved_by, 4)
    assert machine(url, tmp_path / "b").find({**FACTS, "seed": 2}) is None
    found = machine(url, tmp_path / "c").find({**FACTS, "threads": 7})
    assert found is not None
    assert found.notes.facts["threads"] == 1


@pytest.mark.parametrize("harm", ["flipped", "gone"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(
    harm: str, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = machine(url, tmp_path / "a"), machine(url, tmp_path / "b")
    one.find(FACTS)
    saved(one, 4, 8)
    one.close()
    newest = latest(url).kept[0].name
    damage(url, newest) if harm == "flipped" else open_url(url).remove(f"{FOLDER}/{newest}")
    found = other.find(FACTS)
    assert found is not None
    assert found.notes.step == 4
    reason = "it is not what was stored" if harm == "flipped" else "it is not there"
    assert caplog.messages == [f"checkpoints {url}: {FOLDER}/{newest} is damaged ({reason})"]
    # It counts no longer, and is gone.
    assert [each.step for each in latest(url).kept] == [4]
    assert len(open_url(url).names(FOLDER)) == 2


def test_where_every_checkpoint_is_damaged_nothing_begins_by_itself(url: str, tmp_path: Path) -> None:
    one = machine(url, tmp_path / "a")
    one.find(FACTS)
    saved(one, 4, 8)
    one.close()
    for each in latest(url).kept:
        damage(url, each.name)
    with pytest.raises(ArtifactError, match=r"every checkpoint in .* is damaged; .* remove that folder") as error:
        machine(url, tmp_path / "b").find(FACTS)
    assert "\n" not in str(error.value)
    # This machine's own copy is whole.
    found = machine(url, tmp_path / "a").find(FACTS)
    assert found is not None
    assert (found.notes.step, found.place) == (8, str(found.path))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b'{"run": 1, "who": "x", "kept": []}',
        b'{"run": null, "who": "x", "kept": [{"name": "../../etc/passwd", "step": 1, "size": 1, "sha256": "0"}]}',
        b'{"run": null, "who": "x", "kept": [{"name": "000000001-00000000.safetensors", "step": "1"}]}',
    ],
)
def test_a_latest_json_that_is_none_is_refused(content: bytes, tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    open_url(url).put(f"{FOLDER}/{LATEST}", content)
    with pytest.raises(ArtifactError, match=f"{FOLDER}/latest.json is damaged .* to start again") as error:
        machine(url, tmp_path / "a").find(FACTS)
    assert "\n" not in str(error.value)


class Dying(BaseException):
    """The process ends here, as by SIGKILL: no handler of optevo's own catches it."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_upload_that_nobody_finished_never_counts_and_is_removed(url: str, tmp_path: Path) -> None:
    one = machine(url, tmp_path / "a")
    one.find(FACTS)
    saved(one, 4)
    put = one.store.store.put

    def die(name: str, content: bytes) -> None:
        raise Dying

    one.store.store.put = die  # type: ignore[method-assign]
    one.save(model(1), step=8, facts=FACTS)
    thread = one._uploads._thread
    with contextlib.suppress(AttributeError):
        thread.join()  # type: ignore[union-attr]
    assert len(open_url(url).names(FOLDER)) == 3  # latest.json, step 4, and step 8, which does not count
    found = machine(url, tmp_path / "b").find(FACTS)
    assert found is not None
    assert found.notes.step == 4
    assert len(open_url(url).names(FOLDER)) == 2
    one.store.store.put = put  # type: ignore[method-assign]


def test_half_a_file_is_removed_too(tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    one = machine(url, tmp_path / "a")
    one.find(FACTS)
    (Path(url) / FOLDER / "000000004-00000000.safetensors.part").write_bytes(b"half")
    assert machine(url, tmp_path / "b").find(FACTS) is None
    assert open_url(url).names(FOLDER) == [f"{FOLDER}/{LATEST}"]


def test_what_is_further_here_than_in_the_store_counts(url: str, tmp_path: Path) -> None:
    one = machine(url, tmp_path / "a")
    one.find(FACTS)
    saved(one, 4)
    LocalCheckpoints(one.local).save(model(1), step=6, facts=FACTS)
    found = machine(url, tmp_path / "a").find(FACTS)
    assert found is not None
    assert (found.notes.step, found.place) == (6, str(one.local))
    one.local.write_bytes(b"damaged")
    found = machine(url, tmp_path / "a").find(FACTS)
    assert found is not None
    assert found.notes.step == 4


def test_a_local_checkpoint_of_another_training_is_refused(url: str, tmp_path: Path) -> None:
    one = machine(url, tmp_path / "a")
    LocalCheckpoints(one.local).save(model(1), step=6, facts={**FACTS, "seed": 2})
    with pytest.raises(OptevoError, match="belongs to a run with another seed"):
        one.find(FACTS)


# Two processes at once.


def test_who_began_last_goes_on_and_the_other_ends(url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, other = machine(url, tmp_path / "a"), machine(url, tmp_path / "b")
    one.find(FACTS)
    saved(one, 4, 8)
    assert other.find(FACTS) is not None
    assert "did not say that it stopped; if it still runs, it ends at its next checkpoint" in caplog.text
    before = latest(url)
    saved(one, 12)
    with pytest.raises(TakenOverError, match="has gone on with this training"):
        one.check()
    one.close()
    one.remove()
    # Nothing that belongs to the other one was touched, and nothing was left.
    assert latest(url) == before
    assert len(open_url(url).names(FOLDER)) == 3
    saved(other, 9)
    other.check()
    assert [each.step for each in latest(url).kept] == [9, 8]


def test_who_was_taken_over_during_an_upload_takes_it_back(url: str, tmp_path: Path) -> None:
    one, other = machine(url, tmp_path / "a"), machine(url, tmp_path / "b")
    one.find(FACTS)
    saved(one, 4)
    write = one.store.store.write

    def slow(name: str, content: Any) -> None:
        write(name, content)
        other.find(FACTS)

    one.store.store.write = slow  # type: ignore[method-assign]
    saved(one, 8)
    with pytest.raises(TakenOverError):
        one.check()
    assert [each.step for each in latest(url).kept] == [4]
    assert latest(url).run == other.run
    assert len(open_url(url).names(FOLDER)) == 2


def test_a_training_that_stopped_by_itself_is_not_announced(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = machine(url, tmp_path / "a")
    one.find(FACTS)
    saved(one, 4)
    one.close()
    assert machine(url, tmp_path / "b").find(FACTS) is not None
    assert caplog.messages == []


def test_only_the_newest_waits_while_an_upload_is_slow(tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    one = machine(url, tmp_path / "a")
    one.find(FACTS)
    write, names = one.store.store.write, []

    def slow(name: str, content: Any) -> None:
        time.sleep(0.5)
        names.append(int(name.rpartition("/")[2].partition("-")[0]))
        write(name, content)

    one.store.store.write = slow  # type: ignore[method-assign]
    one.save(model(1), step=1, facts=FACTS)
    time.sleep(0.2)
    begun = time.monotonic()
    for step in (2, 3, 4):
        one.save(model(1), step=step, facts=FACTS)
    if time.monotonic() - begun < 0.2:  # on a machine that is not too busy to tell
        assert names == []
    one.close()
    assert names[-1] == 4
    assert latest(url).kept[0].step == 4
    assert latest(url).run is None


# Where it is away.


def test_a_store_that_is_away_at_the_beginning_ends_in_one_line(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArtifactError, match="mend that, or name another place with --checkpoints") as error:
        machine("s3://no-such-bucket/x", tmp_path / "a").find(FACTS)
    assert "NoSuchBucket" in str(error.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ArtifactError, match=r"Could not connect .* mend that"):
        machine(f"s3://{BUCKET}", tmp_path / "a").find(FACTS)
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match=r"Not a directory.* mend that"):
        machine(str(tmp_path / "file"), tmp_path / "a").find(FACTS)


def test_a_store_that_goes_away_leaves_the_newest_checkpoint_here(
    s3: S3Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"s3://{BUCKET}/team"
    one = machine(url, tmp_path / "a")
    one.find(FACTS)
    saved(one, 4)
    s3.stop()
    saved(one, 8)
    one.check()
    one.close()
    assert any(
        re.match("the checkpoint of step 8 was not stored: .*; the next one will be", m) for m in caplog.messages
    )
    assert f"the newest checkpoint is only here: {one.local}" in caplog.messages
    one.store.patience = 0
    one.remove()
    assert "its checkpoints stay" in caplog.messages[-1]


def test_where_checkpoints_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def place(given: str | None, recorded: str | None) -> str:
        found = open_checkpoints(tmp_path / "file", given=given, recorded=recorded)
        return found.store.url if isinstance(found, StoredCheckpoints) else "beside"

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPTEVO_ARTIFACTS", raising=False)
    assert place(None, None) == "beside"
    monkeypatch.setenv("OPTEVO_ARTIFACTS", "/env")
    assert place(None, None) == "/env"
    assert place(None, "/recorded") == "/recorded"
    assert place("here", "/recorded") == str(tmp_path / "here")
    with pytest.raises(UsageError, match="--checkpoints: gs:// is not known"):
        place("gs://bucket", None)


# Whole trainings.


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the database of a finished study, and its pictures in `pairs`."""
    from optevo.data.drawn import draw_facades

    folder = tmp_path_factory.mktemp("study")
    draw_facades(folder / "pairs", count=8, val=3, test=3, size=(32, 32), seed=1)
    document = tiny_document(folder / "pairs")
    document["sampler"] |= {"generations": 1}
    document["finetune"] = {
        "epochs": 20, "decay_epochs": 10, "batch_size": 3, "threads": 0, "checkpoint_minutes": 0.0001
    }  # fmt: skip
    database = f"sqlite:///{folder / 'optevo.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 1)
        api.create_study("s", parse_spec(document, source="tests"), storage=database)
        api.work("s", storage=database)
        api.finetune("s", storage=database, out=folder / "whole")
    return folder


STEPS = 3 * 30


def same_weights(first: Path, second: Path) -> bool:
    one, other = (load_generator(folder).state_dict() for folder in (first, second))
    return all(torch.equal(value, other[name]) for name, value in one.items())


def start(study: Path, folder: Path, url: str, *, pause: float = 0.0) -> subprocess.Popen[str]:
    """`optevo model finetune` on another machine: a folder with nothing in it but its own copy of the images.

    It sees one core, so that threads = 0 means one, and pauses after each step, so that there is time to kill it.
    """
    if not folder.exists():
        shutil.copytree(study / "pairs", folder / "images")
    slow = f"""
import os, time, optevo.training.pix2pix as p
os.cpu_count = lambda: 1
step = p.Pix2Pix.step
p.Pix2Pix.step = lambda *a: (time.sleep({pause}), step(*a))[1]
from optevo.cli.main import main
main()
"""
    options = ["--storage", f"sqlite:///{study / 'optevo.db'}", "--data", "images", "--checkpoints", url]
    return subprocess.Popen(
        [sys.executable, "-c", slow, "model", "finetune", "s", *options, "--out", "model"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_step(url: str, step: int, process: subprocess.Popen[str]) -> int:
    """The step of the newest checkpoint in the store, as soon as it is this one or a later one."""
    store = open_url(url)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        for name in store.names("checkpoints"):
            if name.endswith(LATEST):
                with store.open_reader(name) as reader:
                    kept = Latest.from_bytes(reader.read()).kept
                if kept and kept[0].step >= step:
                    return kept[0].step
        time.sleep(0.02)
    raise AssertionError(f"no checkpoint of step {step}")


@pytest.mark.slow
def test_a_killed_training_goes_on_elsewhere_bit_for_bit(url: str, study: Path, tmp_path: Path) -> None:
    killed = []
    for name, step in (("a", 20), ("b", 50)):
        with start(study, tmp_path / name, url, pause=0.1) as process:
            killed.append(wait_for_step(url, step, process))
            process.send_signal(signal.SIGKILL)
    with start(study, tmp_path / "c", url) as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, "model\n"), err
    where = re.escape(f"{url}/checkpoints/")
    (line,) = re.findall(rf"^continues at step (\d+) of {STEPS}, from {where}\w+/\d+-\w+\.safetensors$", err, re.M)
    assert killed[1] <= int(line) < STEPS
    assert same_weights(study / "whole", tmp_path / "c" / "model")
    # Nothing is left, in the store or in the folder where it ended.
    assert open_url(url).names("checkpoints") == []
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["images", "model"]


@pytest.mark.slow
def test_the_second_machine_takes_a_running_training_over(s3: S3Server, study: Path, tmp_path: Path) -> None:
    url = f"s3://{BUCKET}/team"
    with start(study, tmp_path / "a", url, pause=0.7) as first:
        wait_for_step(url, 10, first)
        with start(study, tmp_path / "b", url) as second:
            (_, err), (_, other) = second.communicate(timeout=120), first.communicate(timeout=120)
    assert second.returncode == 0, err
    assert f"process {first.pid} on " in err
    assert first.returncode == 1
    assert re.fullmatch(
        rf"optevo: process {second.pid} on .* has gone on with this training .*", other.strip().splitlines()[-1]
    )
    assert same_weights(study / "whole", tmp_path / "b" / "model")
    assert open_url(url).names("checkpoints") == []


@pytest.mark.slow
def test_sigterm_stores_the_last_step(study: Path, tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    with start(study, tmp_path / "a", url, pause=0.2) as process:
        wait_for_step(url, 5, process)
        process.terminate()
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    (step,) = re.findall(rf"interrupted at step (\d+) of {STEPS}", err)
    with start(study, tmp_path / "b", url) as process:
        _, err = process.communicate(timeout=120)
    assert f"continues at step {step} of {STEPS}, from {url}" in err
    assert "did not say that it stopped" not in err
    assert same_weights(study / "whole", tmp_path / "b" / "model")


def interrupted(study: Path, out: Path, url: str, *, at: int) -> None:
    def stop(done: int, total: int) -> None:
        if done == at:
            raise InterruptedRunError("stopped")

    with pytest.raises(InterruptedRunError):
        api.finetune("s", storage=f"sqlite:///{study / 'optevo.db'}", out=out, checkpoints=url, on_step=stop)


@pytest.mark.slow
def test_a_machine_with_more_cores_goes_on_with_the_threads_it_began_with(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    url = str(tmp_path / "store")
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    interrupted(study, tmp_path / "a", url, at=30)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    api.finetune("s", storage=f"sqlite:///{study / 'optevo.db'}", out=tmp_path / "b", checkpoints=url)
    assert "with 1 threads, as it began; this machine would take 2" in caplog.messages
    assert same_weights(study / "whole", tmp_path / "b")


@pytest.mark.slow
def test_a_training_outlives_its_store(
    s3: S3Server, study: Path, tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)

    def stop(done: int, total: int) -> None:
        if done == 20:
            s3.stop()

    url = f"s3://{BUCKET}/team"
    api.finetune(
        "s", storage=f"sqlite:///{study / 'optevo.db'}", out=tmp_path / "a", checkpoints=url, on_step=stop
    )  # fmt: skip
    assert any("was not stored" in message for message in caplog.messages)
    assert same_weights(study / "whole", tmp_path / "a")


@pytest.mark.slow
def test_a_full_disk_is_one_line(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    url = str(tmp_path / "store")
    interrupted(study, tmp_path / "a", url, at=30)

    def refused(out: str, then: Callable[[], None]) -> str:
        options = ["--storage", f"sqlite:///{study / 'optevo.db'}", "--checkpoints", url, "--out", out]
        done = subprocess.run(
            [sys.executable, "-m", "optevo", "model", "finetune", "s", *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            preexec_fn=then,
            timeout=120,
        )
        assert done.returncode == 1
        return done.stderr.strip().splitlines()[-1]

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**10, 2**10))

    assert re.search(
        r"optevo: .*\.b\.checkpoint\.safetensors.*: cannot write the checkpoint .*; free some disk space",
        refused("b", small_files_only),
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.checkpoint.safetensors", "store"]
    # The store is as it was.
    api.finetune("s", storage=f"sqlite:///{study / 'optevo.db'}", out=tmp_path / "c", checkpoints=url)
    assert same_weights(study / "whole", tmp_path / "c")
    assert json.loads((tmp_path / "c" / "model.json").read_text())["format"] == 1
