"""Options of a launcher, `key=value` on the command line: checked before anything is started."""

import re
from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from optevo.errors import UsageError

# What else sbatch takes, passed on as it is: sbatch.account=vision becomes --account=vision.
SBATCH = "sbatch."

LIMIT = re.compile(r"(?:(?P<days>\d+)-)?(?P<parts>\d+(?::\d+){0,2})")

Count = Annotated[int, Field(ge=1)]


def minutes(text: object) -> object:
    """A time limit as sbatch takes it, in whole minutes: MINUTES, M:S, H:M:S, D-H, D-H:M or D-H:M:S."""
    found = LIMIT.fullmatch(str(text))
    if found is None:
        raise ValueError("a time limit is MINUTES, HOURS:MINUTES:SECONDS or DAYS-HOURS, as for sbatch")
    parts = [int(part) for part in found["parts"].split(":")]
    if found["days"] is not None:
        hours, minutes, seconds = [*parts, 0, 0][:3]
        hours += 24 * int(found["days"])
    else:
        hours, minutes, seconds = {1: [0, *parts, 0], 2: [0, *parts], 3: parts}[len(parts)]
    return 60 * hours + minutes + (seconds > 0)


class Options(BaseModel):
    """Keys that are not named are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LocalOptions(Options):
    """None: `--workers` is all there is."""


class RayOptions(Options):
    """What an actor of Ray asks for.

    Attributes:
        address: Of the cluster, HOST:PORT; by default RAY_ADDRESS, else the cluster that this machine is part of.
        gpus: A worker, a part of one where several share it; by default 1 for a study on GPUs.
        cpus: A worker; by default the study's threads a trial.
    """

    address: str | None = None
    gpus: Annotated[float, Field(ge=0)] | None = None
    cpus: Annotated[float, Field(gt=0)] | None = None


class SlurmOptions(Options):
    """What a job of Slurm asks for.

    Attributes:
        partition: By default the cluster's.
        time: Limit of a job, as sbatch takes it; the job is put into the queue again when it is over. In minutes.
        gpus: A worker; by default 1 for a study on GPUs.
        cpus: A worker; by default the study's threads a trial.
        warning: Seconds before the limit at which a job gives its individual back.
        logs: Folder for what the jobs say; every node must see it.
        cluster: `"local"` runs the same jobs on this machine without Slurm, to try them.
        sbatch: Anything else, as `sbatch.KEY=VALUE`.
    """

    partition: str | None = None
    time: Annotated[int, BeforeValidator(minutes), Field(ge=1)] = 60
    gpus: Annotated[int, Field(ge=0)] | None = None
    cpus: Count | None = None
    warning: Count = 90
    logs: str = "slurm"
    cluster: Annotated[str, Field(pattern="^(slurm|local)$")] = "slurm"
    sbatch: dict[str, str] = {}


Model = TypeVar("Model", bound=Options)


def read_options(model: type[Model], pairs: Sequence[str]) -> Model:
    """The options of a launcher.

    Raises:
        UsageError: One is unknown, or its value will not do; the message has the key, the value and the cure.
    """
    values: dict[str, object] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key or not value:
            raise UsageError(f"--launcher-option {pair}: write it as key=value; {_known(model)}.")
        if key.startswith(SBATCH) and "sbatch" in model.model_fields:
            values["sbatch"] = {**_mapping(values.get("sbatch")), _flag(pair, key): value}
        elif key not in model.model_fields or key == "sbatch":
            raise UsageError(f"--launcher-option {pair}: unknown key; {_known(model)}.")
        else:
            values[key] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        raise UsageError(f"--launcher-option {key}={problem['input']}: {message[0].lower()}{message[1:]}.") from None


def _mapping(value: object) -> dict[str, str]:
    return value if isinstance(value, dict) else {}


def _flag(pair: str, key: str) -> str:
    flag = key.removeprefix(SBATCH)
    if not re.fullmatch("[a-z][a-z-]*", flag):
        raise UsageError(
            f"--launcher-option {pair}: {flag!r} is no option of sbatch; write for example sbatch.qos=low."
        )
    return flag


def _known(model: type[Options]) -> str:
    keys = [f"{key}.KEY" if key == "sbatch" else key for key in model.model_fields]
    return f"this launcher has {', '.join(keys)}" if keys else "this launcher has none"
