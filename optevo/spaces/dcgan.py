"""DCGAN generators and discriminators of any widths (arXiv 1511.06434), as E-GAN and CE-GAN fine-tuned them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from optevo.errors import UsageError

MAX_WIDTH = 65_536
SMALLEST, LARGEST = 32, 128


@dataclass(frozen=True)
class DCGANArchitecture:
    """One generator and the discriminator of its images: all that decides their layers, and nothing else.

    A generator begins with a map of `base` x `base` positions and doubles it `levels` times; a discriminator halves the
    image `levels` times, to the same map. `levels` is 3 below 64 pixels, 4 below 128 and 5 at 128, so `base` is 4 to 7:
    4 for 32, 64 and 128 pixels.

    Args:
        generator: Channels of the first map and behind each doubling but the last: `levels` widths, 1..65536 each.
        discriminator: Channels behind each halving: `levels` widths.
        size: Pixels a side, 32..128: a multiple of 8, from 64 of 16, and at last 128.
        latent: Numbers that an image is made from.
        channels: Of the images, 1 or 3.

    Raises:
        UsageError: A field of the wrong type, length or range.
    """

    generator: tuple[int, ...] = (512, 256, 128)
    discriminator: tuple[int, ...] = (128, 256, 512)
    size: int = 32
    latent: int = 100
    channels: int = 3

    def __post_init__(self) -> None:
        if not _whole(self.size) or not SMALLEST <= self.size <= LARGEST or self.size % 2**self.levels:
            step = 2**self.levels if _whole(self.size) and SMALLEST <= self.size <= LARGEST else 8
            raise UsageError(
                f"size = {self.size!r}: these networks make images of 32 to 128 pixels; give a multiple of {step}"
            )
        for name in ("generator", "discriminator"):
            value = getattr(self, name)
            if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
                raise UsageError(f"{name} = {value!r}: must be a list of channel numbers")
            object.__setattr__(self, name, tuple(value))
            if len(getattr(self, name)) != self.levels:
                raise UsageError(f"{name} = {value!r}: images of {self.size} pixels take {self.levels} channel numbers")
        for width in (*self.generator, *self.discriminator, self.latent):
            if not _whole(width) or not 1 <= width <= MAX_WIDTH:
                raise UsageError(f"a width of {width!r}: every width is a whole number from 1 to {MAX_WIDTH}")
        if self.channels not in (1, 3):
            raise UsageError(f"channels = {self.channels!r}: must be 1 (grey) or 3 (RGB)")

    @property
    def levels(self) -> int:
        """How often a generator doubles its map."""
        return self.size.bit_length() - 3

    @property
    def base(self) -> int:
        """Positions a side of the smallest map."""
        return self.size >> self.levels

    def to_dict(self) -> dict[str, Any]:
        """The architecture as JSON knows it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: object) -> "DCGANArchitecture":
        """Read what `to_dict` wrote. The data is not trusted.

        Raises:
            UsageError: No mapping, a missing or unknown key, or a value that the class refuses.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(data, Mapping) or set(data) != set(names):
            raise UsageError(f"architecture: must be a table with the keys {names}")
        return cls(**data)


def original(
    *, size: int = 32, ngf: int = 128, ndf: int = 128, latent: int = 100, channels: int = 3
) -> DCGANArchitecture:
    """The networks of CE-GAN and E-GAN: with the defaults exactly theirs for CIFAR-10, 3,447,683 parameters in the
    generator and 2,638,209 in the discriminator. Widths double with each level, from `ngf` and `ndf` at the image."""
    levels = size.bit_length() - 3 if _whole(size) and SMALLEST <= size <= LARGEST else 3
    return DCGANArchitecture(
        generator=tuple(ngf << level for level in reversed(range(levels))),
        discriminator=tuple(ndf << level for level in range(levels)),
        size=size,
        latent=latent,
        channels=channels,
    )


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
