from __future__ import annotations

import json
import shutil
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from sample_images import ab_folder, huge_png, noise, save, truncated_jpeg

from optevo.data.check import check_pairs, check_unpaired, kind_of
from optevo.errors import UsageError


def test_a_good_folder(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    root = ab_folder(tmp_path, {"train": 4, "test": 2}, size=(8, 12))
    report = check_pairs(root, size=(8, 8), multiple_of=8, progress=lambda *call: calls.append(call))
    assert report.ok
    assert report.to_dict() == {
        "root": str(tmp_path),
        "kind": "pairs",
        "ok": True,
        "counts": {"train": 4, "test": 2},
        "sizes": {"8x12": 6},
        "channels": {"A RGB": 6, "B RGB": 6},
        "problems": [],
        "warnings": [],
    }
    json.dumps(report.to_dict())
    assert calls == [(done, 6) for done in range(1, 7)]


def test_every_bad_file_is_named_once(tmp_path: Path) -> None:
    ab_folder(tmp_path, {"train": 2})
    bad = {
        truncated_jpeg(tmp_path / "train/cut.jpg"): "is damaged",
        huge_png(tmp_path / "train/huge.png", 30_000): "is too large",
        save(tmp_path / "train/odd.png", noise(8, 17)): "is 17 pixels wide",
        tmp_path / "train/words.jpg": "is not an image",
    }
    (tmp_path / "train/words.jpg").write_text("words")
    report = check_pairs(tmp_path)
    assert not report.ok
    assert report.counts == {"train": 6}
    assert report.sizes == {"8x8": 2}
    assert len(report.problems) == len(bad)
    for path, reason in bad.items():
        (problem,) = (problem for problem in report.problems if problem.startswith(str(path)))
        assert reason in problem
        assert "\n" not in problem


def test_two_folders(tmp_path: Path) -> None:
    for name, shape in (("1", (8, 8)), ("2", (8, 8)), ("3", (8, 8)), ("5", (6, 8))):
        save(tmp_path / "A" / f"{name}.png", noise(8, 8, seed=int(name)))
        save(tmp_path / "B" / f"{name}.png", noise(*shape, seed=int(name)))
    save(tmp_path / "A" / "only_a.png", noise(8, 8))
    save(tmp_path / "B" / "only_b.png", noise(8, 8))
    for half in "AB":
        (tmp_path / half / "2.png").write_text("no image")
    problems = check_pairs(tmp_path).problems
    named = [tmp_path / name for name in ("A/only_a.png", "B/only_b.png", "A/2.png", "B/2.png", "A/5.png")]
    assert len(problems) == len(named)
    for path in named:
        assert any(str(path) in problem for problem in problems)
    assert any("8x8 and 6x8" in problem for problem in problems)


def test_sizes(tmp_path: Path) -> None:
    ab_folder(tmp_path, {"train": 4}, size=(16, 16))
    save(tmp_path / "train" / "small.png", noise(8, 32))
    report = check_pairs(tmp_path, size=(16, 16), multiple_of=16)
    assert report.ok
    assert len(report.warnings) == 2
    assert all("small.png" in warning and "1.png" not in warning for warning in report.warnings)
    assert "smaller than 16x16" in report.warnings[0]
    assert "another size than most (16x16)" in report.warnings[1]
    (problem,) = check_pairs(tmp_path, size=(16, 24), multiple_of=16).problems
    assert "size = 16x24" in problem
    (problem,) = check_pairs(tmp_path, multiple_of=16).problems
    assert "small.png" in problem
    assert "multiples of 16" in problem


def test_mixed_grey_and_rgb(tmp_path: Path) -> None:
    ab_folder(tmp_path, {"train": 3})
    save(tmp_path / "train" / "grey.png", noise(8, 16, channels=1))
    report = check_pairs(tmp_path)
    assert report.ok
    assert report.channels == {"A RGB": 3, "B RGB": 3, "A grey": 1, "B grey": 1}
    assert len(report.warnings) == 2
    assert all("grey.png" in warning for warning in report.warnings)


def test_the_same_pair_in_two_splits(tmp_path: Path) -> None:
    ab_folder(tmp_path, {"train": 3, "test": 2})
    shutil.copy(tmp_path / "train" / "2.png", tmp_path / "test" / "renamed.png")
    shutil.copy(tmp_path / "train" / "1.png", tmp_path / "train" / "copy.png")  # within a split it leaks nothing
    (warning,) = check_pairs(tmp_path).warnings
    assert str(tmp_path / "train" / "2.png") in warning
    assert str(tmp_path / "test" / "renamed.png") in warning


def test_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no images"):
        check_pairs(tmp_path)


@pytest.mark.real_data
def test_real_facades(real_facades: Path) -> None:
    report = check_pairs(real_facades, size=(256, 256), multiple_of=256)
    assert report.problems == []
    assert report.counts == {"train": 400, "test": 106}
    assert report.sizes == {"256x256": 506}


def test_two_domains_without_pairs(tmp_path: Path) -> None:
    for folder, count in (("trainA", 3), ("trainB", 4), ("testA", 1), ("testB", 1)):
        for number in range(count):
            # crc32 and not hash(), which is another number in every process
            save(tmp_path / folder / f"{folder}{number}.png", noise(8, 8, seed=crc32(f"{folder}{number}".encode())))
    save(tmp_path / "trainB" / "grey.png", noise(8, 8, channels=1))
    equal = noise(8, 8, seed=5)
    save(tmp_path / "trainB" / "grey_too.png", np.repeat(equal[..., :1], 3, axis=2))
    save(tmp_path / "trainA" / "large.png", noise(16, 8))
    shutil.copy(tmp_path / "trainA" / "trainA1.png", tmp_path / "testA" / "again.png")
    (tmp_path / "testB" / "words.jpg").write_text("words")
    calls: list[tuple[int, int]] = []
    report = check_unpaired(tmp_path, size=(8, 8), multiple_of=4, progress=lambda *call: calls.append(call))
    assert kind_of(tmp_path) == "unpaired"
    assert report.kind == "unpaired"
    assert report.counts == {"train A": 4, "train B": 6, "test A": 2, "test B": 2}
    assert report.sizes == {"A 8x8": 5, "A 16x8": 1, "B 8x8": 7}
    assert report.channels == {"A RGB": 6, "B RGB": 5, "B grey": 2}
    assert calls[-1] == (14, 14)
    (problem,) = report.problems
    assert problem.startswith(str(tmp_path / "testB" / "words.jpg"))
    size, grey, repeated = report.warnings
    assert "large.png: is of another size than most (8x8)" in size
    assert grey.startswith("2 images of B are grey among colours")
    assert "grey.png" in grey
    assert "grey_too.png" in grey
    assert "trainA1.png" in repeated
    assert "again.png" in repeated
    (_, problem) = check_unpaired(tmp_path, size=(8, 6), multiple_of=4).problems
    assert "size = 8x6" in problem


def test_a_domain_of_one_image_is_a_problem(tmp_path: Path) -> None:
    for folder, count in (("A", 1), ("B", 2)):
        for number in range(count):
            save(tmp_path / folder / f"{folder}{number}.png", noise(8, 8, seed=number))
    (problem,) = check_unpaired(tmp_path).problems
    assert problem.startswith(f"{tmp_path}: has 1 training image of A, and a translator needs at least 2")


def test_images_alone_that_are_taken_for_pairs(tmp_path: Path) -> None:
    ab_folder(tmp_path, {"train": 2}, size=(12, 8))
    assert not check_pairs(tmp_path).warnings
    save(tmp_path / "train" / "alone.png", noise(8, 8))
    (warning,) = (warning for warning in check_pairs(tmp_path).warnings if "side by side" in warning)
    assert warning.startswith(f"{tmp_path / 'train' / 'alone.png'}: is taken for")
    assert "--kind alone" in warning


def test_pairs_do_not_look_unpaired(tmp_path: Path) -> None:
    assert kind_of(ab_folder(tmp_path / "ab", {"train": 2})) == "pairs"
    assert kind_of(tmp_path / "none") == "pairs"
    for half in "AB":
        save(tmp_path / "two" / half / "1.png", noise(8, 8))
    assert kind_of(tmp_path / "two") == "pairs"
