"""Pair folders: both translators and their discriminators go in and come out; what does not fit is refused by name."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sample_images import ab_folder, noise, save
from tiny_models import tiny_pair, tiny_translators
from unpaired_folder import unpaired_folder

from optevo.cost.counted import exact_macs, literature_macs, parameters
from optevo.errors import OptevoError, UsageError
from optevo.models.apply import apply_model
from optevo.models.compare import compare_models
from optevo.models.export import export_model
from optevo.models.families import FAMILIES, family_of
from optevo.models.folder import load_generator, read_facts
from optevo.models.pair import PairFacts, is_pair, load_pair, read_pair_facts, save_modules, save_pair
from optevo.networks.slicing import slice_filters
from optevo.spaces.resnet import ResNetArchitecture, cyclegan

FACTS = PairFacts(size=(32, 32))


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    return tiny_pair(tmp_path / "pair")


def test_a_loaded_pair_is_the_saved_one(pair: Path) -> None:
    saved, loaded = tiny_translators(), load_pair(pair)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    for (name, one), (_, other) in zip(saved.named(), loaded.named(), strict=True):
        assert torch.equal(one(images), other(images)), name
        assert not other.training
        assert not any(parameter.requires_grad for parameter in other.parameters())
    facts = read_pair_facts(pair)
    assert (facts.size, facts.title, facts.seed, facts.fingerprint) == ((32, 32), "tiny", 1, "f")
    assert facts.judges["judge_b"] == {"input_channels": 3, "ndf": 3, "layers": 2, "norm": "instance"}
    assert "fid_AtoB_x: 3.0000" in (pair / "README.md").read_text()
    assert is_pair(pair)
    assert not is_pair(pair / "a_to_b")


def test_its_halves_are_model_folders_that_say_what_they_cost(pair: Path) -> None:
    for name, direction, plan in (
        ("a_to_b", "AtoB", cyclegan(ngf=2, blocks=1)),
        ("b_to_a", "BtoA", cyclegan(ngf=3, blocks=2)),
    ):
        facts = read_facts(pair / name)
        module = load_generator(pair / name)
        assert ResNetArchitecture.from_dict(facts.architecture) == plan
        assert (facts.family, facts.direction, facts.size) == ("resnet", direction, (32, 32))
        assert facts.parameters == parameters(module)
        assert facts.exact_macs == exact_macs(module, 1, 3, 32, 32)
        assert facts.literature_macs == literature_macs(module, 1, 3, 32, 32) > facts.exact_macs
        assert list(facts.metrics) == [f"fid_{direction}_x"]
        assert f"stem {plan.stem}" in (pair / name / "README.md").read_text()


def test_networks_that_filters_were_taken_out_of_are_kept(tmp_path: Path) -> None:
    whole = tiny_translators()
    keep = np.array([True, False])
    sliced = slice_filters(whole.a_to_b, {"model.1": keep}, torch.zeros(1, 3, 32, 32))
    save_pair(tmp_path / "small", replace(whole, a_to_b=sliced), FACTS)
    facts = read_facts(tmp_path / "small" / "a_to_b")
    assert facts.architecture["stem"] == 1
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(load_generator(tmp_path / "small" / "a_to_b")(images), sliced.eval()(images))


def test_a_pair_between_grey_and_colour(tmp_path: Path) -> None:
    tiny_pair(tmp_path / "pair", images=(1, 3))
    loaded = load_pair(tmp_path / "pair")
    assert loaded.b_to_a(loaded.a_to_b(torch.zeros(1, 1, 16, 16))).shape == (1, 1, 16, 16)


def test_a_pair_without_discriminators_is_written_and_cannot_be_loaded_as_translators(tmp_path: Path) -> None:
    made = tiny_translators()
    generators = {"a_to_b": made.a_to_b, "b_to_a": made.b_to_a}
    save_modules(tmp_path / "pair", generators=generators, judges={}, facts=FACTS)
    assert load_generator(tmp_path / "pair" / "b_to_a")(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 8, 8)
    with pytest.raises(UsageError, match=r"holds no discriminators.*--judge-a"):
        load_pair(tmp_path / "pair")


def _without(*names: str) -> Callable[[Path], None]:
    def damage(pair: Path) -> None:
        for name in names:
            if (pair / name).is_dir():
                (pair / name).rename(pair.parent / f"moved-{name}")
            else:
                (pair / name).unlink()

    return damage


def _said(**changes: object) -> Callable[[Path], None]:
    def damage(pair: Path) -> None:
        stored = json.loads((pair / "pair.json").read_text())
        for key, value in changes.items():
            if value is None:
                del stored[key]
            else:
                stored[key] = {**stored[key], **value} if isinstance(value, dict) else value
        (pair / "pair.json").write_text(json.dumps(stored))

    return damage


def _other_judges(pair: Path) -> None:
    tensors = load_file(pair / "judges.safetensors")
    save_file({name: value[:1] for name, value in tensors.items()}, pair / "judges.safetensors")


SHAPE = {"input_channels": 3, "ndf": 2, "layers": 1, "norm": "instance"}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_without("pair.json"), r"not a pair folder \(pair\.json"),
        (_without("a_to_b"), "the half a_to_b is missing"),
        (_without("judges.safetensors"), r"judges\.safetensors: not readable"),
        (_other_judges, r"judge_a does not fit pair\.json \(size mismatch for model"),
        (_said(judges={"judge_a": {**SHAPE, "ndf": 3}}), r"judge_a does not fit pair\.json"),
        (_said(judges={"judge_a": {**SHAPE, "input_channels": 1}}), "judge_a does not fit: it judges .* 1 channels"),
        (_said(judges={"judge_a": {**SHAPE, "layers": 4}}), "judge_a does not fit: with 4 layers it needs 48 pixels"),
        (_said(judges={"judge_a": {**SHAPE, "ndf": 10**9}}), "judge_a.ndf = 1000000000"),
        (_said(judges={"judge_a": {**SHAPE, "norm": "none"}}), "norm = 'none'"),
        (_said(judges={"judge_a": {"ndf": 3}}), "judge_a: the shape of a discriminator"),
        (_said(size=None), "damaged"),
        (_said(size=[32]), "damaged"),
        (_said(surprise=1), "damaged"),
        (_said(format=9, optevo="7.0"), "written by optevo 7.0"),
    ],
)
def test_what_is_damaged_is_refused_in_one_line(pair: Path, damage: Callable[[Path], None], says: str) -> None:
    damage(pair)
    with pytest.raises(UsageError, match=says) as error:
        load_pair(pair)
    assert "\n" not in str(error.value)
    assert str(pair) in str(error.value) or "norm" in says


def test_what_does_not_fit_is_not_written(tmp_path: Path) -> None:
    made = tiny_translators()
    grey = tiny_translators(images=(1, 3))
    for wrong, says in (
        (replace(made, b_to_a=grey.b_to_a), "gives images of A with 1 channels"),
        (replace(made, judge_a=grey.judge_a), "judge_a does not fit"),
        (replace(made, judge_a=torch.nn.Linear(1, 1)), "judge_a: a Linear"),
        (replace(made, a_to_b=torch.nn.Linear(1, 1)), "class Linear: model folders hold unet, resnet"),
    ):
        with pytest.raises(UsageError, match=says):
            save_pair(tmp_path / "pair", wrong, FACTS)
    with pytest.raises(UsageError, match="multiple of 4"):
        save_pair(tmp_path / "pair", made, PairFacts(size=(30, 32)))
    assert list(tmp_path.iterdir()) == []


def test_a_pair_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "precious").write_text("mine")
    with pytest.raises(OptevoError, match="cannot write the pair"):
        save_pair(tmp_path / "taken", tiny_translators(), FACTS)
    assert (tmp_path / "taken" / "precious").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_every_family_knows_its_modules_and_architectures() -> None:
    plans = {
        "unet": {"channels": [2, 3], "skips": [True]},
        "resnet": {"stem": 2, "down": [3], "inner": [], "up": [2]},
    }
    assert set(FAMILIES) == {*plans, "custom", "dcgan"}  # the last two are other files'
    for name, plan in plans.items():
        family = FAMILIES[name]
        architecture = family.read({**plan, "input_channels": 3, "output_channels": 1})
        module = family.network()(architecture)
        assert family_of(module) is family
        assert family.of(module) == architecture
        shape = (1, 3, architecture.least, architecture.least + architecture.multiple)
        assert module.eval()(torch.zeros(shape)).shape == (1, 1, *shape[2:])
        with pytest.raises(UsageError):
            module(torch.zeros(1, 3, architecture.least - 1, architecture.least))


# What takes a model folder takes a half of a pair.


def test_halves_translate_pictures_smaller_than_they_can(pair: Path, tmp_path: Path) -> None:
    for number, (height, width) in enumerate([(32, 32), (3, 50), (1, 1)]):
        save(tmp_path / "in" / f"{number}.png", noise(height, width, seed=number))
    written = apply_model(pair / "a_to_b", tmp_path / "in", out=tmp_path / "out", device="cpu")
    found = [np.asarray(Image.open(path)) for path in written]
    assert [one.shape for one in found] == [(32, 32, 3), (3, 50, 3), (1, 1, 3)]
    image = torch.from_numpy(noise(32, 32, seed=0).astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    wanted = ((load_generator(pair / "a_to_b")(image)[0].permute(1, 2, 0) + 1) * 127.5).numpy()
    np.testing.assert_allclose(found[0], wanted, atol=1)
    with pytest.raises(UsageError, match=r"holds two models; name .*a_to_b or .*b_to_a"):
        apply_model(pair, tmp_path / "in", out=tmp_path / "other")


def test_exports_are_re_run_on_images_of_the_domain_that_they_take(tmp_path: Path) -> None:
    data = unpaired_folder(tmp_path / "data", counts={"train": 1, "test": 2})
    tiny_pair(tmp_path / "pair", images=(1, 3))
    for name, channels in (("a_to_b", 1), ("b_to_a", 3)):
        report = export_model(tmp_path / "pair" / name, format="pt2", images=data)
        assert report.images == str(data)
        assert report.shapes[0] == (1, channels, 32, 32)
        assert report.largest_difference < 1e-4
    (data / "testB" / "0.png").write_text("no picture")
    with pytest.raises(UsageError, match=r"0\.png: is not an image"):
        export_model(tmp_path / "pair" / "b_to_a", format="pt2", images=data, out=tmp_path / "x.pt2")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no images"):
        export_model(tmp_path / "pair" / "b_to_a", format="pt2", images=tmp_path / "empty", out=tmp_path / "x.pt2")


@pytest.mark.slow
def test_halves_are_exported_and_the_file_takes_the_same_pictures(pair: Path, tmp_path: Path) -> None:
    for module in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason="ONNX needs the extra: pip install 'optevo[onnx]'")
    report = export_model(pair / "b_to_a", format="onnx")
    assert (report.multiple, report.largest_difference < 1e-4) == (4, True)
    assert (1, 3, 8, 12) in report.shapes
    save(tmp_path / "in" / "small.png", noise(3, 5))
    save(tmp_path / "in" / "other.png", noise(21, 50, seed=3))
    for model in (report.path, pair / "b_to_a"):
        apply_model(model, tmp_path / "in", out=tmp_path / model.name, device="cpu")
    for name in ("small.png", "other.png"):
        one, other = (np.asarray(Image.open(tmp_path / of / name)).astype(int) for of in ("generator.onnx", "b_to_a"))
        assert one.std() > 5
        np.testing.assert_allclose(one, other, atol=1)
    assert export_model(pair / "a_to_b", format="pt2", size=(16, 24)).largest_difference < 1e-5


def test_halves_are_compared_on_pairs(pair: Path, tmp_path: Path) -> None:
    ab_folder(tmp_path / "data", {"train": 1, "test": 2}, size=(32, 32))
    rows = compare_models([pair / "a_to_b", pair / "b_to_a"], data=tmp_path / "data", device="cpu", runs=1)
    assert [row["direction"] for row in rows] == ["AtoB", "BtoA"]
    assert all("l1_test_2x32x32_eval" in row for row in rows)
