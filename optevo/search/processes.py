"""Which process trains, so that others on the same machine see at once when it is gone."""

import os
import socket
from pathlib import Path

PROCESS = "optevo:process"


def name() -> str:
    """Who trains, for people: host and process number."""
    return f"{socket.gethostname()}:{os.getpid()}"


def identity(pid: int | None = None) -> str | None:
    """A text that no other process has, ever: boot, process namespace, number and start time.

    None off Linux, and for a process that has ended, also where nobody has taken note of its death yet (in a container
    without an init process nobody ever may).
    """
    pid = os.getpid() if pid is None else pid
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else f"{machine()}/{pid}/{fields[18]}"
    except (OSError, IndexError):
        return None


def is_gone(stored: str) -> bool:
    """Whether a process of THIS machine and namespace has ended; False for any other."""
    theirs, pid, _ = stored.rsplit("/", 2)
    try:
        return theirs == machine() and identity(int(pid)) != stored
    except OSError:
        return False


def machine() -> str:
    """Boot and process namespace. Raises OSError off Linux."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
