"""Begin with the backbone of another run: all layers before the output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smartbkg_tf.dataset.information import check_information
from smartbkg_tf.errors import InputError
from smartbkg_tf.models.answers import require_same_inputs
from smartbkg_tf.models.inputs import ANSWERS, FOREST, HEAD, NETWORK_OUTPUT, OUTPUT
from smartbkg_tf.models.loading import load_model, target_of
from smartbkg_tf.models.normalisation import ParticleNormalisation, RelativeToFirst
from smartbkg_tf.models.physics import PhysicsLayer
from smartbkg_tf.runtime.files import read_yaml
from smartbkg_tf.runtime.run_directory import RunDirectory, open_trained
from smartbkg_tf.settings.training import FineTuningSettings


@dataclass(frozen=True)
class BackboneRun:
    """The run that gives the backbone."""

    run: RunDirectory
    config: Mapping[str, Any]
    information: Mapping[str, Any]

    @property
    def normalisation(self) -> dict[str, Any]:
        """The constants that its network was trained with, as in ``dataset.json``."""
        given = self.config.get("normalisation")
        values: dict[str, Any] = dict(given or self.information["normalisation"])
        return values


#: The output and the trees beside it: those of the new network keep their own weights.
_OF_SKIMS = (OUTPUT, NETWORK_OUTPUT, FOREST, ANSWERS)


def open_source(path: str, information: Mapping[str, Any]) -> BackboneRun:
    """Open the run that gives the backbone, and check that its inputs mean the same."""
    run = open_trained(path)
    config, their_information = read_yaml(run.config), run.dataset_information()
    check_information(their_information, where=run.dataset)
    require_same_inputs(path, information, "training.init_from")
    return BackboneRun(run, config, their_information)


def take_backbone(source: BackboneRun, model: Any, tuning: FineTuningSettings) -> None:
    """Copy all weights before the output, and freeze them if so asked; before ``compile``.

    The output of the new network keeps its new weights: its skims are others.
    """
    other = load_model(source.run.model, target_of(source.config))
    theirs = _backbone(other)
    ours = _backbone(model)
    for path in [*ours, *theirs]:
        a, b = (tuple(w[path].shape) if path in w else "missing" for w in (ours, theirs))
        if a != b:
            raise InputError(
                f"training.init_from: its network is another one before the output ({path}: {b} "
                f"there, {a} here)",
                where=source.run.path,
                next_step=f"give the model settings of {source.run.config}",
            )
    known = {layer.name: layer for layer in other.layers}
    for layer in model.layers:
        if layer.name not in _OF_SKIMS:
            _same_constants(layer, known.get(layer.name), source)
            of_head = layer.name.startswith(HEAD)
            frozen_branch = tuning.backbone == "frozen_branches" and not of_head
            if tuning.backbone == "frozen" or frozen_branch:
                layer.trainable = False
    for path, weight in ours.items():
        weight.assign(theirs[path].numpy())


def _backbone(model: Any) -> dict[str, Any]:
    """Give the weights before the output by path."""
    layers = [layer for layer in model.layers if layer.name not in _OF_SKIMS]
    return {weight.path: weight for layer in layers for weight in layer.weights}


def _same_constants(layer: Any, other: Any, source: BackboneRun) -> None:
    """Refuse other inputs: the weights behind them were learned with those."""
    if not isinstance(layer, (RelativeToFirst, PhysicsLayer, ParticleNormalisation)):
        return
    if other is None:
        raise InputError(
            f"training.init_from: its network has no layer '{layer.name}': another version of "
            "smartbkg_tf trained it",
            where=source.run.path,
            next_step="train that network again with this version",
        )
    if layer.get_config() == other.get_config():
        return
    if isinstance(layer, ParticleNormalisation):
        raise InputError(
            "training.init_from: its network was trained with another normalisation",
            where=source.run.path,
            next_step="leave normalisation out (normalisation=null): that of the run is taken",
        )
    raise InputError(
        f"training.init_from: its network was trained with other constants in '{layer.name}' "
        "(columns, beams, acceptance)",
        where=source.run.path,
        next_step=f"give the model settings of {source.run.config}",
    )
