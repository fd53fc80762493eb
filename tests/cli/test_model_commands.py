"""optevo model compare, export and apply, as a user runs them."""

import json
from pathlib import Path

import pytest
from command_line import optevo as run
from sample_images import ab_folder, noise, save
from tiny_models import tiny_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_model(folder / "one")
    tiny_model(folder / "two", channels=(2, 2, 2))
    ab_folder(folder / "pairs", {"train": 1, "test": 2}, size=(32, 32))
    save(folder / "pictures" / "a.png", noise(20, 30))
    save(folder / "pictures" / "b.jpg", noise(33, 9))
    return folder


def test_compare_in_three_forms(workplace: Path):
    command = ["model", "compare", "one", "two", "--data", "pairs", "--device", "cpu"]
    table, rows, text = (run(workplace, *command, *form) for form in ([], ["--json"], ["--markdown"]))
    for result in (table, rows, text):
        assert (result.returncode, result.stderr) == (0, "")
    assert [row["folder"] for row in json.loads(rows.stdout)] == ["one", "two"]
    assert "ssim_test_2x32x32_eval" in table.stdout
    assert text.stdout.startswith("| model | l1_test_2x32x32_eval |")
    both = run(workplace, *command, "--json", "--markdown")
    assert both.returncode == 2
    assert "name one of them" in both.stderr


def test_export_and_apply(workplace: Path):
    for module in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason="ONNX needs the extra: pip install 'optevo[onnx]'")
    exported = run(workplace, "model", "export", "one", "--data", "pairs", "--json")
    assert (exported.returncode, exported.stderr) == (0, "")
    report = json.loads(exported.stdout)
    assert report["path"] == "one/generator.onnx"
    assert report["largest_difference"] < 1e-5
    again = run(workplace, "model", "export", "one")
    assert (again.returncode, again.stdout) == (2, "")
    assert "exists already" in again.stderr
    applied = run(workplace, "model", "apply", "one/generator.onnx", "pictures", "--out", "onnx")
    assert (applied.returncode, applied.stdout, applied.stderr) == (0, "onnx: 2 pictures written\n", "")
    assert sorted(path.name for path in (workplace / "onnx").iterdir()) == ["a.png", "b.png"]


def test_pt2_at_a_chosen_size_and_a_bound_that_refuses(workplace: Path):
    exported = run(workplace, "model", "export", "two", "--format", "pt2", "--size", "16x32")
    assert (exported.returncode, exported.stderr) == (0, "")
    assert exported.stdout.startswith("two/generator-16x32.pt2: ")
    assert "largest difference" in exported.stdout
    refused = run(
        workplace, "model", "export", "two", "--format", "pt2", "--half", "--tolerance", "0", "--out", "x.pt2"
    )  # fmt: skip
    assert (refused.returncode, refused.stdout) == (1, "")
    assert len(refused.stderr.splitlines()) == 1
    assert not (workplace / "x.pt2").exists()


def test_apply_passes_over_a_damaged_picture_and_says_so(workplace: Path):
    save(workplace / "mixed" / "good.png", noise(9, 9))
    (workplace / "mixed" / "bad.png").write_text("no image")
    result = run(workplace, "model", "apply", "one", "mixed", "--out", "out", "--device", "cpu")
    assert result.returncode == 1
    assert [path.name for path in (workplace / "out").iterdir()] == ["good.png"]
    first, last = result.stderr.splitlines()
    assert first.startswith("passed over: mixed/bad.png")
    assert last.startswith("optevo: 1 of 2 pictures")
    (workplace / "mixed" / "bad.png").unlink()
    again = run(workplace, "model", "apply", "one", "mixed", "--out", "out", "--device", "cpu")
    assert again.stdout == "out: 0 pictures written; all were there already\n"
