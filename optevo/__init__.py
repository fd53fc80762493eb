"""optevo: evolve small, fast GAN generators for your own images, with Optuna.

What a command does, a function here does. Nothing is loaded before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from optevo.api import (
        apply,
        best,
        compare,
        copy_study,
        create_study,
        estimate,
        evaluate,
        export,
        finetune,
        quickstart,
        run_study,
    )
    from optevo.models.folder import load_generator
    from optevo.search.spec import read_spec

_HOME = {
    "apply": "optevo.api",
    "best": "optevo.api",
    "compare": "optevo.api",
    "copy_study": "optevo.api",
    "create_study": "optevo.api",
    "estimate": "optevo.api",
    "evaluate": "optevo.api",
    "export": "optevo.api",
    "finetune": "optevo.api",
    "load_generator": "optevo.models.folder",
    "quickstart": "optevo.api",
    "read_spec": "optevo.search.spec",
    "run_study": "optevo.api",
}

__all__ = [
    "__version__",
    "apply",
    "best",
    "compare",
    "copy_study",
    "create_study",
    "estimate",
    "evaluate",
    "export",
    "finetune",
    "load_generator",
    "quickstart",
    "read_spec",
    "run_study",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'optevo' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
