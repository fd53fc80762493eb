"""State dicts of pytorch-CycleGAN-and-pix2pix become pairs that compute the same; what is none is refused by name."""

from pathlib import Path

import pytest
import torch
from cyclegan_code import Discriminator, Generator, run_a_little, without_statistics
from torch import nn

from optevo.errors import UsageError
from optevo.models.folder import load_generator, read_facts
from optevo.models.import_pair import generator_of, import_pair, judge_of, read_weights
from optevo.models.pair import load_pair, read_pair_facts

FILES = ("latest_net_G_A.pth", "latest_net_G_B.pth", "latest_net_D_A.pth", "latest_net_D_B.pth")


def written(folder: Path, *, statistics: bool = False, prefix: str = "", zipped: bool = True) -> dict[str, nn.Module]:
    """That code's four files of a training between colour (A) and grey (B), and their networks by file name.

    Different channels, so that nothing can be taken for its counterpart.
    """
    torch.manual_seed(0)
    networks: dict[str, nn.Module] = {
        FILES[0]: Generator(3, 2, takes=3, gives=1, statistics=statistics),
        FILES[1]: Generator(2, 1, takes=1, gives=3, statistics=statistics),
        FILES[2]: Discriminator(2, takes=1, statistics=statistics),  # opposes G_A, which makes images of B
        FILES[3]: Discriminator(3, takes=3, layers=2, statistics=statistics),
    }
    folder.mkdir(exist_ok=True)
    for name, network in networks.items():
        run_a_little(network)
        state = {f"{prefix}{key}": value for key, value in network.state_dict().items()}
        torch.save(state, folder / name, _use_new_zipfile_serialization=zipped)
    return {name: without_statistics(network) for name, network in networks.items()}


def imported(source: Path, folder: Path, **changes: object) -> Path:
    given = {
        "a_to_b": source / FILES[0],
        "b_to_a": source / FILES[1],
        "judge_a": source / FILES[3],
        "judge_b": source / FILES[2],
        "size": (32, 32),
    }
    import_pair(folder, **{**given, **changes})  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize(
    "how", [{}, {"statistics": True}, {"prefix": "module."}, {"zipped": False, "statistics": True}]
)
def test_an_imported_pair_computes_what_was_trained(how: dict, tmp_path: Path) -> None:
    networks = written(tmp_path / "theirs", **how)
    pair = load_pair(imported(tmp_path / "theirs", tmp_path / "pair"))
    colour, grey = torch.rand(1, 3, 32, 48) * 2 - 1, torch.rand(1, 1, 32, 48) * 2 - 1
    with torch.no_grad():
        for ours, theirs, images in (
            (pair.a_to_b, FILES[0], colour),
            (pair.b_to_a, FILES[1], grey),
            (pair.judge_b, FILES[2], grey),  # their D_A
            (pair.judge_a, FILES[3], colour),  # their D_B
        ):
            expected = networks[theirs](images)
            assert expected.std() > 1e-3
            torch.testing.assert_close(ours(images), expected, atol=1e-5, rtol=1e-4)


def test_widths_blocks_and_layers_are_read_off_the_shapes(tmp_path: Path) -> None:
    written(tmp_path / "theirs")
    pair = imported(tmp_path / "theirs", tmp_path / "pair")
    architecture = read_facts(pair / "a_to_b").architecture
    assert architecture == {
        "stem": 3, "down": [6, 12], "inner": [12, 12], "up": [6, 3], "input_channels": 3, "output_channels": 1,
    }  # fmt: skip
    facts = read_pair_facts(pair)
    assert facts.judges["judge_a"] == {"input_channels": 3, "ndf": 3, "layers": 2, "norm": "instance"}
    assert facts.training["imported"]["judge_a"] == "latest_net_D_B.pth"


def test_the_published_network_is_recognised() -> None:
    with torch.device("meta"):
        theirs = Generator(64, 9).state_dict()
    from optevo.spaces.resnet import architecture_of_shapes, cyclegan

    assert architecture_of_shapes({name: tuple(value.shape) for name, value in theirs.items()}) == cyclegan()


def test_without_discriminators_it_translates_alone(tmp_path: Path) -> None:
    written(tmp_path / "theirs")
    pair = imported(tmp_path / "theirs", tmp_path / "pair", judge_a=None, judge_b=None)
    assert load_generator(pair / "a_to_b")(torch.zeros(1, 3, 8, 8)).shape == (1, 1, 8, 8)
    with pytest.raises(UsageError, match="holds no discriminators"):
        load_pair(pair)
    with pytest.raises(UsageError, match="both discriminators, or neither"):
        imported(tmp_path / "theirs", tmp_path / "other", judge_a=None)


@pytest.mark.parametrize(
    ("role", "file", "says"),
    [
        ("a_to_b", 1, r"--a-to-b .*latest_net_G_B\.pth: is called net_G_B: name it with --b-to-a"),
        ("judge_a", 2, r"--judge-a .*latest_net_D_A\.pth: .*--judge-b; D_A there judges what G_A makes, images of B"),
        ("judge_b", 3, r"--judge-b .*D_B\.pth: .*--judge-a"),
        ("b_to_a", 2, r"--b-to-a .*D_A\.pth: .*--judge-b"),
    ],
)
def test_files_that_are_swapped_by_their_names_are_refused(role: str, file: int, says: str, tmp_path: Path) -> None:
    written(tmp_path / "theirs")
    with pytest.raises(UsageError, match=says):
        imported(tmp_path / "theirs", tmp_path / "pair", **{role: tmp_path / "theirs" / FILES[file]})


def test_networks_that_are_swapped_under_other_names_do_not_fit_each_other(tmp_path: Path) -> None:
    written(tmp_path / "theirs")
    for name, new in zip(FILES, ("one.pth", "two.pth", "three.pth", "four.pth"), strict=True):
        (tmp_path / "theirs" / name).rename(tmp_path / "theirs" / new)
    paths = {name: tmp_path / "theirs" / f"{name}.pth" for name in ("one", "two", "three", "four")}
    # Taken as that code names them, D_A for the judge of A:
    with pytest.raises(UsageError, match="judge_a does not fit: it judges images with 1 channels"):
        import_pair(
            tmp_path / "pair", a_to_b=paths["one"], b_to_a=paths["two"], judge_a=paths["three"],
            judge_b=paths["four"], size=(32, 32),
        )  # fmt: skip
    assert not (tmp_path / "pair").exists()


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


class Evil:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_what_is_no_state_dict_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    for path, says in (
        (tmp_path / "none.pth", "there is no such file"),
        (tmp_path / "text.pth", "no state dict that can be read safely"),
        (saved(tmp_path / "evil.pth", Evil()), "no state dict that can be read safely"),
        (saved(tmp_path / "list.pth", [torch.zeros(1)]), "holds no state dict"),
        (saved(tmp_path / "nested.pth", {"state": {"a": torch.zeros(1)}}), "holds no state dict"),
        (saved(tmp_path / "nan.pth", {"a": torch.full((1,), float("nan"))}), "a holds values that are no numbers"),
    ):
        with pytest.raises(UsageError, match=says) as error:
            read_weights(path)
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)
    assert "never" not in capsys.readouterr().out


def changed(network: nn.Module, **changes: object) -> dict:
    weights = dict(network.state_dict())
    for key, value in changes.items():
        name = key.replace("__", ".")
        if value is None:
            del weights[name]
        else:
            weights[name] = torch.zeros(value)  # type: ignore[arg-type]
    return weights


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model__4__bias": None}, r"model\.4\.bias: is missing"),
        ({"model__4__weight": (8, 4, 5, 5)}, r"model\.4\.weight: has the shape \(8, 4, 5, 5\)"),
        ({"model__4__weight": (9, 4, 3, 3)}, r"model\.4\.bias: has the shape \(8,\)"),
        ({"model__10__conv_block__6__weight": (16, 16, 3, 3)}, r"model\.10\.conv_block\.6\.weight: .*no such weight"),
        ({"model__1__weight": None}, r"model\.1\.weight: is not what CycleGAN's residual generator has there"),
        ({"model__1__weight": (4,)}, r"model\.1\.weight: has the shape \(4,\)"),
        ({"model__2__weight": (4,), "model__5__weight": (8,)}, r"model\.\d\.weight: has the shape .*instance norm"),
        ({"extra": (1,)}, "extra: .*no such weight"),
    ],
)
def test_another_generator_is_refused_with_file_and_key(changes: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says) as error:
        generator_of(changed(Generator(4, 1), **changes), path=Path("some/file.pth"))
    assert str(error.value).startswith("some/file.pth: ")
    assert "\n" not in str(error.value)


def test_a_u_net_and_a_discriminator_are_no_residual_generators() -> None:
    from optevo.networks.unet import UNetGenerator
    from optevo.spaces.unet import UNetArchitecture

    for other in (UNetGenerator(UNetArchitecture((2, 3), (True,))), Discriminator(2)):
        with pytest.raises(UsageError, match=r"f\.pth: "):
            generator_of(dict(other.state_dict()), path=Path("f.pth"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model__0__weight": None}, r"model\.0\.weight: is not what a PatchGAN has there"),
        ({"model__2__bias": None}, r"model\.2\.bias: is missing"),
        ({"model__5__weight": (16, 4, 4, 4)}, r"model\.5\.weight: has the shape \(16, 4, 4, 4\)"),
        ({"model__3__weight": (8,)}, r"model\.3\.weight: .*another norm"),
    ],
)
def test_another_discriminator_is_refused_with_file_and_key(changes: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says) as error:
        judge_of(changed(Discriminator(4), **changes), path=Path("d.pth"))
    assert str(error.value).startswith("d.pth: ")


def test_a_size_that_does_not_fit_and_a_folder_that_is_taken(tmp_path: Path) -> None:
    written(tmp_path / "theirs")
    with pytest.raises(UsageError, match="multiple of 4"):
        imported(tmp_path / "theirs", tmp_path / "pair", size=(30, 32))
    with pytest.raises(UsageError, match="needs 24 pixels"):
        imported(tmp_path / "theirs", tmp_path / "pair", size=(16, 16))
    with pytest.raises(UsageError, match="not empty"):
        imported(tmp_path / "theirs", tmp_path / "theirs")
