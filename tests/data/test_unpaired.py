"""Unpaired images: layouts, splits, batches that pair nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from optevo.data.resident import load_images
from optevo.data.unpaired import unpaired_batch, unpaired_plan
from optevo.data.unpaired_files import find_unpaired
from optevo.errors import UsageError

CPU = torch.device("cpu")


def fill(folder: Path, count: int, *, start: int = 0, suffix: str = "png") -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(np.full((8, 8, 3), start + number, dtype=np.uint8)).save(folder / f"{number}.{suffix}")


def find(root: Path, *, val: float = 0.0, test: float = 0.0):
    return find_unpaired(root, val_fraction=val, test_fraction=test, seed=0)


@pytest.mark.parametrize("layout", ["{split}{domain}", "{domain}/{split}", "{split}/{domain}"])
def test_layouts(tmp_path: Path, layout: str) -> None:
    for domain, count in (("A", 12), ("B", 3)):
        for split, part in (("train", count), ("test", 2)):
            fill(tmp_path / layout.format(split=split, domain=domain), part)
    found = find(tmp_path)
    assert [len(found.a["train"]), len(found.a["test"]), len(found.b["train"])] == [12, 2, 3]
    # Natural order.
    assert [image.name for image in found.a["train"]][-2:] == ["10.png", "11.png"]
    assert "val" not in found.a


def test_folders_without_splits_are_split(tmp_path: Path) -> None:
    fill(tmp_path / "A", 10)
    fill(tmp_path / "B", 20)
    found = find(tmp_path, val=0.1, test=0.2)
    assert {split: len(images) for split, images in found.a.items()} == {"train": 7, "val": 1, "test": 2}
    assert {split: len(images) for split, images in found.b.items()} == {"train": 14, "val": 2, "test": 4}


def test_equal_stems_are_two_images(tmp_path: Path) -> None:
    fill(tmp_path / "trainB", 1)
    fill(tmp_path / "trainA", 2)
    Image.new("RGB", (8, 8)).save(tmp_path / "trainA" / "0.jpg")
    assert len(find(tmp_path).a["train"]) == 3


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        find(tmp_path / "nowhere")
    fill(tmp_path / "trainA", 2)
    with pytest.raises(UsageError, match=r"no training images of B; put them into .*trainB"):
        find(tmp_path)


def load(folder: Path, *, jitter: bool = False):
    return load_images(sorted(folder.iterdir()), size=(8, 8), channels=3, device=CPU, jitter=jitter)


def test_batches_pair_nothing_and_go_through_everything(tmp_path: Path) -> None:
    fill(tmp_path / "a", 6)
    fill(tmp_path / "b", 6, start=100)
    a, b = load(tmp_path / "a"), load(tmp_path / "b")
    plan = unpaired_plan(a, b, steps=30, batch_size=1, seed=4)
    meetings = set()
    for step in range(30):
        of_a, of_b = unpaired_batch(a, b, plan, step)
        assert of_a.shape == of_b.shape == (1, 3, 8, 8)
        meetings.add((round((of_a.mean().item() + 1) * 127.5), round((of_b.mean().item() + 1) * 127.5)))
    for start in range(0, 30, 6):
        assert sorted(plan.index_a[start : start + 6, 0].tolist()) == list(range(6))
    assert len(meetings) > 12
    assert {one for one, _ in meetings} == set(range(6))
    assert {other for _, other in meetings} == set(range(100, 106))


def test_a_plan_is_a_function_of_its_seed_and_a_prefix_of_a_longer_one(tmp_path: Path) -> None:
    fill(tmp_path / "a", 5)
    a = load(tmp_path / "a", jitter=True)
    assert a.jitter_range == (1, 1)
    short, long = (unpaired_plan(a, a, steps=steps, batch_size=2, seed=1) for steps in (4, 9))
    for name in ("index_a", "crop_a", "flip_a", "index_b", "crop_b", "flip_b"):
        assert torch.equal(getattr(short, name), getattr(long, name)[:4])
    assert not torch.equal(short.index_a, short.index_b)
    assert not unpaired_plan(a, a, steps=50, batch_size=2, seed=1, flip=False).flip_b.any()


def test_images_of_every_kind_and_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no images to load"):
        load_images([], size=(8, 8), channels=3, device=CPU, jitter=False)
    fill(tmp_path / "a", 1)
    with pytest.raises(UsageError, match="size"):
        load_images(list((tmp_path / "a").iterdir()), size=(0, 8), channels=3, device=CPU, jitter=False)
    (tmp_path / "a" / "bad.png").write_text("no picture")
    with pytest.raises(UsageError, match=r"bad\.png"):
        load(tmp_path / "a")
