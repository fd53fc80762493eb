from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def real_facades(real_data: Path) -> Path:
    """The real facades, or a skip that says why."""
    facades = real_data / "facades"
    if not facades.is_dir():
        pytest.skip(f"OPTEVO_TEST_DATA has no facades: {facades}")
    return facades
