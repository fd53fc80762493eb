"""What is refused before any worker is started elsewhere, and how places are named there."""

import subprocess
import sys
from pathlib import Path

import pytest

from optevo import api
from optevo.errors import UsageError
from optevo.search.launch_options import LocalOptions, RayOptions, SlurmOptions, read_options
from optevo.search.launch_ray import RayWorkers
from optevo.search.launch_slurm import SlurmWorkers
from optevo.search.launchers import check_options, place
from optevo.search.spec import Spec
from optevo.search.store import from_anywhere, is_sqlite
from optevo.search.study import Search


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("1:30", 2), ("4:00:00", 240), ("0:0:1", 1), ("2-0", 2880), ("1-2:3", 1563), ("1-0:0:30", 1441)],
)
def test_a_time_limit_is_written_as_for_sbatch(text: str, minutes: int):
    assert read_options(SlurmOptions, [f"time={text}"]).time == minutes


def test_options_are_read():
    ray = read_options(RayOptions, ["address=10.0.0.1:6379", "gpus=0.5"])
    assert (ray.address, ray.gpus, ray.cpus) == ("10.0.0.1:6379", 0.5, None)
    slurm = read_options(SlurmOptions, ["partition=gpu", "sbatch.account=vision", "sbatch.mail-user=me@a=b"])
    assert slurm.partition == "gpu"
    assert slurm.sbatch == {"account": "vision", "mail-user": "me@a=b"}


@pytest.mark.parametrize(
    ("launcher", "option", "message"),
    [
        ("ray", "gpus", "--launcher-option gpus: write it as key=value; this launcher has address, gpus, cpus."),
        ("ray", "gpu=1", "--launcher-option gpu=1: unknown key; this launcher has address, gpus, cpus."),
        ("ray", "gpus=-1", "--launcher-option gpus=-1: input should be greater than or equal to 0."),
        ("ray", "cpus=many", "--launcher-option cpus=many: input should be a valid number"),
        ("ray", "sbatch.qos=low", "--launcher-option sbatch.qos=low: unknown key"),
        ("slurm", "time=soon", "--launcher-option time=soon: a time limit is MINUTES, HOURS:MINUTES:SECONDS or DAYS-"),
        ("slurm", "time=0", "--launcher-option time=0: input should be greater than or equal to 1."),
        ("slurm", "sbatch.--account=me", "--launcher-option sbatch.--account=me: '--account' is no option of sbatch"),
        ("slurm", "cluster=here", "--launcher-option cluster=here: "),
        ("local", "gpus=1", "--launcher-option gpus=1: unknown key; this launcher has none."),
        ("pbs", "gpus=1", "--launcher pbs: unknown; there are local, ray, slurm."),
    ],
)
def test_a_wrong_option_is_named_with_its_cure(launcher: str, option: str, message: str):
    with pytest.raises(UsageError) as refused:
        check_options(launcher, [option])
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


@pytest.fixture
def search(tiny: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    """A study in the SQLite file of a folder that this process is in, named by relative paths."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPTEVO_ARTIFACTS", raising=False)
    return api.create_study("tiny", tiny, storage="sqlite:///store/optevo.db")


def test_elsewhere_every_place_is_absolute(search: Search, tmp_path: Path):
    for launcher in ("ray", "slurm"):
        options = check_options(launcher, [])
        team = place(search, options, count=2, root=Path("images"), artifacts=None, on_line=print)
        assert isinstance(team, RayWorkers | SlurmWorkers)
        assert team.url == f"sqlite:///{tmp_path}/store/optevo.db"
        assert team.root == tmp_path / "images"
        assert team.artifacts == str(tmp_path / "store" / "artifacts")
        assert "sqlite" not in repr(team)


def test_a_url_means_the_same_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    server = "postgresql+psycopg://me:s3cret@host/d?sslmode=require"
    assert from_anywhere(server) == server
    assert from_anywhere("sqlite:////a/b.db") == "sqlite:////a/b.db"
    assert from_anywhere("sqlite:///b.db?timeout=3") == f"sqlite:///{tmp_path}/b.db?timeout=3"
    assert is_sqlite("sqlite:///b.db")
    assert not is_sqlite(server)


def test_slurm_is_told_how_many(search: Search):
    with pytest.raises(UsageError, match="--workers: say how many jobs"):
        api.run_study("tiny", storage=search.url, launcher="slurm")


def test_slurm_gets_no_sqlite_file(search: Search):
    with pytest.raises(UsageError, match=r"^--storage sqlite:///.*optevo.db: a SQLite file cannot be shared"):
        api.run_study("tiny", storage=search.url, launcher="slurm", workers=1)


@pytest.mark.parametrize(
    ("launcher", "options", "package"), [("ray", [], "ray"), ("slurm", ["cluster=local"], "submitit")]
)
def test_a_missing_package_is_named_with_its_cure(launcher: str, options: list[str], package: str, search: Search):
    code = f"import sys; sys.modules['{package}'] = None; from optevo.cli.main import main; main()"
    arguments = ["study", "run", "tiny", "--launcher", launcher, "--workers", "1", "--storage", search.url]
    for option in options:
        arguments += ["--launcher-option", option]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        f"optevo: --launcher {launcher}: {package} is not installed; `pip install 'optevo[{launcher}]'`.\n"
    )


def test_no_options_here():
    assert read_options(LocalOptions, []) == LocalOptions()
