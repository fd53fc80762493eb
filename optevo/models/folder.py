"""Model folders: a trained generator with everything that is known about it."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optevo import __version__
from optevo.errors import OptevoError, UsageError
from optevo.models.families import FAMILIES, TAKES_NOISE

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import nn

FORMAT = 1
PAIR_FACTS = "pair.json"  # of a folder with two model folders, see optevo.models.pair
WEIGHTS, FACTS, SAMPLES, CARD = "generator.safetensors", "model.json", "samples.png", "README.md"

_SHAPES = {
    "images": "(B, C, H, W) in [-1, 1] -> the same",
    "noise": "(B, latent), uniform in [-1, 1] -> (B, C, H, W) in (-1, 1)",
}

# A weights file says how large its tensors are before they are made; model.json must agree within this.
MAX_PARAMETERS = 2_000_000_000


@dataclass(frozen=True)
class ModelFacts:
    """`model.json`. `metrics` have their protocol in their names; sizes are (height, width) in pixels.

    `family` is a key of :data:`optevo.models.families.FAMILIES`, and `architecture` what that family's `to_dict` gives.
    """

    architecture: dict[str, Any]
    size: tuple[int, int]
    direction: str
    seed: int
    fingerprint: str
    precision: str
    parameters: int
    exact_macs: int
    literature_macs: int
    metrics: dict[str, float]
    training: dict[str, Any]
    study: str | None = None
    trial: int | None = None
    title: str = "generator"
    family: str = "unet"
    format: int = FORMAT
    optevo: str = __version__
    versions: dict[str, str] = field(default_factory=dict)


def check_target(folder: Path) -> None:
    """Refuse a folder that a model could not be written to, before hours are spent on it.

    Raises:
        UsageError: It holds something already, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: exists already and is not empty; name another folder with --out, or remove it.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder.parent):
            pass
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}); name another folder with --out.") from error


def save_model(folder: Path, generator: "nn.Module", facts: ModelFacts, *, samples: "Image | None" = None) -> Path:
    """Write a model folder; it appears whole or not at all.

    Raises:
        OptevoError: The disk is full, or the folder cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in generator.state_dict().items()}
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        temporary.chmod(0o755)
        save_file(weights, temporary / WEIGHTS)
        (temporary / WEIGHTS).chmod(0o644)  # safetensors writes files that only their owner can read.
        (temporary / FACTS).write_text(json.dumps(asdict(facts), indent=2) + "\n", encoding="utf-8")
        (temporary / CARD).write_text(_card(facts, pictured=samples is not None), encoding="utf-8")
        if samples is not None:
            samples.save(temporary / SAMPLES, format="PNG")
        os.replace(temporary, folder)
    except (OSError, SafetensorError) as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise OptevoError(f"{folder}: cannot write the model ({error}); free some disk space or name another folder."
                          ) from error  # fmt: skip
    return folder


def read_facts(folder: Path) -> ModelFacts:
    """What is known about a model.

    Raises:
        UsageError: The folder is no model folder, or one that this version cannot read.
    """
    path = folder / FACTS
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if (folder / PAIR_FACTS).is_file():
            raise UsageError(f"{folder}: holds two models; name {folder / 'a_to_b'} or {folder / 'b_to_a'}.") from None
        raise UsageError(f"{folder}: not a model folder ({path.name}: {error}).") from None
    if not isinstance(stored, Mapping) or stored.get("format") != FORMAT or stored.get("family") not in FAMILIES:
        made = stored.get("optevo", "an unknown version") if isinstance(stored, Mapping) else "an unknown version"
        raise UsageError(f"{path}: written by optevo {made}; this is {__version__}, which cannot read it.")
    try:
        facts = ModelFacts(**{**stored, "size": tuple(stored["size"])})
        architecture_of(facts)
    except (TypeError, KeyError) as error:
        raise UsageError(f"{path}: damaged ({error}).") from None
    return facts


def architecture_of(facts: ModelFacts) -> Any:
    """The architecture of a model, as its family has it; of a translator an
    :class:`optevo.models.families.Architecture`."""
    return FAMILIES[facts.family].read(facts.architecture)


def translator_facts(folder: Path) -> ModelFacts:
    """As :func:`read_facts`, of a model that takes images.

    Raises:
        UsageError: As there, or it takes noise.
    """
    facts = read_facts(folder)
    if FAMILIES[facts.family].takes != "images":
        raise UsageError(f"{folder}: {TAKES_NOISE}")
    return facts


def load_generator(folder: str | Path, *, device: str = "cpu") -> "nn.Module":
    """The generator of a model folder, in eval mode.

    Args:
        folder: As `optevo model finetune` writes it.
        device: Where the module goes.

    Returns:
        A module from `(B, C_in, H, W)` to `(B, C_out, H, W)`, both in [-1, 1]; H and W are multiples of
        `module.architecture.multiple`. Of the family "dcgan", from noise `(B, latent)` to `(B, C, H, W)`.

    Raises:
        UsageError: The folder is no model folder, or its parts do not fit each other.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    facts = read_facts(folder)
    if facts.parameters > MAX_PARAMETERS:
        raise UsageError(f"{folder / FACTS}: parameters = {facts.parameters}: larger than any generator of optevo.")
    try:
        weights = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{folder / WEIGHTS}: not readable ({error}).") from None
    family = FAMILIES[facts.family]
    try:
        unfilled = family.unfilled(architecture_of(facts))
    except UsageError as error:
        raise UsageError(f"{folder}: {error}") from None
    try:
        generator = family.filled(unfilled, weights)
    except UsageError as error:
        raise UsageError(f"{folder}: {WEIGHTS} does not fit {FACTS} ({error}).") from None
    return generator.requires_grad_(False).eval().to(device)


def _card(facts: ModelFacts, *, pictured: bool) -> str:
    height, width = facts.size
    family = FAMILIES[facts.family]
    lines = [
        f"# {facts.title}",
        "",
        f"A {family.title} generator ({facts.direction}) for {height} x {width} pixels, made by optevo {facts.optevo}.",
        "",
        f"- {family.summary(architecture_of(facts))}",
        f"- {facts.parameters / 1e6:.3f} M parameters",
        f"- {facts.exact_macs / 1e6:.1f} M multiply-accumulates an image, exactly; "
        f"{facts.literature_macs / 1e6:.1f} M as the literature counts them (thop)",
        *[f"- {name}: {value:.4f}" for name, value in facts.metrics.items()],
        f"- seed {facts.seed}, data fingerprint {facts.fingerprint}, trained in {facts.precision}",
        "",
        *(["![What it makes of test images](samples.png)", ""] if pictured else []),
        "```python",
        "import optevo",
        f'generator = optevo.load_generator("THIS FOLDER")  # {_SHAPES[family.takes]}',
        "```",
        "",
    ]
    return "\n".join(lines)
