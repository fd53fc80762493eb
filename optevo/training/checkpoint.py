"""Everything a training needs to go on as if it had never stopped, in one safetensors file."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from optevo.errors import OptevoError
from optevo.training.pix2pix import Pix2Pix


def save_checkpoint(path: Path, model: Pix2Pix, *, step: int, facts: dict[str, Any] | None = None) -> None:
    """Write the state after `step` steps. The file appears whole or not at all, even if the process is killed.

    Args:
        path: The file; its folder must exist.
        facts: JSON-safe notes that come back with the checkpoint, such as what the run must agree with.

    Raises:
        OptevoError: The disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    metadata = {"step": str(step), "facts": json.dumps(facts or {})}
    try:
        save_file(_tensors(model), temporary, metadata=metadata)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise OptevoError(f"{path}: cannot write the checkpoint ({error}); free some disk space or name another folder."
                          ) from error  # fmt: skip


def load_checkpoint(path: Path, model: Pix2Pix, *, facts: dict[str, Any] | None = None) -> int:
    """Bring `model` and torch's random states to where a checkpoint left them.

    Args:
        facts: What the checkpoint's notes must equal.

    Returns:
        The number of steps done.

    Raises:
        OptevoError: The file is damaged, or belongs to another run.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError) as error:
        raise OptevoError(f"{path}: not a readable checkpoint ({error}); delete it to start again.") from error
    stored = json.loads(metadata["facts"])
    different = [key for key in {**stored, **(facts or {})} if stored.get(key) != (facts or {}).get(key)]
    if facts is not None and different:
        raise OptevoError(
            f"{path}: belongs to a run with another {different[0]} ({stored.get(different[0])!r}, "
            f"not {facts.get(different[0])!r}); delete it to start again, or name another folder."
        )
    _restore(model, tensors)
    return int(metadata["step"])


def _parts(model: Pix2Pix) -> dict[str, Any]:
    return {"generator": model.generator, "discriminator": model.discriminator}


def _adams(model: Pix2Pix) -> dict[str, torch.optim.Adam]:
    return {"generator_adam": model.generator_adam, "discriminator_adam": model.discriminator_adam}


def _tensors(model: Pix2Pix) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {"random.cpu": torch.get_rng_state()}
    if model.engine.device.type == "cuda":
        tensors["random.device"] = torch.cuda.get_rng_state(model.engine.device)
    for part, module in _parts(model).items():
        tensors.update({f"{part}.{name}": value for name, value in module.state_dict().items()})
    for part, adam in _adams(model).items():
        for place, state in adam.state_dict()["state"].items():
            tensors.update({f"{part}.{place}.{name}": value for name, value in state.items()})
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _restore(model: Pix2Pix, tensors: dict[str, Tensor]) -> None:
    for part, module in _parts(model).items():
        module.load_state_dict(_under(part, tensors))
    for part, adam in _adams(model).items():
        state: dict[int, dict[str, Tensor]] = {}
        parameters = [parameter for group in adam.param_groups for parameter in group["params"]]
        for name, tensor in _under(part, tensors).items():
            place, key = name.split(".")
            state.setdefault(int(place), {})[key] = _laid_out_like(parameters[int(place)], tensor)
        adam.load_state_dict({"state": state, "param_groups": adam.state_dict()["param_groups"]})
    torch.set_rng_state(tensors["random.cpu"])
    if "random.device" in tensors:
        torch.cuda.set_rng_state(tensors["random.device"], model.engine.device)


def _laid_out_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """Fused Adam walks through parameter and state side by side, so both must lie in memory in the same order."""
    return tensor if tensor.shape != parameter.shape else torch.empty_like(parameter.detach()).copy_(tensor)


def _under(part: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}."): tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}
