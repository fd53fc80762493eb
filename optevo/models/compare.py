"""Model folders side by side on one dataset: quality, size and speed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from optevo.data.pairs import PairFile, find_pairs
from optevo.errors import UsageError
from optevo.models.folder import ModelFacts, translator_facts
from optevo.models.train import evaluate_model

if TYPE_CHECKING:
    from optevo.data.resident import ResidentPairs
    from optevo.training.engine import Engine

QUALITY = {"l1": ".4f", "psnr": ".2f", "ssim": ".4f"}
BATCH_SIZES = (1, 8)


def compare_models(
    folders: Sequence[str | Path],
    *,
    data: Path,
    split: str = "test",
    device: str = "auto",
    mode: str = "eval",
    batch_sizes: Sequence[int] = BATCH_SIZES,
    runs: int = 20,
) -> list[dict[str, Any]]:
    """Judge models on the same pairs, each at the size and in the direction that it was trained for.

    Those are in the names (`l1_test_106x256x256_eval`: split, images x height x width, mode) and in `direction`;
    numbers of different names do not compare.

    Args:
        folders: model folders, at least one.
        data: pairs in any layout that `optevo data check` accepts.
        split: which pairs, of the splits that the folder has.
        device: `"auto"`, `"cpu"` or `"cuda:N"`.
        mode: `"eval"`, as a user runs the models, or `"pix2pix"` (batch statistics and dropout).
        batch_sizes: for the latencies, each at least 1.
        runs: timed passes a batch size, at least 1, after 3 that warm up.

    Returns:
        A row a folder, in their order: folder, title, direction; L1 and SSIM of images in [-1, 1] and PSNR in dB, means
        over the images; parameters, exact and literature MACs of one image; bytes of the weights' file; median, 10th
        and 90th percentile of the latency of a whole batch in milliseconds, and how that was measured.

    Raises:
        UsageError: a folder is no model folder, the data has no such split, or an argument is out of range.
    """
    from optevo.training.engine import resolve

    models = [(Path(folder), translator_facts(Path(folder))) for folder in folders]
    if not models:
        raise UsageError("there is no model to compare; name at least one model folder")
    if mode not in ("eval", "pix2pix"):
        raise UsageError(f"mode = {mode!r}: must be 'eval' or 'pix2pix'")
    found = find_pairs(Path(data))
    if not found.get(split):
        raise UsageError(f"{data}: has no {split} pairs, only {', '.join(found)}; name one of those with --split.")
    engine = resolve(device=device, precision="fp32", threads=0)
    seen: dict[Any, ResidentPairs] = {}
    rows = []
    for folder, facts in models:
        view = (facts.size, facts.direction, *_channels(facts))
        if view not in seen:
            seen[view] = _load(found[split], facts, engine=engine)
        pairs = seen[view]
        rows.append(
            evaluate_model(folder, pairs, split=split, engine=engine, mode=mode, runs=runs, batch_sizes=batch_sizes)
        )
    return rows


def evaluate(
    folder: str | Path, *, data: Path, split: str = "test", device: str = "auto", mode: str = "eval"
) -> dict[str, Any]:
    """The row of one model, with the latency of a single image. Arguments and errors are those of `compare_models`."""
    return compare_models([folder], data=data, split=split, device=device, mode=mode, batch_sizes=(1,))[0]


def readable(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Rows of `compare_models` as people read them: all with the same columns, units in the cells, "-" for nothing."""
    quality = list(dict.fromkeys(key for row in rows for key in row if key.partition("_")[0] in QUALITY))
    batches = list(dict.fromkeys(key for row in rows for key in row if key.startswith("latency_ms_median")))
    one_way = len({row["direction"] for row in rows}) == 1
    return [
        {
            "model": str(row["folder"]),
            **({} if one_way else {"direction": str(row["direction"])}),
            **{key: format(row[key], QUALITY[key.partition("_")[0]]) if key in row else "-" for key in quality},
            "parameters": f"{row['parameters']:,}",
            "exact MACs": f"{row['exact_macs'] / 1e6:,.1f} M",
            "literature MACs": f"{row['literature_macs'] / 1e6:,.1f} M",
            **{_latency_title(key): _latency(row, key) for key in batches},
            "file": f"{row['file_bytes'] / 2**20:.2f} MiB",
        }
        for row in rows
    ]


def notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines that belong beneath a table: how the latencies were measured."""
    protocols = dict.fromkeys(str(row["latency_protocol"]) for row in rows)
    return [f"Latency of a whole batch, median (10th to 90th percentile): {protocol}." for protocol in protocols]


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The comparison as a Markdown table with its notes."""
    cells = readable(rows)
    lines = [list(cells[0]), ["---", *["---:"] * (len(cells[0]) - 1)], *(list(row.values()) for row in cells)]
    table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([*table, "", *notes(rows)])


def _load(pairs: list[PairFile], facts: ModelFacts, *, engine: "Engine") -> "ResidentPairs":
    """The pairs as a model sees them."""
    from optevo.data.resident import load_pairs

    input_channels, target_channels = _channels(facts)
    direction: Literal["AtoB", "BtoA"] = "AtoB" if facts.direction == "AtoB" else "BtoA"
    return load_pairs(
        pairs,
        size=facts.size,
        direction=direction,
        input_channels=input_channels,
        target_channels=target_channels,
        device=engine.device,
        jitter=False,
    )


def _channels(facts: ModelFacts) -> tuple[int, int]:
    return facts.architecture["input_channels"], facts.architecture["output_channels"]


def _latency_title(key: str) -> str:
    return f"latency, batch {key.partition('_batch')[2] or 1}"


def _latency(row: Mapping[str, Any], key: str) -> str:
    if key not in row:
        return "-"
    low, high = (row[key.replace("median", percentile)] for percentile in ("p10", "p90"))
    return f"{row[key]:.2f} ms ({low:.2f} to {high:.2f})"
