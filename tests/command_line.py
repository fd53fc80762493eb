"""The real command line, and a specification that it finishes in seconds."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from forked import python

SPEC = """
seed = 1
[data]
root = "{root}"
direction = "BtoA"
size = 32
[space]
channels = [2, 4]
depth = 3
[training]
steps = 2
batch_size = 2
discriminator_channels = 2
discriminator_layers = 2
[sampler]
population = 2
generations = 1
[final]
candidates = 1
seeds = 1
[finetune]
epochs = 1
decay_epochs = 0
batch_size = 4
threads = 1
[engine]
device = "cpu"
"""


def optevo(
    folder: Path, *arguments: str | Path, limit: Callable[[], None] | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `optevo ARGUMENTS` in a folder; `limit` is called in the new process first."""
    environment = {**os.environ, **environment}
    if limit is None:
        return python("-m", "optevo", *arguments, cwd=folder, env=environment)
    return subprocess.run(
        [sys.executable, "-m", "optevo", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        preexec_fn=limit,
        timeout=120,
    )
