"""From two folders of images to a pair: continued bit for bit, and nothing is begun that could not be ended."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sample_images import truncated_jpeg
from unpaired_folder import unpaired_folder

from optevo.errors import OptevoError, UsageError
from optevo.models.pair import PairFacts, load_pair, read_pair_facts
from optevo.models.train_pair import train_pair
from optevo.tasks.teacher_settings import TeacherSpec
from optevo.tasks.unpaired_splits import find_unpaired_splits
from optevo.training.engine import Engine

ENGINE = Engine(device=torch.device("cpu"), precision="fp32", threads=1)


class Interrupted(Exception):
    pass


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return unpaired_folder(tmp_path / "data", counts={"train": 5, "val": 2, "test": 2})


def train(data: Path, out: Path, *, on_step: Any = None, engine: Engine = ENGINE, **training: Any) -> PairFacts:
    spec = TeacherSpec.model_validate(
        {
            "seed": training.pop("seed", 3),
            "data": {"root": str(data), "size": 24, "train_images": training.pop("train_images", None)},
            "networks": {"ngf": 2, "blocks": 1, "ndf": 2, "discriminator_layers": 1},
            "training": {"epochs": 2, "decay_epochs": 1, "batch_size": 2, "replay": 3, **training},
        }
    )
    splits = find_unpaired_splits(spec.data, seed=spec.seed)
    return train_pair(spec, splits, out, engine=engine, title="t", on_step=on_step)


def until(last: int) -> Callable[[int, int], None]:
    def on_step(done: int, total: int) -> None:
        if done == last:
            raise Interrupted

    return on_step


def tensors(pair: Path) -> list[torch.Tensor]:
    return [value for _, module in load_pair(pair).named() for value in module.state_dict().values()]


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_training_that_was_interrupted_twice_equals_one_that_was_not(
    average: float, data: Path, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    train(data, tmp_path / "whole", on_step=lambda *step: seen.append(step), average=average)
    assert seen == [(step, 9) for step in range(1, 10)]  # 5 images in batches of 2 are 3 steps an epoch
    for last in (2, 7):
        with pytest.raises(Interrupted):
            train(data, tmp_path / "broken", on_step=until(last), average=average)
        assert not (tmp_path / "broken").exists()
    rest: list[int] = []
    train(data, tmp_path / "broken", on_step=lambda done, total: rest.append(done), average=average)
    assert rest == [8, 9]
    pairs = list(zip(tensors(tmp_path / "whole"), tensors(tmp_path / "broken"), strict=True))
    assert all(torch.equal(one, other) for one, other in pairs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "data", "whole"]


def test_a_pair_can_be_the_average_of_its_weights(data: Path, tmp_path: Path) -> None:
    for name, average in (("plain", 0.0), ("average", 0.9)):
        train(data, tmp_path / name, average=average)
    plain, average = (load_pair(tmp_path / name) for name in ("plain", "average"))
    weights = [dict(pair.a_to_b.named_parameters())["model.1.weight"] for pair in (plain, average)]
    assert not torch.equal(*weights)
    torch.testing.assert_close(*weights, rtol=0, atol=9 * 2e-4)  # in nine steps of Adam they cannot have gone farther
    one, other = plain.judge_a.state_dict(), average.judge_a.state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_pair_says_what_it_was_trained_on(data: Path, tmp_path: Path) -> None:
    facts = train(data, tmp_path / "pair", train_images=3)
    assert (facts.size, facts.seed, facts.precision) == ((24, 24), 3, "fp32")
    assert "root" not in facts.training["data"]
    stored = read_pair_facts(tmp_path / "pair")
    assert stored.fingerprint == facts.fingerprint
    assert stored.judges["judge_a"]["norm"] == "instance"
    assert (tmp_path / "pair" / "samples.png").stat().st_size > 1000
    assert train(data, tmp_path / "more").fingerprint != facts.fingerprint


def test_the_rate_is_constant_and_then_decays_to_zero(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optevo.training.cyclegan import CycleGAN

    rates: list[float] = []
    step = CycleGAN._step

    def watched(self: CycleGAN, a: torch.Tensor, b: torch.Tensor, **updates: Any) -> torch.Tensor:
        rates.append(self.generator_adam.param_groups[0]["lr"])
        return step(self, a, b, **updates)

    monkeypatch.setattr(CycleGAN, "_step", watched)
    train(data, tmp_path / "pair", epochs=2, decay_epochs=3, batch_size=5)
    assert rates == pytest.approx([2e-4, 2e-4, 1.5e-4, 1e-4, 0.5e-4])


def test_a_checkpoint_of_another_run_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(data, tmp_path / "pair", on_step=until(1))
    for change, says in (({"seed": 4}, "another seed"), ({"epochs": 3}, "another settings")):
        with pytest.raises(OptevoError, match=says) as error:
            train(data, tmp_path / "pair", **change)
        assert "\n" not in str(error.value)
    (data / "trainA" / "0.png").write_bytes((data / "trainB" / "0.png").read_bytes())
    with pytest.raises(OptevoError, match="another fingerprint"):
        train(data, tmp_path / "pair")


def test_nothing_is_trained_that_could_not_be_ended(data: Path, tmp_path: Path) -> None:
    def never(done: int, total: int) -> None:
        raise AssertionError("it was trained")

    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(UsageError, match="not empty"):
        train(data, tmp_path / "taken", on_step=never)
    truncated_jpeg(data / "testB" / "bad.jpg")
    with pytest.raises(UsageError, match=r"bad\.jpg: is damaged"):
        train(data, tmp_path / "pair", on_step=never)
    (data / "testB" / "bad.jpg").rename(data / "trainB" / "worse.jpg")
    with pytest.raises(UsageError, match=r"worse\.jpg: is damaged"):
        train(data, tmp_path / "pair", on_step=never)


def test_a_folder_of_one_image(tmp_path: Path) -> None:
    one = unpaired_folder(tmp_path / "one", counts={"train": 1, "test": 1})
    with pytest.raises(UsageError, match=r"one, images of A: .*too few"):
        train(one, tmp_path / "pair")


def test_a_loss_that_is_no_longer_finite_is_said(data: Path, tmp_path: Path) -> None:
    with pytest.raises(OptevoError, match="no longer finite"):
        train(data, tmp_path / "pair", learning_rate=1e30)
    assert not (tmp_path / "pair").exists()


@pytest.mark.gpu
def test_a_pair_is_trained_on_a_gpu_and_continued(data: Path, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    engine = Engine(device=torch.device("cuda"), precision="bf16", threads=1)
    with pytest.raises(Interrupted):
        train(data, tmp_path / "pair", on_step=until(4), engine=engine)
    train(data, tmp_path / "pair", engine=engine)
    assert all(value.isfinite().all() for value in tensors(tmp_path / "pair"))
