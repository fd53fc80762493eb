"""From an architecture to a model folder: the whole training, the test, and the evidence."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optevo.models.folder import WEIGHTS, ModelFacts, check_target, load_generator, read_facts, save_model
from optevo.reports.pictures import Pixels, picture
from optevo.spaces.unet import UNetArchitecture
from optevo.tasks.fitness import cost_of
from optevo.tasks.settings import UNetSettings
from optevo.tasks.splits import Splits

if TYPE_CHECKING:
    from torch import Tensor, nn

    from optevo.data.resident import ResidentPairs
    from optevo.training.continuing import Checkpoints
    from optevo.training.engine import Engine

SAMPLES = 6


def train_model(
    architecture: UNetArchitecture,
    settings: UNetSettings,
    splits: Splits,
    folder: Path,
    *,
    engine: "Engine",
    seed: int,
    title: str,
    study: str | None = None,
    trial: int | None = None,
    versions: Mapping[str, str] | None = None,
    checkpoints: "Checkpoints | None" = None,
    on_step: Callable[[int, int], None] | None = None,
) -> ModelFacts:
    """Train an architecture whole and write its model folder. An interrupted training goes on where it stopped.

    Args:
        checkpoints: Where they lie; by default in :func:`checkpoint_beside` the folder. They go when the model is
            written.

    Raises:
        UsageError: The folder exists already or cannot be written.
        OptevoError: The loss diverged, or the disk is full.
    """
    from optevo.metrics.paired import paired_metrics
    from optevo.tasks.finetune import finetune, judged_on
    from optevo.training.continuing import LocalCheckpoints

    check_target(folder)
    checkpoints = checkpoints or LocalCheckpoints(checkpoint_beside(folder))
    model = finetune(
        architecture, settings, splits, engine=engine, seed=seed, checkpoints=checkpoints, on_step=on_step
    )  # fmt: skip
    engine = model.engine
    split, data = judged_on(splits, settings, engine=engine)
    cost = cost_of(architecture, settings)
    with engine.active():
        metrics = paired_metrics(model.generator, data, split=split, engine=engine)
        samples = picture(rows_of({"output": model.generator}, data))
    facts = ModelFacts(
        architecture=architecture.to_dict(),
        size=settings.data.size,
        direction=settings.data.direction,
        seed=seed,
        fingerprint=splits.fingerprint,
        precision=engine.precision,
        parameters=cost.parameters,
        exact_macs=cost.exact_macs,
        literature_macs=cost.literature_macs,
        metrics=metrics,
        training=settings.model_dump(mode="json", include={"training", "finetune"}),
        study=study,
        trial=trial,
        title=title,
        versions=dict(versions or {}),
    )
    save_model(folder, model.generator, facts, samples=samples)
    checkpoints.remove()
    return facts


def checkpoint_beside(folder: Path) -> Path:
    """The local checkpoint of the training of a model folder."""
    return folder.parent / f".{folder.name}.checkpoint.safetensors"


def evaluate_model(
    folder: Path,
    data: "ResidentPairs",
    *,
    split: str,
    engine: "Engine",
    mode: Any = "eval",
    runs: int = 20,
    batch_sizes: Sequence[int] = (1,),
) -> dict[str, Any]:
    """Quality on a split, size and speed of a model folder, under names that say how each was measured.

    The latencies of a batch of N are `latency_ms_median_batchN` and so on, those of a batch of one have no ending.
    """
    from optevo.metrics.paired import paired_metrics

    facts = read_facts(folder)
    generator = load_generator(folder, device=str(engine.device))
    with engine.active():
        metrics = paired_metrics(generator, data, split=split, engine=engine, mode=mode)
        timed = latencies(generator, facts, size=data.size, engine=engine, runs=runs, batch_sizes=batch_sizes)
    return {
        "folder": str(folder),
        "title": facts.title,
        "direction": facts.direction,
        **metrics,
        "parameters": facts.parameters,
        "exact_macs": facts.exact_macs,
        "literature_macs": facts.literature_macs,
        "file_bytes": (folder / WEIGHTS).stat().st_size,
        **timed,
    }


def latencies(
    generator: "nn.Module",
    facts: ModelFacts,
    *,
    size: tuple[int, int],
    engine: "Engine",
    runs: int,
    batch_sizes: Sequence[int],
) -> dict[str, Any]:
    """Latencies under the names that :func:`evaluate_model` gives them, and how they were measured."""
    from optevo.cost.latency import latency

    (height, width), channels, device = size, facts.architecture["input_channels"], str(engine.device)
    found: dict[str, Any] = {}
    for batch_size in batch_sizes:
        timed = latency(
            generator, batch_size=batch_size, height=height, width=width, channels=channels, device=device, runs=runs
        )  # fmt: skip
        ending = "" if batch_size == 1 else f"_batch{batch_size}"
        for key in ("median", "p10", "p90"):
            found[f"latency_ms_{key}{ending}"] = getattr(timed, f"{key}_ms")
    sizes = " and ".join(map(str, batch_sizes))
    found["latency_protocol"] = f"batch {sizes}, {height}x{width}, fp32, {device}, {engine.threads} threads"
    return found


def rows_of(generators: "Mapping[str, Any]", data: "ResidentPairs", *, count: int = SAMPLES) -> dict[str, list[Pixels]]:
    """Rows for a picture: input, each generator's output, target, for the first `count` pairs."""
    import torch

    from optevo.training.validation import evaluated

    index = torch.arange(min(count, len(data)), device=data.index_device)
    source, target = data.batch(index)
    rows = {"input": to_pixels(source)}
    for label, generator in generators.items():
        with evaluated(generator):
            rows[label] = to_pixels(generator(source))
    return {**rows, "target": to_pixels(target)}


def to_pixels(images: "Tensor") -> list[Pixels]:
    """`(B, C, H, W)` in [-1, 1] as uint8 arrays `(H, W, C)`."""
    scaled = ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return list(scaled.permute(0, 2, 3, 1).cpu().numpy())
