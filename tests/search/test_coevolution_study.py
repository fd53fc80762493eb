"""A co-evolution as a study: real small translators, two populations, workers on both."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from generator_package import install_generators
from optuna.trial import TrialState
from small_translators import small_translators
from unpaired_folder import unpaired_folder

from optevo import api
from optevo.api.compression import BestPair
from optevo.cost.counted import parameters
from optevo.errors import UsageError
from optevo.models.pair import PairFacts, load_pair, save_pair
from optevo.networks.custom import custom_generator
from optevo.samplers import claim_of
from optevo.samplers.masks import from_hex, split
from optevo.search.coevolution import tables_of
from optevo.search.spec import CoevolutionSpec, parse_spec
from optevo.search.study import open_search
from optevo.search.worker import open_task, training_seed
from optevo.tasks.coevolution import CoevolutionTask
from optevo.tasks.translators import Translators

POPULATION, GENERATIONS = 4, 3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images and a pair of teachers."""
    folder = tmp_path_factory.mktemp("coevolution")
    unpaired_folder(folder / "images", size=(16, 16))
    save_pair(folder / "teachers", small_translators(), PairFacts(size=(16, 16)))
    return folder


def document(place: Path, **tables: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "system": "coevolution",
        "seed": 3,
        "data": {"root": str(place / "images"), "size": 16},
        "teachers": {"folder": str(place / "teachers")},
        "training": {"steps": 2, "replay": 2},
        "finetune": {"epochs": 1, "decay_epochs": 1, "threads": 1},
        "sampler": {"population": POPULATION, "generations": GENERATIONS},
        "engine": {"device": "cpu", "precision": "fp32"},
    }
    for table, values in tables.items():
        made[table] = {**made.get(table, {}), **values}
    return made


def spec(place: Path, **tables: Any) -> CoevolutionSpec:
    made = parse_spec(document(place, **tables), source="tests")
    assert isinstance(made, CoevolutionSpec)
    return made


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'optevo.db'}"


def outcome(url: str) -> list[list[tuple[Any, float | None]]]:
    """Genome and value of every slot, by population."""
    search = open_search("pair", url=url)
    return [
        [
            (claim_of(trial).genome, trial.value)  # type: ignore[union-attr]
            for generation in study.sampler.history(study)  # type: ignore[attr-defined]
            for trial in generation
        ]
        for study in search.studies
    ]


@pytest.fixture(scope="module")
def finished(place: Path) -> str:
    """The URL of a study that one worker ran through."""
    url = url_of(place)
    api.create_study("pair", spec(place), storage=url)
    api.work("pair", storage=url)
    return url


def test_both_populations_run_through_and_judge_each_other(finished: str) -> None:
    search = open_search("pair", url=finished)
    assert [study.study_name for study in search.studies] == ["pair/A2B", "pair/B2A"]
    assert [len(rows) for rows in outcome(finished)] == [POPULATION * GENERATIONS] * 2
    first, second = (study.sampler.history(study) for study in search.studies)  # type: ignore[attr-defined]
    for number, (mine, theirs) in enumerate(zip(first, second, strict=True)):
        for generation, others, at in ((mine, second, number - 1), (theirs, first, number)):
            best = None if number == 0 else min(others[at], key=lambda t: (t.value, t.number)).number
            for trial in generation:
                partner = claim_of(trial).partner  # type: ignore[union-attr]
                assert [chosen["trial"] for chosen in (partner or {}).values()] == ([] if best is None else [best])


def test_a_value_is_that_of_its_masks_partner_and_seed(finished: str) -> None:
    search = open_search("pair", url=finished)
    task, tables = open_task(search).task, tables_of(search.record.facts)  # type: ignore[attr-defined]
    study = search.studies[1]
    trial = study.sampler.history(study)[2][1]  # type: ignore[attr-defined]
    trial = next(t for t in study.get_trials() if t.number == trial.user_attrs.get("reused_from", trial.number))
    claim = claim_of(trial)
    assert claim is not None
    assert claim.partner is not None

    def masks(direction: str, genome: str) -> dict[str, np.ndarray]:
        groups = tables[direction].chromosomes  # type: ignore[index]
        return split(from_hex(genome, size=sum(groups.values())), groups)

    (partner,) = claim.partner.values()
    again = task.evaluate(
        "b_to_a",
        masks("b_to_a", str(claim.genome)),
        masks("a_to_b", partner["genome"]),
        seed=training_seed(3, 1, claim.generation, claim.slot),
    )
    assert again.value == trial.value
    assert trial.user_attrs["parameters"] == again.metrics["parameters"]
    kept = {f"keep_{name}": int(bits.sum()) for name, bits in masks("b_to_a", str(claim.genome)).items()}
    assert trial.params == kept


def test_several_workers_and_a_machine_without_the_teachers_give_the_same(
    finished: str, place: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "teachers"
    shutil.copytree(place / "teachers", elsewhere)
    url = url_of(tmp_path)
    api.create_study("pair", spec(place, teachers={"folder": str(elsewhere)}), storage=url)
    shutil.rmtree(elsewhere)
    state = api.run_study("pair", storage=url, workers=2, on_line=lambda line: None)
    assert state.phase == "done"
    assert outcome(url) == outcome(finished)


def test_a_budget_holds_for_every_individual(place: Path, tmp_path: Path) -> None:
    url = url_of(tmp_path)
    whole = tables_of(api.create_study("free", spec(place), storage=url).record.facts)["a_to_b"]
    from optevo.cost.filters import whole_cost

    limit = whole_cost(whole).parameters // 3
    tight = spec(place, fitness={"max_parameters": limit}, sampler={"generations": 1}, training={"steps": 0})
    search = api.create_study("tight", tight, storage=url)
    api.work("tight", storage=url)
    trials = [trial for study in search.studies for trial in study.get_trials()]
    assert len(trials) == 2 * POPULATION
    assert all(trial.state == TrialState.COMPLETE for trial in trials)
    assert max(trial.user_attrs["parameters"] for trial in trials) <= limit
    with pytest.raises(UsageError, match="no masks fit: even the smallest a_to_b's"):
        api.create_study("none", spec(place, fitness={"max_parameters": 10}), storage=url)


def test_a_study_is_listed_once_and_deleted_whole(place: Path, tmp_path: Path) -> None:
    from optevo.search.study import delete_study

    url = url_of(tmp_path)
    api.create_study("pair", spec(place), storage=url)
    (row,) = api.list_studies(storage=url)
    assert (row["study"], row["system"], row["trials"]) == ("pair", "coevolution", 0)
    (stored,) = (tmp_path / "artifacts").rglob("*-*")
    with pytest.raises(UsageError, match="exists already"):
        api.create_study("pair", spec(place), storage=url)
    delete_study("pair", url=url)
    assert api.list_studies(storage=url) == []
    assert not stored.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teachers": {"folder": "nowhere"}}, "nowhere: not a pair folder"),
        ({"data": {"size": 10}}, "teachers: a_to_b does not take images"),
        ({"data": {"root": "nowhere"}}, "nowhere"),
    ],
)
def test_what_cannot_be_evolved_is_refused_before_anything_is_stored(
    place: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        api.create_study("pair", spec(place, **changes), storage=url_of(tmp_path))
    assert api.list_studies(storage=url_of(tmp_path)) == []


def test_both_winners_are_trained_together_into_a_pair_folder(finished: str, place: Path, tmp_path: Path) -> None:
    winners = api.winners("pair", storage=finished)
    assert isinstance(winners, BestPair)
    steps: list[tuple[int, int]] = []
    folder = api.finetune(
        "pair", storage=finished, out=tmp_path / "small", on_step=lambda done, total: steps.append((done, total))
    )
    trained, teachers = load_pair(folder), load_pair(place / "teachers")
    assert steps[-1][0] == steps[-1][1] == len(steps) > 0
    for direction, half in winners.halves.items():
        network = getattr(trained, direction)
        assert parameters(network) == half.parameters < parameters(getattr(teachers, direction))
        assert half.share_of_parameters == half.parameters / parameters(getattr(teachers, direction))
        assert network(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 16, 16)
    # A compressed pair is a pair: it may be compressed again.
    spec_again = spec(place, teachers={"folder": str(folder)}, sampler={"generations": 1}, training={"steps": 0})
    api.create_study("again", spec_again, storage=url_of(tmp_path))
    api.work("again", storage=url_of(tmp_path))
    again = api.winners("again", storage=url_of(tmp_path))
    assert isinstance(again, BestPair)
    assert again.halves["a_to_b"].parameters < winners.halves["a_to_b"].parameters


@pytest.mark.parametrize(("steps", "first_steps"), [(40, 0), (0, 0), (3, 2)])
def test_estimate_counts_both_populations_and_the_first_generation(
    place: Path, tmp_path: Path, steps: int, first_steps: int
) -> None:
    url = url_of(tmp_path)
    made = spec(place, training={"steps": steps, "first_steps": first_steps}, engine={"threads": 1})
    search = api.create_study("pair", made, storage=url)
    trained: list[int | None] = []
    evaluate = CoevolutionTask.evaluate

    def counted(self, *arguments, steps, **others):
        trained.append(steps)
        return evaluate(self, *arguments, steps=steps, **others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CoevolutionTask, "evaluate", counted)
        report = api.estimate("pair", storage=url)
    # One individual of either direction, of a later generation and of the first, and no longer than is needed to know.
    assert trained == [min(steps, 33), min(first_steps, 33)] * 2
    assert report["individuals_at_most"] == 2 * POPULATION * GENERATIONS
    later, hours = report["seconds_an_individual"], report["hours_at_most"]
    assert later > 0
    if steps == 40:  # generation 0 trains nobody, so it takes less
        assert 0 < hours * 3600 * report["workers_here"] < 2 * POPULATION * GENERATIONS * later
    (stored,) = search.record.files.values()
    assert report["disk_MiB"] * 2**20 > stored["size"]


def test_another_release_of_a_generator_s_package_is_refused(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sites = {
        version: install_generators(tmp_path, version=version, keys={"residual": "Residual"})["SITE"]
        for version in ("1.2.3", "1.2.4", "1.3")
    }
    url = url_of(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(sites["1.2.3"])
        made = [custom_generator("residual", {}, input_channels=3, output_channels=3, size=(16, 16)) for _ in range(2)]
        whole = small_translators()
        pair = Translators(made[0], made[1], whole.judge_a, whole.judge_b)
        save_pair(tmp_path / "teachers", pair, PairFacts(size=(16, 16)))
        search = api.create_study("own", spec(place, teachers={"folder": str(tmp_path / "teachers")}), storage=url)
        open_task(search)
    assert search.record.facts["packages"] == {"other-generators": "1.2.3"}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(sites["1.2.4"])
        open_task(search)
        assert "other-generators 1.2.4 (the study's is 1.2.3): another patch release" in caplog.text
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(sites["1.3"])
        with pytest.raises(
            UsageError, match=r"other-generators 1\.3 \(the study's is 1\.2\.3\); run: pip install other"
        ):
            open_task(search)


def test_what_belongs_to_u_nets_is_refused_by_name(finished: str) -> None:
    with pytest.raises(UsageError, match="is of the system 'coevolution'"):
        api.best("pair", storage=finished)
    with pytest.raises(UsageError, match="--trial 3: is for U-Net searches"):
        api.finetune("pair", storage=finished, trial=3)


def test_the_specification_says_what_is_wrong(place: Path) -> None:
    with pytest.raises(UsageError, match=r"sampler\.candidates = 8"):
        spec(place, sampler={"candidates": 8})
    with pytest.raises(UsageError, match='system = "gan": must be one of unet, coevolution'):
        parse_spec({**document(place), "system": "gan"}, source="tests")
    made = spec(place)
    assert parse_spec(json.loads(made.model_dump_json()), source="store") == made
