"""What every benchmark says of itself, and where its results lie. Loads nothing."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

RESULTS = Path(__file__).parent / "results"


def hardware() -> dict[str, Any]:
    """The processor and the number of its cores."""
    return {"processor": processor(), "cores": os.cpu_count()}


def processor() -> str:
    """The processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def device_name(device: "torch.device") -> str:
    """A GPU's name, or `cpu`."""
    if device.type != "cuda":
        return "cpu"
    import torch

    return torch.cuda.get_device_name(device)


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, and the standard error of it; None for a single value."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "standard_error": error}


def kept(file: Path) -> list[dict[str, Any]]:
    """The lines of a file of what is done; one that a process is writing, or was killed at, is left out."""
    lines = []
    for line in file.read_text().splitlines() if file.exists() else []:
        with suppress(json.JSONDecodeError):
            lines.append(json.loads(line))
    return lines


def keep(file: Path, line: Mapping[str, Any]) -> None:
    """Append a line, whole even where a kill has cut the last one short."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as out:
        out.write("\n" + json.dumps(line) + "\n")


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of installed packages, and of Python."""
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def rounded(value: Any, *, digits: int) -> Any:
    """Plain data with all its floats rounded."""
    if isinstance(value, dict):
        return {key: rounded(each, digits=digits) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each, digits=digits) for each in value]
    return round(value, digits) if isinstance(value, float) else value
