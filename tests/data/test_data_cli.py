from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sample_images import ab_folder, noise, save, truncated_jpeg
from typer.testing import CliRunner

from optevo.cli.data import app, parse_size
from optevo.errors import UsageError

runner = CliRunner()


def test_draw_then_check(tmp_path: Path) -> None:
    drawn = runner.invoke(
        app, ["download", "drawn-facades", "--to", str(tmp_path), "--count", "3", "--size", "16x24", "--seed", "2"]
    )
    assert drawn.exit_code == 0, drawn.output
    assert drawn.stdout.strip() == str(tmp_path / "drawn-facades")
    again = runner.invoke(app, ["download", "drawn-facades", "--to", str(tmp_path)])
    assert again.exit_code == 0
    assert "is already there" in again.stderr
    checked = runner.invoke(app, ["check", str(tmp_path / "drawn-facades"), "--json", "--size", "16x16"])
    assert checked.exit_code == 0
    report = json.loads(checked.stdout)
    assert report["counts"] == {"train": 3, "val": 12, "test": 12}
    assert report["sizes"] == {"16x24": 27}


def test_problems_give_exit_code_2_and_a_line_each(tmp_path: Path) -> None:
    bad = truncated_jpeg(ab_folder(tmp_path, {"train": 2}) / "train" / "bad.jpg")
    plain = runner.invoke(app, ["check", str(tmp_path)])
    assert plain.exit_code == 2
    assert [line for line in plain.stdout.splitlines() if line.startswith(f"problem: {bad}: is damaged")]
    as_json = runner.invoke(app, ["check", str(tmp_path), "--json"])
    assert as_json.exit_code == 2
    assert json.loads(as_json.stdout)["ok"] is False


def test_images_without_pairs_are_known_by_their_names_or_by_an_option(tmp_path: Path) -> None:
    for folder, names in (("trainA", "ab"), ("trainB", "cd")):
        for name in names:
            save(tmp_path / folder / f"{name}.png", noise(8, 8, seed=ord(name)))
    plain = runner.invoke(app, ["check", str(tmp_path)])
    assert plain.exit_code == 0, plain.output
    assert "images: train A 2, train B 2" in plain.stdout
    as_pairs = runner.invoke(app, ["check", str(tmp_path), "--kind", "pairs"])
    assert as_pairs.exit_code == 2
    assert "look unpaired" in as_pairs.stdout
    # Equal names say nothing where images are merely numbered.
    for folder in ("trainA", "trainB"):
        save(tmp_path / folder / "1.png", noise(8, 8, seed=7 + len(folder)))
    assert runner.invoke(app, ["check", str(tmp_path)]).exit_code == 2
    told = runner.invoke(app, ["check", str(tmp_path), "--kind", "unpaired", "--json"]).stdout
    assert json.loads(told)["kind"] == "unpaired"


def test_images_of_one_kind(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "images" / f"{number}.png", noise(8, 8, seed=number))
    bad = truncated_jpeg(tmp_path / "images" / "3.jpg")
    checked = runner.invoke(app, ["check", str(tmp_path / "images"), "--kind", "alone", "--size", "16"])
    assert checked.exit_code == 2
    assert "images: train 4" in checked.stdout
    assert "channels: RGB 3" in checked.stdout
    assert "3 images are smaller than 16x16" in checked.stdout
    assert f"problem: {bad}: is damaged" in checked.stdout
    np.savez(tmp_path / "i.npz", images=np.zeros((5, 8, 12), np.uint8))
    report = json.loads(runner.invoke(app, ["check", str(tmp_path / "i.npz"), "--json"]).stdout)
    assert (report["ok"], report["counts"], report["sizes"]) == (True, {"train": 5}, {"8x12": 5})
    assert report["channels"] == {"grey": 5}
    np.savez(tmp_path / "j.npz", images=np.zeros((5, 8, 12)))
    assert runner.invoke(app, ["check", str(tmp_path / "j.npz")]).exit_code == 2


def test_usage_errors_reach_the_main_program(tmp_path: Path) -> None:
    for arguments in (["check", str(tmp_path)], ["check", str(tmp_path), "--size", "a"], ["download", "nothing"]):
        assert isinstance(runner.invoke(app, arguments).exception, UsageError)


@pytest.mark.parametrize(("text", "size"), [("64", (64, 64)), ("64x128", (64, 128)), ("8X16", (8, 16))])
def test_sizes(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "64x", "x64", "-8", "1x2x3", "64.0", "²"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="--size"):
        parse_size(text)


def test_nothing_heavy_is_imported() -> None:
    light = (
        "import sys, optevo.cli.data; print(*[m for m in ('torch','numpy','PIL','rich.progress') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", light], capture_output=True, text=True, check=True).stdout.split() == []
    )
    without = (
        "import sys, optevo.data.check, optevo.data.download, optevo.data.fingerprint; "
        "print(*[m for m in ('torch', 'optuna') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=True).stdout.split() == []
    )
