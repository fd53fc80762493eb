"""Optuna's own conformance suite for samplers."""

from collections.abc import Callable

import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase

from optevo.samplers import RouletteGASampler


class TestRouletteGASampler(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: RouletteGASampler(seed=0)


class TestRouletteGASamplerOfSmallGenerations(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    """Generations of 4, so that the suite's studies of 10 and 20 trials breed."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: RouletteGASampler(population_size=4, scaling="rank")
