from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optevo.data.plan import batch_plan

arguments = {
    "n": st.integers(1, 40),
    "batch_size": st.integers(1, 9),
    "seed": st.integers(0, 2**63 - 1),
    "jitter_range": st.tuples(st.integers(0, 30), st.integers(0, 30)),
}


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 40), st.integers(0, 200), st.fixed_dictionaries(arguments))
def test_a_plan_is_a_prefix_of_a_longer_one(steps: int, more: int, given_arguments: dict[str, Any]) -> None:
    short = batch_plan(steps=steps, **given_arguments)
    long = batch_plan(steps=steps + more, **given_arguments)
    assert len(short) == steps
    for part in ("index", "crop", "flip"):
        assert torch.equal(getattr(short, part), getattr(long, part)[:steps])


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.fixed_dictionaries(arguments))
def test_epochs_are_shuffles_and_offsets_are_in_range(steps: int, given_arguments: dict[str, Any]) -> None:
    plan = batch_plan(steps=steps, **given_arguments)
    n, batch = given_arguments["n"], given_arguments["batch_size"]
    assert plan.index.shape == plan.flip.shape == (steps, batch)
    assert plan.crop.shape == (steps, batch, 2)
    for epoch in plan.index.flatten().split(n):
        assert epoch.unique().numel() == len(epoch)
        assert epoch.min() >= 0
        assert epoch.max() < n
    assert (plan.crop >= 0).all()
    assert (plan.crop <= torch.tensor(given_arguments["jitter_range"])).all()


def test_draws_reach_both_ends_and_depend_on_the_seed() -> None:
    plan = batch_plan(50, steps=500, batch_size=8, seed=3, jitter_range=(3, 0))
    counts = torch.bincount(plan.crop[..., 0].flatten())
    assert len(counts) == 4
    assert (counts - 1000).abs().max() < 150  # sd 27
    assert (plan.crop[..., 1] == 0).all()
    assert abs(plan.flip.float().mean().item() - 0.5) < 0.04
    other = batch_plan(50, steps=500, batch_size=8, seed=4, jitter_range=(3, 0))
    assert not torch.equal(plan.index, other.index)
    assert not torch.equal(plan.crop, other.crop)
    assert not torch.equal(plan.index[:6].flatten()[:48], plan.index.flatten()[50:98])  # epochs differ


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    batch_plan(5, steps=5, batch_size=2, seed=1, jitter_range=(1, 1))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    "change", [{"n": 0}, {"steps": -1}, {"batch_size": 0}, {"jitter_range": (-1, 0)}], ids=lambda change: str(change)
)
def test_bad_arguments(change: dict[str, Any]) -> None:
    good: dict[str, Any] = {"n": 4, "steps": 2, "batch_size": 2, "seed": 0, "jitter_range": (1, 1)}
    with pytest.raises(ValueError, match=f"{next(iter(change))} = "):
        batch_plan(**{**good, **change})
