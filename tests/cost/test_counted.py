"""Counting built modules: by hand where a hand suffices, and without a trace left behind."""

import pytest
import torch
from torch import nn

from optevo.cost.counted import exact_macs, literature_macs, parameters
from optevo.networks.patchgan import PatchGAN
from optevo.networks.unet import UNetGenerator
from optevo.spaces.unet import UNetArchitecture


def test_a_convolution_by_hand() -> None:
    layer = nn.Conv2d(3, 8, 4, stride=2, padding=1)
    assert parameters(layer) == 3 * 8 * 16 + 8
    assert exact_macs(layer, 1, 3, 16, 8) == 3 * 8 * 16 * 8 * 4
    assert literature_macs(layer, 1, 3, 16, 8) == 3 * 8 * 16 * 8 * 4
    assert exact_macs(layer, 5, 3, 16, 8) == 5 * 3 * 8 * 16 * 8 * 4


def test_a_transposed_convolution_is_four_times_too_expensive_in_the_literature() -> None:
    layer = nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1)
    assert exact_macs(layer, 1, 8, 8, 4) == 8 * 3 * 16 * 8 * 4
    assert literature_macs(layer, 1, 8, 8, 4) == 4 * exact_macs(layer, 1, 8, 8, 4)


def test_a_batch_norm_is_four_operations_an_element_in_the_literature() -> None:
    layer = nn.BatchNorm2d(8)
    assert exact_macs(layer, 1, 8, 4, 4) == 0
    assert literature_macs(layer, 1, 8, 4, 4) == 4 * 8 * 16


def test_shared_parameters_count_once_and_buffers_never() -> None:
    layer = nn.Linear(3, 4)
    assert parameters(nn.Sequential(layer, layer)) == 16
    assert parameters(nn.BatchNorm2d(5)) == 10


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_no_trace(training: bool, capfd: pytest.CaptureFixture[str]) -> None:
    module = UNetGenerator(UNetArchitecture((4, 6, 8), (True, False))).train(training)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    exact_macs(module, 1, 3, 8, 8)
    literature_macs(module, 1, 3, 8, 8)
    after = module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(part.training is training for part in module.modules())
    assert not any(part._forward_hooks for part in module.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")


def test_a_second_count_and_another_precision_agree() -> None:
    module = PatchGAN(6, ndf=4)
    assert literature_macs(module, 1, 6, 64, 64) == literature_macs(module, 1, 6, 64, 64)
    assert exact_macs(module, 1, 6, 64, 64) == exact_macs(module.double(), 1, 6, 64, 64)
