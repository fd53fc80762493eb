"""Which versions of packages may work on one study together, and who accepted others.

A study keeps the versions that it was created with. Values are comparable only where everybody computes alike, so a
worker with another major or minor release of a package that a value goes through is refused. A patch release mends
errors and is let in with a warning, as is another build of the same release (`2.15.0+cpu`).

optevo breeds, builds and trains; torch trains; numpy draws and breeds; scikit-learn predicts whom to train; Pillow
decodes and resizes the images; the samplers reach into Optuna's internals. Python is kept for the reader: random
numbers, hashes and sums come from packages or are exact, so no result depends on its release. torchvision is not kept:
no training uses it.
"""

import logging
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from optuna.study import Study

from optevo import __version__
from optevo.errors import OptevoError, UsageError
from optevo.search import processes

log = logging.getLogger("optevo.worker")

PACKAGES = ("torch", "numpy", "optuna", "scikit-learn", "pillow")
COMPARED = ("optevo", *PACKAGES)

# A study attribute for each combination that was accepted. Each has its own key, so that no write overwrites another's;
# the same key twice says the same.
ACCEPTED = "accepted_versions "


@dataclass(frozen=True)
class Difference:
    """A package whose version here is not the study's."""

    package: str
    recorded: str
    here: str

    @property
    def decisive(self) -> bool:
        """Whether results change: another major or minor release."""
        return release(self.recorded) != release(self.here)

    def __str__(self) -> str:
        return f"{self.package} {self.here} (the study's is {self.recorded})"


def versions() -> dict[str, str]:
    """Of this process: what results may depend on, and Python's."""
    return {
        "optevo": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def release(text: str) -> str:
    """Major and minor number of a version, `"2.15"` of `"2.15.0+cpu"`; the whole text where it has none."""
    found = re.match(r"\d+\.\d+", text)
    return found.group() if found else text


def differences(recorded: Mapping[str, str], here: Mapping[str, str]) -> list[Difference]:
    """The compared packages whose versions differ. What a record lacks, as an older study's may, is not compared."""
    return [
        Difference(package, str(recorded[package]), here[package])
        for package in COMPARED
        if package in recorded and package in here and recorded[package] != here[package]
    ]


def acceptances(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was accepted for a study, by its user attributes, the earliest first: `versions`, `by` (host and process)
    and `at` (UTC)."""
    found = [value for key, value in attributes.items() if key.startswith(ACCEPTED) and _is_acceptance(value)]
    return sorted(
        ({"versions": dict(each["versions"]), "by": each.get("by"), "at": each.get("at")} for each in found),
        key=lambda each: str(each["at"]),
    )


def unaccepted(decisive: list[Difference], accepted: list[dict[str, Any]]) -> list[Difference]:
    """Those of the differences that nobody has accepted yet. Accepted is a release, with all its patches."""
    known = {(package, release(str(text))) for each in accepted for package, text in each["versions"].items()}
    return [each for each in decisive if (each.package, release(each.here)) not in known]


def check_versions(study: Study, recorded: Mapping[str, str], *, accept: bool, here: Mapping[str, str]) -> None:
    """Let this process work on a study, with a warning where versions differ, or refuse it.

    What one process accepts is recorded in the study and holds for all: whoever has the same releases joins without
    asking again.

    Args:
        study: Where acceptances are recorded.
        recorded: The versions that it was created with.
        accept: Whether to accept what would be refused.
        here: The versions of this process.

    Raises:
        UsageError: A version changes results, and nobody has accepted it.
        OptevoError: The acceptance could not be recorded.
    """
    different = differences(recorded, here)
    decisive = [each for each in different if each.decisive]
    patches = [each for each in different if not each.decisive]
    if patches:
        log.warning("%s: another patch release, values may differ in their last digits", _listed(patches))
    if not decisive:
        return
    missing = unaccepted(decisive, acceptances(study.user_attrs))
    if missing and not accept:
        wanted = " ".join(f"{each.package}=={each.recorded}" for each in missing)
        raise UsageError(
            f"study {study.study_name!r}: refused, for another release changes results: {_listed(missing)}; install "
            f"the study's (pip install {wanted}), or join with --accept-versions, which is recorded in the study."
        )
    if missing:
        _record(study, missing)
    log.warning("%s: results may differ from those of the study's own; this is accepted", _listed(decisive))


def _record(study: Study, accepted: list[Difference]) -> None:
    key = ACCEPTED + ", ".join(f"{each.package} {each.here}" for each in accepted)
    told = {
        "versions": {each.package: each.here for each in accepted},
        "by": processes.name(),
        "at": datetime.now(UTC).isoformat(sep=" ", timespec="seconds"),
    }
    study.set_user_attr(key, told)
    # Optuna passes over a write that meets another one; then the other's says the same.
    if key not in study.user_attrs:
        raise OptevoError(f"study {study.study_name!r}: the accepted versions could not be recorded; run it again.")


def _is_acceptance(value: Any) -> bool:
    # It comes from a database, where others may have written.
    return isinstance(value, Mapping) and isinstance(value.get("versions"), Mapping)


def _listed(found: list[Difference]) -> str:
    return ", ".join(map(str, found))
