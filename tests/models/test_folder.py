"""Model folders: what goes in comes out, and what is damaged is refused by name."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from optevo.errors import OptevoError, UsageError
from optevo.models.folder import FACTS, WEIGHTS, ModelFacts, check_target, load_generator, read_facts, save_model
from optevo.networks.unet import UNetGenerator
from optevo.spaces.unet import UNetArchitecture

ARCHITECTURE = UNetArchitecture(channels=(3, 5, 4), skips=(True, False))


def facts(**changes: object) -> ModelFacts:
    made = ModelFacts(
        architecture=ARCHITECTURE.to_dict(),
        size=(32, 32),
        direction="BtoA",
        seed=0,
        fingerprint="f",
        precision="fp32",
        parameters=1,
        exact_macs=2,
        literature_macs=3,
        metrics={"l1_test_3x32x32_eval": 0.25},
        training={},
    )
    return replace(made, **changes)


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, UNetGenerator]:
    torch.manual_seed(0)
    generator = UNetGenerator(ARCHITECTURE)
    generator(torch.rand(4, 3, 32, 32))  # So that the running statistics are not the initial ones.
    return save_model(tmp_path / "model", generator, facts()), generator.eval()


def test_a_loaded_generator_is_the_saved_one(model: tuple[Path, UNetGenerator]):
    folder, generator = model
    loaded = load_generator(folder)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    assert torch.equal(loaded(images), generator(images))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert read_facts(folder) == facts()
    assert "l1_test_3x32x32_eval: 0.2500" in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 99, "optevo": "7.0"}, "written by optevo 7.0"),
        ({"family": "other"}, "cannot read it"),
        ({"surprise": 1}, "damaged"),
        ({"architecture": {"channels": [3, -5, 4], "skips": [1, 0], "input_channels": 3, "output_channels": 3}}, "-5"),
        ({"architecture": {"channels": [3, 6, 4], "skips": [1, 0], "input_channels": 3, "output_channels": 3}}, "fit"),
    ],
)
def test_other_versions_and_damaged_facts_are_refused(model: tuple[Path, UNetGenerator], change: dict, says: str):
    folder, _ = model
    stored = json.loads((folder / FACTS).read_text())
    (folder / FACTS).write_text(json.dumps({**stored, **change}))
    with pytest.raises(UsageError, match=says) as error:
        load_generator(folder)
    assert "\n" not in str(error.value)


def test_damaged_weights_are_refused(model: tuple[Path, UNetGenerator]):
    folder, _ = model
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:100])
    with pytest.raises(UsageError, match=r"generator\.safetensors"):
        load_generator(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(UsageError, match=r"generator\.safetensors"):
        load_generator(folder)


def test_a_folder_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "precious").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        check_target(tmp_path / "taken")
    with pytest.raises(OptevoError, match="cannot write the model"):
        save_model(tmp_path / "taken", UNetGenerator(ARCHITECTURE), facts())
    assert (tmp_path / "taken" / "precious").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
