"""Which pairs a specification searches, fine-tunes and tests on. Looks at names only; loads no torch."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from optevo.data.fingerprint import fingerprint
from optevo.data.pairs import PairFile, find_pairs, split_pairs
from optevo.errors import UsageError
from optevo.tasks.settings import UNetSettings


@dataclass(frozen=True)
class Splits:
    """The pairs of every split, `train` cut down to the mini-training set, and the whole training set."""

    train: list[PairFile]
    val: list[PairFile]
    test: list[PairFile]
    whole: list[PairFile]

    @cached_property
    def fingerprint(self) -> str:
        """Of everything the search and the fine-tuning see."""
        return fingerprint({"train": self.train, "val": self.val, "test": self.test, "whole": self.whole})


def find_splits(settings: UNetSettings, *, root: Path | None = None, seed: int) -> Splits:
    """The splits of a specification's folder.

    A val split that is missing is cut out of train for the search, and goes back into it for the fine-tuning.

    Raises:
        UsageError: The folder has no pairs, or no val split and none to make.
    """
    folder = root or Path(settings.data.root)
    found = find_pairs(folder)
    data = settings.data
    splits = split_pairs(found, val_fraction=data.val_fraction, test_fraction=data.test_fraction, seed=seed)
    for split in ("train", "val"):
        if not splits.get(split):
            raise UsageError(f"{folder}: no {split} pairs; add a {split} folder, or set data.val_fraction above 0.")
    test = splits.get("test", [])
    held_out = {id(pair) for split, pairs in splits.items() if split == "test" for pair in pairs}
    made_val = not found.get("val")
    whole = [pair for pair in found["train"] if id(pair) not in held_out] if made_val else splits["train"]
    return Splits(
        train=splits["train"][: data.train_images], val=splits["val"][: data.val_images], test=test, whole=whole
    )
