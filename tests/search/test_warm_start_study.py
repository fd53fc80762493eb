"""Whole searches whose children learn from their parents: real networks, real files, and whatever is lost."""

import io
import itertools
import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from optuna.trial import TrialState
from tiny_study import tiny_document

from optevo import api
from optevo.errors import InterruptedRunError, OptevoError
from optevo.samplers.slots import CLAIM, claim_of, trained
from optevo.search.artifact_rows import artifact_rows, engine_of
from optevo.search.artifacts import Artifacts, artifacts_url, stored_files
from optevo.search.progress import canonical_trials, snapshot
from optevo.search.spec import Spec, parse_spec
from optevo.search.study import Search, open_search
from optevo.search.unet import NETWORKS
from optevo.search.worker import open_worker
from optevo.training.warm_start import networks_from_bytes


def learning(root: Path, *, warm_start: str = "distill", **sampler) -> Spec:
    document = tiny_document(root)
    document["training"] |= {"warm_start": warm_start, "steps": 4}
    document["sampler"] |= {"population": 6, "generations": 4, **sampler}
    return parse_spec(document, source="tests")


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'optevo.db'}"


def run_here(spec: Spec, url: str) -> Search:
    api.create_study("tiny", spec, storage=url)
    api.work("tiny", storage=url)
    return open_search("tiny", url=url)


def outcome(url: str) -> tuple[list, list]:
    """Genomes, operators, values and teachers (by generation and slot, not by number) of the search; the final's."""
    search = open_search("tiny", url=url)
    done = canonical_trials(search)
    claims = {t.number: claim_of(t) for t in search.study.trials}

    def place(number: int) -> tuple[int, int]:
        return claims[number].generation, claims[number].slot

    final = search.final()
    assert final is not None
    finals = sorted((claim_of(t).slot, t.value) for t in final.trials if t.state == TrialState.COMPLETE)
    found = [(claim_of(t).operator, t.params, t.value, [place(n) for n in claim_of(t).learns_from]) for t in done]
    return found, finals


def networks_of(search: Search) -> dict[int, list]:
    return {
        t.number: [stored for stored in stored_files(t) if stored.filename == NETWORKS] for t in search.study.trials
    }


@pytest.fixture(scope="module")
def spec(facades: Path) -> Spec:
    return learning(facades)


@pytest.fixture(scope="module")
def serial(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> tuple[list, list]:
    folder = tmp_path_factory.mktemp("serial")
    run_here(spec, url_of(folder))
    return outcome(url_of(folder))


@pytest.mark.parametrize("warm_start", ["distill", "inherit"])
def test_children_of_crossover_learn_and_nobody_else(facades: Path, tmp_path: Path, warm_start: str):
    search = run_here(learning(facades, warm_start=warm_start), url_of(tmp_path))
    mark, teachers = {"distill": ("taught_by_fitter", 2), "inherit": ("inherited", 1)}[warm_start]
    done = canonical_trials(search)
    by_number = {t.number: t for t in search.study.trials}
    heirs = [t for t in done if mark in t.user_attrs and "reused_from" not in t.user_attrs]
    assert len(heirs) > 4
    for trial in done:
        claim = claim_of(trial)
        if "crossover" not in claim.operator and claim.reused is None:
            assert mark not in trial.user_attrs
    for trial in heirs:
        claim = claim_of(trial)
        assert "crossover" in claim.operator
        assert len(claim.learns_from) == teachers
        values = {trained(by_number[n]): by_number[n].value for n in claim.parents}
        assert list(claim.learns_from) == sorted(values, key=values.__getitem__)[:teachers]
        assert trial.user_attrs["learns_from"] == list(claim.learns_from)
    # The elite of each generation is told, with what is known of it, and trained by nobody.
    history = search.sampler.history(search.study)
    for earlier, later in itertools.pairwise(history):
        best = min(earlier, key=lambda trial: trial.value)
        assert (later[0].value, later[0].user_attrs["reused_from"]) == (best.value, trained(best))
    # The final judges architectures: nobody learns there, and nothing is left for anybody.
    final = search.final()
    assert final is not None
    assert not any(mark in t.user_attrs or "learns_from" in t.user_attrs for t in final.trials)
    assert not any(stored.filename == NETWORKS for t in final.trials for stored in stored_files(t))


def test_until_somebody_learns_a_search_is_as_without(facades: Path, tmp_path: Path, serial: tuple[list, list]):
    url = url_of(tmp_path)
    run_here(learning(facades, warm_start="none"), url)
    plain, learned = outcome(url)[0], serial[0]
    assert plain[:6] == learned[:6]
    assert [each[:2] for each in plain[6:12]] == [each[:2] for each in learned[6:12]]
    for one, other in zip(plain[6:12], learned[6:12], strict=True):
        assert (one == other) == (not other[3])
    assert not any(networks_of(open_search("tiny", url=url)).values())


def test_the_same_seed_gives_the_same_study_twice(spec: Spec, tmp_path: Path, serial: tuple[list, list]):
    run_here(spec, url_of(tmp_path))
    assert outcome(url_of(tmp_path)) == serial


@pytest.mark.slow
def test_what_may_be_a_parent_is_kept_and_the_rest_collected(facades: Path, tmp_path: Path, monkeypatch):
    """Look at the store after each individual, as a worker that comes later would."""
    monkeypatch.setattr("optevo.search.collecting.KEPT_BEST", 1)
    for name, settings in (("plain", {}), ("archive", {"archive": 3, "duplicates": "keep", "elites": 1})):
        url = url_of(tmp_path / name)
        spec = learning(facades, **settings)
        api.create_study("tiny", spec.model_copy(update={"final": spec.final.model_copy(update={"candidates": 0})}),
                         storage=url)  # fmt: skip
        search = open_search("tiny", url=url)
        artifacts = Artifacts(artifacts_url(url))
        most = 0
        while snapshot(search).phase != "done":
            _work_once(url)
            study = search.study
            history = search.sampler.history(study)
            rows = artifact_rows(engine_of(study), study=study._study_id)
            left = {row.artifact_id for row in rows if row.stored is not None and row.stored.filename == NETWORKS}
            most = max(most, len(left))
            by_number = {t.number: t for t in study.trials}
            breeders = {trained(by_number[n]) for n in search.sampler.breeders(study, history)}
            for number in breeders if len(history) < 4 else ():
                (stored,) = networks_of(search)[number]
                assert stored.artifact_id in left
                assert networks_from_bytes(artifacts.read(stored)).keys() == {"generator", "discriminator"}
        # Two generations of six, the best and the archive; of the last generation none.
        assert most <= 2 * 6 + 1 + settings.get("archive", 0)
        last = search.sampler.history(search.study)[-1]
        assert not any(networks_of(search)[t.number] for t in last if claim_of(t).reused is None)


def _work_once(url: str) -> None:
    """As `api.work`, but for one individual."""
    from optevo.search.collecting import Collector

    search = open_search("tiny", url=url)
    worker = open_worker(search)
    collector = Collector(search, Artifacts(artifacts_url(url)))
    told = worker._train_one

    def one(*args, **kwargs):
        done = told(*args, **kwargs)
        worker.stop.set()
        return done

    worker._train_one = one  # type: ignore[method-assign]
    worker.keep = lambda trial, evaluation: collector.after_individual()
    with suppress(InterruptedRunError):
        worker.run()
    collector.after_individual()


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_parent_that_is_lost_stops_the_worker_and_harms_nobody(
    spec: Spec, tmp_path: Path, serial: tuple[list, list], damage: str
):
    url = url_of(tmp_path)
    api.create_study("tiny", spec, storage=url)
    worker = open_worker(open_search("tiny", url=url))
    evaluate, whole = worker.task.evaluate, {}

    def lose_everything(individual, **kwargs):
        found = evaluate(individual, **kwargs)
        search = open_search("tiny", url=url)
        if len(search.sampler.history(search.study)) >= 1 and not whole:
            store = Artifacts(artifacts_url(url))
            # The record of a known individual has the trained trial's file.
            for stored in {each[0].artifact_id: each[0] for each in networks_of(search).values() if each}.values():
                whole[stored.artifact_id] = content = store.read(stored)
                store.remove(stored.artifact_id)
                if damage == "damaged":
                    store.store.write(stored.artifact_id, io.BytesIO(content[:-1] + b"?"))
        return found

    worker.task.evaluate = lose_everything
    reason = {"missing": "it is not there", "damaged": "another SHA-256"}[damage]
    message = rf"trial \d+ is given back: cannot learn from trial \d+, its parent .*{reason}.*: bring the"
    with pytest.raises(OptevoError, match=message) as error:
        worker.run()
    assert "\n" not in str(error.value)
    # Again and again: whatever is tried, the individual is not blamed, and no other way of training is taken.
    for _ in range(4):
        with pytest.raises(OptevoError, match="is given back"):
            open_worker(open_search("tiny", url=url)).run()
    search = open_search("tiny", url=url)
    failed = [t for t in search.study.trials if t.state == TrialState.FAIL]
    assert len(failed) == 5
    assert all(not t.system_attrs[CLAIM] for t in failed)
    assert all("cannot learn from trial" in t.user_attrs["failure"] for t in failed)
    assert whole
    store = Artifacts(artifacts_url(url))
    for artifact_id, content in whole.items():
        store.store.write(artifact_id, io.BytesIO(content))
    api.work("tiny", storage=url)
    assert outcome(url) == serial


def test_what_cannot_be_left_is_not_told(spec: Spec, tmp_path: Path, serial: tuple[list, list]):
    url = url_of(tmp_path)
    api.create_study("tiny", spec, storage=url)
    place = Path(artifacts_url(url))
    place.mkdir(parents=True)
    worker = open_worker(open_search("tiny", url=url))
    worker.legacies.artifacts.patience = 0
    place.rmdir()
    place.write_bytes(b"a file where the folder was")
    with pytest.raises(OptevoError, match=r"trial 0 is given back: artifacts .*: storing networks.safetensors failed"):
        worker.run()
    (trial,) = open_search("tiny", url=url).study.trials
    assert (trial.state, trial.system_attrs[CLAIM]) == (TrialState.FAIL, None)
    place.unlink()
    api.work("tiny", storage=url)
    assert outcome(url) == serial


@pytest.mark.slow
def test_three_workers_find_what_one_finds(spec: Spec, tmp_path: Path, serial: tuple[list, list]):
    url = url_of(tmp_path)
    api.create_study("tiny", spec, storage=url)
    api.run_study("tiny", storage=url, workers=3)
    assert outcome(url) == serial
    search = open_search("tiny", url=url)
    assert len({t.user_attrs["worker"] for t in search.study.trials if "worker" in t.user_attrs}) >= 2


@pytest.mark.slow
def test_a_search_killed_at_random_moments_ends_as_if_undisturbed(
    spec: Spec, tmp_path: Path, serial: tuple[list, list]
):
    url = url_of(tmp_path)
    api.create_study("tiny", spec, storage=url)
    environment = {**os.environ, "OPTEVO_STORAGE": url}
    dice, kills = random.Random(3), 0
    for _ in range(60):
        with subprocess.Popen([sys.executable, "-m", "optevo", "worker", "tiny"], env=environment, stderr=-3) as worker:
            try:
                worker.wait(dice.uniform(4.0, 9.0) if kills < 4 else 120)
            except subprocess.TimeoutExpired:
                worker.send_signal(signal.SIGKILL)
                kills += 1
        if snapshot(open_search("tiny", url=url)).phase == "done":
            break
    assert kills >= 1
    assert outcome(url) == serial


@pytest.mark.slow
def test_a_copy_goes_on_with_the_same_parents(spec: Spec, tmp_path: Path, serial: tuple[list, list]):
    url, there = url_of(tmp_path / "here"), url_of(tmp_path / "there")
    api.create_study("tiny", spec, storage=url)
    for _ in range(8):
        _work_once(url)
    api.copy_study("tiny", to=there, storage=url)
    for path in Path(artifacts_url(url)).iterdir():
        path.unlink()
    api.work("tiny", storage=there)
    assert outcome(there) == serial
