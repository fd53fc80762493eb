"""What an individual of the U-Net space costs, and how its cost enters its fitness. Loads no torch."""

from optevo.cost.closed_form import Cost, unet_cost
from optevo.spaces.unet import UNetArchitecture, UNetSpace, original
from optevo.tasks.settings import UNetSettings


def space_of(settings: UNetSettings) -> UNetSpace:
    """The search space of a specification."""
    return UNetSpace(
        channels=settings.space.channels,
        depth=settings.space.depth,
        input_channels=settings.data.input_channels,
        output_channels=settings.data.target_channels,
    )


def original_of(settings: UNetSettings) -> UNetArchitecture:
    """pix2pix's own network in the space's scale: ngf is the smallest channel number."""
    return original(
        ngf=min(settings.space.channels),
        depth=settings.space.depth,
        input_channels=settings.data.input_channels,
        output_channels=settings.data.target_channels,
    )


def cost_of(architecture: UNetArchitecture, settings: UNetSettings) -> Cost:
    """What one image costs at the specification's size."""
    height, width = settings.data.size
    return unet_cost(architecture, height=height, width=width)


def price(cost: Cost, settings: UNetSettings, *, loss_unit: float) -> float:
    """`gamma p` in units of L_Gen (see :class:`optevo.tasks.settings.FitnessSettings`)."""
    fitness = settings.fitness
    count: int = getattr(cost, fitness.cost)
    if fitness.unit == "millions":
        return fitness.gamma * count / 1e6
    whole: int = getattr(cost_of(original_of(settings), settings), fitness.cost)
    return fitness.gamma * loss_unit * count / whole


def over_budget(cost: Cost, settings: UNetSettings) -> str | None:
    """Which hard budget an individual breaks, or None."""
    for key, count, limit in (
        ("max_parameters", cost.parameters, settings.fitness.max_parameters),
        ("max_macs", cost.exact_macs, settings.fitness.max_macs),
    ):
        if limit is not None and count > limit:
            return f"{count:,} exceeds fitness.{key} = {limit:,}"
    return None
