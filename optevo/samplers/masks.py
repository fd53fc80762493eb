"""Masks: individuals of hundreds of bits in named groups, such as the filters of a network that live or die."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, Trial

from optevo.samplers import slots

KEEP = "keep_"  # the parameters keep_NAME count the ones of each group

# A spare claims no slot, so its mask is kept by itself.
SPARE = "optevo:spare"

# A person who enqueues a mask writes it into this user attribute: `study.enqueue_trial({}, user_attrs={"mask": hex})`.
MASK = "mask"

Mask = NDArray[np.bool_]


def to_hex(bits: Sequence[Any] | Mask) -> str:
    """Bits as hexadecimal digits, the first bit being the first digit's highest; the last byte is filled with zeros."""
    return np.packbits(np.asarray(bits, dtype=bool)).tobytes().hex()


def from_hex(text: str, *, size: int) -> Mask:
    """The first `size` bits of hexadecimal digits, shape `(size,)`.

    Raises:
        ValueError: The text holds other characters, or another number of bytes.
    """
    data = bytes.fromhex(text)
    if len(data) != -(-size // 8):
        raise ValueError(f"a mask of {size} bits has {2 * -(-size // 8)} hexadecimal digits, not {len(text)}.")
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=size)
    return bits.astype(bool)


def starts(groups: Mapping[str, int]) -> dict[str, int]:
    """Where each group begins."""
    ends = np.cumsum([0, *groups.values()])
    return {name: int(start) for name, start in zip(groups, ends[:-1], strict=True)}


def split(bits: Sequence[Any] | Mask, groups: Mapping[str, int]) -> dict[str, Mask]:
    """A mask by group."""
    array = np.asarray(bits, dtype=bool)
    return {name: array[start : start + groups[name]] for name, start in starts(groups).items()}


def written(trial: FrozenTrial) -> str | None:
    """The hexadecimal mask of a trial: what a person enqueued, else what it claimed, else what it got as a spare."""
    if MASK in trial.user_attrs:
        return str(trial.user_attrs[MASK])
    claim = slots.claim_of(trial)
    if claim is not None:
        return claim.genome if isinstance(claim.genome, str) else None
    spare = trial.system_attrs.get(SPARE)
    return None if spare is None else str(spare)


def masks_of(trial: Trial, groups: Mapping[str, int]) -> dict[str, Mask]:
    """The masks that a running trial is to be judged with; for objectives.

    Records how many bits of each group are ones as the trial's parameters `keep_NAME`.

    Args:
        trial: Of a study whose sampler was given `masks`.
        groups: The sampler's `masks`.

    Returns:
        A Boolean array of shape `(groups[name],)` by name.

    Raises:
        ValueError: The trial has no mask, or one of another size.
    """
    text = written(trial.study._storage.get_trial(trial._trial_id))
    if text is None:
        raise ValueError(f"trial {trial.number} has no mask: give its study a sampler with masks={dict(groups)!r}.")
    for name, size in groups.items():
        trial.suggest_int(KEEP + name, 0, size)
    return split(from_hex(text, size=sum(groups.values())), groups)


def counts(text: str, groups: Mapping[str, int]) -> dict[str, int]:
    """The parameters `keep_NAME` of a mask."""
    found = split(from_hex(text, size=sum(groups.values())), groups)
    return {KEEP + name: int(mask.sum()) for name, mask in found.items()}
