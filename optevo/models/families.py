"""The kinds of generators that model folders hold. A new kind is one more entry of the table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from optevo.errors import UsageError
from optevo.spaces.dcgan import DCGANArchitecture
from optevo.spaces.resnet import ResNetArchitecture, architecture_of_shapes
from optevo.spaces.unet import UNetArchitecture

if TYPE_CHECKING:
    from torch import nn


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


@dataclass(frozen=True)
class Family:
    """One kind of generator.

    Attributes:
        name: `family` in model.json.
        title: As people call it.
        read: An architecture from what `to_dict` wrote, which is not trusted.
        network: Gives the class of the module, which is built from an architecture alone; loads torch.
        of: The architecture of a module of that class.
        summary: An architecture in a few words.
        takes: What goes into it: "images", as into a translator, or "noise".
    """

    name: str
    title: str
    read: Callable[[object], Any]
    network: "Callable[[], Callable[[Any], nn.Module]]"
    of: "Callable[[nn.Module], Any]"
    summary: Callable[[Any], str]
    takes: Literal["images", "noise"] = "images"


def family_of(module: "nn.Module") -> Family:
    """The family that a generator belongs to.

    Raises:
        UsageError: None.
    """
    for family in FAMILIES.values():
        network = family.network()
        if isinstance(network, type) and isinstance(module, network):
            return family
    raise UsageError(
        f"a generator of the class {type(module).__name__}: model folders hold {', '.join(FAMILIES)}; take one."
    )


def _unet_network() -> "Callable[[Any], nn.Module]":
    from optevo.networks.unet import UNetGenerator

    return UNetGenerator


def _unet_of(module: "nn.Module") -> Architecture:
    architecture: Any = module.architecture
    return UNetArchitecture.from_dict(architecture.to_dict())


def _unet_summary(architecture: UNetArchitecture) -> str:
    return f"channels {list(architecture.channels)}, skips {[int(skip) for skip in architecture.skips]}"


def _resnet_network() -> "Callable[[Any], nn.Module]":
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


def _dcgan_network() -> "Callable[[Any], nn.Module]":
    from optevo.networks.dcgan import DCGANGenerator

    return DCGANGenerator


def _dcgan_of(module: "nn.Module") -> Any:
    return module.architecture


def _dcgan_summary(architecture: DCGANArchitecture) -> str:
    return f"{architecture.latent} numbers of noise, uniform in [-1, 1]; widths {list(architecture.generator)}"


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family("unet", "U-Net", UNetArchitecture.from_dict, _unet_network, _unet_of, _unet_summary),
        Family("resnet", "residual", ResNetArchitecture.from_dict, _resnet_network, _resnet_of, _resnet_summary),
        Family("dcgan", "DCGAN", DCGANArchitecture.from_dict, _dcgan_network, _dcgan_of, _dcgan_summary, takes="noise"),
    )
}
