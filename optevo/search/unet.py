"""The U-Net search (2002.11581) as a study: one population, whose individuals are channels and skips."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import Trial

from optevo.data.check import check_pairs
from optevo.errors import UsageError
from optevo.evolution.screening import Screening
from optevo.samplers import RouletteGASampler, SlotSampler, claim_of
from optevo.search.spec import SamplerSettings, Spec, UNetSpec
from optevo.search.systems import PICTURED, Left, System
from optevo.tasks.evaluation import Evaluation
from optevo.tasks.fitness import cost_of, over_budget, price, space_of
from optevo.tasks.splits import find_splits

if TYPE_CHECKING:
    from optevo.reports.pictures import Pixels
    from optevo.search.study import Search
    from optevo.tasks.splits import Splits
    from optevo.tasks.unet import Heir, UNetTask
    from optevo.training.engine import Engine


NETWORKS = "networks.safetensors"

# How many parents a child learns from.
LEARN_FROM = {"none": 0, "inherit": 1, "distill": 2}


class UNetSystem(System):
    """See the module."""

    populations = ("",)

    def check(self, spec: Spec) -> None:
        _check_budgets(_of(spec))
        find_splits(_of(spec), seed=spec.seed)  # names every file without a counterpart
        check_images(Path(spec.data.root))

    def fingerprint(self, spec: Spec, *, root: Path | None = None) -> str:
        return find_splits(_of(spec), root=root, seed=spec.seed).fingerprint

    def facts(self, spec: Spec) -> dict[str, Any]:
        from optevo.tasks.unet import constant_loss, load_split
        from optevo.training.engine import resolve

        spec = _of(spec)
        splits, cpu = find_splits(spec, seed=spec.seed), resolve(device="cpu").device
        train, val = (load_split(pairs, spec, device=cpu, jitter=False) for pairs in (splits.train, splits.val))
        return {"loss_unit": constant_loss(train, val, l1_weight=spec.training.l1_weight)}

    def samplers(self, spec: Spec, *, facts: Mapping[str, Any], name: str) -> tuple[SlotSampler, ...]:
        return (make_sampler(_of(spec), loss_unit=facts["loss_unit"]),)

    def open_task(
        self,
        spec: Spec,
        *,
        facts: Mapping[str, Any],
        engine: "Engine",
        read_file: Callable[[str], bytes],
        root: Path | None = None,
    ) -> "UNetTask":
        from optevo.tasks.unet import UNetTask

        spec = _of(spec)
        splits = find_splits(spec, root=root, seed=spec.seed)
        return UNetTask.load(spec, splits, engine=engine, loss_unit=facts["loss_unit"])

    def individual(
        self, spec: Spec, trial: Trial, *, facts: Mapping[str, Any], left: Left
    ) -> "Mapping[str, Any] | Heir":
        if _of(spec).training.warm_start == "none":
            return trial.params
        from optevo.tasks.unet import Heir

        claim = claim_of(trial.storage.get_trial(trial._trial_id))
        parents = [left(number, NETWORKS) for number in (claim.learns_from if claim is not None else ())]
        return Heir(trial.params, tuple((parent.params, content) for parent, content in parents))

    def leaves(self, spec: Spec, trial: Trial, evaluation: Evaluation) -> Mapping[str, bytes]:
        sampler, claim = trial.study.sampler, claim_of(trial.storage.get_trial(trial._trial_id))
        # Nobody is bred from the final's trials, nor from the last generation's.
        if _of(spec).training.warm_start == "none" or not isinstance(sampler, RouletteGASampler):
            return {}
        if claim is None or claim.generation + 1 == spec.sampler.generations:
            return {}
        from optevo.training.warm_start import networks_to_bytes

        return {NETWORKS: networks_to_bytes(evaluation.model)}

    def pictures(self, trial: Trial, task: Any, evaluation: Evaluation) -> "Mapping[str, Sequence[Pixels]]":
        from optevo.models.train import rows_of

        return rows_of({"output": evaluation.model.generator}, task.val, count=PICTURED)


def unet_spec(search: "Search") -> UNetSpec:
    """The specification of a U-Net search.

    Raises:
        UsageError: The study is of another system.
    """
    if not isinstance(search.spec, UNetSpec):
        raise UsageError(
            f"study {search.name!r}: is of the system {search.spec.system!r}, and this needs a U-Net search."
        )
    return search.spec


def splits_of(search: "Search", *, root: Path | None = None) -> "Splits":
    """The pairs, if they are those that the study was created with.

    Raises:
        UsageError: The images differ.
    """
    search.check_images(root=root)
    return find_splits(unet_spec(search), root=root, seed=search.spec.seed)


def _of(spec: Spec) -> UNetSpec:
    assert isinstance(spec, UNetSpec)
    return spec


def distributions(spec: UNetSpec) -> dict[str, BaseDistribution]:
    """The search space for Optuna: one categorical parameter a gene, in the order that crossover cuts."""
    return {name: CategoricalDistribution(choices) for name, choices in space_of(spec).gene_choices.items()}


def make_sampler(spec: UNetSpec, *, loss_unit: float) -> RouletteGASampler:
    """The specification's sampler. The cost of an architecture is known exactly, so screening predicts only L_Gen."""
    space = space_of(spec)
    limited = spec.fitness.max_parameters is not None or spec.fitness.max_macs is not None

    def feasible(params: dict[str, Any]) -> bool:
        return over_budget(cost_of(space.architecture(params), spec), spec) is None

    def known_price(params: dict[str, Any]) -> float:
        return price(cost_of(space.architecture(params), spec), spec, loss_unit=loss_unit)

    settings = genetics(spec.sampler)
    return RouletteGASampler(
        search_space=distributions(spec),
        chromosomes=[list(names) for names in space.chromosomes.values()],
        price=known_price if settings["screening"] is not None else None,
        feasible=feasible if limited else None,
        learn_from=LEARN_FROM[spec.training.warm_start],
        seed=spec.seed,
        **settings,
    )


def genetics(settings: SamplerSettings) -> dict[str, Any]:
    """`[sampler]` as arguments of :class:`optevo.samplers.RouletteGASampler`."""
    screening = (
        Screening(
            candidates=settings.candidates,
            optimism=settings.optimism,
            immigrants=settings.immigrants,
            diversity=settings.diversity,
            memory=settings.memory,
        )
        if settings.candidates
        else None
    )
    return {
        "population_size": settings.population,
        "generations": settings.generations,
        "selection": settings.selection,
        "crossover": settings.crossover,
        "mutation": settings.mutation,
        "scaling": settings.scaling,
        "mutation_kind": settings.mutation_kind,
        "elites": settings.elites,
        "duplicates": settings.duplicates,
        "founders": settings.founders,
        "archive": settings.archive or None,
        "screening": screening,
        "reuse": settings.reuse,
    }


def check_images(root: Path) -> None:
    """Open every image, so that no training dies on one.

    Raises:
        UsageError: Names the first that will not do.
    """
    check_pairs(root).demand()


def _check_budgets(spec: UNetSpec) -> None:
    space = space_of(spec)
    smallest = {name: 0 if name.startswith("c2") else min(choices) for name, choices in space.gene_choices.items()}
    broken = over_budget(cost_of(space.architecture(smallest), spec), spec)
    if broken:
        raise UsageError(f"no architecture fits: even the smallest one's {broken}; raise the budget.")
