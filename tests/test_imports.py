"""The import directions of the design, and what must not be loaded to say `--help`."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "optevo"

# What each part may import. Everything may import optevo.errors.
ALLOWED = {
    "evolution": set(),
    "samplers": {"evolution"},
    "spaces": set(),
    "cost": {"spaces"},
    "networks": {"spaces"},
    "data": set(),
    "training": {"networks", "spaces", "data", "cost"},
    "metrics": {"training", "networks", "spaces", "data", "cost"},
    "tasks": {"training", "metrics", "data", "cost", "networks", "spaces"},
    # A study's teachers are a model folder.
    "search": {
        "samplers",
        "evolution",
        "models",
        "reports",
        "tasks",
        "training",
        "metrics",
        "data",
        "cost",
        "networks",
        "spaces",
    },
    "reports": {"tasks", "training", "metrics", "data", "cost", "networks", "spaces"},
    "models": {"reports", "tasks", "training", "metrics", "data", "cost", "networks", "spaces"},
}
# These may import everything.
ABOVE = {"api", "cli"}
FORBIDDEN = {
    "evolution": {"torch", "torchvision", "optuna"},
    "samplers": {"torch", "torchvision"},
    "spaces": {"torch", "torchvision", "optuna"},
    "networks": {"optuna"},
    "training": {"optuna"},
    "data": {"optuna"},
    "metrics": {"optuna"},
}


def imports(path: Path) -> set[str]:
    """Every module that a file imports anywhere, not only for types."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "optevo"}
    return found


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_imports_point_one_way(part: str) -> None:
    files = sorted((PACKAGE / part).rglob("*.py"))
    assert files
    for path in files:
        for module in imports(path):
            names = module.split(".")
            assert names[0] not in FORBIDDEN.get(part, set()), f"{path} imports {module}"
            if names[0] == "optevo" and len(names) > 1 and (PACKAGE / names[1]).is_dir():
                assert names[1] in ALLOWED[part] | {part}, f"{path} imports {module}"
            assert names[:2] != ["optevo", "api"], f"{path} imports the API above it"


def test_every_part_has_a_rule() -> None:
    parts = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert parts == set(ALLOWED) | ABOVE


def test_every_part_is_installed() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    installed = {name.removeprefix("optevo.") for name in project["tool"]["setuptools"]["packages"]}
    assert installed == set(ALLOWED) | ABOVE | {"optevo", "studies"}


@pytest.mark.parametrize(
    ("command", "heavy"),
    [
        ("import optevo.cli.main", ["torch", "optuna", "numpy", "sqlalchemy", "pydantic", "PIL"]),
        ("import optevo", ["torch", "optuna", "numpy"]),
        ("import optevo.samplers", ["torch"]),
        ("import optevo.spaces.unet, optevo.cost.closed_form", ["torch", "optuna"]),
        ("import optevo.api", ["torch"]),
    ],
)
def test_what_need_not_be_loaded_is_not(command: str, heavy: list[str]) -> None:
    code = f"{command}; import sys; print([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
