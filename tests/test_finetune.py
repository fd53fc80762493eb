"""From a study to trained models: continued bit for bit, with several seeds, and onto other images."""

from pathlib import Path

import pytest
import torch
from tiny_study import tiny_document

from optevo import api
from optevo.data.drawn import draw_facades
from optevo.errors import OptevoError, UsageError
from optevo.models.folder import load_generator, read_facts
from optevo.search.spec import parse_spec


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with a finished study."""
    folder = tmp_path_factory.mktemp("study")
    pairs = draw_facades(folder / "pairs", count=8, val=3, test=3, size=(32, 32), seed=1)
    document = tiny_document(pairs)
    document["sampler"] |= {"generations": 1}
    document["finetune"] = {"epochs": 3, "decay_epochs": 2, "batch_size": 3, "threads": 1}
    api.create_study("s", parse_spec(document, source="tests"), storage=f"sqlite:///{folder / 'optevo.db'}")
    api.work("s", storage=f"sqlite:///{folder / 'optevo.db'}")
    return f"sqlite:///{folder / 'optevo.db'}"


def same_weights(first: Path, second: Path) -> bool:
    one, other = (load_generator(folder).state_dict() for folder in (first, second))
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_training_that_was_interrupted_twice_equals_one_that_was_not(url: str, tmp_path: Path):
    whole = api.finetune("s", storage=url, out=tmp_path / "whole")

    class Killed(Exception):
        pass

    seen = []
    for last in (4, 9, None):

        def after(done: int, total: int, last: int | None = last) -> None:
            seen.append(done)
            if done == last:
                raise Killed

        if last is None:
            api.finetune("s", storage=url, out=tmp_path / "broken", on_step=after)
        else:
            with pytest.raises(Killed):
                api.finetune("s", storage=url, out=tmp_path / "broken", on_step=after)
            assert not (tmp_path / "broken").exists()
    # 8 pairs in batches of 3 are 3 steps an epoch, 5 epochs; none was done twice.
    assert seen == list(range(1, 16))
    assert same_weights(whole, tmp_path / "broken")
    assert read_facts(whole).metrics == read_facts(tmp_path / "broken").metrics
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "whole"]


def test_a_checkpoint_of_another_run_is_refused(url: str, tmp_path: Path):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        api.finetune("s", storage=url, out=tmp_path / "model", on_step=stop)
    with pytest.raises(OptevoError, match="another seed"):
        api.finetune("s", storage=url, out=tmp_path / "model", seed=1)
    api.finetune("s", storage=url, out=tmp_path / "model")


def test_several_seeds_have_a_mean_and_a_spread(url: str, tmp_path: Path):
    spread = api.finetune_seeds("s", storage=url, seeds=[0, 1, 2], out=tmp_path / "m")
    assert [Path(folder).name for folder in spread["folders"]] == ["m-seed-0", "m-seed-1", "m-seed-2"]
    metric = spread["metrics"]["l1_test_3x32x32_eval"]
    values = [read_facts(tmp_path / f"m-seed-{k}").metrics["l1_test_3x32x32_eval"] for k in range(3)]
    assert metric["values"] == values
    assert metric["mean"] == pytest.approx(sum(values) / 3)
    variance = sum((value - metric["mean"]) ** 2 for value in values) / 2
    assert metric["std"] == pytest.approx(variance**0.5)
    assert len(set(values)) == 3


def test_the_searched_architecture_is_transferred_to_other_images(url: str, tmp_path: Path):
    other = draw_facades(tmp_path / "other", count=5, val=2, test=4, size=(32, 32), seed=9)
    here = api.finetune("s", storage=url, out=tmp_path / "here")
    there = api.finetune("s", storage=url, onto=other, direction="AtoB", out=tmp_path / "there")
    first, second = read_facts(here), read_facts(there)
    assert second.architecture == first.architecture
    assert second.fingerprint != first.fingerprint
    assert second.direction == "AtoB"
    assert "l1_test_4x32x32_eval" in second.metrics
    with pytest.raises(UsageError, match="no such folder"):
        api.finetune("s", storage=url, onto=tmp_path / "nowhere", out=tmp_path / "x")
    with pytest.raises(UsageError, match="--direction"):
        api.finetune("s", storage=url, direction="AtoB", out=tmp_path / "x")
