"""What the commands do, as functions: create a study, run it, read its best, train and judge models."""

from optevo.api.bests import Best, best, winners
from optevo.api.compression import BestPair
from optevo.api.estimating import estimate
from optevo.api.finetuning import finetune, finetune_seeds
from optevo.api.models import apply, compare, evaluate, export, sample
from optevo.api.pairs import evaluate_pair, import_pair, train_pair
from optevo.api.quickstarts import QuickstartResult, quickstart, quickstart_models, quickstart_search
from optevo.api.recipes import BestRecipe
from optevo.api.running import run_study, work
from optevo.api.serving import dashboard
from optevo.api.studies import copy_study, create_study, list_studies, show

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
