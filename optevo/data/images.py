"""Read one image file whatever it is, or say in one line why not."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from optevo.data.pairs import PairFile
from optevo.errors import UsageError

DEFAULT_MAX_PIXELS = 2**26  # 8,192 x 8,192: 200 MB decoded as RGB. Below Pillow's own limit, which would come first

_GREY = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"})
_ORIENTATION = 0x0112  # EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: Path, *, channels: int | None = None, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """The pixels of an image file.

    Turned upright by its EXIF orientation (a corrupt EXIF block is ignored). Transparent pixels are laid over white.
    Palette, CMYK and other colour modes become RGB; 16-bit grey is scaled to 8 bits. Of an animation, the first frame.

    Args:
        path: the file.
        channels: 1 (grey, ITU-R 601 luma) or 3 (RGB); None keeps what the file has.
        max_pixels: the largest width times height; a larger image is refused by its header, before it is decoded.

    Returns:
        uint8 of shape (height, width, channels), values 0..255.

    Raises:
        UsageError: the file cannot be read, is no image, is damaged, or is too large.
    """
    return to_array(to_channels(open_image(path, max_pixels=max_pixels), channels=channels))


def open_image(path: Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """As `read_image`, but a decoded Pillow image of mode "L" or "RGB"."""
    try:
        with path.open("rb") as file:
            return _decode(file, path=path, max_pixels=max_pixels)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{path}: cannot be read ({reason}); check the path and its permissions") from error


def to_channels(image: Image.Image, *, channels: int | None) -> Image.Image:
    """Convert between grey (1) and RGB (3); None changes nothing.

    Raises:
        UsageError: `channels` is neither.
    """
    if channels not in (None, 1, 3):
        raise UsageError(f"channels = {channels}: must be 1 (grey) or 3 (RGB)")
    mode = {None: image.mode, 1: "L", 3: "RGB"}[channels]
    return image if image.mode == mode else image.convert(mode)


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """uint8 (height, width, channels) of a Pillow image of mode "L" or "RGB"."""
    array = np.array(image)  # a copy, because Pillow's own view cannot be written to
    return array[:, :, None] if array.ndim == 2 else array


def open_pair(pair: PairFile, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> tuple[Image.Image, Image.Image]:
    """A and B of a pair as Pillow images of mode "L" or "RGB", at their own size."""
    if pair.b is not None:
        return open_image(pair.a, max_pixels=max_pixels), open_image(pair.b, max_pixels=max_pixels)
    return halves(open_image(pair.a, max_pixels=max_pixels), path=pair.a)


def halves(image: Image.Image, *, path: Path) -> tuple[Image.Image, Image.Image]:
    """The left and right half of an AB image.

    Raises:
        UsageError: its width is odd.
    """
    width, height = image.size
    if width % 2:
        raise UsageError(
            f"{path}: is {width} pixels wide, and an AB image needs two equal halves; make the width even, or put the "
            "halves into folders A and B"
        )
    return image.crop((0, 0, width // 2, height)), image.crop((width // 2, 0, width, height))


def _decode(file: BinaryIO, *, path: Path, max_pixels: int) -> Image.Image:
    # Foreign bytes drive the decoder: besides OSError it may raise SyntaxError, ValueError, struct.error, zlib.error,
    # IndexError, ... and no list of them would stay complete.
    try:
        image = Image.open(file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, str(error)) from error
    except Exception as error:  # see above
        raise UsageError(f"{path}: is not an image that can be read; replace or remove it") from error
    if image.width * image.height > max_pixels:
        raise _too_large(path, f"{image.width} x {image.height} pixels, at most {max_pixels:,} in all")
    try:
        image.load()
        return _upright(_eight_bit(image, path=path), orientation=_orientation(image))
    except UsageError:
        raise
    except Exception as error:  # see above
        raise UsageError(f"{path}: is damaged ({_one_line(error)}); replace or remove it") from error


def _too_large(path: Path, detail: str) -> UsageError:
    return UsageError(f"{path}: is too large ({detail}); scale it down or cut it into tiles")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _upright(image: Image.Image, *, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block says nothing about the pixels, which are whole
        return 1


def _eight_bit(image: Image.Image, *, path: Path) -> Image.Image:
    """Mode "L" or "RGB" of any mode."""
    if image.mode.startswith("I"):
        return _from_16_bit(image, path=path)
    if image.mode == "F":
        raise UsageError(f"{path}: holds floating-point pixels of unknown range; save it with 8 bits a channel")
    mode = "L" if image.mode in _GREY else "RGB"
    if not image.has_transparency_data:
        return image if image.mode == mode else image.convert(mode)
    # What lies beneath transparent pixels is arbitrary; white is what most viewers show there.
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert(mode)


def _from_16_bit(image: Image.Image, *, path: Path) -> Image.Image:
    # Pillow's own convert("L") cuts values at 255 instead of scaling them.
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise UsageError(f"{path}: holds 32-bit integers of unknown range; save it with 8 or 16 bits a channel")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
