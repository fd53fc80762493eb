"""Generators of an installed package: built, stored whole and sliced, loaded, refused; found by real metadata."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from generator_package import KEYS, install_generators
from sample_images import ab_folder, noise, save

from optevo.errors import UsageError
from optevo.models.apply import apply_model
from optevo.models.compare import compare_models
from optevo.models.export import export_model
from optevo.models.families import FAMILIES, family_of
from optevo.models.folder import load_generator, read_facts
from optevo.models.import_pair import import_pair
from optevo.models.pair import PairFacts, load_pair, save_modules, save_pair
from optevo.networks.custom import CustomGenerator, custom_generator, installed
from optevo.networks.norm import InstanceNorm
from optevo.networks.patchgan import PatchGAN
from optevo.networks.slicing import filter_groups, slice_filters
from optevo.search.spec import parse_settings
from optevo.spaces.custom import CustomArchitecture
from optevo.tasks.filter_tables import make_table
from optevo.tasks.teacher import build
from optevo.tasks.teacher_settings import TeacherSpec
from optevo.tasks.translators import Translators
from optevo.training.engine import resolve

SIZE = (16, 16)
EXAMPLE = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> str:
    return install_generators(tmp_path_factory.mktemp("package"))["SITE"]


@pytest.fixture
def package(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(site)


def generator(key: str, **arguments: object) -> CustomGenerator:
    torch.manual_seed(5)
    return custom_generator(key, arguments, input_channels=3, output_channels=3, size=SIZE)  # type: ignore[arg-type]


def halved(network: torch.nn.Module) -> torch.nn.Module:
    masks = {group.name: np.arange(group.size) % 2 == 0 for group in filter_groups(network, EXAMPLE)}
    return slice_filters(network.eval(), masks, EXAMPLE)


def translators(there: torch.nn.Module, back: torch.nn.Module) -> Translators:
    return Translators(
        there, back, PatchGAN(3, ndf=2, layers=1, norm="instance"), PatchGAN(3, ndf=2, layers=1, norm="instance")
    )


def stored(folder: Path, key: str = "hourglass") -> Path:
    return save_pair(folder, translators(halved(generator(key)), generator(key)), PairFacts(size=SIZE))


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(("key", "multiple", "least"), [("hourglass", 2, 2), ("residual", 1, 2), ("plain", 2, 4)])
def test_what_sizes_a_generator_takes_is_found_out(key: str, multiple: int, least: int) -> None:
    made = generator(key)
    assert (made.architecture.multiple, made.architecture.least) == (multiple, least)
    assert (made.architecture.package, made.architecture.version) == ("other-generators", "1.2.3")
    assert made.training
    made.eval()
    assert made(torch.zeros(1, 3, least, least + 3 * multiple)).shape == (1, 3, least, least + 3 * multiple)
    with pytest.raises(UsageError, match=f"height = 1: the generator {key!r} needs a multiple of {multiple}"):
        made(torch.zeros(1, 3, 1, 16))
    assert family_of(made).name == "custom"
    assert family_of(made).of(made) == made.architecture
    assert CustomArchitecture.from_dict(json.loads(json.dumps(made.architecture.to_dict()))) == made.architecture


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("key", ["hourglass", "residual", "plain"])
def test_what_is_left_of_it_is_stored_loaded_exported_and_applied(key: str, tmp_path: Path) -> None:
    small = halved(generator(key))
    pair = save_pair(tmp_path / "pair", translators(small, generator(key)), PairFacts(size=SIZE))
    before = torch.get_rng_state()
    loaded = load_generator(pair / "a_to_b")
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        assert torch.equal(loaded(EXAMPLE), small(EXAMPLE))
        assert torch.equal(load_pair(pair).a_to_b(EXAMPLE), small(EXAMPLE))
    facts = read_facts(pair / "a_to_b")
    assert facts.parameters == sum(p.numel() for p in small.parameters()) < read_facts(pair / "b_to_a").parameters
    for number, shape in enumerate([(16, 16), (9, 21), (1, 2)]):
        save(tmp_path / "in" / f"{number}.png", noise(*shape, seed=number))
    assert len(apply_model(pair / "a_to_b", tmp_path / "in", out=tmp_path / "out", device="cpu")) == 3
    (row,) = compare_models([pair / "a_to_b"], data=ab_folder(tmp_path / "ab", {"test": 2}, size=SIZE), runs=1)
    assert row["parameters"] == facts.parameters
    report = export_model(pair / "a_to_b", format="onnx", images=[EXAMPLE[0].clamp(-1, 1)])
    assert report.largest_difference < 1e-4
    assert export_model(pair / "a_to_b", format="pt2", images=[EXAMPLE[0].clamp(-1, 1)]).largest_difference < 1e-5
    # It is loaded without what slices, and can be compressed again.
    code = (
        "import sys; from optevo.models.folder import load_generator; "
        f"load_generator({str(pair / 'a_to_b')!r}); print('torch_pruning' in sys.modules)"
    )
    where = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=where)
    assert ran.stdout.strip() == "False"
    assert make_table(loaded, channels=3, size=SIZE, tie=True).chromosomes


def test_a_generator_that_is_not_installed_is_named_with_its_package(site: str, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        pair = stored(tmp_path / "pair")
    with pytest.raises(
        UsageError, match=r"generator 'hourglass': is not installed .*install other-generators==1\.2\.3"
    ):
        load_generator(pair / "a_to_b")
    with pytest.raises(UsageError, match=r"generator 'mine': is not installed \(no installed package offers one\)"):
        generator("mine")


@pytest.mark.usefixtures("package")
def test_an_unknown_key_lists_what_is_installed() -> None:
    assert set(installed()) == set(KEYS)
    with pytest.raises(
        UsageError, match=r"generator 'hourglas': is not installed \(installed are absent, .*hourglass,"
    ):
        generator("hourglas")


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("key", ["os:system", "other_generators:Hourglass", "antigravity"])
def test_a_model_folder_names_no_code(key: str, tmp_path: Path) -> None:
    pair = stored(tmp_path / "pair")
    path = pair / "a_to_b" / "model.json"
    facts = json.loads(path.read_text())
    facts["architecture"]["generator"] = key
    path.write_text(json.dumps(facts))
    with pytest.raises(UsageError, match="is not installed"):
        load_generator(pair / "a_to_b")
    assert "antigravity" not in sys.modules


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"least": 3}, "least = 3: must be a multiple of 2"),
        ({"input_channels": True}, "input_channels = True: must be a whole number"),
        ({"generator": ""}, "generator = ''"),
        ({"arguments": {"width": [1]}}, r"arguments\.width = \[1\]: must be a number, text, true or false"),
        ({"arguments": {"__import__('os')": 1}}, "is no name of an argument"),
        ({"more": 1}, "must be a table with the keys"),
        ({"arguments": {"nonsense": 1}}, r"cannot be built \(TypeError: .*nonsense"),
    ],
)
def test_damaged_facts_are_refused(changes: dict, says: str, tmp_path: Path) -> None:
    pair = stored(tmp_path / "pair")
    path = pair / "a_to_b" / "model.json"
    facts = json.loads(path.read_text())
    facts["architecture"] |= changes
    path.write_text(json.dumps(facts))
    with pytest.raises(UsageError, match=says) as error:
        load_generator(pair / "a_to_b")
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("package")
def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    one, other = stored(tmp_path / "one"), stored(tmp_path / "other", "residual")
    (other / "a_to_b" / "generator.safetensors").replace(one / "a_to_b" / "generator.safetensors")
    with pytest.raises(
        UsageError, match=r"one/a_to_b: generator\.safetensors does not fit model\.json \(network\..*\)"
    ):
        load_generator(one / "a_to_b")


def test_another_version_of_the_package_is_said(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        pair = stored(tmp_path / "pair")
    newer = install_generators(tmp_path / "newer", version="2.0", keys={"hourglass": "Hourglass"})
    monkeypatch.syspath_prepend(newer["SITE"])
    load_generator(pair / "a_to_b")
    assert "was made with other-generators 1.2.3, and other-generators 2.0 is installed" in caplog.text
    second = install_generators(tmp_path / "second", name="second-generators", keys={"hourglass": "Hourglass"})
    monkeypatch.syspath_prepend(second["SITE"])
    with pytest.raises(UsageError, match=r"'hourglass': is offered by (other-|second-)generators and (other-|second-)"):
        load_generator(pair / "a_to_b")


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("no-module", r"'no-module' of other-generators 1\.2\.3: gives a str; it must give a torch\.nn\.Module"),
        ("broken", r"'broken' of .*cannot be built \(RuntimeError: there is nothing here\)"),
        ("absent", r"'absent' of .*cannot be built \(AttributeError: .*Absent"),
        ("one-size", r"'one-size' \(OneSize\): takes images of 16x16 alone"),
        ("norm-function", r"'norm-function' \(NormFunction\): its gradients in channels_last are wrong"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(key: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as error:
        generator(key)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("shuffled", r"network\.body\.2 \(PixelShuffle\) cannot lose single filters"),
        ("grouped", r"network\.body\.1 \(GroupNorm\) cannot lose single filters"),
        ("functional", "Functional, whose kernel goes into a functional convolution"),
        ("spectral", r"network\.body\.0 \(parametrized weights, such as spectral norm\)"),
        ("older-spectral", r"network\.body\.0 \(SpectralNorm\)"),
        ("untraceable", "cannot be traced: no gradient goes through network.first"),
    ],
)
def test_what_masks_do_not_work_with_is_refused_by_name(key: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as error:
        make_table(generator(key).eval(), channels=3, size=SIZE, tie=True)
    assert str(error.value).startswith(f"generator {key!r} (")
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("package")
def test_teachers_of_one_s_own_architecture_know_the_channels_and_train_right() -> None:
    spec = parse_settings(
        TeacherSpec,
        {
            "data": {"root": "x", "size": 18, "channels_a": 1},
            "networks": {"generator": "plain", "arguments": {"width": 5}, "ndf": 2, "discriminator_layers": 1},
            "training": {"identity_weight": 0},
        },
        source="tests",
    )
    pair = build(spec, engine=resolve(device="cpu", precision="fp32"))
    assert pair.a_to_b(torch.zeros(1, 1, 18, 18)).shape == (1, 3, 18, 18)
    assert pair.b_to_a(torch.zeros(1, 3, 18, 18)).shape == (1, 1, 18, 18)
    assert pair.a_to_b.network.body[0].out_channels == 5  # type: ignore[union-attr, index]
    norms = [type(layer) for layer in pair.a_to_b.modules() if isinstance(layer, torch.nn.InstanceNorm2d)]
    assert norms == [InstanceNorm] * 3
    again = build(spec, engine=resolve(device="cpu", precision="fp32"))
    assert all(torch.equal(a, b) for a, b in zip(pair.b_to_a.parameters(), again.b_to_a.parameters(), strict=True))
    assert parse_settings(TeacherSpec, spec.model_dump(mode="json"), source="again") == spec


@pytest.mark.parametrize(
    ("networks", "says"),
    [
        (
            {"generator": "plain", "ngf": 8},
            "networks.ngf: is of CycleGAN's generator, and networks.generator = 'plain'",
        ),
        ({"arguments": {"width": 3}}, "networks.arguments: are for a generator of your own"),
        ({"generator": "plain", "arguments": {"width": [3]}}, r"networks\.arguments\.width = \[3\]: must be a number"),
    ],
)
def test_settings_that_contradict_each_other(networks: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_settings(TeacherSpec, {"data": {"root": "x"}, "networks": networks}, source="tests")


@pytest.mark.usefixtures("package")
def test_state_dicts_of_the_package_s_module_are_imported(tmp_path: Path) -> None:
    import other_generators  # type: ignore[import-not-found]

    torch.manual_seed(1)
    networks = {
        "there": other_generators.plain(width=5, input_channels=1),
        "back": other_generators.plain(width=5, output_channels=1),
    }
    for name, network in networks.items():
        torch.save(network.state_dict(), tmp_path / f"{name}.pth")
    files = {"a_to_b": tmp_path / "there.pth", "b_to_a": tmp_path / "back.pth"}
    import_pair(tmp_path / "pair", **files, size=SIZE, generator="plain", arguments={"width": 5})
    for half, network in zip(("a_to_b", "b_to_a"), networks.values(), strict=True):
        ours = load_generator(tmp_path / "pair" / half)
        image = EXAMPLE[:, : ours.architecture.input_channels]  # type: ignore[union-attr, index, misc]
        with torch.no_grad():
            torch.testing.assert_close(ours(image), network.eval()(image), atol=1e-5, rtol=1e-4)
    # Also what is left of one, whoever took the filters out.
    small = halved(generator("plain", width=6))
    torch.save(small.network.state_dict(), tmp_path / "small.pth")
    left = {"a_to_b": tmp_path / "small.pth", "b_to_a": tmp_path / "small.pth"}
    import_pair(tmp_path / "left", **left, size=SIZE, generator="plain")
    with torch.no_grad():
        torch.testing.assert_close(load_generator(tmp_path / "left" / "b_to_a")(EXAMPLE), small(EXAMPLE))
    with pytest.raises(UsageError, match=r"there\.pth: body\.0\.bias: has the shape \(5,\), and \(3,\) is built"):
        import_pair(tmp_path / "other", **files, size=SIZE, generator="plain", arguments={"width": 3})
    with pytest.raises(UsageError, match=r"there\.pth: body\.0\.weight: the network has no such tensor"):
        import_pair(tmp_path / "other", **files, size=SIZE, generator="hourglass")
    with pytest.raises(UsageError, match="generator 'none': is not installed"):
        import_pair(tmp_path / "other", **files, size=SIZE, generator="none")
    with pytest.raises(UsageError, match="--argument: is for a generator of your own"):
        import_pair(tmp_path / "other", **files, size=SIZE, arguments={"width": 3})
    assert not (tmp_path / "other").exists()


def test_only_known_families_are_stored(tmp_path: Path) -> None:
    plain = torch.nn.Conv2d(3, 3, 1)
    with pytest.raises(
        UsageError, match="a generator of the class Conv2d: model folders hold unet, resnet, dcgan, custom"
    ):
        save_modules(tmp_path / "p", generators={"a_to_b": plain, "b_to_a": plain}, judges={}, facts=PairFacts(SIZE))
    assert FAMILIES["custom"].title == "custom"
