"""A tiny real study: drawn pictures, real networks, real training of a few steps."""

from pathlib import Path

import pytest

from optevo.data.drawn import draw_facades
from optevo.search.spec import Spec, parse_spec


@pytest.fixture(scope="session")
def facades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "facades"
    draw_facades(folder, count=8, val=3, test=3, size=(32, 32), seed=1)
    return folder


@pytest.fixture(scope="session")
def tiny(facades: Path) -> Spec:
    return parse_spec(tiny_document(facades), source="tests")


def tiny_document(root: Path) -> dict:
    return {
        "seed": 7,
        "data": {"root": str(root), "direction": "BtoA", "size": 32},
        "space": {"channels": [2, 3, 4], "depth": 3},
        "training": {"steps": 3, "batch_size": 2, "discriminator_channels": 2, "discriminator_layers": 2},
        "sampler": {"population": 4, "generations": 3, "scaling": "rank", "duplicates": "mutate"},
        "final": {"candidates": 2, "seeds": 2},
        "finetune": {"epochs": 2, "decay_epochs": 1, "batch_size": 4, "threads": 1},
        "engine": {"device": "cpu"},
    }
