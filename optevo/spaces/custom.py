"""Generators of the user's own, from installed packages: what a file may say of one. It names no code to import."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from optevo.errors import UsageError

Argument = bool | int | float | str

MAX_ARGUMENTS = 64
MAX_TEXT = 200
MAX_CHANNELS = 65_536


@dataclass(frozen=True)
class CustomArchitecture:
    """A generator that an installed package provides under a key of the entry-point group `optevo.generators`.

    How wide its layers are is not said here: what is left of it once filters were taken out shows in its weights.

    Args:
        generator: The key. Code is found by it among what is installed, and in no other way.
        arguments: By name, what the package's callable is given: numbers, text, true or false.
        package, version: The distribution that it came from when it was trained, for messages.
        input_channels, output_channels: Of the images.
        multiple: Heights and widths of images are multiples of this.
        least: The smallest height and width, a multiple of it.

    Raises:
        UsageError: A field of the wrong type or range.
    """

    generator: str
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    package: str = ""
    version: str = ""
    input_channels: int = 3
    output_channels: int = 3
    multiple: int = 1
    least: int = 1

    def __post_init__(self) -> None:
        check_arguments(self.arguments)
        object.__setattr__(self, "arguments", dict(self.arguments))
        for name in ("generator", "package", "version"):
            value = getattr(self, name)
            if not isinstance(value, str) or len(value) > MAX_TEXT or (name == "generator" and not value):
                raise UsageError(f"architecture: {name} = {value!r:.80}: must be text of at most {MAX_TEXT} characters")
        for name in ("input_channels", "output_channels", "multiple", "least"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_CHANNELS:
                raise UsageError(
                    f"architecture: {name} = {value!r:.80}: must be a whole number from 1 to {MAX_CHANNELS}"
                )
        if self.least % self.multiple:
            raise UsageError(f"architecture: least = {self.least}: must be a multiple of {self.multiple}")

    def check_size(self, height: int, width: int) -> None:
        """Raise UsageError unless the generator takes images of `height` x `width` pixels."""
        for name, value in (("height", height), ("width", width)):
            if value % self.multiple or value < self.least:
                raise UsageError(
                    f"{name} = {value}: the generator {self.generator!r} needs a multiple of {self.multiple}, at least "
                    f"{self.least} pixels; change the size"
                )

    def to_dict(self) -> dict[str, Any]:
        """The architecture as JSON knows it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> "CustomArchitecture":
        """Read what `to_dict` wrote. The data is not trusted.

        Raises:
            UsageError: No mapping, a missing or unknown key, or a value that the class refuses.
        """
        names = [each.name for each in fields(cls)]
        if not isinstance(data, Mapping) or set(data) != set(names):
            raise UsageError(f"architecture: must be a table with the keys {names}")
        return cls(**data)


def check_arguments(arguments: object) -> None:
    """Raise UsageError unless these are keyword arguments as a specification may hold them: a plain table."""
    if not isinstance(arguments, Mapping) or len(arguments) > MAX_ARGUMENTS:
        raise UsageError(f"arguments: must be a table with at most {MAX_ARGUMENTS} entries")
    for name, value in arguments.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise UsageError(f"arguments.{name!s:.80}: is no name of an argument")
        if not isinstance(value, bool | int | float | str) or (isinstance(value, float) and not math.isfinite(value)):
            raise UsageError(f"arguments.{name} = {value!r:.80}: must be a number, text, true or false")
