"""A specification whose individuals train in milliseconds."""

from pathlib import Path
from typing import Any


def tiny_document(root: Path) -> dict[str, Any]:
    return {
        "seed": 7,
        "data": {"root": str(root), "direction": "BtoA", "size": 32},
        "space": {"channels": [2, 3, 4], "depth": 3},
        "training": {"steps": 3, "batch_size": 2, "discriminator_channels": 2, "discriminator_layers": 2},
        "sampler": {"population": 4, "generations": 3, "preset": "plain"},
        "final": {"candidates": 2, "seeds": 2},
        "finetune": {"epochs": 2, "decay_epochs": 1, "batch_size": 4, "threads": 1},
        "engine": {"device": "cpu"},
    }
