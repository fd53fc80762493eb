"""The U-Net search space of arXiv 2002.11581: genome <-> architecture, channels a level (c1) and skip bits (c2)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from optevo.errors import UsageError

MIN_DEPTH = 2  # the outermost and the innermost level are built differently, so there must be both
MAX_DEPTH = 16  # 2**16 pixels a side; architectures come from files and databases, so every number has a bound
MAX_CHANNELS = 65_536


@dataclass(frozen=True)
class UNetArchitecture:
    """One U-Net generator: everything that decides its layers and shapes, and nothing else.

    Args:
        channels: c1, output channels of encoder levels 1..depth; each 1..65536, depth 2..16. Decoder level k gives back
            ``channels[k - 2]`` channels, decoder level 1 ``output_channels``.
        skips: c2, one bool for each of the levels 1..depth-1. Where skip k is on, encoder level k's output is
            concatenated to the input of decoder level k.
        input_channels: channels of the input image, 1..65536.
        output_channels: channels of the output image, 1..65536.

    Raises:
        UsageError: a field of the wrong type, length or range.
    """

    channels: tuple[int, ...]
    skips: tuple[bool, ...]
    input_channels: int = 3
    output_channels: int = 3

    def __post_init__(self) -> None:
        channels = tuple(_channel_count("channels", value) for value in _sequence("channels", self.channels))
        _check_depth("channels", len(channels))
        skips = tuple(_bit("skips", value) for value in _sequence("skips", self.skips))
        if len(skips) != len(channels) - 1:
            raise UsageError(
                f"skips = {list(skips)!r}: {len(channels)} levels of channels need {len(channels) - 1} skips, "
                f"not {len(skips)}; give one for each level but the innermost"
            )
        # numpy's integers and JSON's lists become plain Python here, so that equal architectures compare and hash equal
        object.__setattr__(self, "channels", channels)
        object.__setattr__(self, "skips", skips)
        object.__setattr__(self, "input_channels", _channel_count("input_channels", self.input_channels))
        object.__setattr__(self, "output_channels", _channel_count("output_channels", self.output_channels))

    @property
    def depth(self) -> int:
        """Number of encoder levels; each halves the image."""
        return len(self.channels)

    @property
    def multiple(self) -> int:
        """Heights and widths of images are multiples of this."""
        return int(2**self.depth)

    @property
    def least(self) -> int:
        """The smallest height and width of an image."""
        return self.multiple

    def to_dict(self) -> dict[str, Any]:
        """The architecture as JSON knows it: lists, ints and bools."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: object) -> "UNetArchitecture":
        """Read what `to_dict` wrote. The data is not trusted: it may come from any file or database.

        Raises:
            UsageError: no mapping, a missing or unknown key, or a value that `UNetArchitecture` refuses.
        """
        if not isinstance(data, Mapping):
            raise UsageError(f"architecture = {_short(data)}: must be a table with the keys {_FIELD_NAMES}")
        unknown = sorted(str(key) for key in data if key not in _FIELD_NAMES)
        if unknown:
            raise UsageError(f"architecture: unknown key {_short(unknown[0])}; the keys are {_FIELD_NAMES}")
        missing = [name for name in _FIELD_NAMES if name not in data]
        if missing:
            raise UsageError(f"architecture: the key '{missing[0]}' is missing; the keys are {_FIELD_NAMES}")
        return cls(**{name: data[name] for name in _FIELD_NAMES})

    def check_size(self, height: int, width: int) -> None:
        """Raise UsageError unless images of `height` x `width` pixels can be halved `depth` times."""
        check_size(self.depth, height=height, width=width)


_FIELD_NAMES = [field.name for field in fields(UNetArchitecture)]


@dataclass(frozen=True)
class UNetSpace:
    """All U-Nets with `depth` levels and channels from one set; the paper's is the default: 8,388,608 architectures.

    A genome is a mapping of gene names to ints, in the order of `gene_choices`: c1_1..c1_depth are channel numbers,
    c2_1..c2_{depth-1} are 0 or 1. Its values in that order are the plain tuple that the samplers breed.

    Args:
        channels: S1, the selectable channel numbers, distinct, each 1..65536.
        depth: levels, 2..16 (8 for 256 pixels, so that the innermost level is one pixel).
        input_channels: channels of the input image.
        output_channels: channels of the output image.

    Raises:
        UsageError: a field of the wrong type or range.
    """

    channels: tuple[int, ...] = (64, 128, 256, 512)
    depth: int = 8
    input_channels: int = 3
    output_channels: int = 3

    def __post_init__(self) -> None:
        channels = tuple(_channel_count("channels", value) for value in _sequence("channels", self.channels))
        if not channels:
            raise UsageError("channels = []: a space needs at least one channel number, for example [64, 128]")
        if len(set(channels)) != len(channels):
            raise UsageError(f"channels = {_short(list(channels))}: a number is there twice; name each one once")
        object.__setattr__(self, "channels", channels)
        object.__setattr__(self, "depth", _check_depth("depth", self.depth))
        object.__setattr__(self, "input_channels", _channel_count("input_channels", self.input_channels))
        object.__setattr__(self, "output_channels", _channel_count("output_channels", self.output_channels))

    @property
    def size(self) -> int:
        """Number of architectures: len(channels)**depth * 2**(depth - 1)."""
        return int(len(self.channels) ** self.depth) << (self.depth - 1)

    @cached_property
    def gene_choices(self) -> dict[str, tuple[int, ...]]:
        """Every gene's choices, in the genome's order: c1_1, c1_2, ..., then c2_1, c2_2, ..."""
        c1, c2 = self.chromosomes["c1"], self.chromosomes["c2"]
        return dict.fromkeys(c1, self.channels) | dict.fromkeys(c2, (0, 1))

    @cached_property
    def chromosomes(self) -> dict[str, tuple[str, ...]]:
        """The genes' names in the two strings that the paper breeds apart: {"c1": (...), "c2": (...)}."""
        return {
            "c1": tuple(f"c1_{level}" for level in range(1, self.depth + 1)),
            "c2": tuple(f"c2_{level}" for level in range(1, self.depth)),
        }

    def architecture(self, genome: Mapping[str, int]) -> UNetArchitecture:
        """The architecture that a genome stands for.

        Raises:
            UsageError: a gene missing or unknown, or a value that is none of its choices.
        """
        self._check_genome(genome)
        return UNetArchitecture(
            channels=tuple(genome[name] for name in self.chromosomes["c1"]),
            skips=tuple(bool(genome[name]) for name in self.chromosomes["c2"]),
            input_channels=self.input_channels,
            output_channels=self.output_channels,
        )

    def genome(self, architecture: UNetArchitecture) -> dict[str, int]:
        """The genome of an architecture of this space.

        Raises:
            UsageError: the architecture lies outside the space.
        """
        for name in ("depth", "input_channels", "output_channels"):
            theirs, ours = getattr(architecture, name), getattr(self, name)
            if theirs != ours:
                raise UsageError(f"{name} = {theirs}: the search space has {ours}; give both the same {name}")
        values = (*architecture.channels, *(int(skip) for skip in architecture.skips))
        genome = dict(zip(self.gene_choices, values, strict=True))
        self._check_genome(genome)
        return genome

    def __contains__(self, item: object) -> bool:
        """Whether an architecture, or a genome as a mapping, lies in the space."""
        try:
            if isinstance(item, UNetArchitecture):
                self.genome(item)
            elif isinstance(item, Mapping):
                self._check_genome(item)
            else:
                return False
        except UsageError:
            return False
        return True

    def random(self, rng: np.random.Generator) -> dict[str, int]:
        """A genome drawn uniformly: every architecture of the space is equally likely."""
        return {name: choices[int(rng.integers(len(choices)))] for name, choices in self.gene_choices.items()}

    def _check_genome(self, genome: Mapping[str, int]) -> None:
        for name, choices in self.gene_choices.items():
            if name not in genome:
                raise UsageError(f"genome: the gene {name} is missing; a genome has {_span(self.gene_choices)}")
            value = genome[name]
            if not _is_whole(value) or value not in choices:
                raise UsageError(f"gene {name} = {_short(value)}: choose one of {list(choices)}, or widen the space")
        unknown = [name for name in genome if name not in self.gene_choices]
        if unknown:
            raise UsageError(f"genome: unknown gene {_short(unknown[0])}; a genome has {_span(self.gene_choices)}")


def original(*, ngf: int = 64, depth: int = 8, input_channels: int = 3, output_channels: int = 3) -> UNetArchitecture:
    """The generator of pix2pix (arXiv 1611.07004): channels ngf * (1, 2, 4, 8, 8, ...), every skip on.

    With the defaults it is U-Net-256: 54.414 M parameters, 6,048.2 M exact MACs at 256 x 256.
    """
    depth = _check_depth("depth", depth)
    ngf = _channel_count("ngf", ngf)
    return UNetArchitecture(
        channels=tuple(ngf * min(2**level, 8) for level in range(depth)),
        skips=(True,) * (depth - 1),
        input_channels=input_channels,
        output_channels=output_channels,
    )


def searched_gamma_001(*, input_channels: int = 3, output_channels: int = 3) -> UNetArchitecture:
    """What arXiv 2002.11581 found on cityscapes with gamma = 0.01 (its figure 5); depth 8, for 256 pixels.

    5.546 M parameters, but 5.86 G exact MACs: only 3 % fewer than the original. Its operations sit in the shallow
    levels.
    """
    return UNetArchitecture(
        channels=(256, 128, 128, 64, 512, 64, 128, 256),
        skips=(True, False, True, False, False, False, False),
        input_channels=input_channels,
        output_channels=output_channels,
    )


NAMED: Mapping[str, Callable[..., UNetArchitecture]] = MappingProxyType(
    {"original": original, "paper-gamma-0.01": searched_gamma_001}
)
"""Architectures by name; every factory takes `input_channels` and `output_channels`."""


def check_size(depth: int, *, height: int, width: int) -> None:
    """Raise UsageError unless images of `height` x `width` pixels can be halved `depth` times."""
    multiple = 2**depth
    for name, value in (("height", height), ("width", width)):
        if not _is_whole(value) or value < multiple or value % multiple:
            raise UsageError(
                f"{name} = {_short(value)}: a U-Net of depth {depth} needs a multiple of {multiple} pixels; "
                "change the size or lower the depth"
            )


def _is_whole(value: object) -> bool:
    """Python's and numpy's integers; a bool is none, though Python thinks so."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _whole(name: str, value: Any, *, low: int, high: int) -> int:
    if not _is_whole(value) or not low <= value <= high:
        raise UsageError(f"{name}: {_short(value)} is no whole number from {low} to {high}; put one there")
    return int(value)


def _channel_count(name: str, value: Any) -> int:
    return _whole(name, value, low=1, high=MAX_CHANNELS)


def _check_depth(name: str, depth: Any) -> int:
    if not _is_whole(depth) or not MIN_DEPTH <= depth <= MAX_DEPTH:
        raise UsageError(f"{name}: a depth of {_short(depth)} levels; a U-Net has {MIN_DEPTH} to {MAX_DEPTH}")
    return int(depth)


def _bit(name: str, value: Any) -> bool:
    if not (isinstance(value, bool | np.bool_) or (_is_whole(value) and value in (0, 1))):
        raise UsageError(f"{name}: {_short(value)} is neither true nor false; put one of them there")
    return bool(value)


def _sequence(name: str, value: Any) -> list[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise UsageError(f"{name} = {_short(value)}: must be a list, for example {name} = [...]")
    return list(value)


def _short(value: object) -> str:
    """What is wrong, on one line of bounded length: it may be anything."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _span(names: Iterable[str]) -> str:
    return ", ".join(names)
