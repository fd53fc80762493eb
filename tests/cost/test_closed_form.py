"""The closed form against counting, and against the published numbers."""

import itertools
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optevo.cost.closed_form import Cost, unet_cost, unet_costs
from optevo.cost.counted import exact_macs, literature_macs, parameters
from optevo.errors import UsageError
from optevo.networks.unet import UNetGenerator
from optevo.spaces.unet import UNetArchitecture, UNetSpace, original, searched_gamma_001


def counted(architecture: UNetArchitecture, height: int, width: int) -> Cost:
    module = UNetGenerator(architecture)
    shape = (1, architecture.input_channels, height, width)
    return Cost(parameters(module), exact_macs(module, *shape), literature_macs(module, *shape))


def test_the_original_costs_what_is_published() -> None:
    cost = unet_cost(original(), height=256, width=256)
    assert cost == Cost(parameters=54_413_955, exact_macs=6_048_186_368, literature_macs=18_152_243_200)
    assert cost == counted(original(), 256, 256)


def test_the_searched_architecture_costs_what_is_published() -> None:
    cost = unet_cost(searched_gamma_001(), height=256, width=256)
    assert cost == Cost(parameters=5_546_499, exact_macs=5_857_345_536, literature_macs=15_370_432_512)
    assert cost == counted(searched_gamma_001(), 256, 256)


def test_the_papers_own_convention_explains_its_table() -> None:
    """18147M in table 1: the conventions differ in batch norms and the last bias alone."""
    sides = [256 >> level for level in range(9)]
    c = original().channels
    normed = sum(c[k - 1] * sides[k] ** 2 for k in range(2, 8)) + sum(c[k - 2] * sides[k - 1] ** 2 for k in range(2, 9))
    literature = unet_cost(original(), height=256, width=256).literature_macs
    assert round((literature - 2 * normed + 3 * 256**2) / 1e5) / 10 == 18146.5


@st.composite
def cases(draw: st.DrawFn) -> tuple[UNetArchitecture, int, int]:
    depth = draw(st.integers(2, 8))
    width = st.sampled_from((4, 6, 8))
    architecture = UNetArchitecture(
        tuple(draw(st.lists(width, min_size=depth, max_size=depth))),
        tuple(draw(st.lists(st.booleans(), min_size=depth - 1, max_size=depth - 1))),
        input_channels=draw(st.sampled_from((1, 3))),
        output_channels=draw(st.sampled_from((1, 3))),
    )
    height, width_ = (2**depth * draw(st.integers(1, 3 if depth < 7 else 2)) for _ in range(2))
    return architecture, height, width_


@settings(max_examples=40, deadline=None)
@given(case=cases())
def test_closed_form_equals_counting(case: tuple[UNetArchitecture, int, int]) -> None:
    architecture, height, width = case
    assert unet_cost(architecture, height=height, width=width) == counted(architecture, height, width)


@pytest.mark.parametrize("seed", range(3))
def test_closed_form_equals_counting_in_the_papers_space(seed: int) -> None:
    space = UNetSpace(depth=6)
    architecture = space.architecture(space.random(np.random.default_rng(seed)))
    assert unet_cost(architecture, height=64, width=128) == counted(architecture, 64, 128)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), depth=st.integers(2, 8), count=st.integers(0, 40), bits=st.sampled_from("bil"))
def test_arrays_give_what_single_architectures_give(seed: int, depth: int, count: int, bits: str) -> None:
    rng = np.random.default_rng(seed)
    channels = rng.choice((3, 64, 500), (count, depth)).astype(np.int16)
    skips = rng.integers(0, 2, (count, depth - 1)).astype(bool if bits == "b" else bits)
    size = {"height": 2**depth, "width": 3 * 2**depth}
    costs = unet_costs(channels, skips, input_channels=1, output_channels=2, **size)
    single = [
        unet_cost(UNetArchitecture(tuple(c), tuple(s), 1, 2), **size) for c, s in zip(channels, skips, strict=True)
    ]
    assert costs.parameters.dtype == costs.exact_macs.dtype == costs.literature_macs.dtype == np.int64
    assert costs.parameters.tolist() == [cost.parameters for cost in single]
    assert costs.exact_macs.tolist() == [cost.exact_macs for cost in single]
    assert costs.literature_macs.tolist() == [cost.literature_macs for cost in single]


def test_the_whole_space_in_seconds_and_across_chunks() -> None:
    space = UNetSpace()
    index = np.arange(space.size)
    numbers = np.array(space.channels, dtype=np.int16)
    channels = np.stack([numbers[(index >> (7 + 2 * level)) & 3] for level in range(8)], axis=1)
    skips = np.stack([((index >> level) & 1).astype(np.int8) for level in range(7)], axis=1)
    start = time.perf_counter()
    costs = unet_costs(channels, skips, height=256, width=256)
    assert time.perf_counter() - start < 30  # about a second; the bound is for a machine that does ten other things
    widest = unet_cost(UNetArchitecture((512,) * 8, (True,) * 7), height=256, width=256)
    narrowest = unet_cost(UNetArchitecture((64,) * 8, (False,) * 7), height=256, width=256)
    for name in ("parameters", "exact_macs", "literature_macs"):
        values = getattr(costs, name)
        assert values.shape == (8_388_608,)
        assert (values.min(), values.max()) == (getattr(narrowest, name), getattr(widest, name))
    for row in np.random.default_rng(0).integers(0, space.size, 50):
        one = unet_cost(UNetArchitecture(tuple(channels[row]), tuple(skips[row])), height=256, width=256)
        assert (costs.parameters[row], costs.exact_macs[row]) == (one.parameters, one.exact_macs)
        assert costs.literature_macs[row] == one.literature_macs


def test_each_gene_matters() -> None:
    """No two genomes that differ in one gene cost the same: each gene enters the formula where it should."""
    base = unet_cost(UNetArchitecture((4, 4, 4), (False, False)), height=8, width=8)
    for level, other in itertools.product(range(3), (5, 6)):
        wider = UNetArchitecture(tuple(other if k == level else 4 for k in range(3)), (False, False))
        assert unet_cost(wider, height=8, width=8).exact_macs > base.exact_macs
    skip_1 = unet_cost(UNetArchitecture((4, 4, 4), (True, False)), height=8, width=8)
    skip_2 = unet_cost(UNetArchitecture((4, 4, 4), (False, True)), height=8, width=8)
    assert skip_1.parameters - base.parameters == 16 * 4 * 3
    assert skip_2.parameters - base.parameters == 16 * 4 * 4
    assert skip_1.exact_macs - base.exact_macs == 16 * 4 * 3 * 16
    assert skip_2.literature_macs - base.literature_macs == 16 * 4 * 4 * 16


GOOD = (np.full((2, 3), 4), np.zeros((2, 2), dtype=np.int64))


@pytest.mark.parametrize(
    ("channels", "skips", "part"),
    [
        (GOOD[0].astype(float), GOOD[1], "channels"),
        (GOOD[0][0], GOOD[1], "channels"),
        (GOOD[0] * 0, GOOD[1], "channels: from 0 to 0"),
        (GOOD[0] * 100_000, GOOD[1], "channels"),
        (GOOD[0], GOOD[1] + 2, "skips: from 2 to 2"),
        (GOOD[0], GOOD[1][:, :1], "skips"),
        (GOOD[0], GOOD[1][:1], "skips"),
        (GOOD[0], GOOD[1].astype(float), "skips"),
    ],
)
def test_bad_arrays_are_refused(channels: np.ndarray, skips: np.ndarray, part: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(UsageError, match=part):
        unet_costs(channels, skips, height=8, width=8)


def test_counts_beyond_int64_are_refused_not_wrapped() -> None:
    channels, skips = np.full((1, 4), 65_536), np.ones((1, 3), dtype=np.int64)
    widest = UNetArchitecture((65_536,) * 4, (True,) * 3)
    # operations grow with the pixels, so this many columns of 16 still fit
    largest = 16 * ((2**63 - 1) // unet_cost(widest, height=16, width=16).literature_macs)
    fits = unet_costs(channels, skips, height=16, width=largest).literature_macs[0]
    assert fits == unet_cost(widest, height=16, width=largest).literature_macs
    with pytest.raises(UsageError, match="64 bits"):
        unet_costs(channels, skips, height=16, width=largest + 16)


@pytest.mark.parametrize("size", [(256, 200), (128, 256), (0, 256)])
def test_sizes_that_cannot_be_halved_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="multiple of 256"):
        unet_cost(original(), height=size[0], width=size[1])
    with pytest.raises(UsageError, match="multiple of 256"):
        unet_costs(np.full((1, 8), 4), np.ones((1, 7), dtype=bool), height=size[0], width=size[1])


def test_neither_the_space_nor_the_cost_modules_load_torch() -> None:
    names = "optevo.spaces.unet, optevo.cost.closed_form, optevo.cost.counted, optevo.cost.latency"
    code = f"import sys, {names}; sys.exit('torch' in sys.modules or 'thop' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
