"""Which images of two domains a specification trains and tests on. Looks at names only; loads no torch."""

from dataclasses import dataclass
from pathlib import Path

from optevo.data.fingerprint import fingerprint
from optevo.data.pairs import split_pairs
from optevo.data.unpaired_files import LEAST, find_unpaired
from optevo.errors import UsageError
from optevo.tasks.splits import Splits
from optevo.tasks.unpaired_settings import UnpairedDataSettings


@dataclass(frozen=True)
class UnpairedSplits:
    """The splits of either domain."""

    a: Splits
    b: Splits

    @property
    def fingerprint(self) -> str:
        """Of everything the search and the fine-tuning see."""
        return fingerprint(
            {
                f"{split}{domain}": getattr(splits, split)
                for domain, splits in (("A", self.a), ("B", self.b))
                for split in ("train", "val", "test", "whole")
            }
        )


def find_unpaired_splits(data: UnpairedDataSettings, *, root: Path | None = None, seed: int) -> UnpairedSplits:
    """The splits of a specification's folder.

    A val split that is missing is cut out of train for the search, and goes back into it for the fine-tuning.

    Raises:
        UsageError: A domain has no images, too few to cut a val split out of, or no val split and none to make.
    """
    folder = root or Path(data.root)
    found = find_unpaired(folder, val_fraction=0.0, test_fraction=0.0, seed=seed)
    both = []
    for domain, given in (("A", found.a), ("B", found.b)):
        files = {split: list(images) for split, images in given.items()}
        try:
            made = split_pairs(files, val_fraction=data.val_fraction, test_fraction=data.test_fraction, seed=seed)
        except UsageError as error:
            raise UsageError(f"{folder}, images of {domain}: {error}") from None
        for split in ("train", "val"):
            if not made.get(split):
                raise UsageError(
                    f"{folder}: no {split} images of {domain} ({sum(map(len, files.values()))} in all); add more "
                    f"images, a folder {split}{domain}, or set data.val_fraction above 0."
                )
        if len(made["train"]) < LEAST:
            raise UsageError(
                f"{folder}: has {len(made['train'])} training image of {domain} beside val and test, and a translator "
                f"needs at least {LEAST}; add more images."
            )
        held_out = {id(image) for image in made.get("test", [])}
        whole = made["train"] if files.get("val") else [image for image in files["train"] if id(image) not in held_out]
        train, val = made["train"][: data.train_images], made["val"][: data.val_images]
        both.append(Splits(train=train, val=val, test=made.get("test", []), whole=whole))
    return UnpairedSplits(*both)
