"""Who may work on a study that was created with other versions, and what is kept of it."""

import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from command_line import optevo

from optevo import api
from optevo.errors import UsageError
from optevo.search.spec import Spec
from optevo.search.store import open_store
from optevo.search.study import RECORD, open_search
from optevo.search.versions import (
    COMPARED,
    acceptances,
    check_versions,
    differences,
    release,
    unaccepted,
    versions,
)

HERE = {"optevo": "0.1.0", "python": "3.11.7", "torch": "2.15.0", "numpy": "2.4.6", "scikit-learn": "1.9.1"}


def test_releases():
    for text, expected in (
        ("2.15.0", "2.15"),
        ("2.15.1+cu128", "2.15"),
        ("0.1.0.dev0", "0.1"),
        ("2.16", "2.16"),
        ("12.0rc1", "12.0"),
        ("main", "main"),
    ):
        assert release(text) == expected


@pytest.mark.parametrize(
    ("package", "recorded", "decisive"),
    [
        ("torch", "2.15.3", False),
        ("torch", "2.15.0+cpu", False),
        ("torch", "2.14.0", True),
        ("torch", "1.15.0", True),
        ("torch", "2.1.0", True),
        ("optevo", "0.1.0.dev0", False),
        ("optevo", "0.2.0", True),
        ("numpy", "2.40.6", True),
        ("scikit-learn", "1.8.0", True),
        ("scikit-learn", "1.9.0", False),
    ],
)
def test_major_and_minor_releases_change_results(package: str, recorded: str, decisive: bool):
    (found,) = differences({**HERE, package: recorded}, HERE)
    assert (found.package, found.decisive) == (package, decisive)


def test_what_is_not_compared():
    assert differences(HERE, HERE) == []
    # Another Python; a package that this version does not know; one that an older study did not record.
    assert differences({**HERE, "python": "3.13.1"}, HERE) == []
    assert differences({**HERE, "jax": "1.0"}, HERE) == []
    older = {package: text for package, text in HERE.items() if package != "scikit-learn"}
    assert differences(older, HERE) == []


def test_what_was_accepted_holds_for_the_release_and_for_nothing_else():
    decisive = differences({**HERE, "torch": "2.14.0", "numpy": "2.3.0"}, HERE)
    one = [{"versions": {"torch": "2.15.7"}}]
    assert [each.package for each in unaccepted(decisive, one)] == ["numpy"]
    assert unaccepted(decisive, [*one, {"versions": {"numpy": "2.4.6"}}]) == []
    assert unaccepted(decisive, [{"versions": {"torch": "2.14.0", "numpy": "2.5.0"}}]) == decisive


def test_this_process_has_all_that_is_compared():
    assert set(COMPARED) <= set(versions())


def altered(url: str, changes: Mapping[str, str | None]) -> None:
    """Make the study look as if it had been created with other versions; None for a version that was not recorded."""
    study = optuna.load_study(study_name="tiny", storage=open_store(url))
    record = study.user_attrs[RECORD]
    recorded = {**record["versions"], **changes}
    recorded = {package: text for package, text in recorded.items() if text is not None}
    study.set_user_attr(RECORD, {**record, "versions": recorded})


def test_an_older_study_without_some_versions_is_worked_on(tiny: Spec, tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'optevo.db'}"
    api.create_study("tiny", tiny, storage=url)
    altered(url, {"scikit-learn": None, "pillow": None})
    assert api.work("tiny", storage=url) > 0


def test_many_accept_at_once_and_all_are_seen(tiny: Spec, tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'optevo.db'}"
    recorded = api.create_study("tiny", tiny, storage=url).record.versions
    theirs = [{**recorded, "torch": f"3.{number % 4}.0"} for number in range(12)]

    def accept(here: Mapping[str, str]) -> None:
        check_versions(open_search("tiny", url=url).study, recorded, accept=True, here=here)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(accept, theirs))
    seen = acceptances(open_search("tiny", url=url).study.user_attrs)
    assert sorted(each["versions"]["torch"] for each in seen) == ["3.0.0", "3.1.0", "3.2.0", "3.3.0"]
    assert all(each["by"] and each["at"] for each in seen)


def test_somebody_else_s_attribute_is_no_acceptance():
    attributes = {"accepted_versions x": "torch", "accepted_versions y": {"versions": 3}, "other": {"versions": {}}}
    assert acceptances(attributes) == []


def test_the_refusal_names_every_package_and_the_cure(tiny: Spec, tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'optevo.db'}"
    search = api.create_study("tiny", tiny, storage=url)
    here = {**search.record.versions, "torch": "9.1.0", "numpy": "8.2.0", "optuna": search.record.versions["optuna"]}
    with pytest.raises(UsageError) as refused:
        check_versions(search.study, search.record.versions, accept=False, here=here)
    says = str(refused.value)
    assert "\n" not in says
    for package, version in (("torch", "9.1.0"), ("numpy", "8.2.0")):
        assert f"{package} {version} (the study's is {search.record.versions[package]})" in says
        assert f"{package}=={search.record.versions[package]}" in says
    assert "--accept-versions" in says
    assert "optuna" not in says
    assert acceptances(search.study.user_attrs) == []


def test_a_patch_release_is_a_warning(tiny: Spec, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    url = f"sqlite:///{tmp_path / 'optevo.db'}"
    search = api.create_study("tiny", tiny, storage=url)
    recorded = search.record.versions
    here = {**recorded, "torch": f"{release(recorded['torch'])}.99", "optevo": f"{release(recorded['optevo'])}.99"}
    with caplog.at_level(logging.WARNING, "optevo.worker"):
        check_versions(search.study, recorded, accept=False, here=here)
    (warning,) = caplog.messages
    assert f"torch {here['torch']} (the study's is {recorded['torch']})" in warning
    assert f"optevo {here['optevo']} (the study's is {recorded['optevo']})" in warning
    assert acceptances(search.study.user_attrs) == []


@pytest.mark.slow
def test_the_commands(tiny: Spec, tmp_path: Path):
    storage = f"sqlite:///{tmp_path / 'optevo.db'}"
    api.create_study("tiny", tiny, storage=storage)
    mine = versions()
    altered(storage, {"torch": f"{release(mine['torch'])}.98", "numpy": "1.2.3"})

    def run(*arguments: str):
        return optevo(tmp_path, *arguments, OPTEVO_STORAGE=storage)

    for command in (("worker", "tiny"), ("study", "run", "tiny", "--workers", "1")):
        refused = run(*command)
        assert refused.returncode == 2
        assert f"numpy {mine['numpy']} (the study's is 1.2.3)" in refused.stderr.splitlines()[-1]
        assert "Traceback" not in refused.stderr
    assert json.loads(run("study", "show", "tiny", "--json").stdout)["accepted_versions"] == []
    # Its workers are processes of their own, and none asks again.
    accepted = run("study", "run", "tiny", "--workers", "2", "--accept-versions")
    assert accepted.returncode == 0, accepted.stderr
    assert f"torch {mine['torch']} (the study's is" in accepted.stderr
    (shown,) = json.loads(run("study", "show", "tiny", "--json").stdout)["accepted_versions"]
    assert shown["versions"] == {"numpy": mine["numpy"]}
    lines = run("study", "show", "tiny").stdout.splitlines()
    assert any(line.startswith(f"accepted versions: numpy {mine['numpy']} by ") for line in lines)
    again = run("worker", "tiny")
    assert again.returncode == 0, again.stderr
    assert "this is accepted" in again.stderr
    # What was accepted is one release of one package.
    altered(storage, {"numpy": "1.2.3", "torch": "1.0.0"})
    refused = run("worker", "tiny", "--data", str(tiny.data.root))
    assert refused.returncode == 2
    assert f"torch {mine['torch']} (the study's is 1.0.0)" in refused.stderr
    assert "numpy" not in refused.stderr.splitlines()[-1]
    assert run("worker", "tiny", "--accept-versions").returncode == 0
    assert len(json.loads(run("study", "show", "tiny", "--json").stdout)["accepted_versions"]) == 2
