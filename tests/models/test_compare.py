"""Model folders side by side: the numbers, and how they are shown."""

import json
from pathlib import Path

import pytest
from sample_images import ab_folder
from tiny_models import tiny_model

from optevo import api
from optevo.errors import UsageError
from optevo.models.compare import compare_models, markdown, notes, readable
from optevo.models.folder import load_generator


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ab_folder(tmp_path_factory.mktemp("pairs"), {"train": 2, "test": 3}, size=(32, 32))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    return [
        tiny_model(root / "small", channels=(2, 2, 2), seed=1),
        tiny_model(root / "large|er", channels=(8, 8, 8), seed=2),
        tiny_model(root / "other", size=(16, 32), direction="AtoB", images=(1, 3)),
    ]


@pytest.fixture(scope="module")
def rows(models: list[Path], pairs: Path) -> list[dict]:
    return compare_models(models, data=pairs, device="cpu", runs=3)


def test_a_row_a_model_in_their_order(rows: list[dict], models: list[Path]):
    assert [row["folder"] for row in rows] == [str(folder) for folder in models]
    for row, folder in zip(rows, models, strict=True):
        assert row["parameters"] == sum(parameter.numel() for parameter in load_generator(folder).parameters())
        assert row["file_bytes"] == (folder / "generator.safetensors").stat().st_size
        assert (row["exact_macs"], row["literature_macs"]) == (2_000_000, 3_000_000)
    assert json.loads(json.dumps(rows)) == rows


def test_quality_has_its_protocol_in_its_name(rows: list[dict], models: list[Path], pairs: Path):
    for metric in ("l1", "psnr", "ssim"):
        assert [f"{metric}_test_3x32x32_eval" in row for row in rows] == [True, True, False]
        assert f"{metric}_test_3x16x32_eval" in rows[2]
    alone = api.evaluate(models[0], data=pairs, device="cpu")
    assert alone["l1_test_3x32x32_eval"] == pytest.approx(rows[0]["l1_test_3x32x32_eval"], rel=1e-5)
    assert rows[0]["l1_test_3x32x32_eval"] != rows[1]["l1_test_3x32x32_eval"]


def test_latency_has_a_spread_at_both_batch_sizes(rows: list[dict], models: list[Path], pairs: Path):
    for row in rows:
        for ending in ("", "_batch8"):
            low, middle, high = (row[f"latency_ms_{key}{ending}"] for key in ("p10", "median", "p90"))
            assert 0 < low <= middle <= high
        assert row["latency_protocol"].startswith("batch 1 and 8, ")
    assert "latency_ms_median_batch8" not in api.evaluate(models[0], data=pairs, device="cpu")


def test_pix2pix_s_mode_and_other_splits(models: list[Path], pairs: Path):
    (row,) = api.compare(models[:1], data=pairs, split="train", mode="pix2pix", device="cpu", batch_sizes=(1,))
    assert "psnr_train_2x32x32_pix2pix" in row


def test_people_see_units_and_dashes(rows: list[dict]):
    cells = readable(rows)
    assert len({tuple(row) for row in cells}) == 1
    assert [row["l1_test_3x16x32_eval"] == "-" for row in cells] == [True, True, False]
    assert [row["direction"] for row in cells] == ["BtoA", "BtoA", "AtoB"]
    assert cells[0]["exact MACs"] == "2.0 M"
    assert cells[0]["latency, batch 8"].count("ms (") == 1
    assert "direction" not in readable(rows[:2])[0]
    assert len(notes(rows)) == 2  # two sizes


def test_markdown_is_a_table(rows: list[dict]):
    lines = markdown(rows).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(rows)
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert "large\\|er" in table[3]
    assert lines[-1].startswith("Latency of a whole batch, median")


def test_wrong_arguments_are_refused(models: list[Path], pairs: Path, tmp_path: Path):
    for arguments, says in [
        ({"folders": []}, "at least one model folder"),
        ({"folders": [tmp_path]}, "not a model folder"),
        ({"split": "val"}, "has no val pairs, only train, test"),
        ({"mode": "best"}, "mode = 'best'"),
        ({"data": tmp_path / "nowhere"}, "no such folder"),
        ({"batch_sizes": (0,)}, "batch_size = 0"),
        ({"device": "tpu"}, "tpu"),
    ]:
        with pytest.raises(UsageError, match=says):
            compare_models(**{"folders": models[:1], "data": pairs, "device": "cpu", **arguments})
