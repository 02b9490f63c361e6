"""What must be known about a model to feed it: read from its run directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from smartbkg_tf.dataset.information import check_information, encoding_of, particles_of
from smartbkg_tf.errors import InputError
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.encoding import EncodingSettings
from smartbkg_tf.settings.sources import ParticleSet
from smartbkg_tf.settings.stored import METADATA, check_stored


@dataclass(frozen=True)
class ModelDescription:
    """What must be known about a model to feed it and to read its answers.

    Parameters
    ----------
    label_names : tuple of str
        Names of the outputs: the skims.
    encoding : EncodingSettings
        How events are encoded.
    max_particles : int
        Particles per event.
    max_tokens : int
        Decay tokens per event.
    vocabulary : dict
        ``size`` and ``digest`` of the vocabulary.
    particles : {"tables", "generator"}
        Which generated particles its training tables kept.
    """

    label_names: tuple[str, ...]
    encoding: EncodingSettings
    max_particles: int
    max_tokens: int
    vocabulary: dict[str, Any]
    particles: ParticleSet = "tables"


def describe_run(run: RunDirectory) -> ModelDescription:
    """Find out what the model of a run directory reads and predicts."""
    information, metadata = run.dataset_information(), run.read_metadata()
    check_information(information, where=run.dataset)
    check_stored(METADATA, metadata, run.metadata, next_step="copy it again, or train again")
    try:
        encoding = encoding_of(information)
        return ModelDescription(
            label_names=tuple(information["label_names"]),
            encoding=encoding,
            max_particles=int(metadata.get("max_particles") or encoding.max_particles),
            max_tokens=int(metadata.get("max_tokens") or encoding.max_tokens),
            vocabulary=dict(information["vocabulary"]),
            particles=particles_of(information),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the run's files do not fit together ({error!r})", where=run.path
        ) from error
