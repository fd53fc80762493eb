"""What a study takes, before it is run."""

import os
from pathlib import Path
from typing import Any

from optevo.search.launchers import gpus_here
from optevo.search.spec import RecipeSpec, UNetSpec
from optevo.search.store import storage_url
from optevo.search.study import open_search


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
