"""Everything a training needs to go on as if it had never stopped, in one safetensors file."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from optevo.errors import OptevoError
from optevo.training.base import Training


@dataclass(frozen=True)
class Notes:
    """What a checkpoint says of itself: the steps done, and what its training must agree with."""

    step: int
    facts: Mapping[str, Any]

    def agree(self, facts: Mapping[str, Any], *, path: Path) -> None:
        """Raise OptevoError, which names the first difference, where these are not the facts."""
        for key in {**self.facts, **facts}:
            if self.facts.get(key) != facts.get(key):
                raise OptevoError(
                    f"{path}: belongs to a run with another {key} ({self.facts.get(key)!r}, not {facts.get(key)!r}); "
                    "delete it to start again, or name another folder."
                )


def read_notes(path: Path) -> Notes:
    """What a checkpoint says of itself, without its tensors.

    Raises:
        OptevoError: The file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return Notes(int(metadata["step"]), dict(json.loads(metadata["facts"])))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise OptevoError(f"{path}: not a readable checkpoint ({error}); delete it to start again.") from error


def save_checkpoint(path: Path, model: Training, *, step: int, facts: Mapping[str, Any] | None = None) -> None:
    """Write the state after `step` steps. The file appears whole or not at all, even if the process is killed.

    Args:
        path: The file; its folder must exist.
        facts: JSON-safe notes that come back with the checkpoint, such as what the run must agree with.

    Raises:
        OptevoError: The disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    metadata = {"step": str(step), "facts": json.dumps(dict(facts or {}))}
    try:
        save_file(_tensors(model), temporary, metadata=metadata)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise OptevoError(f"{path}: cannot write the checkpoint ({error}); free some disk space or name another folder."
                          ) from error  # fmt: skip


def load_checkpoint(path: Path, model: Training, *, facts: Mapping[str, Any] | None = None) -> int:
    """Bring `model` and torch's random states to where a checkpoint left them.

    Args:
        facts: What the checkpoint's notes must equal.

    Returns:
        The number of steps done.

    Raises:
        OptevoError: The file is damaged, or belongs to another run.
    """
    notes = read_notes(path)
    if facts is not None:
        notes.agree(facts, path=path)
    try:
        with safe_open(path, framework="pt") as file:
            _restore(model, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - not a mapping
    except (RuntimeError, KeyError, ValueError, IndexError, OSError, SafetensorError) as error:
        # torch names every tensor that does not fit; the last line is the most telling one.
        reason = str(error).strip().splitlines()[-1].strip()
        raise OptevoError(f"{path}: does not fit this training ({reason}); delete it to start again.") from error
    return notes.step


def _tensors(model: Training) -> dict[str, Tensor]:
    parts = model.parts()
    tensors: dict[str, Tensor] = {"random.cpu": torch.get_rng_state()}
    if model.engine.device.type == "cuda":
        tensors["random.device"] = torch.cuda.get_rng_state(model.engine.device)
    for part, module in parts.modules.items():
        tensors.update({f"{part}.{name}": value for name, value in module.state_dict().items()})
    for part, adam in parts.adams.items():
        for place, state in adam.state_dict()["state"].items():
            tensors.update({f"{part}.{place}.{name}": value for name, value in state.items()})
    for part, other in parts.others.items():
        tensors.update({f"{part}.{name}": value for name, value in other.state().items()})
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _restore(model: Training, tensors: Mapping[str, Tensor]) -> None:
    parts = model.parts()
    for part, module in parts.modules.items():
        module.load_state_dict(_under(part, tensors))
    for part, adam in parts.adams.items():
        _restore_adam(adam, _under(part, tensors))
    for part, other in parts.others.items():
        other.restore({name: value.to(model.engine.device) for name, value in _under(part, tensors).items()})
    torch.set_rng_state(tensors["random.cpu"])
    if "random.device" in tensors and model.engine.device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random.device"], model.engine.device)


def _restore_adam(adam: torch.optim.Adam, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    parameters = [parameter for group in adam.param_groups for parameter in group["params"]]
    for name, tensor in tensors.items():
        place, key = name.split(".")
        state.setdefault(int(place), {})[key] = _laid_out_like(parameters[int(place)], tensor)
    adam.load_state_dict({"state": state, "param_groups": adam.state_dict()["param_groups"]})


def _laid_out_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """Fused Adam walks through parameter and state side by side, so both must lie in memory in the same order."""
    return tensor if tensor.shape != parameter.shape else torch.empty_like(parameter.detach()).copy_(tensor)


def _under(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}."): tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}
