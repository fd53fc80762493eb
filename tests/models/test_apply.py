"""Translating pictures: any size, any mode, damaged ones among good ones, interrupted and continued."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sample_images import noise, save, truncated_jpeg
from tiny_models import tiny_model

from optevo.errors import OptevoError, UsageError
from optevo.models.apply import apply_model, open_translator, padded
from optevo.models.folder import load_generator


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("apply") / "model")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Pictures of several sizes, of which two follow each other with equal ones."""
    for number, (height, width) in enumerate([(32, 32), (33, 17), (33, 17), (5, 50), (1, 9)], start=1):
        save(tmp_path / "in" / f"{number}.png", noise(height, width, seed=number))
    return tmp_path / "in"


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def translated(model: Path, image: np.ndarray) -> np.ndarray:
    """By torch alone, for pictures that need no padding."""
    with torch.inference_mode():
        batch = torch.from_numpy(image.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
        output = load_generator(model)(batch)[0].permute(1, 2, 0)
    return ((output + 1) * 127.5).round().byte().numpy()


def test_pictures_of_any_size_keep_their_names_and_sizes(model: Path, images: Path, tmp_path: Path):
    (images / "notes.txt").write_text("no picture")
    (images / ".hidden.png").write_text("no picture")
    (images / "folder.png").mkdir()
    written = apply_model(model, images, out=tmp_path / "out", device="cpu")
    assert written == [tmp_path / "out" / f"{number}.png" for number in range(1, 6)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [path.name for path in written]
    assert [pixels(path).shape for path in written] == [
        (32, 32, 3), (33, 17, 3), (33, 17, 3), (5, 50, 3), (1, 9, 3),
    ]  # fmt: skip


def test_a_picture_that_fits_is_exactly_what_the_model_makes(model: Path, images: Path, tmp_path: Path):
    (path,) = apply_model(model, images / "1.png", out=tmp_path / "out", device="cpu")
    assert pixels(path).std() > 5
    np.testing.assert_allclose(pixels(path), translated(model, pixels(images / "1.png")), atol=1)


def test_other_pictures_are_reflected_and_cropped(model: Path, images: Path, tmp_path: Path):
    (path,) = apply_model(model, images / "2.png", out=tmp_path / "out", device="cpu")
    given = pixels(images / "2.png")  # 33 x 17 -> 40 x 24: 3 above and 4 below, 3 left and 4 right
    whole = np.pad(given, ((3, 4), (3, 4), (0, 0)), mode="reflect")
    np.testing.assert_allclose(pixels(path), translated(model, whole)[3:36, 3:20], atol=1)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 8), (8, 8), (9, 30), (2, 64)])
def test_padding_holds_the_picture_in_its_middle(height: int, width: int):
    given = noise(height, width)
    whole, part = padded(given, multiple=16)
    assert whole.shape[0] % 16 == whole.shape[1] % 16 == 0
    assert whole.shape[0] < height + 16
    np.testing.assert_array_equal(whole[part], given)
    for side, inner in zip(whole.shape[:2], part, strict=True):
        assert 0 <= (side - inner.stop) - inner.start <= 1


def test_batches_change_nothing(model: Path, images: Path, tmp_path: Path):
    one = apply_model(model, images, out=tmp_path / "one", device="cpu")
    many = apply_model(model, images, out=tmp_path / "many", device="cpu", batch_size=4)
    for first, second in zip(one, many, strict=True):
        np.testing.assert_allclose(pixels(first), pixels(second), atol=1)


@pytest.mark.parametrize(("channels", "mode"), [((1, 1), "L"), ((1, 3), "RGB"), ((3, 1), "L")])
def test_grey_models_read_and_write_grey(tmp_path: Path, channels: tuple[int, int], mode: str):
    model = tiny_model(tmp_path / "m", images=channels)
    save(tmp_path / "in" / "colour.png", noise(10, 12))
    save(tmp_path / "in" / "grey.jpg", noise(10, 12, channels=1))
    for path in apply_model(model, tmp_path / "in", out=tmp_path / "out", device="cpu"):
        with Image.open(path) as image:
            assert (image.mode, image.size) == (mode, (12, 10))


def test_a_phone_s_picture_is_turned_upright(model: Path, tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "in").mkdir()
    Image.fromarray(noise(16, 24)).save(tmp_path / "in" / "a.jpg", exif=exif)
    (path,) = apply_model(model, tmp_path / "in", out=tmp_path / "out", device="cpu")
    assert pixels(path).shape == (24, 16, 3)


def test_a_damaged_picture_is_told_and_the_others_are_done(model: Path, images: Path, tmp_path: Path):
    truncated_jpeg(images / "2b.jpg")
    (images / "0.png").write_text("no image")
    told, counts = [], []
    with pytest.raises(OptevoError, match=r"^2 of 7 pictures could not be translated.*0\.png") as error:
        apply_model(
            model, images, out=tmp_path / "out", device="cpu", batch_size=2,
            on_problem=told.append, on_image=lambda done, total: counts.append((done, total)),
        )  # fmt: skip
    assert error.value.exit_code == 1
    assert [("0.png" in line, "2b.jpg" in line) for line in told] == [(True, False), (False, True)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{number}.png" for number in range(1, 6)]
    assert counts == [(done, 7) for done in range(1, 8)]


def test_an_interrupted_run_goes_on_where_it_stopped(model: Path, images: Path, tmp_path: Path):
    def interrupt(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        apply_model(model, images, out=out, device="cpu", on_image=interrupt)
    first = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert sorted(path.name for path in first) == ["1.png", "2.png"]
    counts = []
    written = apply_model(
        model, images, out=out, device="cpu", on_image=lambda done, total: counts.append((done, total))
    )  # fmt: skip
    assert [path.name for path in written] == ["3.png", "4.png", "5.png"]
    assert counts == [(3, 5), (4, 5), (5, 5)]
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert apply_model(model, images, out=out) == []
    assert len(apply_model(model, images, out=out, device="cpu", overwrite=True)) == 5
    assert {path: path.stat().st_mtime_ns for path in first} != first


def test_too_large_pictures_are_told_with_their_padded_size(model: Path, images: Path, tmp_path: Path):
    with pytest.raises(OptevoError, match=r"1 of 1 .*2\.png: is too large \(padded to 24 x 40 pixels, at most 950"):
        apply_model(model, images / "2.png", out=tmp_path / "out", device="cpu", max_pixels=950)
    with pytest.raises(OptevoError, match=r"1 of 1 .*1\.png: is too large \(32 x 32 pixels"):
        apply_model(model, images / "1.png", out=tmp_path / "out", device="cpu", max_pixels=950)


def test_a_model_that_gives_no_numbers_writes_no_picture(images: Path, tmp_path: Path):
    model = tiny_model(tmp_path / "m", gain=float("nan"))
    with pytest.raises(OptevoError, match=r"5 of 5 .*no numbers"):
        apply_model(model, images, out=tmp_path / "out", device="cpu")
    assert list((tmp_path / "out").iterdir()) == []


def test_inputs_are_never_overwritten(model: Path, images: Path, tmp_path: Path):
    before = {path: path.read_bytes() for path in images.iterdir()}
    (tmp_path / "link").symlink_to(images)
    for out in (images, tmp_path / "link", images / ".." / "in"):
        for given in (images, images / "1.png"):
            with pytest.raises(UsageError, match="folder of the pictures themselves"):
                apply_model(model, given, out=out, overwrite=True)
    assert {path: path.read_bytes() for path in images.iterdir()} == before


def test_wrong_arguments_are_refused_before_anything_is_written(model: Path, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    odd = tiny_model(tmp_path / "odd", images=(5, 3))
    for arguments, says in [
        ((model, tmp_path / "nowhere", out), "no such file or folder"),
        ((model, tmp_path / "empty", out), "holds no pictures"),
        ((model, images, tmp_path / "file"), "is a file"),
        ((tmp_path / "file", images, out), "neither a model folder nor an .onnx file"),
        ((tmp_path / "empty", images, out), "not a model folder"),
        ((odd, images, out), "input_channels = 5"),
    ]:
        with pytest.raises(UsageError, match=says):
            apply_model(arguments[0], arguments[1], out=arguments[2], device="cpu")
    with pytest.raises(UsageError, match="batch_size = 0"):
        apply_model(model, images, out=out, batch_size=0)
    save(images / "1.jpg", noise(8, 8))
    with pytest.raises(UsageError, match=r"both become 1\.png"):
        apply_model(model, images, out=out)
    assert not out.exists()


def test_a_full_disk_stops_with_one_line_and_no_half_picture(
    model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(self: Image.Image, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OptevoError, match="No space left on device"):
        apply_model(model, images, out=tmp_path / "out", device="cpu")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("half", [False, True])
def test_an_onnx_file_translates_as_its_model_does(model: Path, images: Path, tmp_path: Path, half: bool):
    for module in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason="ONNX needs the extra: pip install 'optevo[onnx]'")
    from optevo.models.export import export_model

    path = export_model(model, format="onnx", half=half, out=tmp_path / "g.onnx").path
    assert open_translator(path, device="cpu").multiple == 8
    by_torch = apply_model(model, images, out=tmp_path / "torch", device="cpu")
    by_onnx = apply_model(path, images, out=tmp_path / "onnx", device="cpu", batch_size=2)
    for first, second in zip(by_torch, by_onnx, strict=True):
        assert abs(pixels(first).astype(int) - pixels(second)).max() <= 1
