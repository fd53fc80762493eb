"""A pair of small CycleGANs, and the co-evolution's task on them, for tests."""

from pathlib import Path
from typing import Any

import torch
from unpaired_folder import unpaired_folder

from optevo.networks.patchgan import PatchGAN
from optevo.networks.resnet import ResNetGenerator
from optevo.spaces.resnet import cyclegan
from optevo.tasks.coevolution import CoevolutionTask
from optevo.tasks.coevolution_settings import CoevolutionSettings
from optevo.tasks.filter_tables import make_table
from optevo.tasks.translators import Translators
from optevo.tasks.unpaired_splits import find_unpaired_splits
from optevo.training.engine import Engine, resolve

CPU = resolve(device="cpu", precision="fp32")


def small_translators(*, channels: tuple[int, int] = (3, 3), blocks: int = 2, gain: float = 10.0) -> Translators:
    """Random networks whose outputs are far from grey and whose discriminators have opinions."""
    torch.manual_seed(3)
    a, b = channels
    pair = Translators(
        a_to_b=ResNetGenerator(cyclegan(ngf=4, blocks=blocks, input_channels=a, output_channels=b)),
        b_to_a=ResNetGenerator(cyclegan(ngf=4, blocks=blocks, input_channels=b, output_channels=a)),
        judge_a=PatchGAN(a, ndf=4, layers=2, norm="instance"),
        judge_b=PatchGAN(b, ndf=4, layers=2, norm="instance"),
    )
    with torch.no_grad():
        for _, module in pair.named():
            for parameter in module.parameters():
                parameter.mul_(gain if parameter.dim() > 1 else 1.0).add_(0.01)
    return pair


def small_settings(root: Path, **tables: Any) -> CoevolutionSettings:
    """Of a task on the images of `tests/unpaired_folder.py`; two steps of mini-training."""
    document: dict[str, Any] = {
        "data": {"root": str(root), "size": 16},
        "teachers": {"folder": "given"},
        "training": {"steps": 2, "replay": 2},
        "engine": {"device": "cpu", "precision": "fp32"},
    }
    for table, values in tables.items():
        document[table] = {**document.get(table, {}), **values}
    return CoevolutionSettings.model_validate(document)


def small_task(
    root: Path, *, teachers: Translators | None = None, engine: Engine = CPU, **tables: Any
) -> CoevolutionTask:
    """A task on freshly drawn images under `root`."""
    if not root.exists():
        unpaired_folder(root)
    settings = small_settings(root, **tables)
    data, pair = (
        settings.data,
        teachers or small_translators(channels=(settings.data.channels_a, settings.data.channels_b)),
    )
    made = {
        name: make_table(getattr(pair, name), channels=channels, size=data.size, tie=settings.masks.tie == "trunk")
        for name, channels in (("a_to_b", data.channels_a), ("b_to_a", data.channels_b))
    }
    splits = find_unpaired_splits(data, seed=0)
    return CoevolutionTask.load(settings, splits, teachers=pair, tables=made, engine=engine)
