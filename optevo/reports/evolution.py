"""A training of E-GAN's and CE-GAN's kind as a picture and as a table, for people who look at its trial."""

import csv
import io
from collections.abc import Mapping, Sequence

Row = Mapping[str, float]

FITNESS = ("fitter_parent", "other_parent", "child")
SIZE, DPI = (15.0, 3.6), 80


def table(rows: Sequence[Row]) -> str:
    """The rows as CSV, which the dashboard shows as a table.

    Args:
        rows: Of :func:`optevo.tasks.recipe.windows`.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{value:.6g}" for key, value in row.items()})
    return out.getvalue()


def figure(rows: Sequence[Row], reports: Sequence[tuple[int, float]], *, metric: str) -> bytes:
    """A PNG file: the metric over time, which operator won (CE-GAN, Figure 6), and parents against children (Figure 4).

    Args:
        rows: Of :func:`optevo.tasks.recipe.windows`.
        reports: (step, value), at least one.
        metric: What the values are.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    whole = Figure(figsize=SIZE, dpi=DPI)
    FigureCanvasAgg(whole)
    quality, shares, fitness = whole.subplots(1, 3)
    whole.subplots_adjust(left=0.05, right=0.98, bottom=0.16, wspace=0.2)
    steps = [row["step"] for row in rows]
    quality.plot(*zip(*reports, strict=True), marker="o", markersize=3)
    quality.set(title=metric, xlabel="step")
    operators = [key.removeprefix("wins_") for key in rows[0] if key.startswith("wins_")]
    shares.stackplot(steps, [[row[f"wins_{name}"] for row in rows] for name in operators], labels=operators)
    shares.set(title="share of the survivors", xlabel="step", ylim=(0, 1))
    shares.legend(fontsize=7, loc="lower left")
    for name in FITNESS if "child" in rows[0] else ("fitness",):
        fitness.plot(steps, [row[name] for row in rows], label=name.replace("_", " "))
    fitness.set(title="fitness", xlabel="step")
    fitness.legend(fontsize=7)
    target = io.BytesIO()
    whole.savefig(target, format="png")
    return target.getvalue()
