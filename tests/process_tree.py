"""Which processes a process has started, read from /proc."""

from contextlib import suppress
from pathlib import Path


def tree(pid: int) -> list[int]:
    """A process and all that it has started, and they; the parents first."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found
