"""A search for recipes as a study: real small trainings, judged by features of a small network."""

import json
import logging
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState
from small_features import SmallFeatures, work

from optevo import api
from optevo.api.recipes import BestRecipe
from optevo.errors import UsageError
from optevo.metrics import unpaired
from optevo.metrics.distribution import load_inception
from optevo.samplers import GuestSampler, claim_of
from optevo.search.spec import RecipeSpec, parse_spec
from optevo.search.study import open_search


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("arrays") / "images.npz"
    np.savez(file, images=np.random.default_rng(0).integers(256, size=(40, 32, 32, 3), dtype=np.uint8))
    return file


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Inception takes a second for eight images; what is tested here is what happens around it."""
    monkeypatch.setattr(unpaired, "load_inception", lambda **_: SmallFeatures())
    monkeypatch.setenv("OPTEVO_CACHE", str(tmp_path / "cache"))


def document(images: Path, **tables: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "system": "cegan",
        "seed": 3,
        "data": {"root": str(images)},
        "networks": {"generator_width": 2, "discriminator_width": 2, "latent": 4},
        "recipe": {"batch_size": 4, "evaluation_size": 6},
        "training": {"steps": 4},
        "quality": {"metric": "kid", "images": 20, "every": 2},
        "search": {
            "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            "discriminator_steps": {"low": 1, "high": 3},
            "mutations": ["heuristic", "minimax+heuristic"],
            "crossovers": [0, 1],
        },
        "sampler": {"preset": "plain", "population": 3, "generations": 2},
        "pruner": {"arguments": {"n_startup_trials": 2, "n_warmup_steps": 1}},
        "final": {"candidates": 2, "seeds": 2},
        "engine": {"device": "cpu", "precision": "fp32"},
    }
    for table, values in tables.items():
        made[table] = values if table in ("search", "seed") else {**made.get(table, {}), **values}
    return made


def spec(images: Path, **tables: Any) -> RecipeSpec:
    made = parse_spec(document(images, **tables), source="tests")
    assert isinstance(made, RecipeSpec)
    return made


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'optevo.db'}"


def worked(images: Path, folder: Path, **tables: Any) -> Any:
    """A study that one worker has done all of."""
    folder.mkdir(exist_ok=True)
    api.create_study("r", spec(images, **tables), storage=url_of(folder))
    api.work("r", storage=url_of(folder))
    return open_search("r", url=url_of(folder))


def results(search: Any) -> list[Any]:
    trials = [t for t in search.study.get_trials(deepcopy=False) if t.state != TrialState.FAIL]
    found = [(claim_of(t).generation, claim_of(t).slot, t.params, t.value, t.state.name) for t in trials]  # type: ignore[union-attr]
    return sorted(found, key=lambda row: row[:2])


def test_the_whole_search(images: Path, tmp_path: Path) -> None:
    search = worked(images, tmp_path, sampler={"preset": "screened", "population": 4, "generations": 3})
    trials = search.study.get_trials(deepcopy=False)
    assert len(results(search)) == 12
    assert all(t.params["crossovers"] == 0 for t in trials if t.params["mutations"] == "heuristic"), (
        "one mutant has nobody to cross with"
    )
    trained = [t for t in trials if t.state == TrialState.COMPLETE and "reused_from" not in t.user_attrs]
    for trial in trained:
        assert list(trial.intermediate_values) == [2, 4]
        assert trial.value == trial.intermediate_values[4] == trial.user_attrs["kid_train_20x40_32x32_tf"]
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    assert pruned
    assert all(claim_of(t).generation > 0 for t in pruned), "generation 0 has nobody to compare with"  # type: ignore[union-attr]
    names = {json.loads(value)["filename"] for t in trained for key, value in t.system_attrs.items()
             if key.startswith("artifacts:")}  # fmt: skip
    assert {"samples.png", "evolution.png"} <= names
    winner = api.winners("r", storage=url_of(tmp_path))
    assert isinstance(winner, BestRecipe)
    assert len(winner.candidates) == 2
    assert winner.metric == "kid_train_20x40_32x32_tf"
    assert json.loads(json.dumps(winner.to_dict()))["final"][0]["trial"] == winner.trial
    assert api.show("r", storage=url_of(tmp_path))["phase"] == "done"
    assert not list((tmp_path / "artifacts").glob("checkpoints/**/*.safetensors"))


def test_results_are_those_of_the_seed(images: Path, tmp_path: Path) -> None:
    final = {"candidates": 0}
    first, again, other = (
        results(worked(images, tmp_path / name, final=final, seed=seed))
        for name, seed in (("1", 3), ("2", 3), ("3", 4))
    )
    assert len(first) == 6
    assert first == again
    assert first != other


def test_a_killed_worker_costs_no_more_than_its_last_minutes(images: Path, tmp_path: Path) -> None:
    long: dict[str, Any] = {
        "training": {"steps": 60, "checkpoint_minutes": 0.001},
        "quality": {"metric": "kid", "images": 20, "every": 20},
        "sampler": {"population": 2, "generations": 1},
        "final": {"candidates": 0},
    }
    whole = worked(images, tmp_path / "whole", **long)
    folder = tmp_path / "killed"
    folder.mkdir()
    search = api.create_study("r", spec(images, **long), storage=url_of(folder))
    process = multiprocessing.get_context("spawn").Process(target=work, args=(url_of(folder), str(tmp_path)))
    process.start()
    deadline = time.monotonic() + 120
    while not list((folder / "artifacts").glob("checkpoints/*/*.safetensors")):
        assert time.monotonic() < deadline
        assert process.is_alive()
        time.sleep(0.02)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert any(t.state == TrialState.RUNNING for t in search.study.get_trials(deepcopy=False)), "it came too late"
    lines: list[str] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logging.getLogger("optevo").addHandler(handler := Listening())
    try:
        api.work("r", storage=url_of(folder))
    finally:
        logging.getLogger("optevo").removeHandler(handler)
    assert any("did not say that it stopped" in line for line in lines), "it began anew"
    assert results(open_search("r", url=url_of(folder))) == results(whole)


def test_the_estimate_counts_trainings_and_judgements(images: Path, tmp_path: Path) -> None:
    api.create_study("r", spec(images, training={"steps": 400}), storage=url_of(tmp_path))
    report = api.estimate("r", storage=url_of(tmp_path))
    assert report["individuals_at_most"] == 6
    assert report["seconds_an_individual"] > 0
    # Six of 400 steps, and the final's two candidates with two seeds, of twice the length.
    wanted = (6 + 2 * 2 * 2) * report["seconds_an_individual"] / report["workers_here"] / 3600
    assert report["hours_at_most"] == pytest.approx(wanted)


def test_without_inception_no_individual_is_blamed(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.create_study("r", spec(images), storage=url_of(tmp_path))
    monkeypatch.setattr(unpaired, "load_inception", load_inception)
    monkeypatch.setenv("OPTEVO_INCEPTION", str(tmp_path / "none.pth"))
    with pytest.raises(UsageError, match=r"none.pth: there are no Inception weights"):
        api.work("r", storage=url_of(tmp_path))
    assert open_search("r", url=url_of(tmp_path)).study.get_trials() == []


@pytest.mark.parametrize(("name", "arguments"), [("tpe", {"n_startup_trials": 1}), ("nsgaii", {})])
def test_optunas_samplers_by_name(images: Path, tmp_path: Path, name: str, arguments: dict[str, Any]) -> None:
    settings = {"name": name, "arguments": arguments, "population": 2, "generations": 2}
    search = worked(images, tmp_path, sampler=settings, final={"candidates": 0})
    assert isinstance(search.sampler, GuestSampler)
    states = [trial.state for trial in search.study.get_trials(deepcopy=False)]
    assert len(states) == 4
    assert all(state.is_finished() for state in states)


def test_a_grid_is_trained_whole(images: Path, tmp_path: Path) -> None:
    grid = {"penalty_weight": [0.0, 10.0], "parents": [1, 2]}
    settings = {"name": "bruteforce", "population": 4, "generations": 1}
    search = worked(images, tmp_path, search=grid, sampler=settings, final={"candidates": 0})
    found = {(t.params["penalty_weight"], t.params["parents"]) for t in search.study.get_trials(deepcopy=False)}
    assert found == {(0.0, 1), (0.0, 2), (10.0, 1), (10.0, 2)}


@pytest.mark.parametrize(
    ("tables", "parts"),
    [
        ({"search": {"generator_width": [2]}, "budget": {"max_parameters": 5}}, ("search", "budget")),
        ({"search": {"batch_size": [3]}, "recipe": {"parents": 2}}, ("batch_size = 3", "multiple of 2")),
        ({"sampler": {"name": "tpe", "arguments": {"population": 3}}}, ("sampler.arguments", "tpe")),
        ({"pruner": {"arguments": {"patience": 3}}}, ("pruner.arguments", "median")),
        ({"data": {"root": "nowhere"}}, ("nowhere", "there is nothing")),
    ],
)
def test_what_cannot_be_trained_is_refused(
    images: Path, tmp_path: Path, tables: dict[str, Any], parts: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError) as caught:
        api.create_study("r", spec(images, **tables), storage=url_of(tmp_path))
    assert all(part in str(caught.value) for part in parts), str(caught.value)


@pytest.mark.parametrize(
    ("tables", "parts"),
    [
        ({"search": {}}, ("search: nothing varies",)),
        ({"search": {"widths": [1, 2]}}, ("search.widths", "generator_width")),
        ({"sampler": {"arguments": {"x": 1}}}, ("sampler.arguments",)),
        ({"quality": {"metric": "is"}}, ("quality.metric", "fid")),
        ({"recipe": {"published": "wgan"}}, ("recipe.published", "cegan")),
    ],
)
def test_bad_specifications_are_refused_in_one_line(
    images: Path, tables: dict[str, Any], parts: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_spec(document(images, **tables), source="s.toml")
    message = str(caught.value)
    assert message.startswith("s.toml: ")
    assert "\n" not in message
    assert all(part in message for part in parts), message
