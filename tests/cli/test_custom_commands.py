"""Generators of the user's own, as a user has them: a package installed by pip, and the command line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import optevo as run
from generator_package import install_generators
from PIL import Image
from sample_images import noise, save
from torch import Tensor, nn
from unpaired_folder import unpaired_folder

from optevo.metrics.unpaired import Inception
from optevo.models.evaluate_pair import evaluate_pair
from optevo.training.engine import resolve

pytestmark = pytest.mark.slow

TEACHERS = """
seed = 2
[data]
root = "data"
size = 16
[networks]
generator = "{key}"
ndf = 2
discriminator_layers = 2
[training]
epochs = 1
decay_epochs = 1
[engine]
device = "cpu"
threads = 1
"""
STUDY = """
system = "coevolution"
seed = 3
[data]
root = "data"
size = 16
[teachers]
folder = "teachers"
[training]
steps = 2
replay = 2
[finetune]
epochs = 1
decay_epochs = 1
threads = 1
[distillation]
mode = "beside"
[sampler]
population = 2
generations = 2
[engine]
device = "cpu"
precision = "fp32"
"""


class Small(nn.Module):
    """12 features of an image."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return install_generators(tmp_path_factory.mktemp("package"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    unpaired_folder(tmp_path / "data", counts={"train": 3, "val": 2, "test": 2}, size=(16, 16))
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


def done(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(result: subprocess.CompletedProcess[str], *says: str) -> None:
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for text in says:
        assert text in result.stderr


@pytest.mark.parametrize("key", ["hourglass", "residual"])
def test_from_teachers_to_pictures(
    key: str, place: Path, package: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def optevo(*arguments: str) -> str:
        return done(run(place, *arguments, **package))

    (place / "teachers.toml").write_text(TEACHERS.format(key=key))
    optevo("model", "train", "--spec", "teachers.toml", "--out", "teachers")
    optevo("study", "create", "s", "--spec", "study.toml")
    estimate = json.loads(optevo("study", "estimate", "s", "--json"))
    assert estimate["individuals_at_most"] == 8
    assert 0 < estimate["hours_at_most"] < 1
    assert "0, 8 trained" not in optevo("study", "run", "s", "--workers", "1")
    best = json.loads(optevo("study", "best", "s", "--json"))
    assert all(0 < best[half]["share_of_parameters"] < 1 for half in ("a_to_b", "b_to_a"))
    assert optevo("model", "finetune", "s", "--out", "small") == "small\n"
    facts = json.loads((place / "small" / "a_to_b" / "model.json").read_text())
    assert facts["architecture"]["generator"] == key
    assert facts["parameters"] == best["a_to_b"]["parameters"]
    optevo("model", "export", "small/a_to_b", "--data", "data")
    optevo("model", "export", "small/b_to_a", "--data", "data", "--format", "pt2")
    save(place / "photos" / "1.png", noise(18, 21))
    for model, out in (("small/a_to_b", "new"), ("small/a_to_b/generator.onnx", "exported")):
        optevo("model", "apply", model, "photos", "--out", out, "--device", "cpu")
    pictures = [Image.open(place / out / "1.png") for out in ("new", "exported")]
    assert [picture.size for picture in pictures] == [(21, 18)] * 2
    differences = [abs(a - b) for a, b in zip(*(picture.tobytes() for picture in pictures), strict=True)]
    assert max(differences) <= 1  # a value between two pixels falls to either side
    # Only FID's features are another network's: Inception's weights are a download.
    monkeypatch.syspath_prepend(package["SITE"])
    engine = resolve(device="cpu", precision="fp32")
    report = evaluate_pair(
        place / "small", data=place / "data", device="cpu", runs=1, inception=Inception(engine, network=Small())
    )
    assert report["a_to_b"]["parameters"] == best["a_to_b"]["parameters"]
    # Somewhere else, where the package is not installed:
    refused(run(place, "model", "apply", "small/a_to_b", "photos", "--out", "more"), "install other-generators==1.2.3")


BROKEN = {
    "shuffled": "PixelShuffle",
    "grouped": "GroupNorm",
    "functional": "a functional convolution",
    "spectral": "spectral norm",
    "untraceable": "cannot be traced",
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, package: dict[str, str]) -> Path:
    """Pairs of generators of the package, with discriminators, by key; made in a process that finds it."""
    folder = tmp_path_factory.mktemp("pairs")
    code = f"""
from optevo.models.pair import PairFacts, save_pair
from optevo.networks.custom import custom_generator
from optevo.networks.patchgan import PatchGAN
from optevo.tasks.translators import Translators
for key in {["hourglass", *BROKEN]}:
    made = [custom_generator(key, {{}}, input_channels=3, output_channels=3, size=(16, 16)) for _ in range(2)]
    judges = [PatchGAN(3, ndf=2, layers=2, norm="instance") for _ in range(2)]
    save_pair({str(folder)!r} + "/" + key, Translators(*made, *judges), PairFacts(size=(16, 16)))
"""
    path = {"PYTHONPATH": ":".join([package["SITE"], *(each for each in sys.path if each)])}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=path)
    return folder


@pytest.mark.parametrize("key", BROKEN)
def test_a_study_refuses_by_name_what_it_cannot_slice(
    key: str, place: Path, pairs: Path, package: dict[str, str]
) -> None:
    teachers = f"teachers.folder={pairs / key}"
    result = run(place, "study", "create", "s", "--spec", "study.toml", "--set", teachers, **package)
    refused(result, f"generator {key!r} (", BROKEN[key])


def test_faults_are_one_line(place: Path, pairs: Path, package: dict[str, str]) -> None:
    train = ["model", "train", "--data", "data", "--size", "16", "--set", "networks.discriminator_layers=2"]
    refused(run(place, *train, "--generator", "none", "--out", "p", **package), "'none': is not installed", "hourglass")
    refused(run(place, *train, "--generator", "hourglass", "--out", "p"), "no installed package offers one")
    refused(
        run(place, *train, "--generator", "hourglass", "--ngf", "4", "--out", "p", **package), "networks.ngf: is of"
    )
    refused(
        run(place, *train, "--generator", "hourglass", "--set", "networks.arguments.width=3", "--out", "p", **package),
        "cannot be built (TypeError:",
    )
    shutil.copytree(pairs / "hourglass", place / "teachers")
    create = ["study", "create", "s", "--spec", "study.toml"]
    # A discriminator of another width than its weights, and one of grey images.
    facts = json.loads((place / "teachers" / "pair.json").read_text())
    for changes, says in (({"ndf": 3}, "does not fit pair.json"), ({"input_channels": 1}, "judge_a does not fit")):
        changed = {**facts, "judges": {**facts["judges"], "judge_a": {**facts["judges"]["judge_a"], **changes}}}
        (place / "teachers" / "pair.json").write_text(json.dumps(changed))
        refused(run(place, *create, **package), "teachers", "judge_a", says)
    (place / "teachers" / "pair.json").write_text(json.dumps(facts))
    unpaired_folder(place / "one", counts={"train": 1, "val": 1, "test": 1}, size=(16, 16))
    refused(run(place, *create, "--set", "data.root=one", **package), "1 training image of A", "at least 2")
    # Grey pictures among colours happen in real data, so they are named, and the study is made.
    Image.new("L", (16, 16), 77).save(place / "data" / "trainB" / "grey.png")
    created = run(place, *create, **package)
    assert "created study s" in done(created)
    (line,) = created.stderr.strip().splitlines()
    assert "grey.png: is grey among colours" in line


def test_import(place: Path, package: dict[str, str]) -> None:
    code = "import torch, other_generators as o; torch.save(o.plain(width=4).state_dict(), 'g.pth')"
    subprocess.run([sys.executable, "-c", code], cwd=place, env={"PYTHONPATH": package["SITE"]}, check=True)
    command = ["model", "import", "--a-to-b", "g.pth", "--b-to-a", "g.pth", "--size", "16", "--out", "pair"]
    refused(run(place, *command, "--generator", "plain", "--argument", "width", **package), "--argument width: write")
    done(run(place, *command, "--generator", "plain", "--argument", "width=4", **package))
    weights = torch.load(place / "g.pth", weights_only=True)
    facts = json.loads((place / "pair" / "a_to_b" / "model.json").read_text())
    assert facts["parameters"] == sum(value.numel() for value in weights.values())
    assert facts["architecture"]["arguments"] == {"width": 4}
