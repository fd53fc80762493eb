"""Every benchmark still finds what it imports: nothing else would notice until somebody needs it."""

from pathlib import Path

import pytest
from forked import python

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(
    path.relative_to(ROOT) for path in (ROOT / "benchmarks").glob("*.py") if "argparse" in path.read_text()
)


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_it_says_what_it_does(script: Path) -> None:
    ran = python(ROOT / script, "--help")
    assert ran.returncode == 0, ran.stderr
    assert "usage:" in ran.stdout
