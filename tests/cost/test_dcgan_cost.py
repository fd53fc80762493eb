"""The closed form for DCGAN's networks against counting them."""

import pytest

from optevo.cost.closed_form import Cost
from optevo.cost.counted import exact_macs, literature_macs, parameters
from optevo.cost.dcgan import discriminator_cost, generator_cost
from optevo.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from optevo.spaces.dcgan import DCGANArchitecture, original

ARCHITECTURES = [
    original(),
    original(size=48, ngf=4, ndf=3, channels=1),
    original(size=128, ngf=2, ndf=2, latent=9),
    DCGANArchitecture(generator=(7, 5, 3, 2), discriminator=(2, 9, 4, 6), size=80, latent=11),
]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: str(architecture.size))
def test_the_formula_counts_what_is_there(architecture: DCGANArchitecture) -> None:
    size, channels = architecture.size, architecture.channels
    for network, cost, shape in (
        (DCGANGenerator(architecture), generator_cost(architecture), (1, architecture.latent)),
        (DCGANDiscriminator(architecture), discriminator_cost(architecture), (1, channels, size, size)),
    ):
        counted = (parameters(network), exact_macs(network, *shape), literature_macs(network, *shape))
        assert cost == Cost(*counted)


def test_the_originals() -> None:
    assert generator_cost(original()) == Cost(3_447_683, exact_macs=69_500_928, literature_macs=287_834_112)
    assert discriminator_cost(original()) == Cost(2_638_209, exact_macs=68_689_920, literature_macs=68_689_920)
