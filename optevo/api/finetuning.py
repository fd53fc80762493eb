"""Train what a study has found whole, into model folders."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from optevo.api.bests import best_architecture
from optevo.api.compression import finetune_winners
from optevo.api.interrupting import OnStep, interruptible
from optevo.api.recipes import best_recipe
from optevo.errors import UsageError
from optevo.search.recipe import open_recipe_task, recipe_spec
from optevo.search.spec import UNetSpec, parse_settings
from optevo.search.store import storage_url
from optevo.search.study import Search, open_search
from optevo.search.unet import check_images, splits_of, unet_spec
from optevo.search.versions import versions
from optevo.spaces.unet import NAMED, UNetArchitecture, original
from optevo.tasks.fitness import original_of
from optevo.tasks.splits import find_splits

if TYPE_CHECKING:
    from optevo.training.continuing import Checkpoints


@dataclass(frozen=True)
class _Wishes:
    """What to train and how, as the arguments of :func:`finetune`."""

    trial: int | None
    architecture: str | None
    onto: Path | None
    direction: str | None
    seed: int
    data: Path | None

    def refuse(self, names: Collection[str], *, why: str) -> None:
        """Raise UsageError where one of them is given."""
        for name in names:
            if (value := getattr(self, name)) is not None:
                raise UsageError(f"--{name} {value}: is for U-Net searches; {why}.")


# What a training's folder is called, and what trains into a folder: it gets that, the checkpoints to go on from, and
# what to call after each step.
_Training = tuple[str, Callable[[Path, "Checkpoints", OnStep], object]]


def finetune(
    name: str,
    *,
    storage: str | None = None,
    trial: int | None = None,
    architecture: str | None = None,
    seed: int = 0,
    out: Path | None = None,
    data: Path | None = None,
    onto: Path | None = None,
    direction: str | None = None,
    checkpoints: str | None = None,
    on_step: OnStep | None = None,
) -> Path:
    """Train the winner of a study (or one of its trials, or a named architecture) whole, into a model folder.

    Of a co-evolution both winners are trained together, into a pair folder; only `seed`, `out`, `data`, `checkpoints`
    and `on_step` are for it. Of a search for recipes the winner's is trained, into a model folder of its champion; for
    it are those and `trial`.

    Args:
        trial: Number of a trial to train instead of the winner.
        architecture: A name instead: `"original"` is pix2pix's network in the study's scale.
        seed: Of everything random in the training.
        out: The folder; by default `models/NAME-winner`, `-trial-N` or `-ARCHITECTURE`, then the other data set's name.
        data: The study's images, where they are not in the specification's folder.
        onto: Another data set: the searched architecture is transferred to it (2002.11581, section 4.2).
        direction: `"AtoB"` or `"BtoA"` on the other data set; by default the study's.
        checkpoints: A folder or `s3://BUCKET/PREFIX` from where the same call on another machine goes on; by default
            the study's artifact store or OPTEVO_ARTIFACTS, else a file beside the model folder.
        on_step: Called with the steps done and the steps in all.

    Raises:
        UsageError: There is no such study, trial or architecture, or the folder exists already.
        InterruptedRunError: Ctrl-C or SIGTERM; a checkpoint is written and the same call continues.
        OptevoError: The loss diverged, the disk is full, the store of checkpoints is away, or another machine has gone
            on with the same training.
    """
    from optevo.models.train import checkpoint_beside
    from optevo.search.checkpoints import open_checkpoints

    search = open_search(name, url=storage_url(storage))
    wishes = _Wishes(trial, architecture, onto, direction, seed, data)
    label, train_into = _TRAININGS[search.spec.system](search, wishes)
    folder = out or Path("models") / f"{name}-{label}"
    kept = open_checkpoints(checkpoint_beside(folder), given=checkpoints, recorded=search.record.artifacts)
    with interruptible(folder, on_step) as after:
        train_into(folder, kept, after)
    return folder


def _unet(search: Search, wishes: _Wishes) -> _Training:
    """Of an architecture, on the study's images or others."""
    from optevo.models.train import train_model
    from optevo.training.engine import resolve

    chosen, number, label = _chosen(search, trial=wishes.trial, architecture=wishes.architecture)
    own, onto = unet_spec(search), wishes.onto
    if onto is None and wishes.direction is not None:
        raise UsageError("--direction: belongs to --onto; the study's own images have theirs.")
    spec = own if onto is None else transferred(own, onto=onto, direction=wishes.direction)

    def train(folder: Path, checkpoints: "Checkpoints", on_step: OnStep) -> None:
        train_model(
            chosen,
            spec,
            splits_of(search, root=wishes.data) if onto is None else find_splits(spec, seed=spec.seed),
            folder,
            engine=resolve(device=spec.engine.device, precision=search.record.precision, threads=spec.finetune.threads),
            seed=wishes.seed,
            title=f"{search.name} {label}",
            study=search.name,
            trial=number,
            versions=versions(),
            checkpoints=checkpoints,
            on_step=on_step,
        )

    return label if onto is None else f"{label}-{onto.name}", train


def _pair(search: Search, wishes: _Wishes) -> _Training:
    """Of both winners of a co-evolution together."""
    wishes.refuse(("trial", "architecture", "onto", "direction"), why=f"study {search.name!r} is a co-evolution")

    def train(folder: Path, checkpoints: "Checkpoints", on_step: OnStep) -> None:
        finetune_winners(search, folder, seed=wishes.seed, data=wishes.data, checkpoints=checkpoints, on_step=on_step)

    return "winners", train


def _recipe(search: Search, wishes: _Wishes) -> _Training:
    """Of a recipe's champion."""
    from optevo.models.train_recipe import train_recipe
    from optevo.training.engine import resolve

    wishes.refuse(("architecture", "onto", "direction"), why=f"study {search.name!r} searches recipes")
    search.check_images(root=wishes.data)
    spec, winner = recipe_spec(search), best_recipe(search, trial=wishes.trial)
    label = "winner" if wishes.trial is None else f"trial-{wishes.trial}"

    def train(folder: Path, checkpoints: "Checkpoints", on_step: OnStep) -> None:
        engine = resolve(device=spec.engine.device, precision=search.record.precision, threads=spec.finetune.threads)
        train_recipe(
            open_recipe_task(spec, engine=engine, root=wishes.data),
            winner.params,
            folder,
            steps=spec.finetune.steps,
            seed=wishes.seed,
            title=f"{search.name} {label}",
            fingerprint=search.record.fingerprint,
            checkpoints=checkpoints,
            study=search.name,
            trial=winner.trial,
            versions=versions(),
            on_step=on_step,
        )

    return label, train


_TRAININGS: dict[str, Callable[[Search, _Wishes], _Training]] = {
    "unet": _unet,
    "coevolution": _pair,
    "cegan": _recipe,
}


def _chosen(search: Search, *, trial: int | None, architecture: str | None) -> tuple[UNetArchitecture, int | None, str]:
    """An architecture, its trial's number, and what to call it."""
    if architecture is not None and trial is not None:
        raise UsageError("--trial and --architecture: name one of them.")
    if architecture is not None:
        return named_architecture(architecture, unet_spec(search)), None, architecture
    winner = best_architecture(search, trial=trial)
    return winner.architecture, winner.trial, "winner" if trial is None else f"trial-{trial}"


def named_architecture(name: str, spec: UNetSpec) -> UNetArchitecture:
    """An architecture by name, with the specification's image channels.

    Raises:
        UsageError: There is none of that name, or it is too deep for the images.
    """
    channels = {"input_channels": spec.data.input_channels, "output_channels": spec.data.target_channels}
    if name == "original":
        return original_of(spec)
    if name == "pix2pix":
        return original(depth=spec.space.depth, **channels)
    if name not in NAMED:
        known = ", ".join(["original", "pix2pix", *(key for key in NAMED if key != "original")])
        raise UsageError(f"--architecture {name}: there is none of that name; choose one of {known}.")
    found = NAMED[name](**channels)
    found.check_size(*spec.data.size)
    return found


def transferred(spec: UNetSpec, *, onto: Path, direction: str | None) -> UNetSpec:
    """The specification with another data set: everything but the folder and the direction stays.

    Raises:
        UsageError: The folder or the direction will not do.
    """
    document = spec.model_dump(mode="json")
    document["data"] |= {"root": str(onto), "direction": direction or spec.data.direction}
    check_images(onto)
    return parse_settings(UNetSpec, document, source="--onto")


def finetune_seeds(
    name: str, *, seeds: Sequence[int], out: Path, on_model: Callable[[Path], None] | None = None, **options: Any
) -> dict[str, Any]:
    """Train the same architecture with several seeds, into `OUT-seed-K`; models that are there already are kept.

    Args:
        options: As of :func:`finetune`.
        on_model: Called with each finished model folder.

    Returns:
        The folders, and for each metric its values, their mean and standard deviation (None for a single seed).
    """
    from optevo.models.folder import read_facts

    folders = [out.with_name(f"{out.name}-seed-{seed}") for seed in seeds]
    for seed, folder in zip(seeds, folders, strict=True):
        if not folder.exists():
            finetune(name, seed=seed, out=folder, **options)
        if on_model is not None:
            on_model(folder)
    metrics = [read_facts(folder).metrics for folder in folders]
    return {
        "folders": [str(folder) for folder in folders],
        "metrics": {
            key: {
                "values": [each[key] for each in metrics],
                "mean": fmean(each[key] for each in metrics),
                "std": stdev(each[key] for each in metrics) if len(metrics) > 1 else None,
            }
            for key in metrics[0]
        },
    }
