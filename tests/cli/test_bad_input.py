"""Every kind of bad input through the real command line: one line that names it, exit code 2, and nothing lost."""

import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import SPEC, optevo
from PIL import Image
from sample_images import huge_png, truncated_jpeg

from optevo.data.drawn import draw_facades


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return draw_facades(tmp_path / "pairs", count=6, val=2, test=2, size=(32, 32), seed=0)


@pytest.fixture
def spec(tmp_path: Path, pairs: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(SPEC.format(root=pairs))
    return path


def refused(result: subprocess.CompletedProcess[str], *says: str, code: int = 2) -> None:
    """One line on stderr that says all this, no traceback, nothing on stdout."""
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    for text in says:
        assert text in lines[0]


def no_study(folder: Path) -> None:
    assert "no studies yet" in optevo(folder, "study", "list").stdout


def truncate(root: Path) -> str:
    (root / "train" / "2.png").unlink()
    return truncated_jpeg(root / "train" / "2.jpg").name


def text_as_picture(root: Path) -> str:
    (root / "train" / "extra.jpg").write_text("This is no picture.")
    return "extra.jpg"


def odd_width(root: Path) -> str:
    Image.new("RGB", (63, 32)).save(root / "train" / "1.png")
    return "1.png"


def huge(root: Path) -> str:
    return huge_png(root / "train" / "huge.png", 30_000).name


@pytest.mark.parametrize("damage", [truncate, text_as_picture, odd_width, huge])
def test_a_bad_picture_is_found_before_anything_is_stored(
    tmp_path: Path, pairs: Path, spec: Path, damage: Callable[[Path], str]
):
    name = damage(pairs)
    refused(optevo(tmp_path, "study", "create", "s", "--spec", spec), name)
    no_study(tmp_path)
    checked = optevo(tmp_path, "data", "check", pairs)
    assert checked.returncode == 2
    assert name in checked.stdout


def test_folders_with_different_names(tmp_path: Path):
    for half, name in (("A", "1.png"), ("A", "2.png"), ("B", "1.png"), ("B", "3.png")):
        (tmp_path / "two" / half).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "two" / half / name)
    path = tmp_path / "study.toml"
    path.write_text(SPEC.format(root=tmp_path / "two"))
    refused(optevo(tmp_path, "study", "create", "s", "--spec", path), "2.png", "3.png")


def test_an_empty_folder_and_one_that_is_not_there(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    path = tmp_path / "study.toml"
    for root, says in (("empty", "holds no images"), ("nowhere", "no such folder")):
        path.write_text(SPEC.format(root=tmp_path / root))
        refused(optevo(tmp_path, "study", "create", "s", "--spec", path), root, says)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("data.size=36", "take a multiple of 8"),
        ("space.channels=[4, 0]", "space.channels = 0"),
        ("space.channels=[4, -8]", "space.channels = -8"),
        ("training.stesp=3", "training.stesp: unknown key"),
        ("sampler.mutation=0.9", "must add up to 1"),
        ("engine.device=cuda:99", "engine.device"),
    ],
)
def test_a_bad_setting_names_file_key_and_cure(tmp_path: Path, spec: Path, setting: str, says: str):
    refused(optevo(tmp_path, "study", "create", "s", "--spec", spec, "--set", setting), says)
    no_study(tmp_path)


def test_a_database_that_does_not_answer(tmp_path: Path, spec: Path):
    url = "postgresql+psycopg://someone:hunter2@127.0.0.1:9/studies"
    result = optevo(tmp_path, "study", "create", "s", "--spec", spec, "--storage", url)
    refused(result, "the database does not answer", "someone:***@127.0.0.1:9")
    assert "hunter2" not in result.stderr
    refused(optevo(tmp_path, "study", "list", OPTEVO_STORAGE="nonsense"), "not a database URL")
    refused(optevo(tmp_path, "study", "list", "--storage", "sqlite:////proc/none/x.db"), "/proc/none")
    refused(optevo(tmp_path, "study", "list", "--storage", f"sqlite:///{spec}"), "does not answer")


def test_a_study_that_exists_and_one_that_does_not(tmp_path: Path, spec: Path):
    assert optevo(tmp_path, "study", "create", "s", "--spec", spec).returncode == 0
    refused(optevo(tmp_path, "study", "create", "s", "--spec", spec), "exists already", "optevo study run s")
    for command in ("run", "show", "best", "estimate"):
        refused(optevo(tmp_path, "study", command, "other"), "'other'", "it has s")
    refused(optevo(tmp_path, "study", "delete", "other", "--yes"), "'other'")
    refused(optevo(tmp_path, "worker", "other"), "'other'")
    refused(optevo(tmp_path, "study", "best", "s"), "nothing is trained yet")


def test_a_model_folder_that_cannot_be_written(tmp_path: Path, spec: Path):
    assert optevo(tmp_path, "study", "create", "s", "--spec", spec).returncode == 0
    train = ["model", "finetune", "s", "--architecture", "original", "--out"]
    refused(optevo(tmp_path, *train, "/proc/model"), "/proc/model", "--out")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    refused(optevo(tmp_path, *train, "taken"), "exists already")

    def small_files_only() -> None:
        # What a full disk does, without needing one: every write beyond 1 MB fails. pix2pix's own network has more.
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    train[4] = "pix2pix"
    result = optevo(tmp_path, *train, "model", limit=small_files_only)
    assert result.returncode == 1
    assert "cannot write the model" in result.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "model").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".model")]
    assert optevo(tmp_path, *train, "model").returncode == 0


def test_what_is_no_model_folder(tmp_path: Path, pairs: Path):
    refused(optevo(tmp_path, "model", "evaluate", pairs, "--data", pairs), "not a model folder")
    refused(optevo(tmp_path, "model", "evaluate", tmp_path / "none", "--data", pairs), "not a model folder")


def test_usage_errors_have_exit_code_2(tmp_path: Path):
    assert optevo(tmp_path, "study", "create").returncode == 2
    assert optevo(tmp_path, "nonsense").returncode == 2
    refused(optevo(tmp_path, "data", "download", "nonsense"), "nonsense")
