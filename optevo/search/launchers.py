"""Which engine places a study's workers: this machine, a Ray cluster or Slurm. An engine is loaded when asked for."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

from optevo.errors import OptevoError, UsageError
from optevo.search.launch import LocalWorkers, Workers
from optevo.search.launch_options import LocalOptions, RayOptions, SlurmOptions, read_options
from optevo.search.store import from_anywhere
from optevo.search.study import Search

Launcher = Literal["local", "ray", "slurm"]
AnyOptions = LocalOptions | RayOptions | SlurmOptions


def check_options(launcher: str, pairs: Sequence[str]) -> AnyOptions:
    """The options of a launcher, of which every one has a class of its own.

    Raises:
        UsageError: There is no such launcher, or an option will not do.
    """
    if launcher == "local":
        return read_options(LocalOptions, pairs)
    if launcher == "ray":
        return read_options(RayOptions, pairs)
    if launcher == "slurm":
        return read_options(SlurmOptions, pairs)
    raise UsageError(f"--launcher {launcher}: unknown; there are {', '.join(get_args(Launcher))}.")


def place(
    search: Search,
    options: AnyOptions,
    *,
    count: int | None,
    root: Path | None,
    artifacts: str | None,
    on_line: Callable[[str], None],
) -> Workers:
    """The workers of a study, not started yet.

    Elsewhere no process is in this one's folder, and no environment is its own: every place is made absolute here.

    Args:
        count: None: what the place allows.
        root: The images' folder, where it is not the specification's.
        artifacts: Their store, where it is not the study's.
    """
    if isinstance(options, LocalOptions):
        devices = gpus_here(search)
        count = count or len(devices) or max(1, (os.cpu_count() or 1) // search.record.threads)
        return LocalWorkers(
            name=search.name,
            url=search.url,
            count=count,
            devices=devices,
            root=root,
            artifacts=artifacts,
            on_line=on_line,
        )
    url = from_anywhere(search.url)
    root = (root or Path(search.spec.data.root)).absolute()
    # Not above: boto3, where it is installed, takes a while to load.
    from optevo.search.artifacts import artifacts_url

    artifacts = artifacts_url(url, given=artifacts, recorded=search.record.artifacts)
    threads, on_gpu = search.record.threads, search.record.device == "cuda"
    if isinstance(options, RayOptions):
        from optevo.search.launch_ray import RayWorkers

        return RayWorkers(search.name, url, count, root, artifacts, threads, on_gpu, options, on_line)
    if count is None:
        raise UsageError("--workers: say how many jobs of Slurm there are to be, such as --workers 8.")
    from optevo.search.launch_slurm import SlurmWorkers

    return SlurmWorkers(search.name, url, count, root, artifacts, threads, on_gpu, options, on_line)


def gpus_here(search: Search) -> tuple[int, ...]:
    """The CUDA devices of this machine that a study may use; none for a study on CPUs.

    Raises:
        OptevoError: There are none, and the study needs one.
    """
    if search.record.device != "cuda":
        return ()
    import torch

    if not torch.cuda.is_available():
        raise OptevoError(
            f"study {search.name!r} was created for GPUs and this machine has none; create one with "
            "--set engine.device=cpu, or run it elsewhere."
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible and all(part.strip().isdigit() for part in visible.split(",")):
        return tuple(int(part) for part in visible.split(","))
    return tuple(range(torch.cuda.device_count()))
