"""Images of one kind: every layout, and one line for everything else."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from optevo.data.check import check_alone
from optevo.data.collection import load_collection
from optevo.data.collection_files import find_collection
from optevo.data.resident import ResidentImages
from optevo.errors import UsageError

CPU = torch.device("cpu")


def pixels(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(count, *shape), dtype=np.uint8)


def load(root: Path, *, size: int = 32, channels: int = 3, **more: int) -> ResidentImages:
    return load_collection(find_collection(root), size=size, channels=channels, device=CPU, **more)


@pytest.mark.parametrize("key", ["train_x", "images", "arr_0"])
def test_npz(tmp_path: Path, key: str) -> None:
    made = pixels(5, 32, 32, 3)
    np.savez(tmp_path / "a.npz", labels=np.arange(5), **{key: made})
    assert np.array_equal(load(tmp_path / "a.npz").images.numpy(), made)


def test_npy_of_grey_images_without_a_channel(tmp_path: Path) -> None:
    made = pixels(5, 32, 32)
    np.save(tmp_path / "a.npy", made)
    assert np.array_equal(load(tmp_path / "a.npy", channels=1).images.numpy(), made[..., None])
    assert load(tmp_path / "a.npy", channels=3).images.shape == (5, 32, 32, 3)


@pytest.mark.parametrize("packed", [False, True])
def test_mnist(tmp_path: Path, packed: bool) -> None:
    made = pixels(4, 28, 28)
    content = b"\0\0\x08\x03" + struct.pack(">iii", 4, 28, 28) + made.tobytes()
    name = "train-images-idx3-ubyte" + (".gz" if packed else "")
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    found = load(tmp_path, channels=1)
    assert found.images.shape == (4, 32, 32, 1)
    wanted = np.asarray(Image.fromarray(made[2]).resize((32, 32), Image.Resampling.BICUBIC))
    assert np.array_equal(found.images[2, :, :, 0].numpy(), wanted)


def test_cifar_binary(tmp_path: Path) -> None:
    made = pixels(6, 32, 32, 3)
    for number, part in enumerate(np.split(made, 2), start=1):
        rows = np.concatenate([np.full((3, 1), 7, np.uint8), part.transpose(0, 3, 1, 2).reshape(3, -1)], axis=1)
        rows.tofile(tmp_path / f"data_batch_{number}.bin")
    assert np.array_equal(load(tmp_path).images.numpy(), made)


@pytest.mark.parametrize("folder", ["", "train"])
def test_folder(tmp_path: Path, folder: str) -> None:
    made = pixels(3, 40, 40, 3)
    (tmp_path / folder).mkdir(exist_ok=True)
    for number, image in enumerate(made):
        Image.fromarray(image).save(tmp_path / folder / f"{number}.png")
    found = load(tmp_path, size=40)
    assert np.array_equal(found.images.numpy(), made)


def test_some_of_them_are_spread_over_all_and_always_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pixels(100, 32, 32, 3))
    whole, some, again = load(tmp_path / "a.npy"), load(tmp_path / "a.npy", most=10), load(tmp_path / "a.npy", most=10)
    places = [int((whole.images == image).flatten(1).all(1).nonzero()[0]) for image in some.images]
    assert places == sorted(places)
    assert max(places) > 50
    assert torch.equal(some.images, again.images)


def test_fingerprint_follows_the_content(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pixels(5, 32, 32, 3))
    before = find_collection(tmp_path / "a.npy").fingerprint
    np.save(tmp_path / "a.npy", 255 - pixels(5, 32, 32, 3))
    assert find_collection(tmp_path / "a.npy").fingerprint != before


def refused(root: Path, *parts: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_alone(root).demand()
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


def test_what_will_not_do(tmp_path: Path) -> None:
    refused(tmp_path / "none", str(tmp_path / "none"), "there is nothing")
    refused(tmp_path, "holds no images")
    (tmp_path / "a.npz").write_bytes(b"no archive")
    refused(tmp_path / "a.npz", "a.npz", "cannot be read")
    np.savez(tmp_path / "b.npz", labels=np.arange(3))
    refused(tmp_path / "b.npz", "b.npz", "labels", "train_x")
    np.savez(tmp_path / "c.npz", images=np.zeros((3, 32, 32, 3)))
    refused(tmp_path / "c.npz", "float64", "uint8")
    np.savez(tmp_path / "d.npz", images=np.array([{}], dtype=object))
    refused(tmp_path / "d.npz", "cannot be read")
    np.save(tmp_path / "e.npy", pixels(1, 32, 32, 3))
    refused(tmp_path / "e.npy", "1 images", "at least 2")
    (tmp_path / "f.gz").write_bytes(gzip.compress(b"\0\0\x08\x03" + struct.pack(">iii", 4, 28, 28)))
    refused(tmp_path / "f.gz", "cannot be read")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"something else")
    refused(tmp_path, "is no file of images")


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        Image.fromarray(pixels(1, 32, 32, 3)[0]).save(tmp_path / name)
    (tmp_path / "2.png").write_bytes(b"damaged")
    refused(tmp_path, "2.png")


@pytest.mark.real_data
def test_real_arrays(real_data: Path) -> None:
    if not (real_data / "cifar10.npz").exists():
        pytest.skip("needs cifar10.npz in OPTEVO_TEST_DATA")
    report = check_alone(real_data / "cifar10.npz")
    assert (report.counts, report.sizes, report.channels) == ({"train": 50_000}, {"32x32": 50_000}, {"RGB": 50_000})
    assert report.ok
