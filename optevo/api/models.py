"""Models: judge, compare, export and use them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from optevo.models.export import ExportReport
    from optevo.models.export_inputs import Images


def evaluate(
    folder: Path, *, data: Path, split: str = "test", device: str = "auto", mode: str = "eval"
) -> dict[str, Any]:
    """Quality on a split of a folder of pairs, parameters, both operation counts, file size and latency of a model.

    Args:
        folder: A model folder.
        data: Pairs in any layout that `optevo data check` accepts.
        split: Which pairs, of the splits that the folder has.
        device: `"auto"`, `"cpu"` or `"cuda:N"`.
        mode: `"eval"`, as a user runs the model, or `"pix2pix"` (batch statistics and dropout).

    Raises:
        UsageError: The folder is no model folder, or the data has no such split.
    """
    return compare([folder], data=data, split=split, device=device, mode=mode, batch_sizes=(1,))[0]


def compare(
    folders: Sequence[str | Path],
    *,
    data: Path,
    split: str = "test",
    device: str = "auto",
    mode: str = "eval",
    batch_sizes: Sequence[int] = (1, 8),
) -> list[dict[str, Any]]:
    """A row for each model folder: what `evaluate` gives, with latencies at several batch sizes.

    See :func:`optevo.models.compare.compare_models`, whose `readable` and `markdown` make tables of the rows.
    """
    from optevo.models.compare import compare_models

    return compare_models(folders, data=data, split=split, device=device, mode=mode, batch_sizes=batch_sizes)


def export(
    folder: str | Path,
    *,
    format: Literal["onnx", "pt2"] = "onnx",
    out: Path | None = None,
    half: bool = False,
    size: tuple[int, int] | None = None,
    images: "Images" = None,
    tolerance: float | None = None,
) -> "ExportReport":
    """Write a model folder's generator as ONNX or pt2, re-run on real images before it is let out.

    See :func:`optevo.models.export.export_model`.
    """
    from optevo.models.export import export_model

    return export_model(folder, format=format, out=out, half=half, size=size, images=images, tolerance=tolerance)


def sample(model: str | Path, *, out: Path, count: int, seed: int = 0, device: str = "cpu") -> list[Path]:
    """Write images of a generator that makes them of noise: a model folder, or an ONNX file of one.

    See :func:`optevo.models.sample.sample_model`.
    """
    from optevo.models.sample import sample_model

    return sample_model(model, out=out, count=count, seed=seed, device=device)


def apply(
    model: str | Path,
    images: str | Path,
    *,
    out: Path,
    device: str = "auto",
    batch_size: int = 1,
    overwrite: bool = False,
    on_image: Callable[[int, int], None] | None = None,
    on_problem: Callable[[str], None] | None = None,
) -> list[Path]:
    """Translate a folder of pictures of any size with a model folder or an ONNX file, into PNG files.

    See :func:`optevo.models.apply.apply_model`.
    """
    from optevo.models.apply import apply_model

    return apply_model(
        model,
        images,
        out=out,
        device=device,
        batch_size=batch_size,
        overwrite=overwrite,
        on_image=on_image,
        on_problem=on_problem,
    )
