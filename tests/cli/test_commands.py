"""The commands as a user runs them, from the images to a judged model."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from command_line import SPEC
from command_line import optevo as run

import optevo
from optevo.search.study import open_search

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a study was created and run to its end."""
    folder = tmp_path_factory.mktemp("workplace")
    drawn = run(
        folder, "data", "download", "drawn-facades", "--size", "32", "--count", "6", "--val", "2", "--test", "3"
    )
    assert drawn.returncode == 0, drawn.stderr
    (folder / "study.toml").write_text(SPEC.format(root="data/drawn-facades"))
    created = run(folder, "study", "create", "s", "--spec", "study.toml", "--set", "sampler.generations=2")
    assert created.returncode == 0, created.stderr
    ran = run(folder, "study", "run", "s", "--workers", "2")
    assert ran.returncode == 0, ran.stderr
    return folder


def data_of(result: subprocess.CompletedProcess[str]):
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_help_is_quick():
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "optevo", "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - begun)
    # What makes it slow is an import too many, and tests/test_imports.py holds that without a clock.
    print(f"optevo --help: {min(times):.2f} s")


def test_the_study_is_seen(workplace: Path):
    assert [row["study"] for row in data_of(run(workplace, "study", "list", "--json"))] == ["s"]
    shown = data_of(run(workplace, "study", "show", "s", "--json"))
    assert (shown["phase"], shown["generation"], shown["failed"]) == ("done", 2, 0)
    assert [row["generation"] for row in shown["generations"]] == [0, 1]
    winner = data_of(run(workplace, "study", "best", "s", "--json"))
    assert winner["parameters"] > 0
    assert winner["final"][0]["mean"] == winner["value"]
    for command in (["list"], ["show", "s"], ["best", "s"]):
        result = run(workplace, "study", *command)
        assert result.returncode == 0
        assert result.stderr == ""


def test_nothing_is_left_to_do(workplace: Path):
    again = run(workplace, "study", "run", "s")
    assert again.returncode == 0
    assert "nothing is left to do" in again.stdout


def test_estimate_says_hours_memory_and_disk(workplace: Path):
    report = data_of(run(workplace, "study", "estimate", "s", "--json"))
    assert report["individuals_at_most"] == 4
    assert 0 < report["seconds_an_individual"] < 60
    assert report["hours_at_most"] > 0
    assert report["memory_MiB_a_worker"] > 50


def test_winner_and_original_become_models(workplace: Path):
    trained = run(workplace, "model", "finetune", "s")
    assert trained.returncode == 0, trained.stderr
    folder = workplace / trained.stdout.strip()
    assert {path.name for path in folder.iterdir()} == {
        "generator.safetensors", "model.json", "samples.png", "README.md",
    }  # fmt: skip
    facts = json.loads((folder / "model.json").read_text())
    assert facts["study"] == "s"
    assert "l1_test_3x32x32_eval" in facts["metrics"]
    report = data_of(run(workplace, "model", "evaluate", folder, "--data", "data/drawn-facades", "--json"))
    assert report["l1_test_3x32x32_eval"] == pytest.approx(facts["metrics"]["l1_test_3x32x32_eval"], rel=1e-4)
    assert report["parameters"] == sum(p.numel() for p in optevo.load_generator(folder).parameters())
    assert report["file_bytes"] > 4 * report["parameters"]
    assert report["latency_ms_median"] > 0
    again = run(workplace, "model", "finetune", "s")
    assert again.returncode == 2
    assert "exists already" in again.stderr
    assert run(workplace, "model", "finetune", "s", "--architecture", "original").returncode == 0
    assert (workplace / "models" / "s-original" / "model.json").exists()


def test_a_loaded_generator_translates(workplace: Path):
    if not (workplace / "models" / "s-original").exists():
        assert run(workplace, "model", "finetune", "s", "--architecture", "original").returncode == 0
    generator = optevo.load_generator(workplace / "models" / "s-original")
    output = generator(torch.zeros(2, 3, 32, 64))
    assert output.shape == (2, 3, 32, 64)
    assert not generator.training
    assert output.abs().max() <= 1


def test_pix2pix_s_habit_is_an_option(workplace: Path):
    if not (workplace / "models" / "s-original").exists():
        assert run(workplace, "model", "finetune", "s", "--architecture", "original").returncode == 0
    arguments = ["model", "evaluate", "models/s-original", "--data", "data/drawn-facades", "--json", "--mode"]
    usual, habit = (data_of(run(workplace, *arguments, mode)) for mode in ("eval", "pix2pix"))
    assert "l1_test_3x32x32_pix2pix" in habit
    assert habit["l1_test_3x32x32_pix2pix"] != usual["l1_test_3x32x32_eval"]


def test_a_study_is_deleted(workplace: Path):
    assert run(workplace, "study", "create", "other", "--spec", "study.toml").returncode == 0
    assert run(workplace, "study", "delete", "other", "--yes").returncode == 0
    assert [row["study"] for row in data_of(run(workplace, "study", "list", "--json"))] == ["s"]


def test_ctrl_c_leaves_the_study_continuable(workplace: Path):
    assert (
        run(workplace, "study", "create", "long", "--spec", "study.toml", "--set", "training.steps=100000").returncode
        == 0
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "optevo", "study", "run", "long", "--workers", "1"],
        cwd=workplace,
        stderr=subprocess.PIPE,
        text=True,
    )
    study = open_search("long", url=f"sqlite:///{workplace / 'storage' / 'optevo.db'}").study
    deadline = time.monotonic() + 60
    while not any(trial.state.name == "RUNNING" for trial in study.get_trials()) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    begun = time.monotonic()
    process.send_signal(2)
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - begun < 10
    assert process.returncode == 130, said
    assert {trial.state.name for trial in study.get_trials()} == {"FAIL"}
    assert "interrupted; the same command continues" in said.splitlines()[-1]
    assert run(workplace, "study", "delete", "long", "--yes").returncode == 0
