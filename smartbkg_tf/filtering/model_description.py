"""What must be known about a model to feed it: read from its run directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smartbkg_tf.dataset.information import check_information, encoding_of, particles_of
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.encoding import EncodingSettings
from smartbkg_tf.settings.sources import ParticleSet
from smartbkg_tf.settings.stored import METADATA, check_stored


@dataclass(frozen=True)
class ModelDescription:
    """What must be known about a model to feed it and to read its answers."""

    label_names: tuple[str, ...]  # the outputs: skims
    encoding: EncodingSettings
    max_particles: int  # per event
    max_tokens: int
    vocabulary: dict[str, Any]  # its size and digest
    particles: ParticleSet = "tables"  # which particles the training tables kept


def description_of(values: dict[str, Any], where: Path) -> ModelDescription:
    """Make the description of checked values of ``dataset.json``, or of those of an export."""
    return ModelDescription(
        label_names=tuple(values["label_names"]),
        encoding=encoding_of(values, where),
        max_particles=int(values["max_particles"]),
        max_tokens=int(values["max_tokens"]),
        vocabulary=dict(values["vocabulary"]),
        particles=particles_of(values),
    )


def describe_run(run: RunDirectory) -> ModelDescription:
    """Find out what the model of a run directory reads and predicts."""
    information, metadata = run.dataset_information(), run.read_metadata()
    check_information(information, where=run.dataset)
    check_stored(METADATA, metadata, run.metadata, next_step="copy it again, or train again")
    # A run may have been trained on shorter events than its dataset holds.
    lengths = {
        name: metadata.get(name) or information["encoding"][name]
        for name in ("max_particles", "max_tokens")
    }
    return description_of({**information, **lengths}, run.dataset)
