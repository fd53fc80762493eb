"""The specification of a study: a TOML file, checked whole before anything is done."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from optevo.errors import UsageError
from optevo.evolution.screening import Screening
from optevo.samplers.roulette_ga import PRESETS
from optevo.tasks.coevolution_settings import CoevolutionSettings
from optevo.tasks.recipe_settings import RecipeFinetuneSettings, RecipeSearchSettings
from optevo.tasks.settings import Count, Section, UNetSettings

Share = Annotated[float, Field(ge=0, le=1)]
Settings = TypeVar("Settings", bound=BaseModel)


class SamplerSettings(Section):
    """`[sampler]`: the genetic algorithm, see :class:`optevo.samplers.RouletteGASampler`.

    What a specification does not say is its preset's. `candidates = 0` trains whatever is bred; `archive = 0` breeds
    from the last generation.
    """

    preset: Literal["paper", "plain", "screened"] = "screened"
    population: Annotated[int, Field(ge=2)]
    founders: Literal["random", "balanced"]
    generations: Count = 32
    selection: Share = 0.2
    crossover: Share = 0.7
    mutation: Share = 0.1
    scaling: Literal["proportional", "rank", "sigma"]
    mutation_kind: Literal["segment", "single"]
    elites: Annotated[int, Field(ge=0)]
    duplicates: Literal["keep", "mutate"]
    archive: Annotated[int, Field(ge=0)]
    candidates: Annotated[int, Field(ge=0)]
    optimism: Annotated[float, Field(ge=0)] = Screening().optimism
    immigrants: Share = Screening().immigrants
    diversity: Annotated[float, Field(ge=0)] = Screening().diversity
    memory: Annotated[int, Field(ge=2)] = Screening().memory
    reuse: bool = True

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        """What the preset says, so that the stored specification says everything."""
        preset = PRESETS.get(data.get("preset", cls.model_fields["preset"].default)) if isinstance(data, dict) else None
        if preset is None:
            return data
        screening = preset["screening"]
        filled = {name: preset[name] for name in ("founders", "scaling", "mutation_kind", "elites", "duplicates")}
        filled["population"] = preset["population_size"]
        filled["archive"] = preset["archive"] or 0
        filled["candidates"] = 0 if screening is None else screening.candidates
        return {**filled, **data}

    @model_validator(mode="after")
    def _consistent(self) -> "SamplerSettings":
        total = self.selection + self.crossover + self.mutation
        if abs(total - 1) > 1e-9:
            raise ValueError(
                f"sampler.selection + crossover + mutation = {total:g}: the three probabilities must add up to 1"
            )
        if self.elites >= self.population:
            raise ValueError(f"sampler.elites = {self.elites}: must be below sampler.population = {self.population}")
        return self


class MaskSamplerSettings(SamplerSettings):
    """`[sampler]` of the co-evolution, in each population. Screening predicts from a few genes, not from hundreds of
    bits, so there is none."""

    preset: Literal["paper", "plain"] = "plain"
    generations: Count = 50
    candidates: Annotated[int, Field(ge=0, le=0)]


class RecipeSamplerSettings(SamplerSettings):
    """`[sampler]` of a search for recipes: the genetic algorithm, or by `name` one of Optuna's samplers.

    One of Optuna's draws `population` individuals at a time, for so many workers, in each of `generations`; with
    `population = 1` it draws one after another. It takes `arguments`, as Optuna documents them; the other keys are the
    genetic algorithm's.
    """

    name: Literal["roulette", "random", "tpe", "gp", "cmaes", "nsgaii", "qmc", "bruteforce"] = "roulette"
    population: Annotated[int, Field(ge=1)]
    arguments: dict[str, int | float | bool | str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_its_name(self) -> "RecipeSamplerSettings":
        if self.name == "roulette" and self.arguments:
            raise ValueError("sampler.arguments: are for Optuna's samplers; roulette has keys of its own")
        if self.name == "roulette" and self.population < 2:
            raise ValueError(f"sampler.population = {self.population}: the genetic algorithm needs at least 2")
        return self


class PrunerSettings(Section):
    """`[pruner]`: which of Optuna's pruners gives a hopeless training up, and its `arguments` as Optuna documents them.

    A training is compared with those of earlier generations, see :mod:`optevo.search.pruning`.
    """

    name: Literal["median", "percentile", "threshold", "none"] = "median"
    arguments: dict[str, int | float | bool] = Field(default_factory=dict)


class StopSettings(Section):
    """`[stop]`: ends the search before its last generation.

    `hours` counts the time in which at least one individual was in training; `patience` counts complete generations
    without a better best individual.
    """

    hours: Annotated[float, Field(gt=0)] | None = None
    patience: Count | None = None


class FinalSettings(Section):
    """`[final]`: the best distinct individuals are trained again, each with the same new seeds; 0 candidates for none.

    `steps` is the length of each training; None takes twice the mini-training.
    """

    candidates: Annotated[int, Field(ge=0)] = 3
    seeds: Annotated[int, Field(ge=1)] = 3
    steps: Count | None = None


Seed = Annotated[int, Field(ge=0, lt=2**63)]


class UNetSpec(UNetSettings):
    """A whole specification of a U-Net search. `seed` drives everything random in the study."""

    system: Literal["unet"] = "unet"
    seed: Seed = 0
    sampler: SamplerSettings = Field(default_factory=lambda: SamplerSettings.model_validate({}))
    stop: StopSettings = StopSettings()
    final: FinalSettings = FinalSettings()

    @model_validator(mode="after")
    def _nobody_learns_twice(self) -> "UNetSpec":
        if self.training.warm_start != "none" and not self.sampler.reuse:
            raise ValueError(
                f'sampler.reuse = false: with training.warm_start = "{self.training.warm_start}" an elite that is '
                "trained again would need its parents' parents, which are not kept; set sampler.reuse = true"
            )
        return self


class CoevolutionSpec(CoevolutionSettings):
    """A whole specification of a co-evolution. `seed` drives everything random in the study.

    There is no final: every generation's elites are judged again, against another partner.
    """

    system: Literal["coevolution"] = "coevolution"
    seed: Seed = 0
    sampler: MaskSamplerSettings = Field(default_factory=lambda: MaskSamplerSettings.model_validate({}))
    stop: StopSettings = StopSettings()

    @property
    def final(self) -> FinalSettings:
        """None is held."""
        return FinalSettings(candidates=0)


class RecipeSpec(RecipeSearchSettings):
    """A whole specification of a search for GAN recipes. `seed` drives everything random in the study."""

    system: Literal["cegan"] = "cegan"
    seed: Seed = 0
    sampler: RecipeSamplerSettings = Field(default_factory=lambda: RecipeSamplerSettings.model_validate({}))
    pruner: PrunerSettings = PrunerSettings()
    stop: StopSettings = StopSettings()
    final: FinalSettings = FinalSettings()
    finetune: RecipeFinetuneSettings = RecipeFinetuneSettings()

    @model_validator(mode="after")
    def _something_varies(self) -> "RecipeSpec":
        if not self.search:
            raise ValueError("search: nothing varies; name a key, such as search.learning_rate = [1e-4, 2e-4]")
        return self


Spec = UNetSpec | CoevolutionSpec | RecipeSpec
SYSTEMS: dict[str, type[UNetSpec] | type[CoevolutionSpec] | type[RecipeSpec]] = {
    "unet": UNetSpec,
    "coevolution": CoevolutionSpec,
    "cegan": RecipeSpec,
}


def find_spec(spec: str | Path) -> Path:
    """A TOML file, or a specification that comes with optevo, by its name such as `"quickstart"`."""
    path = Path(spec)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return path
    ready = _ready_folder() / f"{spec}.toml"
    return ready if ready.exists() else path


def ready_specs() -> list[str]:
    """Names of the specifications that come with optevo."""
    return sorted(path.stem for path in _ready_folder().glob("*.toml"))


def _ready_folder() -> Path:
    """`studies/`: inside an installed package, beside it in a checkout."""
    installed = Path(__file__).parents[1] / "studies"
    return installed if installed.exists() else Path(__file__).parents[2] / "studies"


def read_spec(path: Path, *, overrides: Sequence[str] = ()) -> Spec:
    """Read a TOML file and settings of the form `table.key=value` on top of it.

    Raises:
        UsageError: One line that names the file, the key, the value and the cure.
    """
    document = read_document(path, cure=f"name one, or a ready specification: {', '.join(ready_specs())}")
    return parse_spec(overridden(document, overrides), source=str(path))


def read_document(path: Path, *, cure: str = "check the path") -> dict[str, Any]:
    """What a TOML file says, not checked yet.

    Raises:
        UsageError: It cannot be read; where there is none, the message ends with `cure`.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file; {cure}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}).") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}.") from None


def overridden(document: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The same document, changed in place by settings of the form `table.key=value`."""
    for override in overrides:
        _override(document, override)
    return document


def parse_arguments(texts: Sequence[str]) -> dict[str, Any]:
    """Values by name, of texts of the form `key=value`."""
    found = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise UsageError(f"--argument {text}: write it as KEY=VALUE, for example --argument width=32.")
        found[key.strip()] = _value(value.strip())
    return found


def parse_spec(document: Any, *, source: str) -> Spec:
    """A specification from plain data, whether from a file or from a database: nothing in it is ever executed."""
    system = document.get("system", "unet") if isinstance(document, dict) else "unet"
    model = SYSTEMS.get(system) if isinstance(system, str) else None
    if model is None:
        raise UsageError(f"{source}: system = {json.dumps(system, default=str)}: must be one of {', '.join(SYSTEMS)}.")
    return parse_settings(model, document, source=source)


def parse_settings(model: type[Settings], document: Any, *, source: str) -> Settings:
    """Settings of any kind from plain data.

    Raises:
        UsageError: One line that names the source, the key, the value and the cure.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise UsageError(f"{source}: {_explain(error, model)}") from None


def _override(document: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    names = key.strip().split(".")
    if not separator or not all(names):
        raise UsageError(f"--set {override}: write it as table.key=value, for example --set sampler.population=8.")
    table = document
    for name in names[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise UsageError(f"--set {override}: {name} is a value, not a table.")
    table[names[-1]] = _value(text.strip())


def _value(text: str) -> Any:
    """A TOML value; anything that is none is taken as a string, so that paths need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"] if isinstance(part, str) and not part.startswith("function-"))
    value = json.dumps(problem["input"], default=str)
    value = value if len(value) <= 80 else value[:77] + "..."
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key; {_known(problem['loc'], model)}{more}."
    if problem["type"] == "missing":
        return f"{key}: missing; add it{more}."
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if problem["type"] == "value_error":
        return f"{message}{more}."
    return f"{key} = {value}: {message[0].lower()}{message[1:]}{more}."


def _known(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    table: Any = model
    for part in location[:-1]:
        table = table.model_fields[part].annotation
    name = ".".join(str(part) for part in location[:-1])
    return f"{'table ' + name if name else 'the specification'} has {', '.join(sorted(table.model_fields))}"
