r"""Parameters and multiply-accumulates of DCGAN's networks, by formula: nothing is built, torch is not loaded.

The conventions of :mod:`optevo.cost.closed_form`. A generator's layer k reads a map of :math:`h_k^2` positions (1 for
the first, whose kernel is as large as the map it writes) and writes :math:`H_k^2`; with kernel :math:`q_k`, widths
:math:`w_{k-1}, w_k`,

- parameters :math:`q_k^2\,w_{k-1}\,w_k + w_k`: every layer has a bias;
- **exact MACs** :math:`q_k^2\,w_{k-1}\,w_k\,h_k^2`; **literature MACs** the same at the output, :math:`H_k^2`.

A discriminator's convolution counts at its output in both; its batch norms add 2 parameters a channel and count nothing
(thop, which counts torch's own batch norms, does not know the grouped ones); the linear layer counts its weights.
"""

from optevo.cost.closed_form import KERNEL, Cost
from optevo.spaces.dcgan import DCGANArchitecture


def generator_cost(architecture: DCGANArchitecture) -> Cost:
    """Count one generator for one image."""
    first = architecture.latent * architecture.generator[0] * architecture.base**2
    parameters, exact, literature = first + architecture.generator[0], first, first * architecture.base**2
    outputs = (*architecture.generator[1:], architecture.channels)
    for level, (width, narrower) in enumerate(zip(architecture.generator, outputs, strict=True)):
        weights, positions = KERNEL * width * narrower, (architecture.base << level) ** 2
        parameters += weights + narrower
        exact += weights * positions
        literature += weights * positions * 4
    return Cost(parameters, exact, literature)


def discriminator_cost(architecture: DCGANArchitecture) -> Cost:
    """Count one discriminator for one image."""
    last = architecture.discriminator[-1] * architecture.base**2
    parameters, macs = last + 1, last
    inputs = (architecture.channels, *architecture.discriminator)
    for level, wider in enumerate(architecture.discriminator):
        weights, positions = KERNEL * inputs[level] * wider, (architecture.size >> level + 1) ** 2
        parameters += weights + wider + (2 * wider if level else 0)
        macs += weights * positions
    return Cost(parameters, exact_macs=macs, literature_macs=macs)
