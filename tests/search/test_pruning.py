"""Optuna's pruners, which see earlier generations alone."""

from datetime import datetime

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from optevo.errors import UsageError
from optevo.samplers.slots import CLAIM, Claim
from optevo.search.pruning import is_hopeless, make_pruner


def finished(*reports: float, reused: int | None = None) -> FrozenTrial:
    claim = Claim(0, 0, "mutation", (), {}, "digest", reused=reused)
    return create_trial(
        value=reports[-1],
        intermediate_values=dict(enumerate(reports, start=1)),
        system_attrs={CLAIM: claim.to_attribute()},
    )


def running(*reports: float) -> FrozenTrial:
    return FrozenTrial(
        number=99, trial_id=7, state=TrialState.RUNNING, value=None, datetime_start=datetime.now(),
        datetime_complete=None, params={}, distributions={}, user_attrs={}, system_attrs={},
        intermediate_values=dict(enumerate(reports, start=1)),
    )  # fmt: skip


def test_the_median_of_earlier_trials_at_the_same_step() -> None:
    pruner = make_pruner("median", {"n_startup_trials": 3})
    earlier = [finished(1.0, 0.5), finished(2.0, 0.5), finished(3.0, 0.5)]
    assert not is_hopeless(pruner, running(1.9), earlier=earlier)
    assert is_hopeless(pruner, running(2.1), earlier=earlier)
    assert not is_hopeless(pruner, running(2.1), earlier=earlier[:2])


def test_records_of_known_individuals_do_not_count_again() -> None:
    pruner = make_pruner("median", {"n_startup_trials": 0})
    earlier = [finished(1.0), finished(3.0), finished(3.0, reused=1), finished(3.0, reused=1)]
    assert is_hopeless(pruner, running(2.5), earlier=earlier)


def test_others_of_optunas() -> None:
    assert is_hopeless(make_pruner("threshold", {"upper": 1.0}), running(2.0), earlier=[])
    assert not is_hopeless(make_pruner("none", {}), running(1e9), earlier=[finished(0.0)] * 9)
    percentile = make_pruner("percentile", {"percentile": 25.0, "n_startup_trials": 1})
    assert is_hopeless(
        percentile, running(1.9), earlier=[finished(float(value)) for value in range(1, 6)] + [finished(0.5)]
    )


def test_arguments_that_it_does_not_take() -> None:
    with pytest.raises(UsageError, match=r"pruner.arguments: median .* 'patience'"):
        make_pruner("median", {"patience": 3})
    with pytest.raises(UsageError, match="threshold"):
        make_pruner("threshold", {})


def test_it_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    level = optuna.logging.get_verbosity()
    is_hopeless(make_pruner("none", {}), running(1.0), earlier=[])
    assert optuna.logging.get_verbosity() == level
    assert capfd.readouterr().err == ""
