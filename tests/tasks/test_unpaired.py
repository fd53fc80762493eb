"""Splits of two domains, what they refuse, and what is decoded."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from unpaired_folder import unpaired_folder

from optevo.errors import UsageError
from optevo.tasks.unpaired import load_split
from optevo.tasks.unpaired_settings import CycleGANSettings, UnpairedDataSettings, check_identity
from optevo.tasks.unpaired_splits import find_unpaired_splits

CPU = torch.device("cpu")


def names(files) -> set[str]:
    return {str(file.a) for file in files}


def test_given_splits_stay_and_train_is_cut_down(tmp_path: Path) -> None:
    root = unpaired_folder(tmp_path)
    data = UnpairedDataSettings(root=str(root), size=32, train_images=4, val_images=2)
    splits = find_unpaired_splits(data, seed=0)
    for each in (splits.a, splits.b):
        assert [len(part) for part in (each.train, each.val, each.test, each.whole)] == [4, 2, 2, 6]
    assert not names(splits.a.train) & names(splits.b.train)


def test_a_val_split_cut_out_of_train_goes_back_for_the_fine_tuning(tmp_path: Path) -> None:
    root = unpaired_folder(tmp_path, counts={"train": 10})
    data = UnpairedDataSettings(root=str(root), val_fraction=0.3, test_fraction=0.2)
    splits = find_unpaired_splits(data, seed=0)
    for each in (splits.a, splits.b):
        assert [len(part) for part in (each.train, each.val, each.test, each.whole)] == [5, 3, 2, 8]
        assert names(each.whole) == names(each.train) | names(each.val)
        assert not names(each.whole) & names(each.test)
    assert splits.fingerprint == find_unpaired_splits(data, seed=0).fingerprint
    assert splits.fingerprint != find_unpaired_splits(data, seed=1).fingerprint


def test_images_are_decoded_as_said(tmp_path: Path) -> None:
    root = unpaired_folder(tmp_path, size=(40, 50))
    data = UnpairedDataSettings(root=str(root), size=[16, 32], channels_b=1)
    splits = find_unpaired_splits(data, seed=0)
    images = load_split(splits, "train", data, device=CPU, jitter=True)
    assert images.a.batch(torch.arange(6)).shape == (6, 3, 16, 32)
    assert images.b.batch(torch.arange(2)).shape == (2, 1, 16, 32)
    assert images.a.jitter_range == (2, 4)


def test_too_few_images_are_refused_with_their_folder(tmp_path: Path) -> None:
    one = unpaired_folder(tmp_path / "one", counts={"train": 1})
    with pytest.raises(UsageError, match=r"one, images of A: .*too few to split off val"):
        find_unpaired_splits(UnpairedDataSettings(root=str(one)), seed=0)
    with pytest.raises(UsageError, match=r"no val images of A \(1 in all\)"):
        find_unpaired_splits(UnpairedDataSettings(root=str(one), val_fraction=0), seed=0)


def test_no_identity_loss_between_grey_and_colour() -> None:
    data = UnpairedDataSettings(root="x", channels_a=1)
    with pytest.raises(ValueError, match=r"training\.identity_weight = 5\.0"):
        check_identity(data, CycleGANSettings())
    check_identity(data, CycleGANSettings(identity_weight=0))
    with pytest.raises(ValidationError):
        CycleGANSettings(replay=-1)


def test_a_domain_of_one_training_image_is_refused(tmp_path: Path) -> None:
    root = unpaired_folder(tmp_path, counts={"train": 3, "val": 1})
    for number in (1, 2):
        (root / "trainB" / f"{number}.png").unlink()
    with pytest.raises(
        UsageError, match="1 training image of B beside val and test, and a translator needs at least 2"
    ):
        find_unpaired_splits(UnpairedDataSettings(root=str(root), size=32), seed=0)
