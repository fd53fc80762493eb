"""A tiny real study: drawn pictures, real networks, real training of a few steps."""

from pathlib import Path

import pytest
from tiny_study import tiny_document

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
