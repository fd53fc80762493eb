from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_images import huge_png, noise, save, truncated_jpeg

from optevo.data.images import read_image
from optevo.errors import UsageError


def test_rgb_and_grey_come_as_they_are(tmp_path: Path) -> None:
    rgb, grey = noise(5, 7), noise(5, 7, channels=1)
    np.testing.assert_array_equal(read_image(save(tmp_path / "rgb.png", rgb)), rgb)
    np.testing.assert_array_equal(read_image(save(tmp_path / "grey.png", grey)), grey[:, :, None])


def test_channels_are_converted(tmp_path: Path) -> None:
    grey = noise(5, 7, channels=1)
    np.testing.assert_array_equal(
        read_image(save(tmp_path / "grey.png", grey), channels=3), np.repeat(grey[:, :, None], 3, axis=2)
    )
    pure = np.zeros((1, 3, 3), np.uint8)
    pure[0, 0, 0] = pure[0, 1, 1] = pure[0, 2, 2] = 255
    luma = read_image(save(tmp_path / "pure.png", pure), channels=1)
    assert luma.ravel().tolist() == [76, 150, 29]  # 255 times 0.299, 0.587, 0.114
    with pytest.raises(UsageError, match="channels = 2"):
        read_image(tmp_path / "pure.png", channels=2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    pixels = noise(4, 6)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    # The EXIF standard says where the stored first row and first column belong in the picture.
    upright = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: pixels.transpose(1, 0, 2)[:, ::-1],
        7: pixels.transpose(1, 0, 2)[::-1, ::-1],
        8: pixels.transpose(1, 0, 2)[::-1],
    }
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), upright[orientation])


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01", b"Exif\0\0garbage"],
)
def test_a_corrupt_exif_block_is_ignored(tmp_path: Path, exif: bytes) -> None:
    Image.fromarray(noise(8, 16)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").shape == (8, 16, 3)


def test_sixteen_bit_grey_is_scaled_not_cut(tmp_path: Path) -> None:
    values = np.array([[0, 257, 256 * 100, 65535]], np.uint16)
    save(tmp_path / "deep.png", values)
    assert read_image(tmp_path / "deep.png").ravel().tolist() == [0, 1, 100, 255]
    save(tmp_path / "deep.tif", values)
    assert read_image(tmp_path / "deep.tif", channels=3)[0, :, 2].tolist() == [0, 1, 100, 255]


def test_floats_and_wide_integers_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "float.tif", np.zeros((2, 2), np.float32))
    with pytest.raises(UsageError, match=r"float\.tif: holds floating-point pixels"):
        read_image(tmp_path / "float.tif")
    save(tmp_path / "wide.tif", np.full((2, 2), 1 << 20, np.int32))
    with pytest.raises(UsageError, match="32-bit integers"):
        read_image(tmp_path / "wide.tif")


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], np.uint8)
    assert read_image(save(tmp_path / "rgba.png", rgba))[0].tolist() == [[10, 20, 30], [255] * 3, [127] * 3]
    grey = Image.fromarray(np.array([[50, 50]], np.uint8))
    grey.putalpha(Image.fromarray(np.array([[255, 0]], np.uint8)))
    grey.save(tmp_path / "la.png")
    assert read_image(tmp_path / "la.png").tolist() == [[[50], [255]]]
    Image.fromarray(np.array([[50, 60]], np.uint8)).save(tmp_path / "key.png", transparency=60)
    assert read_image(tmp_path / "key.png").tolist() == [[[50], [255]]]


def test_palette_cmyk_and_one_bit(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").tolist() == [[[1, 2, 3], [200, 100, 50]]]
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")
    assert np.abs(read_image(tmp_path / "cmyk.jpg").astype(int) - [255, 0, 0]).max() <= 3
    Image.new("1", (3, 2), 1).save(tmp_path / "bit.png")
    assert read_image(tmp_path / "bit.png").tolist() == [[[255]] * 3] * 2


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("these are words\n" * 100)
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in (
        ("text.jpg", "is not an image"),
        ("empty.png", "is not an image"),
        ("absent.jpg", r"cannot be read \(No such file"),
        ("folder.jpg", r"cannot be read \(Is a directory"),
    ):
        with pytest.raises(UsageError, match=f"{name}: {reason}") as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_truncated_files(tmp_path: Path) -> None:
    for path in (truncated_jpeg(tmp_path / "cut.jpg"), save(tmp_path / "cut.png", noise(32, 32))):
        if path.suffix == ".png":
            path.write_bytes(path.read_bytes()[:-600])
        with pytest.raises(UsageError, match=rf"cut{path.suffix}: is damaged"):
            read_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_give_pixels_or_a_usage_error(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    path = save(tmp_path / ("x" + [".png", ".jpg", ".tif", ".webp", ".bmp"][seed % 5]), noise(16, 16, seed=seed))
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    data[random.integers(0, len(data), 12)] = random.integers(0, 256, 12)
    path.write_bytes(data.tobytes())
    try:
        pixels = read_image(path, max_pixels=10**6)
    except UsageError as error:
        message = str(error)
    else:
        message = f"{path}: {pixels.dtype}"
    assert message.startswith(f"{path}: ")


def test_size_limit(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", noise(10, 11))
    assert read_image(path, max_pixels=110).shape == (10, 11, 3)
    with pytest.raises(UsageError, match=r"x\.png: is too large \(11 x 10 pixels, at most 109"):
        read_image(path, max_pixels=109)


MEASURE = """
import resource, sys, time
from pathlib import Path
from optevo.data.images import read_image
from optevo.errors import UsageError
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
try:
    read_image(Path(sys.argv[1]))
except UsageError as error:
    print(error)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, time.perf_counter() - start)
"""


@pytest.mark.parametrize("side", [9_000, 30_000])
def test_a_huge_image_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    path = huge_png(tmp_path / "huge.png", side)
    run = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    message, measured = run.stdout.splitlines()
    assert message.startswith(f"{path}: is too large")
    megabytes, seconds = map(float, measured.split())
    assert megabytes < 50  # decoded, even a bit a pixel would need 100 MB at 30,000
    assert seconds < 0.5
