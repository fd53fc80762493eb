"""Write a generator as ONNX or pt2, and prove by running the file that it still computes the same."""

import copy
import json
import logging
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from optevo import __version__
from optevo.errors import OptevoError, UsageError
from optevo.models.export_inputs import Images, Inputs, noise, pictures
from optevo.models.families import FAMILIES, Architecture
from optevo.models.folder import ModelFacts, architecture_of, load_generator, read_facts
from optevo.models.onnx_file import INPUT, OUTPUT, ExportFacts, one_line, open_onnx, require

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Format = Literal["onnx", "pt2"]
Run = Callable[[Tensor], Tensor]

OPSET = 18  # the oldest that torch's dynamo exporter writes without a conversion, so what most runtimes can read
FP32_TOLERANCE, FP16_TOLERANCE = 1e-3, 2e-2  # of outputs in [-1, 1]; a step of an 8-bit pixel is 7.8e-3
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
        takes: "images", or "noise".
        size: (height, width) that a pt2 file of a translator is fixed to, in pixels; None for ONNX, which takes any
            `multiple`, and for noise.
        multiple: what heights and widths of its inputs must be multiples of, in pixels; None for noise.
        file_bytes: its size.
        largest_difference: between any output value of the file and of the float32 torch model, both in [-1, 1].
        tolerance: the bound that the difference was held to.
        shapes: (B, C, H, W) of the batches that it was re-run on; of noise (B, latent).
        images: where those pictures came from, or "noise".
        runtime: what ran the file, with its version.
    """

    path: Path
    format: Format
    half: bool
    opset: int | None
    takes: Literal["images", "noise"]
    size: tuple[int, int] | None
    multiple: int | None
    file_bytes: int
    largest_difference: float
    tolerance: float
    shapes: tuple[tuple[int, ...], ...]
    images: str
    runtime: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "path": str(self.path)}


def export_model(
    folder: str | Path,
    *,
    format: Format = "onnx",
    out: Path | None = None,
    half: bool = False,
    size: tuple[int, int] | None = None,
    images: Images = None,
    tolerance: float | None = None,
) -> ExportReport:
    """Export a model folder's generator, in eval mode, and re-run the file on real images before it is let out.

    The ONNX file takes any batch, and of a translator any height and width that the generator takes: `optevo model
    apply` pads to those, and `optevo model sample` draws from a file that takes noise. It holds what it needs to know
    of itself (:class:`optevo.models.onnx_file.ExportFacts`). A pt2 file (`torch.export.load`) takes any batch, of a
    translator at one height and width. The file appears whole or not at all.

    Half precision stores and computes in float16, and takes and gives float16; the file is half as large. A GPU or a
    phone may gain speed by it, a CPU does not: there onnxruntime 1.31 converts to float32 around its operations and was
    as fast as in float32, and torch 2.15 computed several times slower (so the re-run of a pt2 file takes long).

    Args:
        folder: a model folder.
        format: `"onnx"` (needs the extra `onnx`) or `"pt2"`.
        out: the file; by default `generator.onnx` or `generator-HEIGHTxWIDTH.pt2` in the folder, with `-fp16` if half;
            for noise `generator.pt2`.
        half: float16 instead of float32.
        size: (height, width) that a pt2 file is fixed to, in pixels; by default what the model was trained on.
        images: real ones to re-run on: a folder of pairs or of unpaired images (the inputs of the first few), or float
            tensors (C, H, W) in [-1, 1], of any size; by default drawn facades. They are scaled to the sizes that are
            tried. None for a generator that takes noise, which is re-run on noise.
        tolerance: the largest difference of any output value that is accepted, at least 0; by default 1e-3 in float32
            and 2e-2 in float16.

    Raises:
        UsageError: an argument will not do, an optional package is missing, or the file exists already.
        OptevoError: the export differs from the model by more than the tolerance, or it could not be made or written.
    """
    folder = Path(folder)
    bound = _checked_tolerance(tolerance, half=half)
    facts = read_facts(folder)
    architecture, takes = architecture_of(facts), FAMILIES[facts.family].takes
    fixed = _checked_size(size, format=format, takes=takes, facts=facts, architecture=architecture)
    target = out or folder / default_name(format=format, half=half, size=fixed)
    _check_target(target, format=format)
    if format == "onnx":
        require("onnx", "onnxscript", "onnxruntime")
    if takes == "noise":
        inputs = noise(architecture.latent, images=images)
    else:
        inputs = pictures(images, facts=facts, architecture=architecture, fixed=fixed)
    reference = load_generator(folder)
    with _whole_file(target) as path:
        _write(copy.deepcopy(reference), path, inputs=inputs, facts=facts, half=half, size=fixed or facts.size)
        difference = largest_difference(path, reference, inputs.batches)
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
        takes=takes,
        size=fixed,
        multiple=None if takes == "noise" else architecture.multiple,
        file_bytes=file_bytes,
        largest_difference=difference,
        tolerance=bound,
        shapes=tuple(dict.fromkeys(tuple(batch.shape) for batch in inputs.batches)),
        images=inputs.source,
        runtime=_runtime(format),
    )


def default_name(*, format: Format, half: bool, size: tuple[int, int] | None) -> str:
    """What an export is called in its model folder."""
    at = "" if size is None else f"-{size[0]}x{size[1]}"
    return f"generator{at}{'-fp16' if half else ''}.{format}"


def largest_difference(path: Path, reference: nn.Module, batches: Iterable[Tensor]) -> float:
    """Run an exported file beside the torch model, and give the largest absolute difference of any output value.

    Args:
        path: an ONNX or pt2 file of :func:`export_model`.
        reference: the float32 model, on the CPU.
        batches: float32 inputs, at least one.

    Returns:
        At least 0; NaN where either output has one.

    Raises:
        OptevoError: the file cannot be run, or its outputs have another shape.
    """
    run = _open_onnx(path) if path.suffix == ".onnx" else _open_pt2(path)
    differences = []
    for batch in batches:
        with torch.inference_mode():
            wanted, got = reference(batch), run(batch)
        if got.shape != wanted.shape:
            raise OptevoError(
                f"{path.name}: gives {tuple(got.shape)} for {tuple(batch.shape)}, not {tuple(wanted.shape)}."
            )
        differences.append((got - wanted).abs().max())
    return float(torch.stack(differences).max())  # torch's max keeps a NaN, Python's may not


def _checked_tolerance(tolerance: float | None, *, half: bool) -> float:
    if tolerance is None:
        return FP16_TOLERANCE if half else FP32_TOLERANCE
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise UsageError(f"tolerance = {tolerance}: must be a number of at least 0, such as 1e-3")
    return tolerance


def _checked_size(
    size: tuple[int, int] | None, *, format: Format, takes: str, facts: ModelFacts, architecture: Architecture
) -> tuple[int, int] | None:
    """What a file is fixed to."""
    if format not in ("onnx", "pt2"):
        raise UsageError(f"format = {format!r}: must be 'onnx' or 'pt2'")
    if takes == "noise":
        if size is not None:
            raise UsageError("size: this generator makes images of one size; leave --size out")
        return None
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
    generator: nn.Module, path: Path, *, inputs: Inputs, facts: ModelFacts, half: bool, size: tuple[int, int]
) -> None:
    example = inputs.example
    if half:
        generator, example = generator.half(), example.half()
    about = _about(facts, half=half, size=size)
    write = _write_onnx if path.suffix == ".onnx" else _write_pt2
    try:
        with _quiet():
            write(generator, path, example=example, free=inputs.free, about=about)
    except (OSError, OptevoError):
        raise
    except Exception as error:  # the exporters raise whatever their many passes raise
        said = one_line(error)
        raise OptevoError(f"{path.name}: torch {torch.__version__} could not export the model ({said}).") from error


def _about(facts: ModelFacts, *, half: bool, size: tuple[int, int]) -> ExportFacts:
    architecture = architecture_of(facts)
    if FAMILIES[facts.family].takes == "noise":
        taken = {"latent": architecture.latent}
        channels = architecture.channels
    else:
        taken = {key: getattr(architecture, key) for key in ("input_channels", "multiple", "least")}
        channels = architecture.output_channels
    return ExportFacts(
        version=__version__,
        title=facts.title,
        direction=facts.direction,
        half=half,
        height=size[0],
        width=size[1],
        output_channels=channels,
        **taken,
    )


def _write_onnx(
    generator: nn.Module, path: Path, *, example: Tensor, free: Mapping[int, Any], about: ExportFacts
) -> None:
    size = sum(tensor.numel() * tensor.element_size() for tensor in generator.state_dict().values())
    if size > MAX_ONNX_BYTES:
        raise UsageError(f"{path.name}: {size / 2**30:.1f} GiB are too much for ONNX; use --half or --format pt2")
    program = torch.onnx.export(
        generator,
        (example,),
        dynamic_shapes=(free,),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(about.to_metadata())
    program.save(path, external_data=False)


def _write_pt2(
    generator: nn.Module, path: Path, *, example: Tensor, free: Mapping[int, Any], about: ExportFacts
) -> None:
    program: ExportedProgram = torch.export.export(generator, (example,), dynamic_shapes=(free,))
    torch.export.save(program, path, extra_files={PT2_FACTS: json.dumps(vars(about))})


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
