"""Latency: what is timed and what is reported. No assertion on a time: machines differ."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from optevo.cost import latency as latency_module
from optevo.cost.latency import latency
from optevo.errors import UsageError


class Spy(nn.Module):
    """Notes every pass; the list is shared with its copies."""

    passes: ClassVar[list[tuple[object, ...]]] = []

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        Spy.passes.append((tuple(x.shape), x.dtype, self.training, torch.is_inference_mode_enabled()))
        result: Tensor = self.norm(x)
        return result


def test_it_runs_what_it_says_and_leaves_the_module_alone() -> None:
    Spy.passes.clear()
    module = Spy().double().train()
    result = latency(module, batch_size=3, height=8, width=4, channels=2, device="cpu", warmup=2, runs=5)
    assert Spy.passes == [((3, 2, 8, 4), torch.float64, False, True)] * 7
    assert module.training
    assert not module.norm.running_mean.any()  # type: ignore[union-attr]
    assert (result.batch_size, result.device, result.threads) == (3, "cpu", torch.get_num_threads())


def test_percentiles_are_of_the_timed_runs_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([value for k in (500, 500, *range(11)) for value in (0.0, k / 1000)])  # two slow warm-ups
    monkeypatch.setattr(latency_module.time, "perf_counter", lambda: next(ticks))
    result = latency(nn.Identity(), height=2, width=2, warmup=2, runs=11)
    assert (result.p10_ms, result.median_ms, result.p90_ms) == pytest.approx((1.0, 5.0, 9.0))


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"warmup": -1}, {"runs": 0}])
def test_arguments_out_of_range_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(arguments))):
        latency(nn.Identity(), height=2, width=2, **arguments)  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_is_named() -> None:
    result = latency(nn.Conv2d(3, 3, 3), height=32, width=32, device="cuda", runs=3)
    assert result.device.startswith("cuda")
    assert 0 < result.p10_ms <= result.median_ms <= result.p90_ms
