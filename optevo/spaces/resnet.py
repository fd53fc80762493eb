"""CycleGAN's residual generators of any widths (arXiv 1703.10593): what is left when filters are taken out of one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from optevo.errors import UsageError

MAX_WIDTH = 65_536
MAX_BLOCKS = 64


@dataclass(frozen=True)
class ResNetArchitecture:
    """One residual generator: everything that decides its layers and shapes, and nothing else.

    A convolution of 7 x 7 pixels to `stem` channels; one of 3 x 3 with stride 2 for each of `down`, whose last is the
    trunk; residual blocks trunk -> inner -> trunk; a transposed convolution with stride 2 for each of `up`; and a
    convolution of 7 x 7 to the image. Every width is 1..65536.

    Args:
        stem: Channels at full resolution (CycleGAN: 64).
        down: Channels after each halving, at least one (128, 256).
        inner: Channels inside each residual block (256, nine times for 256 pixels, six for 128).
        up: Channels after each doubling, as many as `down` (128, 64).
        input_channels, output_channels: Of the images.

    Raises:
        UsageError: A field of the wrong type, length or range.
    """

    stem: int
    down: tuple[int, ...]
    inner: tuple[int, ...]
    up: tuple[int, ...]
    input_channels: int = 3
    output_channels: int = 3

    def __post_init__(self) -> None:
        for name in ("down", "inner", "up"):
            value = getattr(self, name)
            if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
                raise UsageError(f"{name} = {value!r}: must be a list of channel numbers")
            object.__setattr__(self, name, tuple(value))
        if not self.down or len(self.up) != len(self.down) or len(self.inner) > MAX_BLOCKS:
            raise UsageError(
                f"down, up and inner have {len(self.down)}, {len(self.up)} and {len(self.inner)} channel numbers: give "
                f"as many down as up, at least 1, and at most {MAX_BLOCKS} inner"
            )
        widths = (self.stem, *self.down, *self.inner, *self.up, self.input_channels, self.output_channels)
        for width in widths:
            if isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= MAX_WIDTH:
                raise UsageError(f"a width of {width!r} channels: every width is a whole number from 1 to {MAX_WIDTH}")

    @property
    def trunk(self) -> int:
        """Channels that the residual blocks add to."""
        return self.down[-1]

    @property
    def multiple(self) -> int:
        """Heights and widths of images are multiples of this."""
        return int(2 ** len(self.down))

    @property
    def least(self) -> int:
        """The smallest height and width: a reflection of 3 pixels needs 4, and one of 1 pixel inside the blocks 2."""
        return max(4, 2 * self.multiple)

    def check_size(self, height: int, width: int) -> None:
        """Raise UsageError unless images of `height` x `width` pixels can be halved and restored."""
        for name, value in (("height", height), ("width", width)):
            if value % self.multiple or value < self.least:
                raise UsageError(
                    f"{name} = {value}: this generator needs a multiple of {self.multiple}, at least {self.least} "
                    "pixels; change the size"
                )

    def to_dict(self) -> dict[str, Any]:
        """The architecture as JSON knows it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: object) -> "ResNetArchitecture":
        """Read what `to_dict` wrote. The data is not trusted.

        Raises:
            UsageError: No mapping, a missing or unknown key, or a value that the class refuses.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(data, Mapping) or set(data) != set(names):
            raise UsageError(f"architecture: must be a table with the keys {names}")
        return cls(**data)


def cyclegan(
    *, ngf: int = 64, blocks: int = 9, input_channels: int = 3, output_channels: int = 3
) -> ResNetArchitecture:
    """The generator of CycleGAN: 11.378 M parameters with the defaults, 9 blocks for 256 pixels and 6 for 128."""
    return ResNetArchitecture(
        stem=ngf,
        down=(2 * ngf, 4 * ngf),
        inner=(4 * ngf,) * blocks,
        up=(2 * ngf, ngf),
        input_channels=input_channels,
        output_channels=output_channels,
    )


def architecture_of_shapes(shapes: Mapping[str, Sequence[int]]) -> ResNetArchitecture:
    """The architecture of a state dict, read from its tensors' shapes under the names of CycleGAN's PyTorch code.

    `model.1.weight` is the first convolution, `model.N.conv_block.1.weight` the first of a residual block; of the other
    `model.N.weight` the former half halve the image, the latter double it, and the last gives the image. What else is
    in the state dict is not looked at: whoever loads it into the network will see.

    Args:
        shapes: By name.

    Raises:
        UsageError: The shapes are no such network's; the message begins with the key.
    """
    convolutions = _numbers(shapes, r"model\.(\d+)\.weight")
    blocks = _numbers(shapes, r"model\.(\d+)\.conv_block\.1\.weight")
    if convolutions[:1] != [1] or len(convolutions) < 4 or len(convolutions) % 2:
        wrong = next((key for key in shapes if not re.fullmatch(r"model\.\d+\..*", key)), "model.1.weight")
        raise UsageError(f"{wrong}: is not what CycleGAN's residual generator has there")
    middle = len(convolutions) // 2
    _, *down = convolutions[:middle]
    *up, last = convolutions[middle:]
    return ResNetArchitecture(
        stem=_width(shapes, "model.1.weight", axis=0),
        down=tuple(_width(shapes, f"model.{number}.weight", axis=0) for number in down),
        inner=tuple(_width(shapes, f"model.{number}.conv_block.1.weight", axis=0) for number in blocks),
        up=tuple(_width(shapes, f"model.{number}.weight", axis=1) for number in up),
        input_channels=_width(shapes, "model.1.weight", axis=1),
        output_channels=_width(shapes, f"model.{last}.weight", axis=0),
    )


def _numbers(shapes: Mapping[str, Sequence[int]], pattern: str) -> list[int]:
    return sorted(int(found.group(1)) for key in shapes if (found := re.fullmatch(pattern, key)))


def _width(shapes: Mapping[str, Sequence[int]], key: str, *, axis: int) -> int:
    if len(shapes[key]) != 4:
        raise UsageError(f"{key}: has the shape {tuple(shapes[key])}, and the weights of a convolution have 4 axes")
    return int(shapes[key][axis])
