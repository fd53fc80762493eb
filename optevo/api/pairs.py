"""Train a pair of translators without a study."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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
