"""optevo model train, import and evaluate on pairs of translators, as a user runs them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from command_line import optevo as run
from cyclegan_code import Discriminator, Generator
from tiny_models import tiny_model, tiny_pair
from unpaired_folder import unpaired_folder

from optevo.models.pair import load_pair, read_pair_facts

pytestmark = pytest.mark.slow

SPEC = """
seed = 2
[data]
size = 32
[networks]
ngf = 2
blocks = 1
ndf = 2
discriminator_layers = 2
[training]
epochs = {epochs}
decay_epochs = 2
checkpoint_minutes = 0.0001
[engine]
device = "cpu"
threads = 1
"""


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    unpaired_folder(tmp_path / "data", counts={"train": 4, "val": 2, "test": 2})
    (tmp_path / "teacher.toml").write_text(SPEC.format(epochs=3))
    (tmp_path / "long.toml").write_text(SPEC.format(epochs=100_000))
    return tmp_path


def refused(result: subprocess.CompletedProcess[str], *says: str) -> None:
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for text in says:
        assert text in result.stderr


def begun(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A training that has written a checkpoint."""
    process = subprocess.Popen(
        [sys.executable, "-m", "optevo", "model", "train", *arguments],
        cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (folder / ".pair.checkpoint.safetensors").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def tensors(pair: Path) -> list[torch.Tensor]:
    return [value for _, module in load_pair(pair).named() for value in module.state_dict().values()]


def test_a_training_that_was_killed_ends_as_if_it_had_not_been(workplace: Path) -> None:
    (workplace / "teacher.toml").write_text(SPEC.format(epochs=30))
    command = ["--spec", "teacher.toml", "--data", "data", "--out"]
    process = begun(workplace, *command, "pair")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (workplace / "pair").exists()
    again = run(workplace, "model", "train", *command, "pair")
    assert (again.returncode, again.stdout) == (0, "pair\n"), again.stderr
    assert "continues at step" in again.stderr
    whole = run(workplace, "model", "train", *command, "whole")
    assert whole.returncode == 0, whole.stderr
    pairs = zip(tensors(workplace / "pair"), tensors(workplace / "whole"), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert not [path for path in workplace.iterdir() if "checkpoint" in path.name]


def test_ctrl_c_leaves_a_training_continuable(workplace: Path) -> None:
    process = begun(workplace, "--spec", "long.toml", "--data", "data", "--out", "pair")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "pair: interrupted at step" in said.splitlines()[-1]
    assert "the same command continues" in said.splitlines()[-1]
    assert (workplace / ".pair.checkpoint.safetensors").exists()
    assert not (workplace / "pair").exists()


def test_settings_come_from_a_file_and_options_go_first(workplace: Path) -> None:
    result = run(
        workplace, "model", "train", "--spec", "teacher.toml", "--data", "data", "--out", "pair", "--size", "16x24",
        "--ngf", "3", "--epochs", "1", "--decay-epochs", "0", "--seed", "7", "--set", "networks.blocks=2",
        "--checkpoints", "store",
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (0, "pair\n"), result.stderr
    facts = read_pair_facts(workplace / "pair")
    assert (facts.size, facts.seed) == ((16, 24), 7)
    assert facts.training["networks"] == {"ngf": 3, "blocks": 2, "ndf": 2, "discriminator_layers": 2}
    assert facts.training["training"]["epochs"] == 1


def test_bad_settings_and_images_are_one_line(workplace: Path) -> None:
    train = ["model", "train", "--out", "pair"]
    refused(run(workplace, *train), "--data", "--spec")
    refused(run(workplace, *train, "--data", "nowhere"), "nowhere: there is no such folder")
    refused(run(workplace, *train, "--spec", "none.toml"), "none.toml: there is no such file")
    refused(run(workplace, *train, "--data", "data", "--size", "30"), "data.size has a height of 30")
    refused(
        run(workplace, *train, "--spec", "teacher.toml", "--data", "data", "--set", "training.epoch=3"),
        "teacher.toml: training.epoch: unknown key; table training has", "decay_epochs",
    )  # fmt: skip
    unpaired_folder(workplace / "one", counts={"train": 1, "test": 2})
    refused(run(workplace, *train, "--data", "one"), "one, images of A", "too few")
    (workplace / "data" / "trainB" / "0.png").write_text("no picture")
    refused(run(workplace, *train, "--spec", "teacher.toml", "--data", "data"), "0.png: is not an image")


def test_import(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for name in ("A", "B"):
        torch.save(Generator(2, 1).state_dict(), tmp_path / f"latest_net_G_{name}.pth")
        torch.save(Discriminator(2, layers=2).state_dict(), tmp_path / f"latest_net_D_{name}.pth")
    command = [
        "model", "import", "--a-to-b", "latest_net_G_A.pth", "--b-to-a", "latest_net_G_B.pth", "--size", "32", "--out",
        "pair",
    ]  # fmt: skip
    swapped = ["--judge-a", "latest_net_D_A.pth", "--judge-b", "latest_net_D_B.pth"]
    refused(run(tmp_path, *command, *swapped), "--judge-a latest_net_D_A.pth", "name it with --judge-b")
    result = run(tmp_path, *command, "--judge-a", "latest_net_D_B.pth", "--judge-b", "latest_net_D_A.pth")
    assert (result.returncode, result.stdout, result.stderr) == (0, "pair\n", "")
    theirs = torch.load(tmp_path / "latest_net_D_A.pth", weights_only=True)
    assert torch.equal(load_pair(tmp_path / "pair").judge_b.state_dict()["model.0.weight"], theirs["model.0.weight"])


def test_what_cannot_be_evaluated_is_one_line(workplace: Path) -> None:
    tiny_pair(workplace / "pair")
    tiny_model(workplace / "model")
    evaluate = ["model", "evaluate", "pair", "--data", "data"]
    refused(run(workplace, *evaluate, "--split", "train", OPTEVO_INCEPTION="none.pth"), "none.pth", "Inception weights")
    refused(run(workplace, *evaluate[:-1], "nowhere"), "nowhere: there is no such folder")
    refused(run(workplace, "model", "evaluate", "model", *evaluate[3:], "--picture", "p.png"), "--picture")
    refused(run(workplace, "model", "compare", "pair", "--data", "data"), "pair: holds two models; name pair/a_to_b")


@pytest.mark.real_data
def test_the_whole_way_on_real_photographs(real_data: Path, tmp_path: Path) -> None:
    weights, horses = real_data / "fid_inception.pth", real_data / "horse2zebra"
    for needed in (weights, horses):
        if not needed.exists():
            pytest.skip(f"OPTEVO_TEST_DATA has no {needed.name}: {needed}")
    for split, domain, count in (("train", "A", 4), ("train", "B", 4), ("test", "A", 3), ("test", "B", 4)):
        folder = tmp_path / "photos" / f"{split}{domain}"
        folder.mkdir(parents=True)
        for path in sorted((horses / folder.name).iterdir())[:count]:
            (folder / path.name).symlink_to(path)
    (tmp_path / "teacher.toml").write_text(SPEC.format(epochs=1))
    trained = run(tmp_path, "model", "train", "--spec", "teacher.toml", "--data", "photos", "--out", "pair")
    assert (trained.returncode, trained.stdout) == (0, "pair\n"), trained.stderr
    judged = run(
        tmp_path, "model", "evaluate", "pair", "--data", "photos", "--device", "cpu", "--json", "--picture", "p.png",
        OPTEVO_INCEPTION=str(weights), OPTEVO_CACHE=str(tmp_path / "cache"),
    )  # fmt: skip
    assert (judged.returncode, judged.stderr) == (0, "")
    metrics = json.loads(judged.stdout)["metrics"]
    assert metrics["fid_AtoB_testB_3x4_32x32_tf"] > 0
    assert metrics["fid_untranslated_B_testA_4x3_32x32_tf"] > 0
    assert (tmp_path / "p.png").stat().st_size > 1000
