"""Pairs of translators without a study: train them, import them, judge them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optevo.api.interrupting import OnStep, interruptible
from optevo.errors import UsageError
from optevo.search.spec import overridden, parse_settings, read_document
from optevo.search.versions import versions

if TYPE_CHECKING:
    from optevo.tasks.teacher_settings import TeacherSpec


def train_pair(
    spec: "TeacherSpec | Path | None" = None,
    *,
    out: Path,
    data: Path | None = None,
    overrides: Sequence[str] = (),
    checkpoints: str | None = None,
    on_step: OnStep | None = None,
) -> Path:
    """Train two translators between two folders of images (CycleGAN) into a pair folder.

    Args:
        spec: What to train, or a TOML file that says it; by default CycleGAN's own recipe at 256 pixels.
        out: The pair folder.
        data: The images' folder, instead of `data.root`.
        overrides: Settings on top of a file or of the default, such as `"training.epochs=10"`.
        checkpoints: A folder or `s3://BUCKET/PREFIX` from where the same call on another machine goes on; by default
            OPTEVO_ARTIFACTS, else a file beside the pair folder.
        on_step: Called with the steps done and the steps in all.

    Raises:
        UsageError: A setting or the images will not do, or the folder exists already.
        InterruptedRunError: Ctrl-C or SIGTERM; a checkpoint is written and the same call continues.
        OptevoError: The loss diverged, the disk is full, the store of checkpoints is away, or another machine has gone
            on with the same training.
    """
    from optevo.models.train import checkpoint_beside
    from optevo.models.train_pair import train_pair as train
    from optevo.search.checkpoints import open_checkpoints
    from optevo.tasks.teacher_settings import TeacherSpec
    from optevo.tasks.unpaired_splits import find_unpaired_splits
    from optevo.training.engine import resolve

    if not isinstance(spec, TeacherSpec):
        document = {} if spec is None else read_document(spec)
        if data is not None:
            document["data"] = {**document.get("data", {}), "root": str(data)}
        elif spec is None:
            raise UsageError("--data: name the folder of images, or a file with data.root by --spec.")
        spec = parse_settings(TeacherSpec, overridden(document, overrides), source=str(spec or "settings"))
    splits = find_unpaired_splits(spec.data, root=data, seed=spec.seed)
    engine = resolve(device=spec.engine.device, precision=spec.engine.precision, threads=spec.engine.threads)
    with interruptible(out, on_step) as after:
        train(
            spec,
            splits,
            out,
            engine=engine,
            title=out.name,
            versions=versions(),
            checkpoints=open_checkpoints(checkpoint_beside(out), given=checkpoints, recorded=None),
            on_step=after,
        )
    return out


def import_pair(
    out: Path,
    *,
    a_to_b: Path,
    b_to_a: Path,
    judge_a: Path | None = None,
    judge_b: Path | None = None,
    size: tuple[int, int],
    generator: str | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Path:
    """Make a pair folder of what pytorch-CycleGAN-and-pix2pix trained, or of state dicts of a generator of your own.

    See :func:`optevo.models.import_pair.import_pair`.
    """
    from optevo.models.import_pair import import_pair as read

    read(
        out,
        a_to_b=a_to_b,
        b_to_a=b_to_a,
        judge_a=judge_a,
        judge_b=judge_b,
        size=size,
        generator=generator,
        arguments=arguments,
        title=out.name,
    )
    return out


def evaluate_pair(
    folder: str | Path, *, data: Path, split: str = "test", device: str = "auto", picture: Path | None = None
) -> dict[str, Any]:
    """FID and KID of both translators of a pair and of the untranslated images, their size and speed, and a picture.

    See :func:`optevo.models.evaluate_pair.evaluate_pair`.
    """
    from optevo.models.evaluate_pair import evaluate_pair as judge

    return judge(folder, data=data, split=split, device=device, picture=picture)
