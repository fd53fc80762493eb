"""Write a generator as ONNX or pt2, and prove by running the file that it still computes the same."""

import copy
import json
import logging
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from optevo import __version__
from optevo.data.drawn import draw_facade
from optevo.data.images import to_array, to_channels
from optevo.data.pairs import PairFile, find_pairs
from optevo.data.resident import load_images, load_pairs
from optevo.data.unpaired_files import find_unpaired
from optevo.errors import OptevoError, UsageError
from optevo.models.families import Architecture
from optevo.models.folder import ModelFacts, architecture_of, load_generator, translator_facts
from optevo.models.onnx_file import INPUT, OUTPUT, ExportFacts, one_line, open_onnx, require

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Format = Literal["onnx", "pt2"]
Images = Sequence[Tensor] | Path | None
Run = Callable[[Tensor], Tensor]

OPSET = 18  # the oldest that torch's dynamo exporter writes without a conversion, so what most runtimes can read
FP32_TOLERANCE, FP16_TOLERANCE = 1e-3, 2e-2  # of outputs in [-1, 1]; a step of an 8-bit pixel is 7.8e-3
PICTURES = 8  # how many real images an export is re-run on
MAX_ONNX_BYTES = 2**31 - 2**20  # an ONNX file is one protobuf message, which holds less than 2 GiB
PT2_FACTS = "optevo.json"
_CHATTY = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


@dataclass(frozen=True)
class ExportReport:
    """An exported file, and how far its outputs were from the torch model's.

    Attributes:
        path: the file.
        format: "onnx" or "pt2".
        half: whether weights, computation, input and output are float16 (float32 otherwise).
        opset: of ONNX; None for pt2.
        size: (height, width) that a pt2 file is fixed to, in pixels; None for ONNX, which takes any `multiple`.
        multiple: what heights and widths must be multiples of, in pixels.
        file_bytes: its size.
        largest_difference: between any output value of the file and of the float32 torch model, both in [-1, 1].
        tolerance: the bound that the difference was held to.
        shapes: (B, C, H, W) of the batches that it was re-run on.
        images: where those pictures came from.
        runtime: what ran the file, with its version.
    """

    path: Path
    format: Format
    half: bool
    opset: int | None
    size: tuple[int, int] | None
    multiple: int
    file_bytes: int
    largest_difference: float
    tolerance: float
    shapes: tuple[tuple[int, int, int, int], ...]
    images: str
    runtime: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "path": str(self.path)}


def export_model(
    folder: str | Path,
    *,
    format: Format,
    out: Path | None = None,
    half: bool = False,
    size: tuple[int, int] | None = None,
    images: Images = None,
    tolerance: float | None = None,
) -> ExportReport:
    """Export a model folder's generator, in eval mode, and re-run the file on real images before it is let out.

    The ONNX file takes any batch, and any height and width that the generator takes; `optevo model apply` pads to
    those. It holds what it needs to know of itself (:class:`optevo.models.onnx_file.ExportFacts`). A pt2 file
    (`torch.export.load`) takes any batch at one height and width. The file appears whole or not at all.

    Half precision stores and computes in float16, and takes and gives float16; the file is half as large. A GPU or a
    phone may gain speed by it, a CPU does not: there onnxruntime 1.31 converts to float32 around its operations and was
    as fast as in float32, and torch 2.15 computed several times slower (so the re-run of a pt2 file takes long).

    Args:
        folder: a model folder.
        format: `"onnx"` (needs the extra `onnx`) or `"pt2"`.
        out: the file; by default `generator.onnx` or `generator-HEIGHTxWIDTH.pt2` in the folder, with `-fp16` if half.
        half: float16 instead of float32.
        size: (height, width) that a pt2 file is fixed to, in pixels; by default what the model was trained on.
        images: real ones to re-run on: a folder of pairs or of unpaired images (the inputs of the first few), or float
            tensors (C, H, W) in [-1, 1], of any size; by default drawn facades. They are scaled to the sizes that are
            tried.
        tolerance: the largest difference of any output value that is accepted, at least 0; by default 1e-3 in float32
            and 2e-2 in float16.

    Raises:
        UsageError: an argument will not do, an optional package is missing, or the file exists already.
        OptevoError: the export differs from the model by more than the tolerance, or it could not be made or written.
    """
    folder = Path(folder)
    bound = _checked_tolerance(tolerance, half=half)
    facts = translator_facts(folder)
    architecture = architecture_of(facts)
    fixed = _checked_size(size, format=format, facts=facts, architecture=architecture)
    target = out or folder / default_name(format=format, half=half, size=fixed)
    _check_target(target, format=format)
    if format == "onnx":
        require("onnx", "onnxscript", "onnxruntime")
    shapes = tried_shapes(fixed or facts.size, architecture=architecture, fixed=fixed is not None)
    pictures, source = _pictures(images, facts=facts, architecture=architecture)
    reference = load_generator(folder)
    with _whole_file(target) as path:
        _write(copy.deepcopy(reference), path, facts=facts, format=format, half=half, size=fixed)
        difference = largest_difference(path, reference, pictures, shapes=shapes)
        if not difference <= bound:  # so written that a difference that is no number is refused too
            raise OptevoError(
                f"{target}: not written, for its outputs differ from the model's by up to {difference:.2e}, and at "
                f"most {bound:.2e} is accepted; accept more with --tolerance{', or leave --half out' if half else ''}."
            )
        file_bytes = path.stat().st_size
    return ExportReport(
        path=target,
        format=format,
        half=half,
        opset=OPSET if format == "onnx" else None,
        size=fixed,
        multiple=architecture.multiple,
        file_bytes=file_bytes,
        largest_difference=difference,
        tolerance=bound,
        shapes=tuple((batch, architecture.input_channels, height, width) for batch, height, width in shapes),
        images=source,
        runtime=_runtime(format),
    )


def default_name(*, format: Format, half: bool, size: tuple[int, int] | None) -> str:
    """What an export is called in its model folder."""
    at = "" if size is None else f"-{size[0]}x{size[1]}"
    return f"generator{at}{'-fp16' if half else ''}.{format}"


def largest_difference(
    path: Path, reference: nn.Module, pictures: Sequence[Tensor], *, shapes: Sequence[tuple[int, int, int]]
) -> float:
    """Run an exported file beside the torch model, and give the largest absolute difference of any output value.

    Args:
        path: an ONNX or pt2 file of :func:`export_model`.
        reference: the float32 model, on the CPU.
        pictures: float32 (C, H, W) in [-1, 1], of any size; each is seen at the first shape's size.
        shapes: (batch, height, width) to try; batches are filled from the pictures in turn.

    Returns:
        At least 0; NaN where either output has one.

    Raises:
        OptevoError: the file cannot be run, or its outputs have another shape.
    """
    run = _open_onnx(path) if path.suffix == ".onnx" else _open_pt2(path)
    differences = []
    for batch in _batches(pictures, shapes=[(1, *shapes[0][1:])] * len(pictures) + list(shapes)):
        with torch.inference_mode():
            wanted, got = reference(batch), run(batch)
        if got.shape != wanted.shape:
            raise OptevoError(
                f"{path.name}: gives {tuple(got.shape)} for {tuple(batch.shape)}, not {tuple(wanted.shape)}."
            )
        differences.append((got - wanted).abs().max())
    return float(torch.stack(differences).max())  # torch's max keeps a NaN, Python's may not


def tried_shapes(size: tuple[int, int], *, architecture: Architecture, fixed: bool) -> tuple[tuple[int, int, int], ...]:
    """(batch, height, width) that an export is re-run on: its own size and, unless that is fixed, other rectangles."""
    (height, width), multiple, least = size, architecture.multiple, architecture.least
    own = ((1, height, width), (3, height, width))
    return own if fixed else (*own, (2, height + multiple, width), (1, least, least + multiple))


def _checked_tolerance(tolerance: float | None, *, half: bool) -> float:
    if tolerance is None:
        return FP16_TOLERANCE if half else FP32_TOLERANCE
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise UsageError(f"tolerance = {tolerance}: must be a number of at least 0, such as 1e-3")
    return tolerance


def _checked_size(
    size: tuple[int, int] | None, *, format: Format, facts: ModelFacts, architecture: Architecture
) -> tuple[int, int] | None:
    if format not in ("onnx", "pt2"):
        raise UsageError(f"format = {format!r}: must be 'onnx' or 'pt2'")
    if format == "onnx":
        if size is not None:
            raise UsageError("size: an ONNX export takes every size; leave --size out, or choose --format pt2")
        return None
    height, width = size or facts.size
    architecture.check_size(height, width)
    return height, width


def _check_target(target: Path, *, format: Format) -> None:
    """Refuse what could not be written, before the work."""
    if target.suffix != f".{format}":
        raise UsageError(f"{target}: a {format} file must end in .{format}; name it so with --out")
    if target.exists():
        raise UsageError(f"{target}: exists already; name another file with --out, or remove it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({error.strerror}); name another file with --out") from error


@contextmanager
def _whole_file(target: Path) -> Iterator[Path]:
    """Where to write; the file goes to its place when the context ends well, and vanishes otherwise."""
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.stem}."))
    try:
        path = folder / target.name
        yield path
        os.replace(path, target)
    except OSError as error:
        raise OptevoError(f"{target}: cannot be written ({error.strerror or error}); free some disk space.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(
    generator: nn.Module, path: Path, *, facts: ModelFacts, format: Format, half: bool, size: tuple[int, int] | None
) -> None:
    generator = generator.half() if half else generator
    about = _about(facts, half=half)
    try:
        with _quiet():
            if size is None:
                _write_onnx(generator, path, about=about)
            else:
                _write_pt2(generator, path, about=about, size=size)
    except (OSError, OptevoError):
        raise
    except Exception as error:  # the exporters raise whatever their many passes raise
        said = one_line(error)
        raise OptevoError(f"{path.name}: torch {torch.__version__} could not export the model ({said}).") from error


def _about(facts: ModelFacts, *, half: bool) -> ExportFacts:
    architecture = architecture_of(facts)
    return ExportFacts(
        version=__version__,
        title=facts.title,
        direction=facts.direction,
        input_channels=architecture.input_channels,
        output_channels=architecture.output_channels,
        multiple=architecture.multiple,
        half=half,
        height=facts.size[0],
        width=facts.size[1],
        least=architecture.least,
    )


def _write_onnx(generator: nn.Module, path: Path, *, about: ExportFacts) -> None:
    size = sum(tensor.numel() * tensor.element_size() for tensor in generator.state_dict().values())
    if size > MAX_ONNX_BYTES:
        raise UsageError(f"{path.name}: {size / 2**30:.1f} GiB are too much for ONNX; use --half or --format pt2")
    unit, fewest = about.multiple, about.least // about.multiple
    # A dimension of 1 in the example would be taken for a constant, also inside: the innermost level of a picture of
    # one `multiple` is one pixel. The strides are said as a factor, or the exporter could not prove that the skips fit.
    example = _example(generator, about, batch=2, height=2 * about.least, width=3 * about.least)
    dim = torch.export.Dim
    shape = {0: dim("batch", min=1), 2: unit * dim("rows", min=fewest), 3: unit * dim("columns", min=fewest)}
    program = torch.onnx.export(
        generator,
        (example,),
        dynamic_shapes=(shape,),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(about.to_metadata())
    program.save(path, external_data=False)


def _write_pt2(generator: nn.Module, path: Path, *, about: ExportFacts, size: tuple[int, int]) -> None:
    example = _example(generator, about, batch=2, height=size[0], width=size[1])
    shape = {0: torch.export.Dim("batch", min=1)}
    program: ExportedProgram = torch.export.export(generator, (example,), dynamic_shapes=(shape,))
    facts = {**vars(about), "height": size[0], "width": size[1]}
    torch.export.save(program, path, extra_files={PT2_FACTS: json.dumps(facts)})


def _example(generator: nn.Module, about: ExportFacts, *, batch: int, height: int, width: int) -> Tensor:
    return torch.zeros(batch, about.input_channels, height, width, dtype=next(generator.parameters()).dtype)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters, which report each of their passes."""
    levels = {name: logging.getLogger(name).level for name in _CHATTY}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _open_onnx(path: Path) -> Run:
    model = open_onnx(path, device="cpu")
    return lambda images: torch.from_numpy(model(images.numpy()))


def _open_pt2(path: Path) -> Run:
    try:
        with _quiet():
            program = torch.export.load(path)
        module = program.module()
    except Exception as error:  # a foreign file may break it in any way
        raise OptevoError(f"{path.name}: torch.export.load cannot open it ({one_line(error)}).") from error
    dtype = next(module.parameters()).dtype

    def run(images: Tensor) -> Tensor:
        try:
            output: Tensor = module(images.to(dtype))
        except Exception as error:  # its guards raise AssertionError, its operators RuntimeError
            raise OptevoError(f"{path.name}: cannot be run on {tuple(images.shape)} ({one_line(error)}).") from error
        return output.float()

    return run


def _runtime(format: Format) -> str:
    if format == "pt2":
        return f"torch {torch.__version__}"
    from importlib.metadata import version

    return f"onnxruntime {version('onnxruntime')}"


def _batches(pictures: Sequence[Tensor], *, shapes: Sequence[tuple[int, int, int]]) -> Iterator[Tensor]:
    first = 0
    for count, height, width in shapes:
        chosen = [pictures[(first + number) % len(pictures)] for number in range(count)]
        first += count
        yield torch.cat([_scaled(picture, height=height, width=width) for picture in chosen])


def _scaled(picture: Tensor, *, height: int, width: int) -> Tensor:
    """(1, C, height, width)."""
    if picture.shape[1:] == (height, width):
        return picture[None]
    return F.interpolate(picture[None], size=(height, width), mode="bilinear", antialias=True)


def _pictures(images: Images, *, facts: ModelFacts, architecture: Architecture) -> tuple[list[Tensor], str]:
    """Float32 (C, H, W) in [-1, 1], and where they are from."""
    if images is None:
        return _drawn(facts, architecture), "drawn facades"
    if isinstance(images, Path):
        return _of_folder(images, facts=facts, architecture=architecture), str(images)
    channels = architecture.input_channels
    given = [torch.as_tensor(image).detach().cpu() for image in images[:PICTURES]]
    bad = [tuple(image.shape) for image in given if image.ndim != 3 or image.shape[0] != channels or not image.numel()]
    if not given or bad or not all(image.is_floating_point() for image in given):
        found = f"a shape of {bad[0]}" if bad else "none, or no floating-point numbers"
        raise UsageError(f"images: {found}; give float tensors ({channels}, H, W) in [-1, 1]")
    return [image.float() for image in given], "given tensors"


def _drawn(facts: ModelFacts, architecture: Architecture) -> list[Tensor]:
    size = (max(16, facts.size[0]), max(16, facts.size[1]))  # nothing smaller can be drawn
    half = 0 if facts.direction == "AtoB" else 1
    drawn = [draw_facade(seed=0, split="test", index=index, size=size)[half] for index in range(PICTURES)]
    arrays = [to_array(to_channels(Image.fromarray(pixels), channels=architecture.input_channels)) for pixels in drawn]
    return [torch.from_numpy(array.astype(np.float32) / 127.5 - 1).permute(2, 0, 1) for array in arrays]


def _of_folder(root: Path, *, facts: ModelFacts, architecture: Architecture) -> list[Tensor]:
    """Inputs of pairs, or the images of the domain that an unpaired translator takes."""
    try:
        found = find_pairs(root)
    except UsageError as no_pairs:
        try:
            unpaired = find_unpaired(root, val_fraction=0, test_fraction=0, seed=0)
        except UsageError:
            raise no_pairs from None
        return _of_domain(
            unpaired.a if facts.direction == "AtoB" else unpaired.b, facts=facts, architecture=architecture
        )
    split = _shown(found)
    pairs = load_pairs(
        found[split][:PICTURES],
        size=facts.size,
        direction="AtoB" if facts.direction == "AtoB" else "BtoA",
        input_channels=architecture.input_channels,
        target_channels=architecture.output_channels,
        device=torch.device("cpu"),
        jitter=False,
    )
    inputs, _ = pairs.batch(torch.arange(len(pairs)))
    return list(inputs)


def _of_domain(
    found: Mapping[str, Sequence[PairFile]], *, facts: ModelFacts, architecture: Architecture
) -> list[Tensor]:
    images = load_images(
        [file.a for file in found[_shown(found)][:PICTURES]],
        size=facts.size,
        channels=architecture.input_channels,
        device=torch.device("cpu"),
        jitter=False,
    )
    return list(images.batch(torch.arange(len(images))))


def _shown(found: Mapping[str, Sequence[PairFile]]) -> str:
    """The split whose images were least trained on."""
    return next(split for split in ("test", "val", "train") if found.get(split))
