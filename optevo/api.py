"""What the commands do, as functions: create a study, run it, read its best, train and judge models."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Literal

from optevo.errors import InterruptedRunError, OptevoError, UsageError
from optevo.samplers.outages import is_outage
from optevo.search.launch import Workers
from optevo.search.launchers import Launcher, check_options, gpus_here, place
from optevo.search.progress import Candidate, Snapshot, generation_rows, snapshot, winner_of
from optevo.search.retrying import Patience
from optevo.search.spec import (
    RecipeSpec,
    Spec,
    UNetSpec,
    find_spec,
    overridden,
    parse_settings,
    read_document,
    read_spec,
)
from optevo.search.stopping import stopping
from optevo.search.store import storage_url
from optevo.search.study import Search, open_search
from optevo.search.study import create_study as _create_study
from optevo.search.unet import check_images, splits_of, unet_spec
from optevo.search.versions import acceptances, check_versions, versions
from optevo.spaces.unet import NAMED, UNetArchitecture, original
from optevo.tasks.fitness import cost_of, original_of, space_of
from optevo.tasks.splits import find_splits

if TYPE_CHECKING:
    from optevo.compression import BestPair
    from optevo.models.export import ExportReport
    from optevo.models.export_inputs import Images
    from optevo.recipes import BestRecipe
    from optevo.search.collecting import Collector
    from optevo.search.copying import Copied
    from optevo.tasks.teacher_settings import TeacherSpec

Say = Callable[[str], None]

# Seconds that workers have to find out that nothing is left to do. One that waits for a node never would.
LINGER = 60.0


@dataclass(frozen=True)
class Best:
    """A study's winner: an architecture, and what is known of its quality.

    `candidates` are the finalists with their spreads, best first; empty while there was no final, in which case the
    winner is the best of single short trainings, where luck decides among near equals.
    """

    study: str
    trial: int
    value: float
    architecture: UNetArchitecture
    parameters: int
    exact_macs: int
    literature_macs: int
    candidates: tuple[Candidate, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "study": self.study,
            "trial": self.trial,
            "value": self.value,
            "architecture": self.architecture.to_dict(),
            "parameters": self.parameters,
            "exact_macs": self.exact_macs,
            "literature_macs": self.literature_macs,
            "final": [
                {"trial": c.number, "values": list(c.values), "mean": c.mean, "std": c.spread} for c in self.candidates
            ],
        }


def create_study(
    name: str,
    spec: Spec | str | Path,
    *,
    storage: str | None = None,
    overrides: Sequence[str] = (),
    artifacts: str | None = None,
) -> Search:
    """Create a study; nothing is trained yet.

    Args:
        name: Of the study.
        spec: A specification, a TOML file, or the name of one that comes with optevo.
        storage: Database URL; by default OPTEVO_STORAGE, else a SQLite file in `storage/`.
        overrides: Settings on top, such as `"sampler.population=8"`.
        artifacts: Where pictures go: a folder or `s3://BUCKET/PREFIX`; by default OPTEVO_ARTIFACTS, else the folder
            `artifacts` beside a SQLite file, else `storage/artifacts`. It is stored with the study.

    Raises:
        UsageError: The specification, the images, the name or the artifact store will not do.
    """
    if not isinstance(spec, Spec):
        spec = read_spec(find_spec(spec), overrides=overrides)
    from optevo.reports.dashboard import write_note

    search = _create_study(name, spec, url=storage_url(storage), artifacts=artifacts)
    commands = [f"optevo {command} {name}" for command in ("study run", "study best", "model finetune")]
    write_note(search.study, spec=json.dumps(search.record.spec, indent=1), commands=commands)
    return search


def dashboard(
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    storage: str | None = None,
    artifacts: str | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve optuna-dashboard on the store and its artifacts until Ctrl-C.

    Args:
        host: The dashboard has no passwords, so by default it answers this machine alone.
        port: 0 takes a free one.
        artifacts: One artifact store for all studies, instead of those that they were created with.
        on_ready: Gets the URL.
    """
    from optevo.reports.dashboard import serve
    from optevo.search.served import ServedArtifacts
    from optevo.search.store import open_store

    url = storage_url(storage)
    store = open_store(url)
    serve(store, ServedArtifacts(store, url=url, given=artifacts), host=host, port=port, on_ready=on_ready)


def run_study(
    name: str,
    *,
    storage: str | None = None,
    workers: int | None = None,
    launcher: Launcher = "local",
    launcher_options: Sequence[str] = (),
    data: Path | None = None,
    artifacts: str | None = None,
    accept_versions: bool = False,
    on_snapshot: Callable[[Snapshot, int], None] | None = None,
    on_line: Say = print,
) -> Snapshot:
    """Continue a study with workers that this process starts and watches, until nothing is left or it is interrupted.

    Args:
        workers: Processes; by default one a GPU, or as many as the cores allow: here, or in the Ray cluster. Slurm has
            to be told.
        launcher: Where they run: `"local"`, on this machine; `"ray"`, on a Ray cluster; `"slurm"`, as jobs of Slurm.
        launcher_options: `"key=value"`, see :mod:`optevo.search.launch_options`.
        data: The images' folder, where it is not the specification's.
        artifacts: Where the study's artifact store is from here, if not where it was created to be.
        accept_versions: Continue with versions of packages that change results; it is recorded in the study.
        on_snapshot: Called about once a second with the state and the number of living workers.
        on_line: Gets what the workers say.

    Raises:
        UsageError: The launcher, its options, the images or the store will not do, or other versions of packages, see
            :mod:`optevo.search.versions`.
        OptevoError: A worker failed; what it said was passed to `on_line`.
    """
    options = check_options(launcher, launcher_options)
    search = open_search(name, url=storage_url(storage))
    state = snapshot(search)
    if state.phase == "done":
        return state
    # Once for all workers of this installation, or of an equal one elsewhere: they find the acceptance in the study.
    check_versions(search.study, search.record.versions, accept=accept_versions, here=versions())
    search.check_images(root=data)
    team = place(search, options, count=workers, root=data, artifacts=artifacts, on_line=on_line)
    team.start()
    try:
        with stopping(threading.Event()) as stop:
            _watch(search, team, stop, on_snapshot)
    finally:
        team.stop()
        team.wait()
    code = team.wait()
    last = _look(search, team.count)
    if on_snapshot is not None and last is not None:
        on_snapshot(last, 0)
    if code and (last is None or last.phase != "done"):
        raise OptevoError(f"study {name!r}: a worker failed with exit code {code} (above); mend it and run again.")
    return last or Patience(url=search.url, stop=threading.Event()).through(
        lambda: snapshot(search, workers=team.count)
    )


def _watch(
    search: Search,
    team: Workers,
    stop: threading.Event,
    on_snapshot: Callable[[Snapshot, int], None] | None,
) -> None:
    """Until the workers have ended, or the study is done and some are still in a queue."""
    done: float | None = None
    while alive := team.alive():
        seen = _look(search, team.count)
        if seen is not None and on_snapshot is not None:
            on_snapshot(seen, alive)
        if seen is not None and seen.phase == "done":
            done = done or time.monotonic()
            if time.monotonic() - done > LINGER:
                return
        if stop.wait(0.5):
            raise InterruptedRunError(f"study {search.name!r}: interrupted; the same command continues it.")


def _look(search: Search, workers: int) -> Snapshot | None:
    """The state; None while the database is away, which the workers say and wait for."""
    try:
        return snapshot(search, workers=workers)
    except Exception as error:  # Drivers have errors of their own.
        if not is_outage(error):
            raise
        return None


def work(
    name: str,
    *,
    storage: str | None = None,
    data: Path | None = None,
    artifacts: str | None = None,
    accept_versions: bool = False,
    attached: bool = False,
) -> int:
    """Be one worker of a study in this process. Returns the number of individuals trained.

    Args:
        artifacts: Where the study's artifact store is from here, if not where it was created to be.
        accept_versions: Join with versions of packages that change results; it is recorded in the study.
        attached: Stop when standard input closes, that is when whoever started this worker is gone.
    """
    from optevo.search.artifacts import Artifacts, artifacts_url
    from optevo.search.collecting import Collector
    from optevo.search.worker import open_worker

    search = open_search(name, url=storage_url(storage))
    place = search.record.artifacts
    stop = threading.Event()
    if attached:
        _stop_with_stdin(stop)
    with stopping(stop):
        worker = open_worker(search, root=data, artifacts=artifacts, stop=stop, accept_versions=accept_versions)
        collector = Collector(search, Artifacts(artifacts_url(search.url, given=artifacts, recorded=place)))
        worker.keep = _keeper_of_pictures(collector, search, worker.task)
        trained = worker.run()
        worker.patience.through(collector.after_individual)
        return trained


def winners(name: str, *, storage: str | None = None) -> "Best | BestPair | BestRecipe":
    """What a study of any system has found so far: an architecture, the masks of both translators, or a recipe."""
    search = open_search(name, url=storage_url(storage))
    if search.spec.system == "coevolution":
        from optevo.compression import best_pair

        return best_pair(search)
    if search.spec.system == "cegan":
        from optevo.recipes import best_recipe

        return best_recipe(search)
    return best(name, storage=storage)


def best(name: str, *, storage: str | None = None, trial: int | None = None) -> Best:
    """The winner of a U-Net search's final; before that the best of the search so far, or trial number `trial`.

    Raises:
        UsageError: There is no such trial, or none was trained yet.
    """
    search = open_search(name, url=storage_url(storage))
    spec = unet_spec(search)
    found = winner_of(search, trial=trial)
    architecture = space_of(spec).architecture(found.trial.params)
    cost = cost_of(architecture, spec)
    return Best(
        study=name,
        trial=found.trial.number,
        value=found.value,
        architecture=architecture,
        parameters=cost.parameters,
        exact_macs=cost.exact_macs,
        literature_macs=cost.literature_macs,
        candidates=found.finalists,
    )


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
    on_step: Callable[[int, int], None] | None = None,
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
    from optevo.models.train import checkpoint_beside, train_model
    from optevo.search.checkpoints import open_checkpoints
    from optevo.training.engine import resolve

    search = open_search(name, url=storage_url(storage))
    if search.spec.system == "coevolution":
        unfit = {"trial": trial, "architecture": architecture, "onto": onto, "direction": direction}
        return _finetune_winners(search, seed, out, data, checkpoints, on_step, unfit=unfit)
    if search.spec.system == "cegan":
        unfit = {"architecture": architecture, "onto": onto, "direction": direction}
        return _finetune_recipe(search, trial, seed, out, data, checkpoints, on_step, unfit=unfit)
    chosen, number, label = _chosen(search, trial=trial, architecture=architecture)
    own = unet_spec(search)
    spec = own if onto is None else transferred(own, onto=onto, direction=direction)
    if onto is None and direction is not None:
        raise UsageError("--direction: belongs to --onto; the study's own images have theirs.")
    folder = out or Path("models") / "-".join([name, label, *([onto.name] if onto is not None else [])])
    with _interruptible(folder, on_step) as after:
        train_model(
            chosen,
            spec,
            splits_of(search, root=data) if onto is None else find_splits(spec, seed=spec.seed),
            folder,
            engine=resolve(device=spec.engine.device, precision=search.record.precision, threads=spec.finetune.threads),
            seed=seed,
            title=f"{name} {label}",
            study=name,
            trial=number,
            versions=versions(),
            checkpoints=open_checkpoints(
                checkpoint_beside(folder), given=checkpoints, recorded=search.record.artifacts
            ),
            on_step=after,
        )
    return folder


def _finetune_winners(
    search: Search,
    seed: int,
    out: Path | None,
    data: Path | None,
    checkpoints: str | None,
    on_step: Callable[[int, int], None] | None,
    *,
    unfit: Mapping[str, Any],
) -> Path:
    from optevo.compression import finetune_winners
    from optevo.models.train import checkpoint_beside
    from optevo.search.checkpoints import open_checkpoints

    for key, value in unfit.items():
        if value is not None:
            raise UsageError(f"--{key} {value}: is for U-Net searches; study {search.name!r} is a co-evolution.")
    folder = out or Path("models") / f"{search.name}-winners"
    kept = open_checkpoints(checkpoint_beside(folder), given=checkpoints, recorded=search.record.artifacts)
    with _interruptible(folder, on_step) as after:
        return finetune_winners(search, folder, seed=seed, data=data, artifacts=None, checkpoints=kept, on_step=after)


def _finetune_recipe(
    search: Search,
    trial: int | None,
    seed: int,
    out: Path | None,
    data: Path | None,
    checkpoints: str | None,
    on_step: Callable[[int, int], None] | None,
    *,
    unfit: Mapping[str, Any],
) -> Path:
    from optevo.models.train import checkpoint_beside
    from optevo.models.train_recipe import train_recipe
    from optevo.recipes import best_recipe
    from optevo.search.checkpoints import open_checkpoints
    from optevo.search.recipe import open_recipe_task, recipe_spec
    from optevo.training.engine import resolve

    for key, value in unfit.items():
        if value is not None:
            raise UsageError(f"--{key} {value}: is for U-Net searches; study {search.name!r} searches recipes.")
    search.check_images(root=data)
    spec, winner = recipe_spec(search), best_recipe(search, trial=trial)
    label = "winner" if trial is None else f"trial-{trial}"
    folder = out or Path("models") / f"{search.name}-{label}"
    engine = resolve(device=spec.engine.device, precision=search.record.precision, threads=spec.finetune.threads)
    with _interruptible(folder, on_step) as after:
        train_recipe(
            open_recipe_task(spec, engine=engine, root=data),
            winner.params,
            folder,
            steps=spec.finetune.steps,
            seed=seed,
            title=f"{search.name} {label}",
            fingerprint=search.record.fingerprint,
            checkpoints=open_checkpoints(
                checkpoint_beside(folder), given=checkpoints, recorded=search.record.artifacts
            ),
            study=search.name,
            trial=winner.trial,
            versions=versions(),
            on_step=after,
        )
    return folder


@contextmanager
def _interruptible(folder: Path, on_step: Callable[[int, int], None] | None) -> Iterator[Callable[[int, int], None]]:
    """What to call after each step of a training into `folder`: it raises InterruptedRunError after a signal."""
    with stopping(threading.Event()) as stop:

        def after(done: int, total: int) -> None:
            if on_step is not None:
                on_step(done, total)
            if stop.is_set():
                raise InterruptedRunError(
                    f"{folder}: interrupted at step {done} of {total}; the same command continues."
                )

        yield after


def train_pair(
    spec: "TeacherSpec | Path | None" = None,
    *,
    out: Path,
    data: Path | None = None,
    overrides: Sequence[str] = (),
    checkpoints: str | None = None,
    on_step: Callable[[int, int], None] | None = None,
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
    from optevo.tasks.unpaired import find_unpaired_splits
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
    with _interruptible(out, on_step) as after:
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


def transferred(spec: UNetSpec, *, onto: Path, direction: str | None) -> UNetSpec:
    """The specification with another data set: everything but the folder and the direction stays.

    Raises:
        UsageError: The folder or the direction will not do.
    """
    document = spec.model_dump(mode="json")
    document["data"] |= {"root": str(onto), "direction": direction or spec.data.direction}
    check_images(onto)
    return parse_settings(UNetSpec, document, source="--onto")


def _chosen(search: Search, *, trial: int | None, architecture: str | None) -> tuple[UNetArchitecture, int | None, str]:
    """An architecture, its trial's number, and what to call it."""
    if architecture is not None and trial is not None:
        raise UsageError("--trial and --architecture: name one of them.")
    if architecture is not None:
        return named_architecture(architecture, unet_spec(search)), None, architecture
    winner = best(search.name, storage=search.url, trial=trial)
    return winner.architecture, winner.trial, "winner" if trial is None else f"trial-{trial}"


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
    on_problem: Say | None = None,
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


def _keeper_of_pictures(collector: "Collector", search: Search, task: Any) -> Callable[[Any, Any], None]:
    """What stores a trial's sample picture. What is no longer needed is removed before."""
    import logging
    import tempfile

    from optevo.reports.pictures import save_picture
    from optevo.search.patient_store import ArtifactError
    from optevo.search.worker import heartbeat

    def keep(trial: Any, evaluation: Any) -> None:
        collector.after_individual()
        rows = search.system.pictures(trial, task, evaluation)
        # An artifact store that is away is waited for; the trial must not look dead meanwhile.
        with tempfile.TemporaryDirectory() as folder, heartbeat(trial.storage, trial._trial_id):
            files = [save_picture(rows, Path(folder) / "samples.png")]
            for label, content in search.system.files_of(trial, task, evaluation).items():
                files.append(Path(folder) / label)
                files[-1].write_bytes(content)
            try:
                for file in files:
                    collector.artifacts.attach(trial, file)
            except ArtifactError as error:
                logging.getLogger("optevo.worker").warning(
                    "trial %d: %s; its value is kept, its picture is not", trial.number, error
                )
                trial.set_user_attr("artifacts_missing", str(error)[:500])

    return keep


def _stop_with_stdin(stop: Any) -> None:
    import sys

    def watch() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=watch, daemon=True).start()


def copy_study(name: str, *, to: str, storage: str | None = None, artifacts: str | None = None) -> "Copied":
    """Copy a study with its final and its files into another database, where it goes on with the same individuals.

    See :func:`optevo.search.copying.copy_study`.
    """
    from optevo.search.copying import copy_study as copy

    return copy(name, source=storage_url(storage), target=to, artifacts=artifacts)


def list_studies(*, storage: str | None = None) -> list[dict[str, Any]]:
    """One row a study of optevo: name, system, trials, when it was begun."""
    from optevo.search.study import summaries

    return summaries(url=storage_url(storage))


def show(name: str, *, storage: str | None = None) -> dict[str, Any]:
    """How far a study is: the state, and a row a complete generation with its best and mean value."""
    search = open_search(name, url=storage_url(storage))
    state = snapshot(search)
    return {
        "study": name,
        "phase": state.phase,
        "stopped": state.stopped,
        "generation": state.generation,
        "filled": state.filled,
        "slots": state.slots,
        "trained": state.trained,
        "failed": state.failed,
        "running": len(state.running),
        **_bests_of(search, state),
        "record": {key: getattr(search.record, key) for key in ("fingerprint", "precision", "threads", "versions")},
        "accepted_versions": acceptances(search.study.user_attrs),
        "generations": generation_rows(search),
    }


def _bests_of(search: Search, state: Snapshot) -> dict[str, Any]:
    """`best_trial` and `best_value`; with a population's name behind where there are several."""
    endings = [population.replace("/", "_") for population in search.system.populations]
    found: dict[str, Any] = {}
    for ending, best in zip(endings, state.best or [None] * len(endings), strict=False):
        found[f"best_trial{ending}"] = None if best is None else best.number
        found[f"best_value{ending}"] = None if best is None else best.value
    return found


def estimate(name: str, *, storage: str | None = None, data: Path | None = None) -> dict[str, Any]:
    """Train one typical individual for a while, and say what the whole study takes on this machine.

    Typical is the median of 101 random individuals by exact MACs. Up to 30 of its steps are timed and scaled up. Of a
    co-evolution one of either direction is trained, for generation 0 and for the later ones, and seconds are means.

    Returns:
        Seconds an individual, individuals at most, hours with this machine's workers, memory of a worker in MiB, disk
        in MiB (the store, the winner's model, and at most so much for what children learn from).
    """
    from optevo.search.coevolution import MaskedTask
    from optevo.search.collecting import KEPT_BEST
    from optevo.search.estimate import measure, measure_masks, measure_recipe
    from optevo.search.worker import open_task
    from optevo.tasks.unet import UNetTask

    search = open_search(name, url=storage_url(storage))
    task: Any = open_task(search, root=data)
    if isinstance(task, MaskedTask):
        measured = measure_masks(task.task)
    elif isinstance(search.spec, RecipeSpec):
        measured = measure_recipe(task, search.spec)
    else:
        assert isinstance(task, UNetTask)
        measured = measure(task)
    settings, populations = search.spec.sampler, len(search.system.populations)
    generation = populations * settings.population
    individuals = generation * settings.generations
    seconds = generation * measured.first_seconds + (individuals - generation) * measured.seconds
    final = search.spec.final
    if final.candidates:
        longer = (final.steps or 2 * search.spec.training.steps) / search.spec.training.steps
        seconds += final.candidates * final.seeds * longer * measured.seconds
    workers = len(gpus_here(search)) or max(1, (os.cpu_count() or 1) // search.record.threads)
    files = sum(int(each.get("size") or 0) for each in search.record.files.values())
    # Children that learn from their parents need those at hand.
    learns = isinstance(search.spec, UNetSpec) and search.spec.training.warm_start != "none"
    kept = 2 * settings.population + KEPT_BEST + settings.archive if learns else 0
    return {
        "seconds_an_individual": measured.seconds,
        "individuals_at_most": individuals,
        "workers_here": workers,
        "hours_at_most": seconds / workers / 3600,
        "memory_MiB_a_worker": measured.memory / 2**20,
        "disk_MiB": (individuals * 6_000 + 4 * measured.parameters + files + kept * measured.networks) / 2**20,
    }


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
    on_line: Say = print,
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


def quickstart_models(out: Path, *, on_line: Say = print) -> QuickstartResult:
    """Train the winner and the original under one budget, judge both on the test pictures, and draw the rows."""
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
    save_picture(rows_of(dict(reversed(generators.items())), test_pairs(data, spec)), picture)
    places = {"picture": picture, "models": out / "models", "study (SQLite)": out / "optevo.db"}
    return QuickstartResult(rows, {what: str(where) for what, where in places.items()})


def test_pairs(data: Path, spec: UNetSpec) -> Any:
    """The test pairs of a folder as a specification sees them, on the CPU."""
    from optevo.tasks.splits import find_splits
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
