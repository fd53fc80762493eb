"""ONNX files that optevo wrote: what they say about themselves, and running them. Loads no torch."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optevo.errors import OptevoError, UsageError

Array = NDArray[np.float32]

INPUT, OUTPUT = "input", "output"
PREFIX = "optevo."
MAX_MULTIPLE = 2**16  # of a U-Net as deep as optevo builds them
MAX_LATENT = 2**16  # of a DCGAN as optevo builds them


@dataclass(frozen=True)
class ExportFacts:
    """What an ONNX file says about itself, in its `metadata_props` under `optevo.KEY`, so that it needs no other file.

    Attributes:
        version: optevo's, that wrote it.
        title: of the model.
        direction: "AtoB" or "BtoA", of the pairs that it was trained on; "noise to image".
        half: whether weights, input and output are float16; float32 otherwise. Values lie in [-1, 1] in both.
        height, width: pixels, of the pictures that it was trained on. A translator takes other sizes too.
        output_channels: 1 (grey) or 3 (RGB).
        input_channels: 1 or 3; 0 where it takes noise.
        multiple: heights and widths are multiples of this many pixels.
        least: the smallest height and width; the multiple itself where the file does not say.
        latent: how many numbers of noise, uniform in [-1, 1], make a picture; 0 of a translator.
    """

    version: str
    title: str
    direction: str
    half: bool
    height: int
    width: int
    output_channels: int
    input_channels: int = 0
    multiple: int = 1
    least: int = 1
    latent: int = 0

    def to_metadata(self) -> dict[str, str]:
        """As ONNX stores it: text."""
        values = {**vars(self), "half": "true" if self.half else "false"}
        return {f"{PREFIX}{key}": str(value) for key, value in values.items()}

    @classmethod
    def from_metadata(cls, stored: Mapping[str, str], *, path: Path) -> "ExportFacts":
        """Read what `to_metadata` wrote. The file may be anybody's, so nothing in it is believed.

        Raises:
            UsageError: a key is missing, or its value is none that optevo writes.
        """
        texts = {key: stored.get(f"{PREFIX}{key}") for key in cls.__dataclass_fields__}
        texts["least"] = texts["least"] or texts["multiple"]
        texts["latent"] = texts["latent"] or "0"
        missing = [key for key, value in texts.items() if value is None]
        if missing:
            raise UsageError(
                f"{path}: its metadata has no {PREFIX}{missing[0]}, so it was not written by `optevo model export`; "
                "export the model folder again"
            )
        ranges = {
            "latent": range(MAX_LATENT + 1), "output_channels": range(1, 4, 2),
            "input_channels": range(1, 4, 2) if texts["latent"] == "0" else range(1),
            **dict.fromkeys(("multiple", "least", "height", "width"), range(1, MAX_MULTIPLE + 1)),
        }  # fmt: skip
        values: dict[str, Any] = {key: str(value) for key, value in texts.items()}
        for key, allowed in ranges.items():
            values[key] = _whole(values[key], key=key, allowed=allowed, path=path)
        return cls(**{**values, "half": values["half"] == "true"})


@dataclass(frozen=True)
class OnnxModel:
    """An exported generator, ready to run; `facts` says what it takes."""

    path: Path
    facts: ExportFacts
    session: Any

    def __call__(self, images: Array) -> Array:
        """Run it.

        Args:
            images: float32 (B, input_channels, H, W) in [-1, 1]; H and W multiples of `facts.multiple`. Where it takes
                noise, (B, latent).

        Returns:
            float32 (B, output_channels, H, W) in [-1, 1], also of a half-precision file.

        Raises:
            OptevoError: onnxruntime refuses the images, or has no memory for them.
        """
        given = images.astype(np.float16 if self.facts.half else np.float32, copy=False)
        try:
            (output,) = self.session.run([OUTPUT], {INPUT: given})
        except Exception as error:  # onnxruntime's own classes, which have no common base
            raise OptevoError(
                f"{self.path.name}: onnxruntime cannot run it on {images.shape} ({one_line(error)})"
            ) from error
        result: Array = np.asarray(output, dtype=np.float32)
        return result


def open_onnx(path: Path, *, device: str = "auto") -> OnnxModel:
    """Open an ONNX file that `optevo model export` wrote.

    Args:
        path: the file.
        device: `"auto"` (a GPU where this onnxruntime has one), `"cpu"`, `"cuda"` or `"cuda:N"`.

    Raises:
        UsageError: onnxruntime is missing or lacks the device, or the file is none that optevo wrote.
    """
    require("onnxruntime")
    runtime = import_module("onnxruntime")
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file; make it with `optevo model export FOLDER --format onnx`")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors only; what it cannot fuse concerns nobody here
    # Threads that wait asleep: between two pictures there are files to read and write.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = _providers(device, available=runtime.get_available_providers())
    try:
        session = runtime.InferenceSession(str(path), sess_options=options, providers=providers)
    except Exception as error:  # onnxruntime's own classes again
        raise UsageError(f"{path}: is no ONNX file that onnxruntime can open ({one_line(error)})") from error
    facts = ExportFacts.from_metadata(session.get_modelmeta().custom_metadata_map, path=path)
    return OnnxModel(path, facts, session)


def require(*modules: str) -> None:
    """Raise UsageError unless the optional packages that ONNX needs are installed."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise UsageError(f"ONNX needs {' and '.join(missing)}, not installed; run: pip install 'optevo[onnx]'")


def one_line(error: BaseException, *, limit: int = 200) -> str:
    """What an error says, on one line of bounded length."""
    text = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _providers(device: str, *, available: list[str]) -> list[Any]:
    cpu: list[Any] = ["CPUExecutionProvider"]
    found = re.fullmatch(r"auto|cpu|cuda(?::(\d{1,3}))?", device)
    if found is None:
        raise UsageError(f"device = {device!r}: must be 'auto', 'cpu', 'cuda' or 'cuda:N'")
    has_gpu = "CUDAExecutionProvider" in available
    if device.startswith("cuda") and not has_gpu:
        raise UsageError(f"device = {device!r}: this onnxruntime runs on the CPU alone; install onnxruntime-gpu")
    if device == "cpu" or not has_gpu:
        return cpu
    return [("CUDAExecutionProvider", {"device_id": int(found.group(1) or 0)}), *cpu]


def _whole(text: str, *, key: str, allowed: range, path: Path) -> int:
    number = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else math.nan
    if number not in allowed:
        raise UsageError(f"{path}: its metadata says {PREFIX}{key} = {text[:40]!r}; export the model folder again")
    return int(number)
