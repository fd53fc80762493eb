"""What people see: a live table on a terminal, plain lines elsewhere. Everything goes to stderr but results."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from optevo.search.progress import Snapshot

LINE_EVERY = 10.0  # seconds between plain lines


class View:
    """Shows snapshots of a running study.

    Args:
        name: Of the study.
        console: Where to; a live table when it is a terminal, a line now and then when it is not.
    """

    def __init__(self, name: str, *, console: Console) -> None:
        self.shown = 0
        self._name = name
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._last = ""
        self._at = 0.0

    def __enter__(self) -> "View":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def line(self, text: str) -> None:
        """Something that a worker said."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, state: "Snapshot", alive: int) -> None:
        """The newest state."""
        self.shown += 1
        if self._live is not None:
            self._live.update(_table(self._name, state, alive), refresh=True)
            return
        text = summary(self._name, state)
        if text != self._last and (time.monotonic() - self._at > LINE_EVERY or state.phase == "done"):
            self.line(text)
            self._last, self._at = text, time.monotonic()


@contextmanager
def watching(name: str) -> Iterator[View]:
    """A view on stderr for as long as the context lasts."""
    with View(name, console=Console(stderr=True)) as view:
        yield view


def summary(name: str, state: "Snapshot") -> str:
    """One line for logs."""
    parts = [f"{name}: {_where(state)}", f"{state.filled}/{state.slots} done", f"{state.trained} trained"]
    if state.best:
        parts.append(f"best {_bests(state)}")
    if state.phase != "done" and state.seconds_left is not None:
        parts.append(f"{duration(state.seconds_left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """1:02:03, or 2:03 below an hour."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table on stdout, its columns the keys of the first row; never narrower than its content."""
    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for key in rows[0]:
        table.add_column(key, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(f"{value:.4f}" if isinstance(value, float) else str(value)) for value in row.values()))
    console = Console()
    if not console.is_terminal:
        console = Console(width=1000)
    console.print(table)


@contextmanager
def steps_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for steps on a terminal's stderr; yields what to call with (done, in all)."""
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_steps(title)
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _plain_steps(title: str) -> Callable[[int, int], None]:
    said = time.monotonic()
    begun: tuple[int, float] | None = None

    def tell(done: int, total: int) -> None:
        nonlocal said, begun
        now = time.monotonic()
        begun = begun or (done, now)
        if now - said > LINE_EVERY:
            said = now
            steps, seconds = done - begun[0], now - begun[1]
            left = f", {duration((total - done) * seconds / steps)} left" if steps else ""
            print(f"{title}: step {done} of {total}{left}", file=sys.stderr)

    return tell


def _bests(state: "Snapshot") -> str:
    """The populations' best values."""
    return ", ".join(f"{best.value:.4f}" for best in state.best)


def _where(state: "Snapshot") -> str:
    if state.phase == "search":
        return f"generation {state.generation + 1} of {state.generations}"
    return {"final": "final", "done": "done"}[state.phase]


def _table(name: str, state: "Snapshot", alive: int) -> Group:
    head = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("study", "phase", "slots", "trained", "failed", "best", "mean", "MACs of best", "ETA"):
        head.add_column(column, no_wrap=True)
    macs = [best.user_attrs["exact_macs"] for best in state.best if "exact_macs" in best.user_attrs]
    head.add_row(
        name,
        _where(state),
        f"{state.filled}/{state.slots}",
        str(state.trained),
        str(state.failed),
        _bests(state),
        "" if state.mean is None else f"{state.mean:.4f}",
        ", ".join(f"{each / 1e6:.1f} M" for each in macs),
        "" if state.seconds_left is None or state.phase == "done" else duration(state.seconds_left),
    )
    workers = [
        Text(
            f"  {trial.user_attrs.get('worker', 'starting')}  trial {trial.number}  "
            f"{trial.user_attrs.get('operator', '')}"
        )
        for trial in state.running
    ]
    idle = max(0, alive - len(workers))
    if idle:
        workers.append(Text(f"  {idle} idle or starting"))
    return Group(head, *workers)
