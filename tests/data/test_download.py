from __future__ import annotations

import io
import logging
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sample_images import ab_folder, noise, save

from optevo.data import fetch as fetch_module
from optevo.data.download import SOURCES, download, draw_dataset
from optevo.data.fetch import fetch
from optevo.data.pairs import find_pairs
from optevo.errors import OptevoError, UsageError


class Server(ThreadingHTTPServer):
    """Serves files from memory, and fails in the ways that a test asks for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.etag = '"one"'
        self.ranges = True  # does it answer Range?
        self.cuts: list[int] = []  # bytes after which each coming response breaks off
        self.statuses: list[int] = []  # status of each coming response, instead of the file
        self.requests: list[str] = []  # the Range of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range", "")
        server.requests.append(wanted)
        body = server.files.get(self.path)
        status = server.statuses.pop(0) if server.statuses else 200 if body is not None else 404
        if status != 200 or body is None:
            self.send_error(status)
            return
        start = 0
        if wanted and server.ranges and self.headers.get("If-Range") == server.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if server.etag:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else len(body)
        self.wfile.write(body[start : start + cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetch_module, "_PAUSES", (0.01, 0.01))  # the pauses, not what they are for
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def facades(tmp_path: Path, server: Server) -> bytes:
    """A facades archive as the real server has it."""
    ab_folder(tmp_path / "made" / "facades", {"train": 6, "val": 2}, size=(64, 64))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(tmp_path / "made" / "facades", "facades")
    server.files["/pix2pix/datasets/facades.tar.gz"] = packed.getvalue()
    return packed.getvalue()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_download_and_unpack(tmp_path: Path, server: Server, facades: bytes, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[tuple[int, int | None]] = []
    to = tmp_path / "new" / "data"
    folder = download("facades", to=to, base_url=server.url, progress=lambda *call: calls.append(call))
    assert folder == to / "facades"
    assert {split: len(pairs) for split, pairs in find_pairs(folder).items()} == {"train": 6, "val": 2}
    assert calls[-1] == (len(facades), len(facades))
    assert names(to) == {"facades"}
    with caplog.at_level(logging.INFO, logger="optevo.data"):
        assert download("facades", to=to, base_url=server.url) == folder
    assert "is already there" in caplog.text
    assert len(server.requests) == 1


def test_zip(tmp_path: Path, server: Server) -> None:
    packed = io.BytesIO()
    image = save(tmp_path / "1.png", noise(8, 8)).read_bytes()
    with zipfile.ZipFile(packed, "w") as archive:
        for half in ("trainA", "trainB"):
            archive.writestr(f"horse2zebra/{half}/1.png", image)
    server.files["/cyclegan/datasets/horse2zebra.zip"] = packed.getvalue()
    folder = download("horse2zebra", to=tmp_path / "data", base_url=server.url)
    assert (folder / "trainB" / "1.png").read_bytes() == image


def test_a_broken_connection_is_resumed_at_once(tmp_path: Path, server: Server, facades: bytes) -> None:
    server.cuts = [10_000, 0, 5_000]
    folder = download("facades", to=tmp_path / "data", base_url=server.url)
    assert len(find_pairs(folder)["train"]) == 6
    assert server.requests == ["", "bytes=10000-", "bytes=10000-", "bytes=15000-"]


def test_an_interrupted_download_goes_on_next_time(tmp_path: Path, server: Server, facades: bytes) -> None:
    class Killed(BaseException):
        pass

    def kill(done: int, total: int | None) -> None:
        raise Killed

    server.cuts = [20_000]
    with pytest.raises(Killed):
        download("facades", to=tmp_path / "data", base_url=server.url, progress=kill)
    assert not (tmp_path / "data" / "facades").exists()
    assert len(find_pairs(download("facades", to=tmp_path / "data", base_url=server.url))["train"]) == 6
    assert server.requests == ["", "bytes=20000-"]


def test_a_changed_file_is_fetched_anew(tmp_path: Path, server: Server) -> None:
    part = tmp_path / "x.part"
    server.files["/x"], server.cuts = b"a" * 50_000, [10_000, 0, 0, 0]
    with pytest.raises(OptevoError, match=r"ended at 10,000 of 50,000 bytes.*run the same command again"):
        fetch(f"{server.url}/x", part)
    server.files["/x"], server.etag = b"b" * 40_000, '"two"'
    assert fetch(f"{server.url}/x", part).read_bytes() == b"b" * 40_000


@pytest.mark.parametrize(("ranges", "etag"), [(False, '"one"'), (True, ""), (True, 'W/"weak"')])
def test_without_range_or_validator_it_starts_over(tmp_path: Path, server: Server, ranges: bool, etag: str) -> None:
    server.ranges, server.etag = ranges, etag
    server.files["/x"], server.cuts = bytes(range(256)) * 200, [30_000, 20_000]
    assert fetch(f"{server.url}/x", tmp_path / "x.part").read_bytes() == server.files["/x"]
    assert len(server.requests) == 3
    assert any(server.requests) != ranges  # without a strong validator it must not even ask for a part


def test_a_server_that_never_gets_further_is_given_up(tmp_path: Path, server: Server) -> None:
    server.etag = ""
    server.files["/x"], server.cuts = bytes(50_000), [1_000, 500] * 50
    with pytest.raises(OptevoError, match="after 3 attempts"):
        fetch(f"{server.url}/x", tmp_path / "x.part")
    assert len(server.requests) == 4


def test_a_complete_part_is_not_fetched_again(tmp_path: Path, server: Server) -> None:
    server.files["/x"] = b"abc"
    fetch(f"{server.url}/x", tmp_path / "x.part")
    fetch(f"{server.url}/x", tmp_path / "x.part")
    assert len(server.requests) == 1


def test_refusals_and_passing_failures(tmp_path: Path, server: Server, facades: bytes) -> None:
    with pytest.raises(OptevoError, match=r"maps\.tar\.gz: the server answers 404") as caught:
        download("maps", to=tmp_path / "data", base_url=server.url)
    assert caught.value.exit_code == 1
    assert len(server.requests) == 1
    server.statuses = [503, 429]
    download("facades", to=tmp_path / "data", base_url=server.url)
    server.statuses = [500] * 9
    with pytest.raises(OptevoError, match=r"the server answers 500 .*after 3 attempts"):
        fetch(f"{server.url}/x", tmp_path / "x.part")


def test_no_server(tmp_path: Path, server: Server) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(OptevoError, match="Connection refused") as caught:
        download("facades", to=tmp_path, base_url=server.url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["flipped", "cut", "no archive"])
def test_a_corrupt_archive_is_removed_and_fetched_anew(
    tmp_path: Path, server: Server, facades: bytes, damage: str
) -> None:
    middle = len(facades) // 2
    server.files["/pix2pix/datasets/facades.tar.gz"] = {
        "flipped": facades[:middle] + bytes(1000) + facades[middle + 1000 :],
        "cut": facades[:middle],
        "no archive": b"<html>not found</html>" * 100,
    }[damage]
    with pytest.raises(OptevoError, match=r"facades\.tar\.gz\.part: is damaged"):
        download("facades", to=tmp_path / "data", base_url=server.url)
    assert names(tmp_path / "data") == set()
    server.files["/pix2pix/datasets/facades.tar.gz"] = facades
    assert len(find_pairs(download("facades", to=tmp_path / "data", base_url=server.url))["train"]) == 6


@pytest.mark.parametrize("name", ["facades", "horse2zebra"])
@pytest.mark.parametrize("path", ["../outside.txt", "{root}/outside.txt"])
def test_an_archive_may_not_write_outside(tmp_path: Path, server: Server, name: str, path: str) -> None:
    packed, path = io.BytesIO(), path.format(root=tmp_path)
    if SOURCES[name].kind == "zip":
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(path, b"evil")
    else:
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            tar.addfile(tarfile.TarInfo(path), io.BytesIO())
    server.files[f"/{SOURCES[name].path}"] = packed.getvalue()
    if SOURCES[name].kind == "tar.gz" and path.startswith("/"):  # tarfile's filter puts an absolute path inside
        download(name, to=tmp_path / "data", base_url=server.url)
    else:
        with pytest.raises(OptevoError, match=r"is damaged or unsafe .*outside"):
            download(name, to=tmp_path / "data", base_url=server.url)
    assert list(tmp_path.rglob("outside.txt")) == list((tmp_path / "data" / name).rglob("outside.txt"))


def test_a_full_disk(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    server.files["/x"] = bytes(1000)
    (tmp_path / "x.part").symlink_to("/dev/full")
    with pytest.raises(OptevoError, match=r"x\.part: cannot be written \(No space left on device\)"):
        fetch(f"{server.url}/x", tmp_path / "x.part")
    assert len(server.requests) == 1


UNPACK_WITHOUT_ROOM = """
import resource, sys
from pathlib import Path
from optevo.data.download import download
from optevo.errors import OptevoError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    download("facades", to=Path(sys.argv[1]), base_url=sys.argv[2])
except OptevoError as error:
    print(error)
"""


def test_no_room_to_unpack_keeps_the_archive(tmp_path: Path, server: Server) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("facades/train/1.png")
        member.size = 1_000_000
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    server.files["/pix2pix/datasets/facades.tar.gz"] = packed.getvalue()
    command = [sys.executable, "-c", UNPACK_WITHOUT_ROOM, str(tmp_path / "data"), server.url]
    message = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert message.startswith(f"{tmp_path / 'data' / 'facades'}: cannot be written (File too large)")
    assert names(tmp_path / "data") == {"facades.tar.gz.part", "facades.tar.gz.part.json"}
    assert (download("facades", to=tmp_path / "data", base_url=server.url) / "train" / "1.png").stat().st_size == 10**6
    assert len(server.requests) == 1


def test_unknown_names_and_addresses(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fassades: no such dataset; choose one of drawn-facades, facades"):
        download("fassades", to=tmp_path)
    with pytest.raises(UsageError, match="must begin with http"):
        download("facades", to=tmp_path, base_url="file:///etc")


def test_drawn_facades(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = draw_dataset(to=tmp_path / "data", count=2, val=1, test=0, size=(16, 16))
    assert folder == tmp_path / "data" / "drawn-facades"
    assert {split: len(pairs) for split, pairs in find_pairs(folder).items()} == {"train": 2, "val": 1}
    with caplog.at_level(logging.INFO, logger="optevo.data"):
        assert download("drawn-facades", to=tmp_path / "data") == folder
    assert "is already there" in caplog.text
    shutil.rmtree(folder)
    assert len(find_pairs(download("drawn-facades", to=tmp_path / "data"))["train"]) == 60
    assert names(tmp_path / "data") == {"drawn-facades"}
