"""What teachers are built of and told, and the images that they are warned of."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from unpaired_folder import unpaired_folder

from optevo.data.resident import load_images
from optevo.networks.norm import InstanceNorm
from optevo.spaces.resnet import cyclegan
from optevo.tasks.teacher import build, facts_of, grey_names, warn_of_grey
from optevo.tasks.teacher_settings import TeacherSpec
from optevo.training.engine import Engine

CPU = torch.device("cpu")
ENGINE = Engine(device=CPU, precision="fp32", threads=1)


def spec(**sections: Any) -> TeacherSpec:
    data = {"root": "x", "size": 32, **sections.pop("data", {})}
    networks = {"ngf": 4, "ndf": 4, "discriminator_layers": 2, **sections.pop("networks", {})}
    return TeacherSpec.model_validate({"data": data, "networks": networks, **sections})


def test_the_default_is_cyclegan_s_recipe() -> None:
    chosen = TeacherSpec.model_validate({"data": {"root": "x"}})
    assert (chosen.data.size, chosen.networks.ngf, chosen.networks.ndf) == ((256, 256), 64, 64)
    training = chosen.training
    assert (training.batch_size, training.epochs, training.decay_epochs) == (1, 100, 100)
    assert training.recipe() == {
        "learning_rate": 2e-4, "betas": (0.5, 0.999), "cycle_weight": 10.0, "identity_weight": 5.0, "replay": 50,
    }  # fmt: skip
    assert chosen.networks.discriminator_layers == 3  # patches of 70 pixels


def test_blocks_follow_the_size_unless_they_are_given() -> None:
    sizes = {(256, 256): 9, (128, 128): 6, (256, 128): 6, (512, 256): 9}
    for size, blocks in sizes.items():
        assert spec(data={"size": size}).networks.blocks_at(size) == blocks
    assert spec(networks={"blocks": 2}).networks.blocks_at((256, 256)) == 2


def test_what_is_built() -> None:
    made = build(spec(data={"channels_b": 1}, training={"identity_weight": 0}, networks={"blocks": 1}), engine=ENGINE)
    assert made.a_to_b.architecture == cyclegan(ngf=4, blocks=1, input_channels=3, output_channels=1)
    assert made.b_to_a.architecture == cyclegan(ngf=4, blocks=1, input_channels=1, output_channels=3)
    assert (made.judge_a.shape["input_channels"], made.judge_b.shape["input_channels"]) == (3, 1)
    assert any(isinstance(layer, InstanceNorm) for layer in made.judge_a.modules())
    again = build(spec(data={"channels_b": 1}, training={"identity_weight": 0}, networks={"blocks": 1}), engine=ENGINE)
    other = build(
        spec(data={"channels_b": 1}, training={"identity_weight": 0}, networks={"blocks": 1}, seed=1), engine=ENGINE
    )
    first = made.a_to_b.state_dict()["model.1.weight"]
    assert torch.equal(first, again.a_to_b.state_dict()["model.1.weight"])
    assert not torch.equal(first, other.a_to_b.state_dict()["model.1.weight"])


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"data": {"size": 30}}, "data.size has a height of 30"),
        ({"data": {"size": [32, 4]}}, "data.size has a width of 4"),
        ({"data": {"size": 20}, "networks": {"discriminator_layers": 3}}, "needs 24 pixels"),
        ({"data": {"channels_a": 1}}, "training.identity_weight = 5.0"),
        ({"training": {"epochs": 0}}, "training.epochs"),
    ],
)
def test_settings_that_will_not_do(sections: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        spec(**sections)


def test_a_checkpoint_belongs_to_images_and_settings_not_to_folders() -> None:
    one = facts_of(spec(), fingerprint="f", engine=ENGINE)
    assert one == facts_of(spec(data={"root": "elsewhere"}), fingerprint="f", engine=ENGINE)
    assert one == facts_of(spec(training={"checkpoint_minutes": 1}), fingerprint="f", engine=ENGINE)
    for other in (
        facts_of(spec(), fingerprint="g", engine=ENGINE),
        facts_of(spec(networks={"ngf": 5}), fingerprint="f", engine=ENGINE),
        facts_of(spec(seed=1), fingerprint="f", engine=ENGINE),
        facts_of(spec(), fingerprint="f", engine=Engine(device=CPU, precision="bf16", threads=1)),
    ):
        assert one != other


def test_grey_images_among_colours_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = unpaired_folder(tmp_path) / "trainA"
    for name in ("grey.png", "palette.png"):
        pixels = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
        Image.fromarray(pixels).convert("L" if name == "grey.png" else "RGB").save(folder / name)
    paths = sorted(folder.iterdir())
    images = load_images(paths, size=(32, 32), channels=3, device=CPU, jitter=True)
    assert grey_names(images) == ["grey.png", "palette.png"]
    with caplog.at_level(logging.WARNING):
        warn_of_grey(images, domain="A")
    assert "2 of 8 images of A are grey, the first grey.png" in caplog.text
    assert grey_names(load_images(paths, size=(32, 32), channels=1, device=CPU, jitter=False)) == []
    caplog.clear()
    only = load_images([folder / "grey.png"], size=(32, 32), channels=3, device=CPU, jitter=False)
    warn_of_grey(only, domain="B")
    assert "all 1 images of B are grey: data.channels_b = 1" in caplog.text
