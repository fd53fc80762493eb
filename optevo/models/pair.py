"""Pair folders: two trained translators between image domains A and B, with the discriminators they were trained with.

`a_to_b/` and `b_to_a/` are ordinary model folders (:mod:`optevo.models.folder`); `judges.safetensors` holds both
discriminators, and `pair.json` what the two have in common.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optevo import __version__
from optevo.errors import OptevoError, UsageError
from optevo.models.families import Architecture, family_of
from optevo.models.folder import CARD, PAIR_FACTS, SAMPLES, ModelFacts, architecture_of, load_generator, save_model
from optevo.models.folder import read_facts as read_model_facts

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

    from optevo.tasks.translators import Translators

FORMAT = 1
JUDGES = "judges.safetensors"
HALVES = {"a_to_b": "AtoB", "b_to_a": "BtoA"}  # folder -> direction
JUDGE_NAMES = ("judge_a", "judge_b")
_LIMITS = {"input_channels": 65_536, "ndf": 65_536, "layers": 12}  # of a discriminator that a file may ask for


@dataclass(frozen=True)
class PairFacts:
    """`pair.json`: what both translators have in common.

    Attributes:
        size: (height, width) of the images, in pixels.
        fingerprint: of the images of all splits; empty where they are not known.
        title: what the models are called.
        seed: of the training; None where it is not known.
        precision: of the training.
        training: its settings.
        metrics: with their protocol in their names.
        versions: of the packages that it was trained with.
        judges: the shape of `judge_a` and `judge_b` (:class:`optevo.networks.patchgan.PatchGAN`), filled in by
            :func:`save_pair`; empty for a pair without discriminators.
    """

    size: tuple[int, int]
    fingerprint: str = ""
    title: str = "translators"
    seed: int | None = None
    precision: str = "fp32"
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    judges: dict[str, dict[str, Any]] = field(default_factory=dict)
    format: int = FORMAT
    optevo: str = __version__


def is_pair(folder: str | Path) -> bool:
    """Whether a folder says that it is a pair's."""
    return (Path(folder) / PAIR_FACTS).is_file()


def save_pair(
    folder: str | Path, translators: "Translators", facts: PairFacts, *, samples: "Image | None" = None
) -> Path:
    """Write a pair folder; it appears whole or not at all.

    The generators' architectures and costs, and the discriminators' shapes, are read off the modules.

    Args:
        folder: Where to; it must not exist, or be empty.
        translators: The generators of a known family (:mod:`optevo.models.families`), the discriminators PatchGANs.
        facts: What else is known.
        samples: A picture of what they make.

    Raises:
        UsageError: The modules do not fit each other, or are of no known kind.
        OptevoError: The disk is full, or the folder cannot be written.
    """
    modules = dict(translators.named())
    return save_modules(
        folder,
        generators={name: modules[name] for name in HALVES},
        judges={name: modules[name] for name in JUDGE_NAMES},
        facts=facts,
        samples=samples,
    )


def save_modules(
    folder: str | Path,
    *,
    generators: "Mapping[str, nn.Module]",
    judges: "Mapping[str, nn.Module]",
    facts: PairFacts,
    samples: "Image | None" = None,
) -> Path:
    """As :func:`save_pair`, by name; `judges` may be empty, which makes a pair that cannot be trained further."""
    folder = Path(folder)
    shapes = {name: _judge_shape(judge, name=name) for name, judge in judges.items()}
    halves = {name: _model_facts(generators[name], facts, direction=HALVES[name]) for name in HALVES}
    architectures = {name: architecture_of(half) for name, half in halves.items()}
    _check_fit(architectures, shapes, size=facts.size, where=str(folder))
    facts = replace(facts, judges=shapes)
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        temporary.chmod(0o755)
        for name, half in halves.items():
            save_model(temporary / name, generators[name], half)
        if judges:
            _save_judges(temporary / JUDGES, judges)
        (temporary / PAIR_FACTS).write_text(json.dumps(asdict(facts), indent=2) + "\n", encoding="utf-8")
        (temporary / CARD).write_text(_card(facts, halves, pictured=samples is not None), encoding="utf-8")
        if samples is not None:
            samples.save(temporary / SAMPLES, format="PNG")
        os.replace(temporary, folder)
    except (OSError, OptevoError) as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise OptevoError(f"{folder}: cannot write the pair ({error}); free some disk space or name another folder."
                          ) from error  # fmt: skip
    return folder


def read_pair_facts(folder: str | Path) -> PairFacts:
    """What is known about a pair.

    Raises:
        UsageError: The folder is no pair folder, or one that this version cannot read.
    """
    path = Path(folder) / PAIR_FACTS
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder}: not a pair folder ({path.name}: {error}).") from None
    if not isinstance(stored, Mapping) or stored.get("format") != FORMAT:
        made = stored.get("optevo", "an unknown version") if isinstance(stored, Mapping) else "an unknown version"
        raise UsageError(f"{path}: written by optevo {made}; this is {__version__}, which cannot read it.")
    try:
        facts = PairFacts(**{**stored, "size": _size(stored["size"])})
        for name, shape in facts.judges.items():
            _check_judge_shape(name, shape)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}: damaged ({error}).") from None
    return facts


def load_pair(folder: str | Path, *, device: str = "cpu") -> "Translators":
    """The translators of a pair folder, in eval mode, their parameters without gradients.

    Args:
        folder: As :func:`save_pair` wrote it.
        device: Where the modules go.

    Raises:
        UsageError: The folder is no pair folder, a half or the discriminators are missing, or the parts do not fit.
    """
    from optevo.tasks.translators import Translators

    folder = Path(folder)
    facts = read_pair_facts(folder)
    if not facts.judges:
        raise UsageError(
            f"{folder}: holds no discriminators, which this needs; import the pair again with --judge-a and --judge-b."
        )
    architectures = {name: architecture_of(half_facts(folder, name)) for name in HALVES}
    _check_fit(architectures, facts.judges, size=facts.size, where=str(folder))
    generators = {name: load_generator(folder / name, device=device) for name in HALVES}
    return Translators(**generators, **_load_judges(folder, facts, device=device))


def half_facts(folder: Path, name: str) -> ModelFacts:
    """What is known about one half of a pair, "a_to_b" or "b_to_a"; UsageError if it is not there."""
    if not (folder / name).is_dir():
        raise UsageError(f"{folder}: the half {name} is missing; a pair has {' and '.join(HALVES)}.")
    return read_model_facts(folder / name)


def _model_facts(generator: "nn.Module", facts: PairFacts, *, direction: str) -> ModelFacts:
    """What model.json says of one half."""
    from optevo.cost.counted import exact_macs, literature_macs, parameters

    family = family_of(generator)
    architecture = family.of(generator)
    height, width = facts.size
    architecture.check_size(height, width)
    shape = (1, architecture.input_channels, height, width)
    ending = f"_{direction}_"
    return ModelFacts(
        architecture=architecture.to_dict(),
        size=facts.size,
        direction=direction,
        seed=facts.seed or 0,
        fingerprint=facts.fingerprint,
        precision=facts.precision,
        parameters=parameters(generator),
        exact_macs=exact_macs(generator, *shape),
        literature_macs=literature_macs(generator, *shape),
        metrics={name: value for name, value in facts.metrics.items() if ending in name},
        training=facts.training,
        title=f"{facts.title} {direction}",
        family=family.name,
        versions=facts.versions,
    )


def _judge_shape(judge: "nn.Module", *, name: str) -> dict[str, Any]:
    from optevo.networks.patchgan import PatchGAN

    if not isinstance(judge, PatchGAN):
        raise UsageError(f"{name}: a {type(judge).__name__}; a pair's discriminators are PatchGANs.")
    return judge.shape


def _check_judge_shape(name: str, shape: Mapping[str, Any]) -> None:
    """Raise ValueError unless a discriminator of this shape may be built. It may come from anybody's file."""
    if name not in JUDGE_NAMES or set(shape) != {*_LIMITS, "norm"}:
        raise ValueError(f"judges.{name}: the shape of a discriminator has {', '.join(_LIMITS)} and norm")
    for key, limit in _LIMITS.items():
        value = shape[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
            raise ValueError(f"judges.{name}.{key} = {value!r}: must be a whole number from 1 to {limit}")


def _check_fit(
    architectures: Mapping[str, Architecture],
    judges: Mapping[str, Mapping[str, Any]],
    *,
    size: tuple[int, int],
    where: str,
) -> None:
    """Refuse generators that cannot follow each other, and discriminators of other images than they make."""
    there, back = architectures["a_to_b"], architectures["b_to_a"]
    for domain, gives, takes in (("A", back, there), ("B", there, back)):
        if gives.output_channels != takes.input_channels:
            raise UsageError(
                f"{where}: one generator gives images of {domain} with {gives.output_channels} channels, the other "
                f"takes them with {takes.input_channels}; take two that belong together."
            )
        judge = judges.get(f"judge_{domain.lower()}")
        if judge is not None and judge["input_channels"] != takes.input_channels:
            raise UsageError(
                f"{where}: judge_{domain.lower()} does not fit: it judges images with {judge['input_channels']} "
                f"channels, and those of {domain} have {takes.input_channels}."
            )
        if judge is not None and min(size) < 3 * 2 ** judge["layers"]:
            raise UsageError(
                f"{where}: judge_{domain.lower()} does not fit: with {judge['layers']} layers it needs "
                f"{3 * 2 ** judge['layers']} pixels, and the size is {size[0]}x{size[1]}."
            )
    if judges and set(judges) != set(JUDGE_NAMES):
        raise UsageError(f"{where}: has {', '.join(judges)} alone; a pair has both discriminators or none.")


def _save_judges(path: Path, judges: "Mapping[str, nn.Module]") -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {
        f"{name}.{key}": tensor.detach().cpu().contiguous()
        for name, judge in judges.items()
        for key, tensor in judge.state_dict().items()
    }
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    path.chmod(0o644)  # safetensors writes files that only their owner can read.


def _load_judges(folder: Path, facts: PairFacts, *, device: str) -> "dict[str, nn.Module]":
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / JUDGES
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path}: not readable ({error}).") from None
    return {
        name: _built_judge(shape, _under(name, tensors), where=f"{path}: {name}").to(device)
        for name, shape in facts.judges.items()
    }


def _built_judge(shape: Mapping[str, Any], weights: "Mapping[str, Tensor]", *, where: str) -> "nn.Module":
    import torch

    from optevo.networks.patchgan import PatchGAN

    with torch.device("meta"):
        judge = PatchGAN(**shape)
    try:
        judge.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UsageError(f"{where} does not fit {PAIR_FACTS} ({reason}).") from None
    return judge.requires_grad_(False).eval()


def _under(name: str, tensors: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def _size(stored: Any) -> tuple[int, int]:
    height, width = stored
    if not all(isinstance(side, int) and side >= 1 for side in (height, width)):
        raise ValueError(f"size = {stored!r}: must be [height, width]")
    return height, width


def _card(facts: PairFacts, halves: Mapping[str, ModelFacts], *, pictured: bool) -> str:
    height, width = facts.size
    lines = [
        f"# {facts.title}",
        "",
        f"Two translators between images of A and B, {height} x {width} pixels, made by optevo {facts.optevo}.",
        "",
        *(
            f"- [{name}]({name}): {half.parameters / 1e6:.3f} M parameters, {half.exact_macs / 1e6:.1f} M exact MACs, "
            f"{half.literature_macs / 1e6:.1f} M literature MACs"
            for name, half in halves.items()
        ),
        *(f"- {name}: {value:.4f}" for name, value in facts.metrics.items()),
        *([f"- discriminators of both domains in {JUDGES}"] if facts.judges else []),
        "",
        *(["![Test images and their translations](samples.png)", ""] if pictured else []),
        "```python",
        "import optevo",
        'generator = optevo.load_generator("THIS FOLDER/a_to_b")  # (B, C, H, W) in [-1, 1] -> the same',
        "```",
        "",
    ]
    return "\n".join(lines)
