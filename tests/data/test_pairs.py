from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optevo.data.pairs import PairFile, find_pairs, list_pairs, natural_key, split_pairs
from optevo.errors import UsageError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def of(count: int) -> list[PairFile]:
    return [PairFile(str(number), Path(f"{number}.jpg"), None) for number in range(count)]


LAYOUTS = {
    "split AB": "train/2.jpg train/10.jpg test/1.jpg",
    "A and B with splits": "A/train/2.jpg A/train/10.jpg A/test/1.jpg B/train/2.png B/train/10.png B/test/1.png",
    "splits with A and B": "train/A/2.jpg train/A/10.jpg test/A/1.jpg train/B/2.jpg train/B/10.jpg test/B/1.jpg",
    "trainA and trainB": "trainA/2.jpg trainA/10.jpg testA/1.jpg trainB/2.jpg trainB/10.jpg testB/1.jpg",
}


@pytest.mark.parametrize("files", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_layout_with_splits(tmp_path: Path, files: str) -> None:
    pairs = find_pairs(touch(tmp_path, *files.split()))
    assert {split: [pair.name for pair in members] for split, members in pairs.items()} == {
        "train": ["2", "10"],
        "test": ["1"],
    }
    two = files is not LAYOUTS["split AB"]
    for split, members in pairs.items():
        for pair in members:
            assert pair.a.is_file()
            assert (pair.b is not None) == two
            assert split in str(pair.a)
            if pair.b is not None:
                assert pair.b.is_file()
                assert "B" in str(pair.b.relative_to(tmp_path))
                assert "A" in str(pair.a.relative_to(tmp_path))


def test_flat_layouts_are_train(tmp_path: Path) -> None:
    flat = find_pairs(touch(tmp_path / "flat", "1.jpg", "2.JPEG", "notes.txt", ".hidden.jpg", "Thumbs.db"))
    assert {split: [pair.name for pair in members] for split, members in flat.items()} == {"train": ["1", "2"]}
    halves = find_pairs(touch(tmp_path / "halves", "A/1.jpg", "B/1.png"))
    assert halves == {"train": [PairFile("1", tmp_path / "halves/A/1.jpg", tmp_path / "halves/B/1.png")]}


@pytest.mark.parametrize("folder", ["val", "valid", "validation"])
def test_names_of_val(tmp_path: Path, folder: str) -> None:
    assert list(find_pairs(touch(tmp_path, "train/1.jpg", f"{folder}/2.jpg"))) == ["train", "val"]


def test_missing_root_file_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere: there is no such folder"):
        find_pairs(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        find_pairs(tmp_path / "file")
    (tmp_path / "empty" / "train").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds no images; expected AB images in train/") as caught:
        find_pairs(tmp_path / "empty")
    assert "\n" not in str(caught.value)


def test_differing_names_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "A/1.jpg", "A/2.jpg", "B/1.jpg", "B/3.jpg")
    with pytest.raises(UsageError) as caught:
        find_pairs(tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "A/2.jpg") in message
    assert str(tmp_path / "B/3.jpg") in message
    assert str(tmp_path / "A/1.jpg") not in message
    listing = list_pairs(tmp_path)
    assert [pair.name for pair in listing.pairs["train"]] == ["1"]
    assert len(listing.unmatched) == 2


def test_only_the_first_missing_halves_are_listed(tmp_path: Path) -> None:
    touch(tmp_path, "A/x.jpg", "B/x.jpg", *(f"A/{number}.jpg" for number in range(30)))
    with pytest.raises(UsageError, match="and 25 more") as caught:
        find_pairs(tmp_path)
    assert str(caught.value).count("no counterpart") == 5


def test_a_missing_half_folder_and_unpaired_sets(tmp_path: Path) -> None:
    touch(tmp_path / "half", "A/train/1.jpg", "B/test/1.jpg", "A/test/1.jpg")
    with pytest.raises(UsageError, match=r"B/train: missing, but .*A/train exists"):
        find_pairs(tmp_path / "half")
    touch(tmp_path / "cycle", "trainA/horse1.jpg", "trainB/zebra1.jpg")
    with pytest.raises(UsageError, match="look unpaired"):
        find_pairs(tmp_path / "cycle")


def test_two_files_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"1\.png: has the same name as 1\.jpg"):
        find_pairs(touch(tmp_path, "1.jpg", "1.png"))


def test_natural_order() -> None:
    names = ["img10", "img2", "img1b", "10", "9", "img02", "²", "a"]
    assert sorted(names, key=natural_key) == ["9", "10", "a", "img1b", "img02", "img2", "img10", "²"]


@given(st.lists(st.text(min_size=1, max_size=8), unique=True), st.randoms(use_true_random=False))
def test_natural_order_is_total(names: list[str], shuffler: random.Random) -> None:
    shuffled = names.copy()
    shuffler.shuffle(shuffled)
    assert sorted(shuffled, key=natural_key) == sorted(names, key=natural_key)


fractions = st.floats(0.01, 0.49)


@given(st.integers(3, 60), fractions, fractions, st.integers(-(2**70), 2**70), st.randoms(use_true_random=False))
def test_split_is_a_partition_that_depends_on_names_and_seed_alone(
    n: int, val: float, test: float, seed: int, shuffler: random.Random
) -> None:
    pairs = of(n)
    splits = split_pairs({"train": pairs}, val_fraction=val, test_fraction=test, seed=seed)
    assert list(splits) == ["train", "val", "test"]
    assert all(splits.values())
    assert sorted((pair.name for members in splits.values() for pair in members), key=int) == [p.name for p in pairs]
    elsewhere = [PairFile(pair.name, Path("/elsewhere") / pair.a, None) for pair in pairs]
    shuffler.shuffle(elsewhere)
    again = split_pairs({"train": elsewhere}, val_fraction=val, test_fraction=test, seed=seed)
    assert {k: [p.name for p in v] for k, v in again.items()} == {k: [p.name for p in v] for k, v in splits.items()}


def test_split_sizes_seeds_and_stability() -> None:
    def names(n: int, seed: int) -> set[str]:
        splits = split_pairs({"train": of(n)}, val_fraction=0.1, test_fraction=0.2, seed=seed)
        assert [len(splits[split]) for split in ("train", "val", "test")] == [n - n // 10 - n // 5, n // 10, n // 5]
        return {pair.name for pair in splits["test"]}

    assert names(100, 0) != names(100, 1)
    assert len(names(100, 0) & names(110, 0)) >= 15  # of 20: adding images moves few


def test_existing_splits_stay() -> None:
    given_splits = {"test": of(4), "train": of(10)}
    splits = split_pairs(given_splits, val_fraction=0.2, test_fraction=0.5, seed=0)
    assert splits["test"] == given_splits["test"]
    assert len(splits["val"]) == 2
    assert len(splits["train"]) == 8
    assert given_splits == {"test": of(4), "train": of(10)}
    complete = {"train": of(1), "val": of(1), "test": of(1)}
    assert split_pairs(complete, val_fraction=0.5, test_fraction=0.2, seed=0) == complete
    assert list(split_pairs({"train": of(2)}, val_fraction=0, test_fraction=0.5, seed=0)) == ["train", "test"]


def test_too_few_pairs_and_bad_fractions() -> None:
    with pytest.raises(UsageError, match="train: 2 pairs are too few to split off test and val"):
        split_pairs({"train": of(2)}, val_fraction=0.1, test_fraction=0.1, seed=0)
    with pytest.raises(UsageError, match="too few"):
        split_pairs({"test": of(5)}, val_fraction=0.1, test_fraction=0.1, seed=0)
    for val, test in ((1.0, 0.1), (-0.1, 0.1), (0.1, float("nan")), (0.5, 0.5)):
        with pytest.raises(UsageError, match="fraction"):
            split_pairs({"train": of(9)}, val_fraction=val, test_fraction=test, seed=0)
