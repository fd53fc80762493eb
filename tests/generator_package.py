"""A real distribution with generators that are not ours, for tests: installed by pip, found by importlib.metadata."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

from other_networks import Hourglass, Residual

KEYS = {
    "hourglass": "Hourglass",
    "residual": "Residual",
    "plain": "plain",
    "shuffled": "Shuffled",
    "grouped": "Grouped",
    "functional": "Functional",
    "spectral": "Spectral",
    "older-spectral": "OlderSpectral",
    "untraceable": "Untraceable",
    "norm-function": "NormFunction",
    "no-module": "no_module",
    "broken": "broken",
    "absent": "Absent",
    "one-size": "OneSize",
}

SOURCE = '''
import numpy
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

{classes}


class Stack(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x):
        return torch.tanh(self.body(x))


def plain(width=6, input_channels=3, output_channels=3):
    """Bare instance norms; told the images' channels."""
    return Stack(
        nn.Conv2d(input_channels, width, 3, 1, 1), nn.InstanceNorm2d(width), nn.PReLU(width),
        nn.Conv2d(width, 2 * width, 3, 2, 1), nn.InstanceNorm2d(2 * width), nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.InstanceNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, output_channels, 3, 1, 1),
    )


class Shuffled(Stack):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.PixelShuffle(2), nn.Conv2d(4, 3, 1))


class Grouped(Stack):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3, 1, 1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 3, 3, 1, 1))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 3, 1)
        self.kernel = nn.Parameter(torch.randn(8, 8, 3, 3) * 0.1)

    def forward(self, x):
        return torch.tanh(self.last(F.relu(F.conv2d(F.relu(self.first(x)), self.kernel, padding=1))))


class Spectral(Stack):
    def __init__(self):
        norm = parametrizations.spectral_norm
        super().__init__(norm(nn.Conv2d(3, 8, 3, 1, 1)), nn.ReLU(), norm(nn.Conv2d(8, 8, 3, 1, 1)), nn.Conv2d(8, 3, 1))


class OlderSpectral(Stack):
    def __init__(self):
        norm = nn.utils.spectral_norm
        super().__init__(norm(nn.Conv2d(3, 8, 3, 1, 1)), nn.ReLU(), norm(nn.Conv2d(8, 8, 3, 1, 1)), nn.Conv2d(8, 3, 1))


class Untraceable(nn.Module):
    """Its middle leaves torch, as much as code with other libraries does; its last layer still learns."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        inner = torch.from_numpy(numpy.maximum(self.first(x).detach().float().numpy(), 0))
        return torch.tanh(self.last(inner))


class NormFunction(Stack):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 3, 1))
        self.head = nn.Conv2d(3, 3, 3, 1, 1)

    def forward(self, x):
        return super().forward(F.instance_norm(self.head(x)))


class OneSize(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 3, 1)
        self.places = nn.Parameter(torch.zeros(1, 4, 16, 16))

    def forward(self, x):
        return self.last(F.relu(self.first(x) + self.places))


def no_module():
    return "a string"


def broken(width=4):
    raise RuntimeError("there is nothing here")
'''

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "{version}"

[project.entry-points."optevo.generators"]
{entries}

[tool.setuptools]
py-modules = ["{module}"]
"""


def install_generators(
    folder: Path, *, name: str = "other-generators", version: str = "1.2.3", keys: dict[str, str] | None = None
) -> dict[str, str]:
    """Build and install the package under `folder`, and give the environment in which Python finds it.

    Args:
        name, version: Of the distribution; its module has the name with underscores.
        keys: Entry points and what they are called in the module; by default all.
    """
    source, target, module = folder / f"{name}-source", folder / f"{name}-{version}-site", name.replace("-", "_")
    source.mkdir(parents=True, exist_ok=True)
    classes = "\n\n".join(inspect.getsource(each) for each in (Hourglass, Residual))
    (source / f"{module}.py").write_text(SOURCE.replace("{classes}", classes))
    entries = "\n".join(f'{key} = "{module}:{attribute}"' for key, attribute in (keys or KEYS).items())
    (source / "pyproject.toml").write_text(PROJECT.format(name=name, version=version, module=module, entries=entries))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    subprocess.run([*pip, *options, str(source)], check=True, capture_output=True, text=True)
    before = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(target), *([before] if before else [])]), "SITE": str(target)}
