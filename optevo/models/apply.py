"""Translate a folder of pictures of any size with a trained generator, from its model folder or an ONNX file."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from optevo.data.images import DEFAULT_MAX_PIXELS, read_image
from optevo.data.pairs import SUFFIXES, natural_key
from optevo.errors import OptevoError, UsageError
from optevo.models.families import TAKES_NOISE
from optevo.models.onnx_file import Array, one_line, open_onnx

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Translator:
    """A generator of any make.

    Attributes:
        run: float32 (B, input_channels, H, W) in [-1, 1] -> (B, output_channels, H, W) in [-1, 1].
        multiple: of what H and W must be multiples, in pixels.
        least: the smallest H and W, itself a multiple.
        input_channels: 1 (grey) or 3 (RGB).
        active: the context to run it in.
    """

    run: Callable[[Array], Array]
    multiple: int
    least: int
    input_channels: int
    active: Callable[[], AbstractContextManager[None]] = nullcontext


@dataclass(frozen=True)
class _Picture:
    """A picture that was read: padded pixels (H, W, C), and the part of them (rows, columns) that is the picture."""

    path: Path
    target: Path
    pixels: Pixels
    part: tuple[slice, slice]


def apply_model(
    model: str | Path,
    images: str | Path,
    *,
    out: Path,
    device: str = "auto",
    batch_size: int = 1,
    overwrite: bool = False,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    on_image: Callable[[int, int], None] | None = None,
    on_problem: Callable[[str], None] | None = None,
) -> list[Path]:
    """Translate pictures, each at its own size, into PNG files of the same names.

    A generator that halves the picture `depth` times takes multiples of `2 ** depth` pixels, so a picture is padded
    to the next ones (and to the smallest that it takes) by reflection, alike on opposite sides, and the output cropped
    back. Pictures are not scaled: a
    model trained on 256 x 256 pixels sees a larger picture's details larger than it learned them.

    The inputs are never touched. Outputs that are there already are left, so an interrupted run goes on where it
    stopped. Every output appears whole or not at all. A picture that cannot be read or translated is passed over, and
    told at the end by an error.

    Args:
        model: a model folder, or an ONNX file that `optevo model export` wrote.
        images: a folder (its pictures, not its subfolders'), or one file. Inputs alone, not AB pairs.
        out: the folder for the outputs, made if need be; not the pictures' own.
        device: `"auto"` (a GPU where there is one), `"cpu"`, `"cuda"` or `"cuda:N"`.
        batch_size: pictures at once, at least 1; only neighbours of equal padded size go together.
        overwrite: translate anew what is there already.
        max_pixels: the largest padded height times width.
        on_image: called with the pictures done and the pictures in all, after each; may raise to interrupt.
        on_problem: called with one line for each picture that is passed over.

    Returns:
        The files written, in the natural order of the pictures' names.

    Raises:
        UsageError: an argument will not do; nothing is written then.
        OptevoError: some pictures could not be translated (the others are done), or an output cannot be written.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size = {batch_size}: must be at least 1")
    paths = find_images(Path(images))
    targets = _targets(paths, out=out)
    todo = [(path, target) for path, target in zip(paths, targets, strict=True) if overwrite or not target.exists()]
    if not todo:
        return []
    translator = open_translator(Path(model), device=device)
    _make_folder(out)
    progress = _Progress(len(paths) - len(todo), len(paths), on_image, on_problem)
    written: list[Path] = []
    with translator.active():
        for group in _groups(todo, translator, batch_size=batch_size, max_pixels=max_pixels, progress=progress):
            written += _translate(group, translator, progress)
    if progress.problems:
        raise OptevoError(
            f"{len(progress.problems)} of {len(paths)} pictures could not be translated (the others are in {out}); "
            f"the first: {progress.problems[0]}"
        )
    return written


def find_images(images: Path) -> list[Path]:
    """The pictures of a folder by their suffix, in natural order, or the one file that is named.

    Raises:
        UsageError: there is none.
    """
    if images.is_file():
        return [images]
    if not images.is_dir():
        raise UsageError(f"{images}: there is no such file or folder")
    named = [path for path in images.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    found = [path for path in named if path.is_file()]
    if not found:
        raise UsageError(f"{images}: holds no pictures; they end in one of {', '.join(sorted(SUFFIXES))}")
    return sorted(found, key=lambda path: natural_key(path.name))


def open_translator(model: Path, *, device: str = "auto") -> Translator:
    """A model folder or an ONNX file, ready to run.

    Raises:
        UsageError: it is neither, or it takes or gives something else than grey or RGB pictures.
    """
    if model.suffix == ".onnx":
        opened = open_onnx(model, device=device)
        if opened.facts.latent:
            raise UsageError(f"{model}: {TAKES_NOISE}")
        return Translator(opened, opened.facts.multiple, opened.facts.least, opened.facts.input_channels)
    if model.is_file():
        raise UsageError(f"{model}: is neither a model folder nor an .onnx file; name one of them")
    return _open_folder(model, device=device)


def padded(pixels: Pixels, *, multiple: int, least: int = 1) -> tuple[Pixels, tuple[slice, slice]]:
    """Pad (H, W, C) to multiples of `multiple`, at least `least`, by reflection; say which part is the picture.

    Both sides of a direction get half, the later one the odd pixel. A picture smaller than its padding is reflected
    back and forth.
    """
    room = [_side(side, multiple=multiple, least=least) - side for side in pixels.shape[:2]]
    before = [extra // 2 for extra in room]
    widths = [(first, extra - first) for first, extra in zip(before, room, strict=True)]
    part = tuple(slice(first, first + side) for first, side in zip(before, pixels.shape[:2], strict=True))
    return np.pad(pixels, [*widths, (0, 0)], mode="reflect"), (part[0], part[1])


def _side(side: int, *, multiple: int, least: int) -> int:
    return max(side + -side % multiple, least)


def _open_folder(folder: Path, *, device: str) -> Translator:
    import torch

    from optevo.models.folder import FACTS, architecture_of, load_generator, translator_facts
    from optevo.training.engine import resolve
    from optevo.training.validation import evaluated

    architecture = architecture_of(translator_facts(folder))
    for key in ("input_channels", "output_channels"):
        if getattr(architecture, key) not in (1, 3):
            raise UsageError(f"{folder / FACTS}: {key} = {getattr(architecture, key)}: pictures have 1 or 3")
    engine = resolve(device=device, precision="fp32", threads=0)
    generator = engine.place(load_generator(folder))

    def run(batch: Array) -> Array:
        with evaluated(generator):
            output: Array = generator(torch.from_numpy(batch).to(engine.device)).cpu().numpy()
        return output

    return Translator(run, architecture.multiple, architecture.least, architecture.input_channels, engine.active)


@dataclass
class _Progress:
    """Counts the pictures and keeps what went wrong."""

    done: int
    total: int
    on_image: Callable[[int, int], None] | None
    on_problem: Callable[[str], None] | None

    def __post_init__(self) -> None:
        self.problems: list[str] = []

    def step(self) -> None:
        self.done += 1
        if self.on_image is not None:
            self.on_image(self.done, self.total)

    def problem(self, text: str) -> None:
        self.problems.append(text)
        if self.on_problem is not None:
            self.on_problem(text)
        self.step()


def _targets(paths: Sequence[Path], *, out: Path) -> list[Path]:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; name a folder with --out")
    if out.resolve() == paths[0].parent.resolve():
        raise UsageError(f"{out}: is the folder of the pictures themselves; name another one with --out")
    taken: dict[str, Path] = {}
    for path in paths:
        other = taken.setdefault(path.stem, path)
        if other is not path:
            raise UsageError(f"{path}: and {other.name} would both become {path.stem}.png; rename one of them")
    return [out / f"{path.stem}.png" for path in paths]


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: cannot be made ({error.strerror}); name another folder with --out") from error


def _groups(
    todo: Sequence[tuple[Path, Path]],
    translator: Translator,
    *,
    batch_size: int,
    max_pixels: int,
    progress: _Progress,
) -> Iterator[list[_Picture]]:
    """Pictures read one after another, neighbours of equal padded size together."""
    group: list[_Picture] = []
    for path, target in todo:
        try:
            picture = _read(path, target, translator, max_pixels=max_pixels)
        except UsageError as error:
            progress.problem(str(error))
            continue
        if group and (len(group) == batch_size or group[0].pixels.shape != picture.pixels.shape):
            yield group
            group = []
        group.append(picture)
    if group:
        yield group


def _read(path: Path, target: Path, translator: Translator, *, max_pixels: int) -> _Picture:
    pixels = read_image(path, channels=translator.input_channels, max_pixels=max_pixels)
    height, width = (_side(side, multiple=translator.multiple, least=translator.least) for side in pixels.shape[:2])
    if height * width > max_pixels:
        raise UsageError(
            f"{path}: is too large (padded to {width} x {height} pixels, at most {max_pixels:,} in all); scale it down"
        )
    return _Picture(path, target, *padded(pixels, multiple=translator.multiple, least=translator.least))


def _translate(group: list[_Picture], translator: Translator, progress: _Progress) -> list[Path]:
    batch = np.stack([picture.pixels for picture in group]).transpose(0, 3, 1, 2)
    try:
        outputs = translator.run(np.ascontiguousarray(batch, dtype=np.float32) / np.float32(127.5) - np.float32(1))
    except (OptevoError, RuntimeError, MemoryError) as error:  # most often there is no memory for a picture this large
        for picture in group:
            progress.problem(f"{picture.path}: cannot be translated ({one_line(error)}); scale it down")
        return []
    written = []
    for picture, output in zip(group, outputs, strict=True):
        if not np.isfinite(output).all():
            progress.problem(f"{picture.path}: the model gives values that are no numbers; use a float32 model")
            continue
        rows, columns = picture.part
        _save(to_pixels(output)[rows, columns], picture.target)
        written.append(picture.target)
        progress.step()
    return written


def to_pixels(output: Array) -> Pixels:
    """(C, H, W) in [-1, 1] as uint8 (H, W, C)."""
    scaled: Pixels = np.rint((output.clip(-1, 1) + 1) * 127.5).astype(np.uint8).transpose(1, 2, 0)
    return scaled


def _save(pixels: Pixels, target: Path) -> None:
    """Write a PNG file whole or not at all. The number of the process keeps two runs apart."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(temporary, format="PNG")
        os.replace(temporary, target)
    except OSError as error:
        raise OptevoError(
            f"{target}: cannot be written ({error.strerror or error}); free some disk space, then run again."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
