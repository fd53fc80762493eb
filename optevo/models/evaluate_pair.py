"""A pair judged on test images: FID and KID both ways, size and speed, and a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optevo.data.unpaired_files import find_unpaired
from optevo.errors import UsageError
from optevo.models.folder import WEIGHTS, architecture_of, load_generator
from optevo.models.pair import HALVES, half_facts, read_pair_facts
from optevo.models.train import latencies
from optevo.models.train_pair import rows_of_pair
from optevo.reports.pictures import save_picture

if TYPE_CHECKING:
    from optevo.data.resident import ResidentImages
    from optevo.metrics.unpaired import Inception
    from optevo.training.engine import Engine

LEAST = 2  # images of either domain: a single one has no distribution


def evaluate_pair(
    folder: str | Path,
    *,
    data: Path,
    split: str = "test",
    device: str = "auto",
    picture: Path | None = None,
    runs: int = 20,
    inception: "Inception | None" = None,
) -> dict[str, Any]:
    """Judge both translators of a pair on two folders of images, at the size that they were trained for.

    Args:
        folder: A pair folder; one without discriminators will do.
        data: Images of A and B, as :func:`optevo.data.unpaired.find_unpaired` finds them.
        split: Which of them.
        device: `"auto"`, `"cpu"` or `"cuda:N"`.
        picture: A PNG file for the first images of either domain and their translations.
        runs: Timed passes, at least 1, after 3 that warm up.
        inception: What takes the features, instead of the 2015 Inception network.

    Returns:
        folder, title and size; `metrics` as :func:`optevo.metrics.unpaired.translation_metrics` names them, of both
        directions; and for `a_to_b` and `b_to_a` parameters, exact and literature MACs of one image, bytes of the
        weights' file, the latency's median, 10th and 90th percentile in milliseconds, and how it was measured.

    Raises:
        UsageError: The folder is no pair folder, or the data has no such images, or too few.
    """
    from optevo.metrics.unpaired import Inception, translation_metrics
    from optevo.tasks.unpaired import UnpairedImages
    from optevo.training.engine import resolve

    folder = Path(folder)
    facts = read_pair_facts(folder)
    halves = {name: half_facts(folder, name) for name in HALVES}
    engine = resolve(device=device, precision="fp32", threads=0)
    channels = {
        "A": architecture_of(halves["a_to_b"]).input_channels,
        "B": architecture_of(halves["b_to_a"]).input_channels,
    }
    a, b = _images(data, split, size=facts.size, channels=channels, engine=engine)
    generators = {name: load_generator(folder / name, device=str(engine.device)) for name in HALVES}
    inception = inception or Inception(engine)
    metrics: dict[str, float] = {}
    with engine.active():
        for name, direction in HALVES.items():
            source, target = (a, b) if direction == "AtoB" else (b, a)
            metrics |= translation_metrics(
                generators[name], source, target, direction=direction, split=split, inception=inception
            )
        sizes = {
            name: {
                "parameters": half.parameters,
                "exact_macs": half.exact_macs,
                "literature_macs": half.literature_macs,
                "file_bytes": (folder / name / WEIGHTS).stat().st_size,
                **latencies(generators[name], half, size=facts.size, engine=engine, runs=runs, batch_sizes=(1,)),
            }
            for name, half in halves.items()
        }
        if picture is not None:
            labelled = {"A to B": generators["a_to_b"], "B to A": generators["b_to_a"]}
            save_picture(rows_of_pair(labelled, UnpairedImages(a, b)), picture)
    return {"folder": str(folder), "title": facts.title, "size": list(facts.size), "metrics": metrics, **sizes}


def readable(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row for each direction of `evaluate_pair`'s report; the protocol has a column of its own."""
    return [_row(report, name, direction) for name, direction in HALVES.items()]


def _row(report: Mapping[str, Any], name: str, direction: str) -> dict[str, str]:
    metrics, size = report["metrics"], report[name]
    start = f"fid_{direction}_"
    protocol = next(key.removeprefix(start) for key in metrics if key.startswith(start))

    def cells(label: str, title: str) -> dict[str, str]:
        mean, spread = (metrics[f"{kind}_{label}_{protocol}"] for kind in ("kid", "kid_spread"))
        return {
            f"FID{title}": f"{metrics[f'fid_{label}_{protocol}']:.2f}",
            f"KID x 1000{title}": f"{1000 * mean:.1f} ({1000 * spread:.1f})",
        }

    return {
        "model": f"{report['folder']}/{name}",
        **cells(direction, ""),
        **cells(f"untranslated_{direction[0]}", ", untranslated"),
        "protocol": protocol,
        "parameters": f"{size['parameters']:,}",
        "exact MACs": f"{size['exact_macs'] / 1e6:,.1f} M",
        "literature MACs": f"{size['literature_macs'] / 1e6:,.1f} M",
        "latency": f"{size['latency_ms_median']:.2f} ms",
        "file": f"{size['file_bytes'] / 2**20:.2f} MiB",
    }


def notes(report: Mapping[str, Any]) -> Sequence[str]:
    """Lines that belong beneath the rows."""
    return [
        "FID and KID of translated images, and of the untranslated ones, against real ones of the other domain; behind "
        "KID its standard deviation over 100 subsets. Protocol: real images, translated x real ones, pixels, resize.",
        f"Latency: {report['a_to_b']['latency_protocol']}.",
    ]


def _images(
    data: Path, split: str, *, size: tuple[int, int], channels: Mapping[str, int], engine: "Engine"
) -> "tuple[ResidentImages, ResidentImages]":
    from optevo.data.resident import load_images

    found = find_unpaired(Path(data), val_fraction=0, test_fraction=0, seed=0)
    both = []
    for domain, files in (("A", found.a), ("B", found.b)):
        paths = [file.a for file in files.get(split, ())]
        if len(paths) < LEAST:
            raise UsageError(
                f"{data}: has {len(paths)} {split} images of {domain}, and FID needs at least {LEAST}; add some, or "
                f"name another split with --split ({', '.join(files)})."
            )
        both.append(load_images(paths, size=size, channels=channels[domain], device=engine.device, jitter=False))
    return both[0], both[1]
