"""Every benchmark still finds what it imports: nothing else would notice until somebody needs it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(
    path.relative_to(ROOT) for path in (ROOT / "benchmarks").glob("*.py") if "argparse" in path.read_text()
)


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_it_says_what_it_does(script: Path) -> None:
    ran = subprocess.run([sys.executable, "-W", "ignore", ROOT / script, "--help"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "usage:" in ran.stdout
