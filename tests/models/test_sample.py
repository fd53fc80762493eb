"""Model folders of generators that take noise: written by a fine-tuning, loaded, drawn from, refused elsewhere."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from command_line import optevo
from PIL import Image
from small_features import SmallFeatures

import optevo as library
from optevo import api
from optevo.errors import InterruptedRunError, UsageError
from optevo.metrics import unpaired
from optevo.models.folder import read_facts
from optevo.networks.dcgan import DCGANGenerator
from optevo.search.spec import parse_spec


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a study "r" with two recipes, one of them trained by a worker."""
    folder = tmp_path_factory.mktemp("recipes")
    np.savez(folder / "i.npz", images=np.random.default_rng(0).integers(256, size=(30, 32, 32, 3), dtype=np.uint8))
    document: dict[str, Any] = {
        "system": "cegan",
        "data": {"root": str(folder / "i.npz")},
        "networks": {"generator_width": 2, "discriminator_width": 2, "latent": 4},
        "recipe": {"batch_size": 4, "evaluation_size": 6},
        "training": {"steps": 2},
        "quality": {"metric": "kid", "images": 20, "every": 2},
        "search": {"learning_rate": [1e-4, 1e-3]},
        "sampler": {"name": "bruteforce", "population": 2, "generations": 1},
        "final": {"candidates": 0},
        "finetune": {"steps": 5, "threads": 1},
        "engine": {"device": "cpu", "precision": "fp32"},
    }
    url = f"sqlite:///{folder / 'optevo.db'}"
    with pytest.MonkeyPatch.context() as patch:
        small(patch, folder)
        api.create_study("r", parse_spec(document, source="tests"), storage=url)
        api.work("r", storage=url)
    return url


def small(patch: pytest.MonkeyPatch, cache: Path) -> None:
    patch.setattr(unpaired, "load_inception", lambda **_: SmallFeatures())
    patch.setenv("OPTEVO_CACHE", str(cache))


@pytest.fixture
def model(study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small(monkeypatch, tmp_path)
    return api.finetune("r", storage=study, out=tmp_path / "model")


def test_the_winners_whole_training_makes_a_model_folder(model: Path) -> None:
    facts = read_facts(model)
    assert (facts.family, facts.size, facts.study) == ("dcgan", (32, 32), "r")
    assert facts.training["steps"] == 5
    assert list(facts.metrics) == ["kid_train_20x30_32x32_tf"]
    generator = library.load_generator(model)
    assert isinstance(generator, DCGANGenerator)
    assert generator(torch.zeros(2, 4)).shape == (2, 3, 32, 32)
    assert (model / "samples.png").exists()
    assert "uniform in [-1, 1]" in (model / "README.md").read_text()


def test_an_interrupted_training_ends_as_if_it_had_not_been(study: str, model: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise InterruptedRunError("stopped")

    with pytest.raises(InterruptedRunError):
        api.finetune("r", storage=study, out=tmp_path / "other", on_step=interrupt)
    steps: list[int] = []
    other = api.finetune("r", storage=study, out=tmp_path / "other", on_step=lambda done, total: steps.append(done))
    assert 1 not in steps
    assert read_facts(other).metrics == read_facts(model).metrics
    one, two = library.load_generator(model).state_dict(), library.load_generator(other).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_images_are_drawn_from_it(model: Path, tmp_path: Path) -> None:
    result = optevo(tmp_path, "model", "sample", model, "--out", "drawn", "--count", "60", "--seed", "3")
    assert result.returncode == 0, result.stderr
    files = sorted((tmp_path / "drawn").iterdir())
    assert len(files) == 60
    noise = np.random.Generator(np.random.Philox(key=3)).random((50, 4), dtype=np.float32) * 2 - 1
    wanted = library.load_generator(model)(torch.from_numpy(noise))[7]
    found = torch.from_numpy(np.asarray(Image.open(files[7])).copy()).permute(2, 0, 1)
    assert torch.equal(found, ((wanted + 1) * 127.5).round().byte())


@pytest.mark.parametrize("half", [False, True])
def test_it_is_exported_and_the_file_draws_the_same(model: Path, half: bool, tmp_path: Path) -> None:
    for module in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason="ONNX needs the extra: pip install 'optevo[onnx]'")
    exported = optevo(tmp_path, "model", "export", model, "--json", *(["--half"] if half else []))
    assert (exported.returncode, exported.stderr) == (0, "")
    report = SimpleNamespace(**json.loads(exported.stdout))
    report.path = Path(report.path)
    assert report.path == model / f"generator{'-fp16' if half else ''}.onnx"
    assert (report.takes, report.multiple, report.shapes) == ("noise", None, [[8, 4], [1, 4], [3, 4]])
    assert report.largest_difference < (2e-2 if half else 1e-5)
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="makes images of noise"):
        api.apply(report.path, tmp_path, out=tmp_path / "out")
    drawn = [
        [np.asarray(Image.open(path)).astype(int) for path in api.sample(source, out=tmp_path / name, count=60, seed=3)]
        for name, source in (("folder", model), ("file", report.path))
    ]
    assert [len(images) for images in drawn] == [60, 60]
    assert np.abs(np.stack(drawn[0]) - np.stack(drawn[1])).max() <= (3 if half else 1)


def test_a_pt2_export_takes_any_batch(model: Path) -> None:
    told = optevo(model.parent, "model", "export", "model", "--format", "pt2")
    assert (told.returncode, told.stderr) == (0, "")
    assert re.match(r"model/generator.pt2: .* MiB, pt2, any batch, of 4 numbers of noise\n", told.stdout)
    assert "on noise as 8x4, 1x4, 3x4: largest difference" in told.stdout
    noise = torch.rand(5, 4) * 2 - 1
    got = torch.export.load(model / "generator.pt2").module()(noise)
    assert (got - library.load_generator(model)(noise)).abs().max() < 1e-5


def test_sizes_and_images_are_none_of_its_export(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="images of one size"):
        api.export(model, format="pt2", size=(32, 32))
    with pytest.raises(UsageError, match="leave --data out"):
        api.export(model, format="pt2", images=tmp_path)
    assert not list(model.glob("*.pt2"))


def test_it_is_refused_where_a_translator_is_needed(model: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    for call in (
        lambda: api.compare([model], data=tmp_path),
        lambda: api.apply(model, tmp_path, out=tmp_path / "out"),
    ):
        with pytest.raises(UsageError, match="makes images of noise"):
            call()
    with pytest.raises(UsageError, match="--count 0"):
        api.sample(model, out=tmp_path / "x", count=0)


@pytest.mark.parametrize("option", [{"architecture": "original"}, {"onto": Path("x")}, {"direction": "AtoB"}])
def test_options_of_other_systems_are_refused(study: str, option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="searches recipes"):
        api.finetune("r", storage=study, **option)
