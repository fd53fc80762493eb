"""Where a dataset of a known size lives: on the device, in host memory, or in a file mapped into memory."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Literal

from optevo.errors import OptevoError

Placement = Literal["device", "host", "disk"]

DEVICE_FRACTION = 0.4  # of free GPU memory; the rest is for networks, activations and other workers
HOST_FRACTION = 0.4  # of available host memory


def choose_placement(need: int, *, device_budget: int, host_budget: int, host_is_device: bool) -> Placement:
    """The fastest place with room for `need` bytes; "host" does not exist apart where the device is the CPU."""
    if need <= device_budget:
        return "device"
    if need <= host_budget and not host_is_device:
        return "host"
    return "disk"


def available_memory() -> int:
    """Bytes of host memory that can still be used, within the limit of the control group (container), if any."""
    free = [amount for amount in (_meminfo(), _control_group()) if amount is not None]
    return max(0, min(free)) if free else 2**31  # unknown system: a cautious 2 GiB


def _meminfo() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return None
    except OSError:
        return _physical_memory()


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return None


def _control_group(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    try:
        limit = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or "max": no limit
        return None
    return limit - used + int(statistics.get("inactive_file", 0))  # cached files give way


def cache_folder() -> Path:
    """`$OPTEVO_CACHE`, else `$XDG_CACHE_HOME/optevo`, else `~/.cache/optevo`; the temporary folder if none is writable.

    /tmp comes last because it is often kept in memory, which is what a file on disk is meant to spare.
    """
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    folder = Path(os.environ.get("OPTEVO_CACHE") or Path(base) / "optevo")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.gettempdir())


def reserve(descriptor: int, size: int, *, folder: Path) -> None:
    """Give an open file `size` bytes on disk now: a full disk met later, through a memory map, kills the process.

    Raises:
        OptevoError: there is not that much room.
    """
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            os.ftruncate(descriptor, size)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OptevoError(
            f"{folder}: no room for {size / 2**20:,.0f} MiB of decoded images ({reason}); free some space, set "
            "OPTEVO_CACHE to another folder, or train at a smaller size"
        ) from error
