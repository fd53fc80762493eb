"""The kinds of generators that model folders hold. A new kind is one more entry of the table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from optevo.errors import UsageError
from optevo.spaces.custom import CustomArchitecture
from optevo.spaces.dcgan import DCGANArchitecture
from optevo.spaces.resnet import ResNetArchitecture, architecture_of_shapes
from optevo.spaces.unet import UNetArchitecture

if TYPE_CHECKING:
    from torch import Tensor, nn

    Weights = Mapping[str, Tensor]


class Architecture(Protocol):
    """What every kind of generator says about itself, in pixels and channels."""

    @property
    def input_channels(self) -> int: ...

    @property
    def output_channels(self) -> int: ...

    @property
    def multiple(self) -> int:
        """Heights and widths are multiples of this."""
        ...

    @property
    def least(self) -> int:
        """The smallest height and width, a multiple of `multiple`."""
        ...

    def check_size(self, height: int, width: int) -> None:
        """Raise UsageError unless the generator takes images of this size."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        ...


# What is said where a model's images are wanted as its input.
TAKES_NOISE = "makes images of noise, and this takes a translator; see `optevo model sample`."


@dataclass(frozen=True)
class Family:
    """One kind of generator.

    Attributes:
        name: `family` in model.json.
        title: As people call it.
        read: An architecture from what `to_dict` wrote, which is not trusted.
        network: Gives the class of the module; loads torch.
        of: The architecture of a module of that class.
        summary: An architecture in a few words.
        takes: What goes into it: "images", as into a translator, or "noise".
        build: An unfilled module of an architecture; UsageError if that needs something that is not installed. By
            default the class is called, on the meta device.
        fill: Puts a state dict into such a module; UsageError, in a few words, where it does not fit.
    """

    name: str
    title: str
    read: Callable[[object], Any]
    network: "Callable[[], type[nn.Module]]"
    of: "Callable[[nn.Module], Any]"
    summary: Callable[[Any], str]
    takes: Literal["images", "noise"] = "images"
    build: "Callable[[Any], nn.Module] | None" = None
    fill: "Callable[[Any, Weights], None] | None" = None

    def unfilled(self, architecture: Architecture) -> "nn.Module":
        """A module whose weights :meth:`filled` brings."""
        import torch

        if self.build is not None:
            return self.build(architecture)
        with torch.device("meta"):
            return self.network()(architecture)

    def filled(self, generator: "nn.Module", weights: "Weights") -> "nn.Module":
        """The same module with the weights.

        Raises:
            UsageError: They are not its.
        """
        try:
            if self.fill is not None:
                self.fill(generator, weights)
            else:
                generator.load_state_dict(weights, assign=True)
        except RuntimeError as error:
            raise UsageError(str(error).splitlines()[-1].strip()) from None
        return generator


def family_of(module: "nn.Module") -> Family:
    """The family that a generator belongs to.

    Raises:
        UsageError: None.
    """
    for family in FAMILIES.values():
        if isinstance(module, family.network()):
            return family
    raise UsageError(
        f"a generator of the class {type(module).__name__}: model folders hold {', '.join(FAMILIES)}; take one."
    )


def _unet_network() -> "type[nn.Module]":
    from optevo.networks.unet import UNetGenerator

    return UNetGenerator


def _unet_of(module: "nn.Module") -> Architecture:
    architecture: Any = module.architecture
    return UNetArchitecture.from_dict(architecture.to_dict())


def _unet_summary(architecture: UNetArchitecture) -> str:
    return f"channels {list(architecture.channels)}, skips {[int(skip) for skip in architecture.skips]}"


def _resnet_network() -> "type[nn.Module]":
    from optevo.networks.resnet import ResNetGenerator

    return ResNetGenerator


def _resnet_of(module: "nn.Module") -> Architecture:
    # By its weights: a network that filters were taken out of still has its teacher's `architecture`.
    return architecture_of_shapes({name: tuple(tensor.shape) for name, tensor in module.state_dict().items()})


def _resnet_summary(architecture: ResNetArchitecture) -> str:
    return (
        f"stem {architecture.stem}, down {list(architecture.down)}, inner {list(architecture.inner)}, "
        f"up {list(architecture.up)}"
    )


def _dcgan_network() -> "type[nn.Module]":
    from optevo.networks.dcgan import DCGANGenerator

    return DCGANGenerator


def _dcgan_of(module: "nn.Module") -> Any:
    return module.architecture


def _dcgan_summary(architecture: DCGANArchitecture) -> str:
    return f"{architecture.latent} numbers of noise, uniform in [-1, 1]; widths {list(architecture.generator)}"


def _custom_network() -> "type[nn.Module]":
    from optevo.networks.custom import CustomGenerator

    return CustomGenerator


def _custom_of(module: "nn.Module") -> Architecture:
    architecture: Any = module.architecture
    return CustomArchitecture.from_dict(architecture.to_dict())


def _custom_summary(architecture: CustomArchitecture) -> str:
    arguments = ", ".join(f"{name} = {value!r}" for name, value in architecture.arguments.items())
    return (
        f"generator {architecture.generator!r} of the package {architecture.package} {architecture.version}"
        f"{f' with {arguments}' if arguments else ''}"
    )


def _custom_build(architecture: CustomArchitecture) -> "nn.Module":
    from optevo.networks.custom import unfilled

    return unfilled(architecture)


def _custom_fill(generator: Any, weights: "Weights") -> None:
    from optevo.networks.custom import fill

    fill(generator, weights)


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family("unet", "U-Net", UNetArchitecture.from_dict, _unet_network, _unet_of, _unet_summary),
        Family("resnet", "residual", ResNetArchitecture.from_dict, _resnet_network, _resnet_of, _resnet_summary),
        Family("dcgan", "DCGAN", DCGANArchitecture.from_dict, _dcgan_network, _dcgan_of, _dcgan_summary, takes="noise"),
        Family(
            "custom",
            "custom",
            CustomArchitecture.from_dict,
            _custom_network,
            _custom_of,
            _custom_summary,
            build=_custom_build,
            fill=_custom_fill,
        ),
    )
}
