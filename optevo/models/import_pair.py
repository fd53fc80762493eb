"""Translators that pytorch-CycleGAN-and-pix2pix trained, as a pair folder.

Its `latest_net_G_A.pth` holds the generator from A to B and `latest_net_G_B.pth` the one back. Its discriminators are
named after the generators that they oppose: `latest_net_D_A.pth` judges what G_A makes, which are images of B, and
`latest_net_D_B.pth` images of A. Here a discriminator has the name of the images that it judges.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optevo.errors import UsageError
from optevo.models.folder import check_target
from optevo.models.pair import PairFacts, save_modules
from optevo.spaces.custom import check_arguments
from optevo.spaces.resnet import architecture_of_shapes

if TYPE_CHECKING:
    from torch import Tensor, nn

    Weights = dict[str, Tensor]

# What checkpoints of old versions keep of norms without parameters; it is not used when images are translated.
_STATISTICS = re.compile(r".*\.(running_mean|running_var|num_batches_tracked)")
# The part of a file's name that says what it holds in that code.
_NAMED = {"a_to_b": "net_G_A", "b_to_a": "net_G_B", "judge_a": "net_D_B", "judge_b": "net_D_A"}


def import_pair(
    folder: Path,
    *,
    a_to_b: Path,
    b_to_a: Path,
    judge_a: Path | None = None,
    judge_b: Path | None = None,
    size: tuple[int, int],
    generator: str | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> PairFacts:
    """Write a pair folder from state dicts; widths and numbers of layers are read off their shapes.

    Args:
        folder: The pair folder.
        a_to_b, b_to_a: State dicts of residual generators with instance norm: `latest_net_G_A.pth` and `_G_B.pth`.
        judge_a, judge_b: Of the PatchGANs that judge images of A and of B: `latest_net_D_B.pth` and `_D_A.pth`. Both
            or neither; without them the pair translates, but cannot be trained further or compressed.
        size: (height, width) of the images that they were trained on, in pixels.
        generator: The key of a generator of the user's own in the entry-point group `optevo.generators`; the files of
            `a_to_b` and `b_to_a` are then state dicts of what that package builds.
        arguments: What its callable is given, by name.

    Raises:
        UsageError: A file cannot be read, holds another network, or was given under another's name; no package offers
            the generator; or the folder exists already.
        OptevoError: The folder cannot be written.
    """
    check_target(folder)
    if generator is None and arguments:
        raise UsageError("--argument: is for a generator of your own; name it with --generator.")
    check_arguments(arguments or {})
    if (judge_a is None) != (judge_b is None):
        raise UsageError("--judge-a, --judge-b: name both discriminators, or neither.")
    given = {"a_to_b": a_to_b, "b_to_a": b_to_a, "judge_a": judge_a, "judge_b": judge_b}
    files = {role: Path(path) for role, path in given.items() if path is not None}
    for role, path in files.items():
        _check_name(path, role=role)
    facts = PairFacts(
        size=size, title=folder.name, training={"imported": {role: path.name for role, path in files.items()}}
    )  # fmt: skip

    def translator(path: Path) -> "nn.Module":
        if generator is None:
            return generator_of(read_weights(path), path=path)
        return custom_of(read_weights(path), key=generator, arguments=arguments or {}, size=size, path=path)

    save_modules(
        folder,
        generators={role: translator(files[role]) for role in ("a_to_b", "b_to_a")},
        judges={
            role: judge_of(read_weights(files[role]), path=files[role])
            for role in ("judge_a", "judge_b")
            if role in files
        },
        facts=facts,
    )
    return facts


def read_weights(path: Path) -> "Weights":
    """The tensors of a state dict, nothing else of the file being trusted or run.

    Raises:
        UsageError: There is no such file, or it holds something else.
    """
    import torch

    try:
        stored: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file; check the path.") from None
    except Exception as error:  # A foreign file may break the reader in any way.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"{path}: is no state dict that can be read safely ({reason[:160]}).") from None
    if not isinstance(stored, Mapping) or not stored or not all(torch.is_tensor(each) for each in stored.values()):
        raise UsageError(f"{path}: holds no state dict (tensors by name); save network.state_dict() itself.")
    # What data-parallel training wraps around a network is in front of every name.
    whole = all(str(name).startswith("module.") for name in stored)
    weights = {str(name).removeprefix("module.") if whole else str(name): value for name, value in stored.items()}
    for name, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise UsageError(f"{path}: {name} holds values that are no numbers; take an earlier checkpoint.")
    return weights


def generator_of(weights: "Weights", *, path: Path) -> "nn.Module":
    """The residual generator of a state dict.

    Raises:
        UsageError: It is another network's; the file and the key are named.
    """
    from optevo.networks.resnet import ResNetGenerator

    weights = _without_statistics(weights)
    try:
        architecture = architecture_of_shapes({name: tuple(value.shape) for name, value in weights.items()})
    except UsageError as error:
        raise UsageError(
            f"{path}: {error}; only residual generators with instance norm (resnet_6blocks, resnet_9blocks) are read."
        ) from None
    return _filled(lambda: ResNetGenerator(architecture), weights, path=path, what="CycleGAN's residual generator")


def custom_of(
    weights: "Weights", *, key: str, arguments: Mapping[str, Any], size: tuple[int, int], path: Path
) -> "nn.Module":
    """The generator of an installed package that a state dict is of.

    Raises:
        UsageError: No package offers the key, or the state dict is another network's; the file is named.
    """
    from optevo.networks.custom import find, imported

    find(key)
    try:
        return imported(key, arguments, weights, size=size).eval()
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def judge_of(weights: "Weights", *, path: Path) -> "nn.Module":
    """The PatchGAN of a state dict.

    Raises:
        UsageError: It is another network's; the file and the key are named.
    """
    from optevo.networks.patchgan import PatchGAN

    weights = _without_statistics(weights)
    first = weights.get("model.0.weight")
    if first is None or first.ndim != 4:
        raise UsageError(
            f"{path}: model.0.weight: is not what a PatchGAN has there; only `basic` discriminators are read."
        )
    layers = sum(value.ndim == 4 for value in weights.values()) - 2
    if layers < 1:
        raise UsageError(f"{path}: has {layers + 2} convolutions, and a PatchGAN at least 3; it is another network's.")
    ndf, channels = int(first.shape[0]), int(first.shape[1])
    return _filled(
        lambda: PatchGAN(channels, ndf=ndf, layers=layers, norm="instance"),
        weights,
        path=path,
        what="a PatchGAN with instance norm",
    )


def _check_name(path: Path, *, role: str) -> None:
    """Refuse a file whose name says that it is another's: swapped networks would fit, and translate nothing."""
    said = next((name for name in _NAMED.values() if name in path.name), None)
    if said is None or said == _NAMED[role]:
        return
    option = next(other for other, name in _NAMED.items() if name == said).replace("_", "-")
    why = "; D_A there judges what G_A makes, images of B, and D_B images of A" if "net_D" in said else ""
    raise UsageError(f"--{role.replace('_', '-')} {path}: is called {said}: name it with --{option}{why}.")


def _without_statistics(weights: "Weights") -> "Weights":
    return {name: value for name, value in weights.items() if not _STATISTICS.fullmatch(name)}


def _filled(build: Any, weights: "Weights", *, path: Path, what: str) -> "nn.Module":
    """The network with these weights, in float32; the first name or shape that does not fit is named."""
    import torch

    with torch.device("meta"):
        network: nn.Module = build()
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    for name, value in weights.items():
        if name not in wanted:
            raise UsageError(
                f"{path}: {name}: {what} has no such weight; it is another network's, or has another norm."
            )
        if tuple(value.shape) != wanted[name]:
            raise UsageError(f"{path}: {name}: has the shape {tuple(value.shape)}, and {what} {wanted[name]} there.")
    missing = next((name for name in wanted if name not in weights), None)
    if missing is not None:
        raise UsageError(f"{path}: {missing}: is missing, and {what} has it; it is another network's.")
    network.load_state_dict({name: value.float().contiguous() for name, value in weights.items()}, assign=True)
    return network.eval()
