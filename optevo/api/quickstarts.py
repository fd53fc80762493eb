"""The whole way on drawn pictures, small enough for a laptop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optevo.api.running import run_study
from optevo.api.studies import create_study, list_studies
from optevo.search.progress import Snapshot
from optevo.search.spec import UNetSpec
from optevo.search.study import open_search
from optevo.search.unet import unet_spec
from optevo.tasks.splits import find_splits


@dataclass(frozen=True)
class QuickstartResult:
    """What the quickstart made: a row a model, and where everything lies."""

    rows: list[dict[str, Any]]
    places: dict[str, str]


def quickstart(out: Path = Path("runs/quickstart"), *, workers: int | None = None) -> QuickstartResult:
    """The whole way, small: search on drawn pictures, train winner and original alike, judge and picture both."""
    quickstart_search(out, workers=workers)
    return quickstart_models(out)


def quickstart_search(
    out: Path,
    *,
    workers: int | None = None,
    on_snapshot: Callable[[Snapshot, int], None] | None = None,
    on_line: Callable[[str], None] = print,
) -> None:
    """Draw the pictures and run (or continue) the search."""
    from optevo.data.drawn import draw_facades

    folder, url = out / "data" / "drawn-facades", _quickstart_store(out)
    if not folder.exists():
        on_line(f"drawing facades into {folder}")
        draw_facades(folder, count=120, val=16, test=24, size=(64, 64), seed=0)
    if "quickstart" not in [row["study"] for row in list_studies(storage=url)]:
        create_study("quickstart", "quickstart", storage=url, overrides=[f"data.root={folder}"])
    run_study("quickstart", storage=url, workers=workers, on_snapshot=on_snapshot, on_line=on_line)


def quickstart_models(out: Path, *, on_line: Callable[[str], None] = print) -> QuickstartResult:
    """Train the winner and the original under one budget, judge both on the test pictures, and draw the rows."""
    from optevo.models.compare import evaluate
    from optevo.models.folder import load_generator
    from optevo.models.train import rows_of
    from optevo.reports.pictures import save_picture
    from optevo.search.launch import run_together

    url = _quickstart_store(out)
    rows, generators = [], {}
    data, picture = out / "data" / "drawn-facades", out / "picture.png"
    folders = {"searched": out / "models" / "searched", "original": out / "models" / "original"}
    finetune_one = ["model", "finetune", "quickstart", "--out"]
    commands = [
        [*finetune_one, str(folder), *(["--architecture", "original"] if label == "original" else [])]
        for label, folder in folders.items()
        if not folder.exists()
    ]
    run_together(commands, url=url, on_line=on_line)
    for label, folder in folders.items():
        report = evaluate(folder, data=data)
        generators[label] = load_generator(folder)
        rows.append(_quickstart_row(label, report))
    spec = unet_spec(open_search("quickstart", url=url))
    save_picture(rows_of(dict(reversed(generators.items())), _test_pairs(data, spec)), picture)
    places = {"picture": picture, "models": out / "models", "study (SQLite)": out / "optevo.db"}
    return QuickstartResult(rows, {what: str(where) for what, where in places.items()})


def _test_pairs(data: Path, spec: UNetSpec) -> Any:
    """The test pairs of a folder as a specification sees them, on the CPU."""
    from optevo.tasks.unet import load_split
    from optevo.training.engine import resolve

    splits = find_splits(spec, root=data, seed=spec.seed)
    return load_split(splits.test, spec, device=resolve(device="cpu").device, jitter=False)


def _quickstart_row(label: str, report: Mapping[str, Any]) -> dict[str, Any]:
    quality = {key.split("_")[0]: value for key, value in report.items() if key.split("_")[0] in ("l1", "psnr", "ssim")}
    return {
        "model": label,
        "L1": f"{quality['l1']:.4f}",
        "PSNR dB": f"{quality['psnr']:.2f}",
        "SSIM": f"{quality['ssim']:.4f}",
        "parameters": f"{report['parameters']:,}",
        "exact MACs": f"{report['exact_macs'] / 1e6:.1f} M",
        "file": f"{report['file_bytes'] / 2**20:.2f} MiB",
        "latency": f"{report['latency_ms_median']:.1f} ms",
    }


def _quickstart_store(out: Path) -> str:
    return f"sqlite:///{out / 'optevo.db'}"
