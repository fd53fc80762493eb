"""What the commands do, as functions: create a study, run it, read its best, train and judge models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from optevo.api.bests import Best, best, winners
from optevo.api.compression import BestPair
from optevo.api.estimating import estimate
from optevo.api.finetuning import finetune, finetune_seeds
from optevo.api.pairs import train_pair
from optevo.api.quickstarts import QuickstartResult, quickstart, quickstart_models, quickstart_search
from optevo.api.recipes import BestRecipe
from optevo.api.running import run_study, work
from optevo.api.serving import dashboard
from optevo.api.studies import copy_study, create_study, list_studies, show

if TYPE_CHECKING:
    from optevo.models.apply import apply_model as apply
    from optevo.models.compare import compare_models as compare
    from optevo.models.compare import evaluate
    from optevo.models.evaluate_pair import evaluate_pair
    from optevo.models.export import export_model as export
    from optevo.models.import_pair import import_pair
    from optevo.models.sample import sample_model as sample

# What belongs to models stands there, and is loaded when it is used: it needs torch.
_MODELS = {
    "apply": ("apply", "apply_model"),
    "compare": ("compare", "compare_models"),
    "evaluate": ("compare", "evaluate"),
    "evaluate_pair": ("evaluate_pair", "evaluate_pair"),
    "export": ("export", "export_model"),
    "import_pair": ("import_pair", "import_pair"),
    "sample": ("sample", "sample_model"),
}

__all__ = [
    "Best",
    "BestPair",
    "BestRecipe",
    "QuickstartResult",
    "apply",
    "best",
    "compare",
    "copy_study",
    "create_study",
    "dashboard",
    "estimate",
    "evaluate",
    "evaluate_pair",
    "export",
    "finetune",
    "finetune_seeds",
    "import_pair",
    "list_studies",
    "quickstart",
    "quickstart_models",
    "quickstart_search",
    "run_study",
    "sample",
    "show",
    "train_pair",
    "winners",
    "work",
]


def __getattr__(name: str) -> Any:
    if name not in _MODELS:
        raise AttributeError(f"module 'optevo.api' has no attribute {name!r}")
    module, function = _MODELS[name]
    return getattr(import_module(f"optevo.models.{module}"), function)
