"""A long training saves itself every few minutes and when it is interrupted, and goes on from what was saved."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from optevo.training.base import Training
from optevo.training.checkpoint import Notes, read_notes, save_checkpoint


@dataclass(frozen=True)
class Found:
    """A checkpoint to go on from: a local file, what it says of itself, and where it came from."""

    path: Path
    notes: Notes
    place: str


class Checkpoints(Protocol):
    """Where the checkpoints of one training lie. The newest counts; all go when the training's result is safe."""

    def find(self, facts: Mapping[str, Any]) -> Found | None:
        """The newest one, or None where the training begins.

        Args:
            facts: What the training must agree with; JSON-safe. Its key "threads" tells trainings apart only at the
                end, when the checkpoint is loaded: a training that may use any number takes the one it began with.
        """
        ...

    def save(self, model: Training, *, step: int, facts: Mapping[str, Any]) -> None:
        """Keep the state after `step` steps. When it returns, `model` may change again."""
        ...

    def check(self) -> None:
        """Raise OptevoError where another process has taken the training over. Costs nothing."""
        ...

    def close(self) -> None:
        """Wait for what is still being saved. Called when the training ends, for whatever reason."""
        ...

    def remove(self) -> None:
        """Remove all of them: the result is written."""
        ...


class LocalCheckpoints:
    """One file, which each checkpoint replaces."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, facts: Mapping[str, Any]) -> Found | None:
        """The file, if there is one. That it belongs to this training is seen when it is loaded."""
        return Found(self.path, read_notes(self.path), str(self.path)) if self.path.exists() else None

    def save(self, model: Training, *, step: int, facts: Mapping[str, Any]) -> None:
        """Replace the file, at once."""
        save_checkpoint(self.path, model, step=step, facts=facts)

    def check(self) -> None:
        """Nobody takes a training over through a file beside its model."""

    def close(self) -> None:
        """Nothing is under way."""

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


@dataclass
class Saving:
    """Saves a training when it is time.

    Args:
        checkpoints: Where to.
        model: What is trained.
        facts: What whoever goes on must agree with.
        minutes: Between two checkpoints.
    """

    checkpoints: Checkpoints
    model: Training
    facts: Mapping[str, Any]
    minutes: float
    _saved: float = field(default_factory=time.monotonic, init=False)

    def after(self, step: int, tell: Callable[[], None]) -> None:
        """To be called after each step. Where `tell` raises, the training is saved before it ends.

        Raises:
            OptevoError: The disk is full, or another process has taken the training over.
        """
        self.checkpoints.check()
        due = time.monotonic() - self._saved > 60 * self.minutes
        try:
            tell()
        except BaseException:
            due = True
            raise
        finally:
            if due:
                self.checkpoints.save(self.model, step=step, facts=self.facts)
                self._saved = time.monotonic()
