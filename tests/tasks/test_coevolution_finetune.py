"""Fine-tuning a pair: continued bit for bit, with teachers and without, and refused where it is another's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from small_translators import CPU, small_settings, small_translators
from unpaired_folder import unpaired_folder

from optevo.cost.counted import parameters
from optevo.errors import OptevoError
from optevo.tasks.coevolution import compressed
from optevo.tasks.coevolution_finetune import finetune_pair
from optevo.tasks.filter_tables import make_table
from optevo.tasks.translators import Translators
from optevo.tasks.unpaired_splits import find_unpaired_splits
from optevo.training.continuing import LocalCheckpoints
from optevo.training.cyclegan import CycleGAN
from optevo.training.distilled_cyclegan import DistilledCycleGAN


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpaired_folder(tmp_path_factory.mktemp("unpaired") / "u", counts={"train": 5, "val": 1})


@pytest.fixture(scope="module")
def teachers() -> Translators:
    return small_translators(gain=3.0)


def run(root: Path, teachers: Translators, checkpoint: Path, *, on_step=None, about=None, **tables) -> CycleGAN:
    tables = {"finetune": {"epochs": 1, "decay_epochs": 1, "batch_size": 2, "average": 0.9}, **tables}
    settings = small_settings(root, **tables)
    made = {name: make_table(getattr(teachers, name), channels=3, size=(16, 16), tie=True) for name in HALF}
    masks = {
        name: {chromosome: np.arange(size) % 2 == 0 for chromosome, size in table.chromosomes.items()}
        for name, table in made.items()
    }
    return finetune_pair(
        compressed(teachers, masks, tables=made, settings=settings),
        settings,
        find_unpaired_splits(settings.data, seed=0),
        teachers=teachers,
        about=about or {"masks": "every second"},
        engine=CPU,
        seed=3,
        checkpoints=LocalCheckpoints(checkpoint),
        on_step=on_step,
    )


HALF = ("a_to_b", "b_to_a")


@pytest.mark.parametrize("mode", ["off", "beside", "alone"])
def test_a_training_that_was_interrupted_equals_one_that_was_not(
    root: Path, teachers: Translators, tmp_path: Path, mode: str
) -> None:
    whole = run(root, teachers, tmp_path / "whole", distillation={"mode": mode})
    assert isinstance(whole, DistilledCycleGAN) == (mode != "off")
    seen: list[tuple[int, int]] = []

    def kill(done: int, total: int) -> None:
        seen.append((done, total))
        if done in (1, 4):
            raise Killed

    for _ in range(2):
        with pytest.raises(Killed):
            run(root, teachers, tmp_path / "broken", on_step=kill, distillation={"mode": mode})
    broken = run(root, teachers, tmp_path / "broken", on_step=kill, distillation={"mode": mode})
    # 5 images in batches of 2 are 3 steps an epoch, 2 epochs; none was done twice.
    assert seen == [(done, 6) for done in range(1, 7)]
    assert whole.result()["a_to_b"] is whole.parts().modules["average_a_to_b"].module
    for name, module in whole.parts().modules.items():
        other = broken.parts().modules[name].state_dict()
        assert all(torch.equal(value, other[key]) for key, value in module.state_dict().items()), name
    # The last epoch's rate: half of the first's.
    assert whole.generator_adam.param_groups[0]["lr"] == pytest.approx(1e-4)


def test_the_students_are_small_and_begin_with_the_teachers_weights(
    root: Path, teachers: Translators, tmp_path: Path
) -> None:
    model = run(root, teachers, tmp_path / "c", training={"learning_rate": 1e-12})
    assert parameters(model.a_to_b) < 0.4 * parameters(teachers.a_to_b)
    torch.testing.assert_close(model.a_to_b.model[1].weight, teachers.a_to_b.model[1].weight[::2])
    torch.testing.assert_close(model.judge_a.model[0].weight, teachers.judge_a.model[0].weight)


@pytest.mark.parametrize(
    "change", [{"about": {"masks": "others"}}, {"distillation": {"mode": "off"}}, {"training": {"replay": 1}}]
)
def test_a_checkpoint_of_another_run_is_refused(
    root: Path, teachers: Translators, tmp_path: Path, change: dict
) -> None:
    def kill(done: int, total: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        run(root, teachers, tmp_path / "c", on_step=kill)
    with pytest.raises(OptevoError, match=r"belongs to a run with another (about|settings)"):
        run(root, teachers, tmp_path / "c", **change)


def test_distillation_without_any_loss_is_refused(root: Path) -> None:
    nothing = dict.fromkeys(("l1", "ssim", "features", "alignment"), 0)
    assert small_settings(root, distillation={"mode": "off", **nothing}).distillation.mode == "off"
    with pytest.raises(ValidationError, match="all its weights are 0"):
        small_settings(root, distillation=nothing)
