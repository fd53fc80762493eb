from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sample_images import ab_folder, noise, save, truncated_jpeg

from optevo.data.pairs import find_pairs
from optevo.data.placement import choose_placement, reserve
from optevo.data.plan import batch_plan
from optevo.data.resident import ResidentImages, ResidentPairs, images_of, load_pairs, load_size
from optevo.errors import OptevoError, UsageError

CPU = torch.device("cpu")


def load(root: Path, **changes: Any) -> ResidentPairs:
    arguments: dict[str, Any] = {
        "size": (8, 8), "direction": "AtoB", "input_channels": 3, "target_channels": 3, "device": CPU, "jitter": False,
    }  # fmt: skip
    return load_pairs(find_pairs(root)["train"], **{**arguments, **changes})


def from_arrays(inputs: np.ndarray, targets: np.ndarray, size: tuple[int, int]) -> ResidentPairs:
    names = [str(number) for number in range(len(inputs))]
    return ResidentPairs(
        *(ResidentImages(torch.from_numpy(half), names, size, CPU, "device") for half in (inputs, targets))
    )


def naive(image: np.ndarray, top: int, left: int, flip: bool, size: tuple[int, int]) -> np.ndarray:
    """One sample as pix2pix makes it: crop, mirror, to [0, 1], to [-1, 1], channels first."""
    crop = image[top : top + size[0], left : left + size[1]]
    crop = crop[:, ::-1] if flip else crop
    return ((crop.astype(np.float64) / 255 - 0.5) / 0.5).transpose(2, 0, 1)


@st.composite
def cases(draw: st.DrawFn) -> tuple[ResidentPairs, torch.Tensor, torch.Tensor, torch.Tensor]:
    n, batch = draw(st.integers(1, 5)), draw(st.integers(1, 7))
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    room = draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    channels = draw(st.tuples(st.sampled_from([1, 3]), st.sampled_from([1, 3])))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    stored = (n, size[0] + room[0], size[1] + room[1])
    inputs, targets = (random.integers(0, 256, (*stored, count), dtype=np.uint8) for count in channels)
    # Bounds from draws, not from the random generator, so that hypothesis tries the edges.
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, n - 1), st.integers(0, room[0]), st.integers(0, room[1]), st.booleans()),
            min_size=batch,
            max_size=batch,
        )
    )
    index, top, left, flip = (torch.tensor(column) for column in zip(*rows, strict=True))
    return from_arrays(inputs, targets, size), index, torch.stack((top, left), dim=1), flip


@settings(deadline=None)
@given(cases())
def test_batch_is_what_a_loop_over_samples_gives(
    case: tuple[ResidentPairs, torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    pairs, index, crop, flip = case
    for stored, got in zip(
        (pairs.inputs.images, pairs.targets.images), pairs.batch(index, crop=crop, flip=flip), strict=True
    ):
        rows = zip(index.tolist(), crop.tolist(), flip.tolist(), strict=True)
        expected = [naive(stored[i].numpy(), top, left, turned, pairs.size) for i, (top, left), turned in rows]
        assert got.dtype == torch.float32
        assert got.shape == (len(index), stored.shape[-1], *pairs.size)
        assert got.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_allclose(got.numpy(), np.stack(expected), atol=2e-7, rtol=0)


def test_range_is_exact() -> None:
    pixels = np.array([0, 255], np.uint8).reshape(1, 1, 2, 1)
    got, _ = from_arrays(pixels, pixels, (1, 2)).batch(torch.tensor([0]))
    assert got.flatten().tolist() == [-1.0, 1.0]


def test_without_crop_the_centre() -> None:
    pixels = noise(7, 6)[None]
    pairs = from_arrays(pixels, pixels, (4, 4))
    assert pairs.jitter_range == (3, 2)
    got, _ = pairs.batch(torch.tensor([0, 0]))
    np.testing.assert_allclose(got[1].numpy(), naive(pixels[0], 1, 1, False, (4, 4)), atol=2e-7)


def test_indices_and_offsets_out_of_range() -> None:
    pixels = np.zeros((2, 6, 6, 3), np.uint8)
    pairs = from_arrays(pixels, pixels, (4, 4))
    for index in ([2], [-1], []):
        with pytest.raises(ValueError, match="index must name"):
            pairs.batch(torch.tensor(index, dtype=torch.int64))
    for crop in ([3, 0], [0, 3], [-1, 0]):
        with pytest.raises(ValueError, match="crop offsets"):
            pairs.batch(torch.tensor([0]), crop=torch.tensor([crop]))


def test_stored_pixels_are_pillow_bicubic_of_the_halves(tmp_path: Path) -> None:
    whole = noise(20, 48)
    save(tmp_path / "1.png", whole)
    a = Image.fromarray(whole[:, :24]).resize((12, 8), Image.Resampling.BICUBIC)
    b = Image.fromarray(whole[:, 24:]).convert("L").resize((12, 8), Image.Resampling.BICUBIC)
    pairs = load(tmp_path, size=(8, 12), target_channels=1)
    np.testing.assert_array_equal(pairs.inputs.images[0].numpy(), np.asarray(a))
    np.testing.assert_array_equal(pairs.targets.images[0, :, :, 0].numpy(), np.asarray(b))
    back = load(tmp_path, size=(8, 12), direction="BtoA", input_channels=1)
    assert torch.equal(back.inputs.images, pairs.targets.images)
    assert torch.equal(back.targets.images, pairs.inputs.images)
    assert (len(pairs), pairs.names, pairs.size, pairs.placement) == (1, ["1"], (8, 12), "device")


def test_two_folders_equal_ab_images(tmp_path: Path) -> None:
    for number in range(5):
        whole = noise(8, 16, seed=number)
        save(tmp_path / f"ab/{number}.png", whole)
        save(tmp_path / f"two/A/{number}.png", whole[:, :8])
        save(tmp_path / f"two/B/{number}.png", whole[:, 8:])
    one, two = load(tmp_path / "ab"), load(tmp_path / "two", threads=3)
    assert torch.equal(one.inputs.images, two.inputs.images)
    assert torch.equal(one.targets.images, two.targets.images)
    assert one.names == two.names == list("01234")


def test_jitter_stores_286_for_256_and_a_plan_fits(tmp_path: Path) -> None:
    assert load_size((256, 256)) == (286, 286)
    assert load_size((64, 128)) == (72, 143)
    pairs = load(ab_folder(tmp_path, {"train": 3}, size=(32, 32)), size=(32, 64), jitter=True)
    assert pairs.inputs.images.shape == (3, 36, 72, 3)
    assert pairs.jitter_range == (4, 8)
    plan = batch_plan(3, steps=20, batch_size=4, seed=0, jitter_range=pairs.jitter_range).to(pairs.index_device)
    for step in range(len(plan)):
        source, _ = pairs.batch(plan.index[step], crop=plan.crop[step], flip=plan.flip[step])
        assert source.shape == (4, 3, 32, 64)


def test_over_budget_goes_to_disk_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = ab_folder(tmp_path / "data", {"train": 4})
    monkeypatch.setenv("OPTEVO_CACHE", str(tmp_path / "cache"))
    with caplog.at_level(logging.INFO, logger="optevo.data"):
        kept = load(root, budget_bytes=2 * 4 * 8 * 8 * 3)
        assert kept.placement == "device"
        assert "on cpu" in caplog.text
        assert all(record.levelno == logging.INFO for record in caplog.records)
        mapped = load(root, budget_bytes=2 * 4 * 8 * 8 * 3 - 1)
    assert mapped.placement == "disk"
    assert caplog.records[-1].levelno == logging.WARNING
    assert "memory-mapped" in caplog.text
    index, flip = torch.tensor([3, 1]), torch.tensor([True, False])
    for one, other in zip(kept.batch(index, flip=flip), mapped.batch(index, flip=flip), strict=True):
        assert torch.equal(one, other)
    assert list((tmp_path / "cache").iterdir()) == []  # the file has no name: nothing stays behind


def test_no_room_on_disk(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file, pytest.raises(OptevoError, match=r"no room for .* OPTEVO_CACHE"):
        reserve(file.fileno(), 2**60, folder=tmp_path)


@pytest.mark.parametrize(
    ("need", "on_cpu", "place"),
    [(10, False, "device"), (11, False, "host"), (21, False, "disk"), (10, True, "device"), (11, True, "disk")],
)
def test_choice_of_place(need: int, on_cpu: bool, place: str) -> None:
    assert choose_placement(need, device_budget=10, host_budget=20, host_is_device=on_cpu) == place


def test_bad_arguments_and_files(tmp_path: Path) -> None:
    root = ab_folder(tmp_path, {"train": 2})
    for change, message in (
        ({"size": (0, 8)}, "size = "),
        ({"direction": "AtoC"}, "direction = 'AtoC'"),
        ({"input_channels": 4}, "input_channels = 4"),
        ({"target_channels": 2}, "target_channels = 2"),
        ({"max_pixels": 100}, "is too large"),
    ):
        with pytest.raises(UsageError, match=message):
            load(root, **change)
    save(root / "train" / "odd.png", noise(8, 15))
    with pytest.raises(UsageError, match=r"odd\.png: is 15 pixels wide"):
        load(root)
    (root / "train" / "odd.png").unlink()
    truncated_jpeg(root / "train" / "0.jpg")
    with pytest.raises(UsageError, match=r"0\.jpg: is damaged"):
        load(root)
    with pytest.raises(UsageError, match="no image pairs"):
        load_pairs([], size=(8, 8), direction="AtoB", input_channels=3, target_channels=3, device=CPU, jitter=False)


@pytest.mark.real_data
def test_real_facades(real_facades: Path) -> None:
    files = find_pairs(real_facades)["test"][:6]
    pairs = load_pairs(
        files, size=(64, 64), direction="BtoA", input_channels=3, target_channels=3, device=CPU, jitter=True
    )
    labels, photos = pairs.batch(torch.arange(6))
    with Image.open(files[2].a) as image:
        photo = image.convert("RGB").crop((0, 0, 256, 256)).resize((72, 72), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(photos[2].numpy(), naive(np.asarray(photo), 4, 4, False, (64, 64)), atol=2e-7)
    assert labels[:, 2].mean() > 0  # the labels are mostly blue


@pytest.mark.gpu
@pytest.mark.parametrize("budget", [None, 0], ids=["device", "host"])
def test_cuda_batches_equal_the_cpu_and_never_synchronise(tmp_path: Path, budget: int | None) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    root = ab_folder(tmp_path, {"train": 5}, size=(32, 32))
    expected = load(root, size=(32, 32), jitter=True)
    pairs = load(root, size=(32, 32), jitter=True, device=torch.device("cuda"), budget_bytes=budget)
    assert pairs.placement == ("device" if budget is None else "host")
    plan = batch_plan(5, steps=6, batch_size=4, seed=0, jitter_range=pairs.jitter_range)
    there = plan.to(pairs.index_device)
    for step in range(len(plan)):
        torch.cuda.set_sync_debug_mode("error")
        try:
            got = pairs.batch(there.index[step], crop=there.crop[step], flip=there.flip[step])
            centre = pairs.batch(there.index[step])
        finally:
            torch.cuda.set_sync_debug_mode("default")
        wanted = expected.batch(plan.index[step], crop=plan.crop[step], flip=plan.flip[step])
        for one, other in zip((*got, *centre), (*wanted, *expected.batch(plan.index[step])), strict=True):
            assert one.device.type == "cuda"
            assert one.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(one.cpu(), other, atol=1e-6, rtol=0)


def test_pixels_in_memory_are_batched_like_files() -> None:
    pixels = torch.randint(0, 256, (5, 4, 6, 3), dtype=torch.uint8)
    images = images_of(pixels, device=CPU)
    assert len(images) == 5
    assert images.size == (4, 6)
    expected = pixels[[3, 0]].permute(0, 3, 1, 2).float() / 127.5 - 1
    torch.testing.assert_close(images.batch(torch.tensor([3, 0])), expected)
    for wrong in (pixels.float(), pixels[0], pixels[..., :2], pixels[:0]):
        with pytest.raises(UsageError, match="give uint8 of shape"):
            images_of(wrong, device=CPU)
