"""Generators of the user's own, from installed packages.

A package offers a generator by an entry point in the group `optevo.generators`: a callable without required arguments
that builds a module from (B, C, H, W) in [-1, 1] to the same. What has parameters `input_channels` and
`output_channels` is told the images' channels. A specification or a model folder names the key, and the key is looked
up among what is installed: neither can name code.
"""

import copy
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from math import gcd
from typing import Any

import torch
from torch import Tensor, nn

from optevo.errors import UsageError
from optevo.networks.fitting import check_runs, first_line, fit
from optevo.networks.norm import right_norms
from optevo.spaces.custom import Argument, CustomArchitecture

log = logging.getLogger("optevo.models")

GROUP = "optevo.generators"
CHANNELS = ("input_channels", "output_channels")

# How far gradients of two memory layouts may be apart, over the largest; rounding is a hundred times less.
LAYOUTS_AGREE = 1e-2


class CustomGenerator(nn.Module):
    """The module of an installed package, with what is known about it.

    Args:
        network: As the package built it, whole or sliced.
        architecture: Which that is.

    Shapes:
        input (B, input_channels, H, W), H and W multiples of `architecture.multiple`, values in [-1, 1];
        output (B, output_channels, H, W).

    Raises:
        UsageError: At the call, a height or width that does not fit.
    """

    def __init__(self, network: nn.Module, architecture: CustomArchitecture) -> None:
        super().__init__()
        self.network = network
        self.architecture = architecture

    @property
    def title(self) -> str:
        """What to call it in a message."""
        return f"generator {self.architecture.generator!r} ({type(self.network).__name__})"

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if not torch.compiler.is_compiling() and isinstance(height, int):  # no int while torch.jit traces
            self.architecture.check_size(height, width)
        result: Tensor = self.network(image)
        return result


def custom_generator(
    key: str,
    arguments: Mapping[str, Argument],
    *,
    input_channels: int,
    output_channels: int,
    size: tuple[int, int],
) -> CustomGenerator:
    """A fresh generator, drawn from torch's random state, once it is known to train and to run.

    Args:
        key: Of an installed package's entry point.
        arguments: Of its callable, by name.
        input_channels, output_channels: Of the images.
        size: Their (height, width) in pixels.

    Raises:
        UsageError: No package has the key, or the generator cannot be built, does not take such images or does not
            give such; it is named.
    """
    channels = (input_channels, output_channels)
    entry = find(key)
    network = _built(entry, arguments, channels=channels)
    return examined(network, entry, arguments, channels=channels, size=size)


def unfilled(architecture: CustomArchitecture) -> CustomGenerator:
    """A generator as its package builds it, for :func:`fill`. Torch's random state is left as it is.

    Raises:
        UsageError: No installed package has the key, or it cannot build it.
    """
    entry = find(architecture.generator, package=architecture.package, version=architecture.version)
    channels = (architecture.input_channels, architecture.output_channels)
    with _same_randomness():
        network = _built(entry, architecture.arguments, channels=channels)
    generator = CustomGenerator(network, architecture)
    other = _other_version(entry, architecture)
    if other:
        log.warning("%s: %s; it may compute something else", generator.title, other)
    return generator


def fill(generator: CustomGenerator, weights: Mapping[str, Tensor]) -> None:
    """Give a generator the tensors of a state dict, whole or with filters taken out.

    Raises:
        UsageError: They do not fit it, or each other.
    """
    architecture, training = generator.architecture, generator.training
    channels, side = (architecture.input_channels, architecture.output_channels), architecture.least
    fit(generator, weights)
    check_runs(generator.eval(), channels=channels, size=(side, side))
    generator.train(training)


def imported(
    key: str, arguments: Mapping[str, Argument], weights: Mapping[str, Tensor], *, size: tuple[int, int]
) -> CustomGenerator:
    """The generator of a state dict that the package's own module saved; the images' channels are found by trying.

    Raises:
        UsageError: No package has the key, or the weights are not its module's.
    """
    entry, problems = find(key), []
    for channels in ((3, 3), (1, 1), (1, 3), (3, 1)):
        try:
            network = _built(entry, arguments, channels=channels).eval()
            fit(network, weights)
            return examined(network, entry, arguments, channels=channels, size=size)
        except UsageError as error:
            problems.append(error)
    raise problems[0]


def installed() -> dict[str, tuple[EntryPoint, ...]]:
    """What installed packages offer, by key; more than one where two packages took the same."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda each: each.name):
        found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def find(key: str, *, package: str = "", version: str = "") -> EntryPoint:
    """The entry point of a key.

    Args:
        key: Which.
        package, version: Where it was when a model was trained, for the message.

    Raises:
        UsageError: No installed package has it, or several have.
    """
    offered = installed()
    entries = offered.get(key, ())
    if not entries:
        cure = (
            f"install {package}=={version}"
            if package
            else f"install a package with an entry point in the group {GROUP}"
        )
        there = f"installed are {', '.join(offered)}" if offered else "no installed package offers one"
        raise UsageError(f"generator {key!r}: is not installed ({there}); {cure}.")
    if len(entries) > 1:
        owners = " and ".join(distribution_of(entry)[0] for entry in entries)
        raise UsageError(f"generator {key!r}: is offered by {owners}; keep one of them installed.")
    return entries[0]


def distribution_of(entry: EntryPoint) -> tuple[str, str]:
    """Name and version of the package that an entry point came with."""
    return ("", "") if entry.dist is None else (str(entry.dist.name), str(entry.dist.version))


def examined(
    network: nn.Module,
    entry: EntryPoint,
    arguments: Mapping[str, Argument],
    *,
    channels: tuple[int, int],
    size: tuple[int, int],
) -> CustomGenerator:
    """A built network as a generator: run at several sizes to see which it takes, and once with gradients.

    Raises:
        UsageError: It does not take images of this size or does not give such, takes no others, or its gradients are
            wrong.
    """
    title, training = f"generator {entry.name!r} ({type(network).__name__})", network.training
    package, version = distribution_of(entry)
    _check_state(network, title)
    with _same_randomness():
        network.eval()
        try:
            check_runs(network, channels=channels, size=size)
        except UsageError as error:
            height, width = size
            raise UsageError(f"{title}: does not translate images of ({channels[0]}, {height}, {width}): {error}."
                             ) from None  # fmt: skip
        multiple = _multiple(network, channels=channels, size=size)
        if multiple is None:
            raise UsageError(f"{title}: takes images of {size[0]}x{size[1]} alone; it must take other sizes too.")
        least = _least(network, channels=channels, multiple=multiple, most=min(size))
        _check_gradients(network, title, channels=channels, side=min(min(size), 2 * least))
    network.train(training)
    return CustomGenerator(
        network,
        CustomArchitecture(
            generator=entry.name,
            arguments=arguments,
            package=package,
            version=version,
            input_channels=channels[0],
            output_channels=channels[1],
            multiple=multiple,
            least=least,
        ),
    )


def _built(entry: EntryPoint, arguments: Mapping[str, Argument], *, channels: tuple[int, int]) -> nn.Module:
    """What the package's callable makes, with instance norms that train right."""
    owner = " ".join(distribution_of(entry))
    try:
        make: Callable[..., Any] = entry.load()
        told = {name: each for name, each in zip(CHANNELS, channels, strict=True) if name in _parameters(make)}
        network = make(**{**told, **arguments})
    except Exception as error:  # Whatever a stranger's package may raise.
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UsageError(f"generator {entry.name!r} of {owner}: cannot be built ({reason}).") from error
    if not isinstance(network, nn.Module):
        raise UsageError(
            f"generator {entry.name!r} of {owner}: gives a {type(network).__name__}; it must give a torch.nn.Module."
        )
    if any(isinstance(each, nn.parameter.UninitializedParameter) for each in network.parameters()):
        raise UsageError(f"generator {entry.name!r} of {owner}: has lazy layers; give them their channels.")
    return right_norms(network)


def _parameters(make: Callable[..., Any]) -> Iterable[str]:
    try:
        return inspect.signature(make).parameters
    except ValueError:  # Some callables in C have none.
        return ()


def _check_state(network: nn.Module, title: str) -> None:
    """Refuse a network that a file of tensors by name cannot hold."""
    owners: dict[int, str] = {}
    for name, value in network.state_dict().items():
        if not isinstance(value, Tensor):
            raise UsageError(f"{title}: keeps {name} in its state dict, which is no tensor and cannot be stored.")
        other = owners.setdefault(value.data_ptr(), name) if value.numel() else name
        if other != name:
            raise UsageError(f"{title}: {other} and {name} are one tensor; register a shared layer under one name.")


def _multiple(network: nn.Module, *, channels: tuple[int, int], size: tuple[int, int]) -> int | None:
    """Of what heights and widths must be multiples.

    The sides are multiples of the answer M. Sides larger by a proper divisor of M are not, and those larger by M are.
    """
    both = gcd(*size)
    divisors = [number for number in range(1, both + 1) if both % number == 0]
    bigger = ((number, (size[0] + number, size[1] + number)) for number in divisors)
    return next((number for number, sides in bigger if _runs(network, channels=channels, size=sides)), None)


def _least(network: nn.Module, *, channels: tuple[int, int], multiple: int, most: int) -> int:
    """The smallest side of images that it takes."""
    sides = range(multiple, most, multiple)
    return next((side for side in sides if _runs(network, channels=channels, size=(side, side))), most)


def _runs(network: nn.Module, *, channels: tuple[int, int], size: tuple[int, int]) -> bool:
    try:
        check_runs(network, channels=channels, size=size)
    except UsageError:
        return False
    return True


def _check_gradients(network: nn.Module, title: str, *, channels: tuple[int, int], side: int) -> None:
    """Refuse a network that trains otherwise in channels_last, as optevo trains, than in the usual order."""
    image = torch.rand(1, channels[0], side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1

    random = torch.get_rng_state()

    def gradients(layout: torch.memory_format) -> list[Tensor]:
        torch.set_rng_state(random)  # The same dropout twice.
        copied = copy.deepcopy(network).cpu().float().train().requires_grad_(True).to(memory_format=layout)
        copied(image.contiguous(memory_format=layout)).square().mean().backward()
        return [torch.zeros(1) if each.grad is None else each.grad.contiguous() for each in copied.parameters()]

    try:
        usual, last = gradients(torch.contiguous_format), gradients(torch.channels_last)
    except Exception as error:  # A stranger's network may raise anything.
        raise UsageError(f"{title}: cannot be trained with a single image ({first_line(error)}).") from error
    largest = max((float(each.abs().max()) for each in usual), default=0.0)
    apart = max((float((one - other).abs().max()) for one, other in zip(usual, last, strict=True)), default=0.0)
    if not apart <= LAYOUTS_AGREE * max(largest, 1e-12):
        raise UsageError(
            f"{title}: its gradients in channels_last are wrong, as those of torch's own functional instance norm are "
            "for a single image on a CPU; use nn.InstanceNorm2d, which is replaced by one that is right."
        )


def _other_version(entry: EntryPoint, architecture: CustomArchitecture) -> str:
    """What to say when the package is not the one that the weights were trained with; nothing when it is."""
    package, version = distribution_of(entry)
    if (package, version) == (architecture.package, architecture.version):
        return ""
    return f"was made with {architecture.package} {architecture.version}, and {package} {version} is installed"


@contextmanager
def _same_randomness() -> Iterator[None]:
    """Torch's random state afterwards is what it was before."""
    with torch.random.fork_rng(devices=[]):
        yield
