"""The network of branches and a head: every architecture but one's own is made of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.answers import frozen_network
from smartbkg_tf.models.base import NNBaseClass, traced
from smartbkg_tf.models.blocks import dense
from smartbkg_tf.models.branches import Branch
from smartbkg_tf.models.forest import Columns, Forest, fit_forests
from smartbkg_tf.models.head_inputs import EventTypeInput, HeadInput
from smartbkg_tf.models.inputs import FOREST_READS, HEAD
from smartbkg_tf.models.physics import ACCEPTANCE, BEAMS, checked_acceptance, checked_beams
from smartbkg_tf.models.thresholds import PiecewiseLinear
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.models import HeadSettings, ModelSettings
from smartbkg_tf.settings.training import TrainingSettings

#: Training events at whose quantiles bins are put.
_LOOKED_AT = 20_000


class BranchedNetwork(NNBaseClass):
    """A branch for the particles, one for the decay string, and a head.

    ``inputs`` chooses both branches or one of them. The head joins what the branches give and its
    own inputs; then dense layers with dropout behind the first, and one logit for each skim.

    Parameters
    ----------
    particles : ParticleBranch or mapping, optional
        The particle branch: `smartbkg_tf.models.branches.ParticleBranch`, or ``_target_`` and its
        settings as plain values.
    decay : DecayBranch or mapping, optional
        The decay branch.
    head : HeadSettings or mapping, optional
        Sizes of the head and what it reads beside the branches.
    codes : sequence of int, optional
        PDG code of each token; those of the package's vocabulary by default.
    beams : sequence of float, default `smartbkg_tf.models.physics.BEAMS`
        Total px, py, pz and E of the beams, GeV; saved in the model. For other beams train with
        ``model.parameters.beams=[PX,PY,PZ,E]``.
    acceptance : sequence of float, default (17, 150)
        Smallest and largest polar angle that the detector covers, degrees; saved in the model
        (``model.parameters.acceptance=[LOW,HIGH]``).
    **common
        As `NNBaseClass`.

    Raises
    ------
    ConfigurationError
        When `inputs` asks for a branch that there is none of, or for something that the
        inputs cannot give.

    Examples
    --------
    >>> from smartbkg_tf.models.decay_branches import CnnLstm
    >>> from smartbkg_tf.models.network import BranchedNetwork
    >>> network = BranchedNetwork(vocabulary_size=100, inputs="decay", decay=CnnLstm())
    >>> network.model.output_shape
    (None, 1)
    """

    def __init__(
        self,
        particles: Any = None,
        decay: Any = None,
        head: HeadSettings | Mapping[str, Any] | None = None,
        codes: Sequence[int] | None = None,
        beams: Sequence[float] = BEAMS,
        acceptance: Sequence[float] = ACCEPTANCE,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        checked = validate(
            ModelSettings,
            {
                "_target_": "smartbkg_tf.models.network.BranchedNetwork",
                "particles": particles,
                "decay": decay,
                "head": head or {},
            },
            where="model",
        )
        self.particles, self.decay, self.head = checked.particles, checked.decay, checked.head
        self.codes = None if codes is None else [int(code) for code in codes]
        self.beams = checked_beams(beams)
        self.acceptance = checked_acceptance(acceptance)
        for kind, other in (("particles", "decay"), ("decay", "particles")):
            alone = self.head.forest is not None or self.head.inputs
            if self.inputs != other and getattr(self, kind) is None and not alone:
                raise ConfigurationError(
                    f"model.inputs={self.inputs} needs a {kind} branch, but this network has none "
                    f"(model.{kind} is null)",
                    next_step=f"use model.inputs={other}, or choose a branch: model/{kind}=NAME",
                )
        for name, one in self.head.inputs.items():
            if self.inputs == "decay" and "particle_input" in one.reads:
                raise ConfigurationError(
                    f"model.head.inputs.{name} reads particles, which model.inputs=decay does not",
                    next_step="use model.inputs=particles or combined, or leave it out",
                )
        if self.inputs == "decay" and self.head.forest is not None:
            raise ConfigurationError(
                "model.head.forest reads particles, which model.inputs=decay does not",
                next_step="use model.inputs=particles or combined, or model.head.forest=null",
            )

    @property
    def name(self) -> str:
        """Names of the branches."""
        trees = ["trees"] if self.head.forest is not None else []
        return " + ".join([*(branch.label for branch in self._branches()), *trees]) or "head"

    @property
    def not_for_particles(self) -> list[str]:
        """Columns that head inputs keep to themselves."""
        return [name for one in self._head_inputs() for name in one.not_for_particles]

    def _branches(self) -> list[Branch]:
        kinds = (("particles", "decay"), ("decay", "particles"))
        chosen = [getattr(self, kind) for kind, other in kinds if self.inputs != other]
        return [branch for branch in chosen if branch is not None]

    def _head_inputs(self) -> list[HeadInput]:
        extra = [EventTypeInput()] if self.event_type else []
        return [*self.head.inputs.values(), *extra]

    @property
    def one_pass(self) -> bool:
        """Whether there is nothing but trees."""
        return not self.model.trainable_variables

    def prepare(self, stream: Any, validation: Any, training: TrainingSettings) -> None:
        """Fit the trees; put bins of quantities at quantiles of the first training events."""
        bins = any(isinstance(layer, PiecewiseLinear) for layer in self.model.layers)
        event = self._event
        assert event is not None, "made by build_model"
        if bins and training.init_from is None:
            # Those of a backbone stay where its weights learned them.
            (layer,) = (one for one in self.model.layers if isinstance(one, PiecewiseLinear))
            layer.adapt(self._columns(event.quantities(), stream, _LOOKED_AT)[0])
        if self.head.forest is not None:
            reads, most = event.forest_reads(), self.head.forest.max_events
            train, watched = (self._columns(reads, one, most) for one in (stream, validation))
            (forest,) = (one for one in self.model.layers if isinstance(one, Forest))
            forest.take(
                fit_forests(self.head.forest, train, watched, self.label_names, training.seed)
            )

    def _columns(self, tensor: Any, stream: Any, most: int) -> Columns:
        """Compute a tensor [n, column] of first events; their labels and weights [n, skim]."""
        read = traced(keras.Model(self.model.inputs, tensor))
        parts: list[Columns] = []
        seen = 0
        for inputs, labels, *weights in stream:
            y = np.asarray(labels)
            weight = np.asarray(weights[0]) if weights else np.ones_like(y)
            weight = np.broadcast_to(weight.reshape(len(y), -1), y.shape)
            parts.append((np.asarray(read(inputs)), y, weight))
            seen += len(y)
            if seen >= most:
                break
        x, y, weight = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return x, y, weight

    def _answering_network(self) -> keras.Model | None:
        if self.head.forest is None or self.head.forest.answers is None:
            return None
        return frozen_network(self.head.forest.answers)

    def build_model(self) -> keras.Model:
        """Build the network, from what the branches read to ``y_output`` [batch, n_outputs]."""
        parts: list[Branch] = [*self._branches(), *self._head_inputs()]
        reads = dict.fromkeys(name for part in parts for name in part.reads)
        if self.head.forest is not None:
            reads |= dict.fromkeys(FOREST_READS)
        answering = self._answering_network()
        if answering is not None:
            reads |= dict.fromkeys(tensor.name for tensor in answering.inputs)
        event = self.event(*reads)
        vectors = [part.build(event) for part in parts]
        if self.head.forest is not None:
            event.average_with_forest(self.head.forest, answering)
        x = None
        if vectors:
            x = vectors[0] if len(vectors) == 1 else keras.layers.Concatenate(name="event")(vectors)
            for number, units in enumerate(self.head.units, 1):
                x = dense(x, units, self.head.activation, f"{HEAD}{number}")
                if number == 1:
                    x = keras.layers.Dropout(self.head.dropout, name=f"{HEAD}dropout")(x)
        name = "_".join(branch.label for branch in self._branches()) or "head"
        return keras.Model(event.inputs, event.output(x), name=f"{name}_{self.inputs}")
