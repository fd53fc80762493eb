"""The dashboard's server: what it adds to optuna-dashboard changes when an answer comes, never what it says."""

import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import optuna
import optuna_dashboard
import pytest
from optuna.trial import TrialState

from optevo.reports.dashboard import _to_json, serve
from optevo.search.store import open_store


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> optuna.Study:
    folder = tmp_path_factory.mktemp("store")
    study = optuna.create_study(study_name="s", storage=open_store(f"sqlite:///{folder / 'optevo.db'}"))
    for value in (3.0, 1.0, 2.0):
        study.tell(study.ask(), value)
    return study


@pytest.fixture(scope="module")
def address(study: optuna.Study) -> Iterator[str]:
    url = str(study._storage._backend.url)
    command = [sys.executable, "-m", "optevo", "dashboard", "--port", "0", "--storage", url]
    with subprocess.Popen(command, cwd=Path(url.removeprefix("sqlite:///")).parent, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        yield server.stdout.readline().decode().split()[-1].removesuffix("/dashboard")
        server.terminate()


def get(url: str, **headers: str) -> tuple[Any, bytes]:
    with urlopen(Request(url, headers={"Accept-Encoding": "identity", **headers}), timeout=60) as answer:
        return answer.headers, answer.read()


@pytest.mark.parametrize("page", ["", "/trials", "/note"])
def test_a_studys_page_names_its_trials_beforehand(address: str, page: str):
    headers, _ = get(f"{address}/dashboard/studies/1{page}")
    target, *attributes = headers["Link"].split("; ")
    assert attributes == ["rel=preload", "as=fetch", "crossorigin"]
    _, trials = get(address + target.strip("<>"))
    assert [trial["values"] for trial in json.loads(trials)["trials"]] == [[3.0], [1.0], [2.0]]


@pytest.mark.parametrize("page", ["/dashboard", "/dashboard/compare-studies", "/api/studies"])
def test_other_pages_name_none(address: str, page: str):
    headers, _ = get(address + page)
    assert "Link" not in headers


def test_the_dashboards_own_code_arrives_whole(address: str):
    _, code = get(f"{address}/static/bundle.js")
    assert code == (Path(optuna_dashboard.__file__).parent / "public" / "bundle.js").read_bytes()


def test_trials_told_meanwhile_are_seen(address: str, study: optuna.Study):
    def states() -> list[str]:
        return [trial["state"] for trial in json.loads(get(f"{address}/api/studies/2?after=0")[1])["trials"]]

    def wait_for(expected: list[str]) -> None:
        deadline = time.monotonic() + 30
        while (found := states()) != expected:
            assert time.monotonic() < deadline, found
            time.sleep(0.2)

    other = optuna.create_study(study_name="growing", storage=study._storage)
    running, failing = other.ask(), other.ask()
    wait_for(["Running", "Running"])
    other.tell(failing, state=TrialState.FAIL)
    wait_for(["Running", "Fail"])
    other.tell(running, 1.0)
    wait_for(["Complete", "Fail"])


@pytest.mark.parametrize(
    "answer",
    [{}, {"trials": [{"values": [1.5, "inf"], "note": None}], "ok": True}, {"ü": "\u2028"}, {"half": "\ud800"}],
)
def test_json_says_what_it_said(answer: dict[str, Any]):
    assert json.loads(_to_json(answer)) == answer


def test_the_collector_is_left_as_it_was(tmp_path: Path):
    class EnoughError(Exception):
        pass

    def stop(_: str) -> None:
        assert gc.get_threshold() != before
        raise EnoughError

    before = gc.get_threshold()
    with pytest.raises(EnoughError):
        serve(open_store(f"sqlite:///{tmp_path / 'optevo.db'}"), None, host="127.0.0.1", port=0, on_ready=stop)
    assert gc.get_threshold() == before
