"""What arguments must be."""

import operator
from typing import Any


def whole(value: Any, name: str) -> int:
    """A count as Python's own int, also where it is numpy's.

    Raises:
        ValueError: It is no whole number.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number, but is {value!r}.") from None
