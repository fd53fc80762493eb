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
        evaluate_pair,
        export,
        finetune,
        import_pair,
        quickstart,
        run_study,
        train_pair,
    )
    from optevo.models.folder import load_generator
    from optevo.models.pair import load_pair
    from optevo.search.spec import read_spec

_HOME = {
    "apply": "optevo.api",
    "best": "optevo.api",
    "compare": "optevo.api",
    "copy_study": "optevo.api",
    "create_study": "optevo.api",
    "estimate": "optevo.api",
    "evaluate": "optevo.api",
    "evaluate_pair": "optevo.api",
    "export": "optevo.api",
    "finetune": "optevo.api",
    "import_pair": "optevo.api",
    "load_generator": "optevo.models.folder",
    "load_pair": "optevo.models.pair",
    "quickstart": "optevo.api",
    "read_spec": "optevo.search.spec",
    "run_study": "optevo.api",
    "train_pair": "optevo.api",
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
    "evaluate_pair",
    "export",
    "finetune",
    "import_pair",
    "load_generator",
    "load_pair",
    "quickstart",
    "read_spec",
    "run_study",
    "train_pair",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'optevo' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
