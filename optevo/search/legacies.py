"""What a trained individual leaves to its children: its networks, in the artifact store.

A child that learns from its parents is a pure function of its seed, its genome and their trainings. So these files are
no pictures, which a search can do without:

* They are stored before the trial is told. A trial whose files cannot be stored is not told at all.
* A child whose parent's file is missing or damaged is not trained in any other way: its result would depend on luck.
* In both cases the trial gives its claim back, so that nothing is held against the individual, and the worker ends with
  one line. Once the store is mended, the same command goes on. Nobody trains a lost parent again: that would take its
  own parents' files, which may be gone by right.

Which of them are kept is said in :mod:`optevo.search.collecting`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from optevo.search.artifacts import Artifacts, stored_files
from optevo.search.patient_store import ArtifactError


@dataclass(frozen=True)
class Legacies:
    """The files of a study's trials.

    Args:
        artifacts: The study's store.
    """

    artifacts: Artifacts

    def leave(self, trial: Trial, files: Mapping[str, bytes]) -> None:
        """Store what a running trial leaves, by name.

        Raises:
            ArtifactError: The store stays away, or says no.
        """
        for name, content in files.items():
            self.artifacts.attach_content(trial, name, content)

    def read(self, study: Study, number: int, name: str) -> tuple[FrozenTrial, bytes]:
        """A trained trial, and what it left under a name.

        Raises:
            ArtifactError: It is not there, damaged, or the store stays away.
        """
        trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
        trial = study._storage.get_trial(trial_id)
        try:
            left = next((stored for stored in stored_files(trial) if stored.filename == name), None)
            if left is None:
                raise ArtifactError(f"it left no {name}")
            return trial, self.artifacts.read(left, cure="no use to a child")
        except ArtifactError as error:
            raise ArtifactError(
                f"cannot learn from trial {number}, its parent ({error}): bring the artifact store back from a backup, "
                "and run the same command again"
            ) from error
