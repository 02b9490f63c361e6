"""A network of branches and a head: every architecture but one's own is made of these."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from pydantic import TypeAdapter, ValidationError

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models import decay_branches, particle_branches, tree_branches  # noqa: F401
from smartbkg_tf.models.activations import activation_layer
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.branches import Kind, build_branch, find_branch
from smartbkg_tf.models.candidates import CandidateSurvival, CorrectedEstimate
from smartbkg_tf.models.detector_variables import DetectorVariables
from smartbkg_tf.models.normalisation import EventColumns
from smartbkg_tf.models.parts import OUTPUT
from smartbkg_tf.models.physics import (
    ACCEPTANCE,
    BEAMS,
    Summaries,
    checked_acceptance,
    checked_beams,
)
from smartbkg_tf.models.steps import SoftSteps
from smartbkg_tf.models.tokens import event_type_features
from smartbkg_tf.models.treenet import Columns
from smartbkg_tf.settings.branches import AnyDecayBranch, AnyParticleBranch
from smartbkg_tf.settings.models import CandidateSettings, HeadSettings

_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    "particles": TypeAdapter(AnyParticleBranch),
    "decay": TypeAdapter(AnyDecayBranch),
}

#: Dimensions of the embedding of the event type that goes to the head.
EVENT_TYPE_UNITS = 8

#: Soft steps of event columns, in standard deviations.
_EVENT_STEPS = (-1.0, -0.4, 0.4, 1.0)


def branch_sizes(kind: Kind, values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Fill in the published sizes of a branch.

    Parameters
    ----------
    kind : {"particles", "decay"}
        What it reads.
    values : mapping, optional
        Its name under ``branch``, and sizes that differ.

    Returns
    -------
    dict or None
        All sizes as plain values; None without a branch.

    Raises
    ------
    ConfigurationError
        When a value cannot be used.
    """
    if values is None:
        return None
    try:
        return dataclasses.asdict(_ADAPTERS[kind].validate_python(dict(values)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join([kind, *(str(part) for part in first["loc"][1:])])
        raise ConfigurationError(f"model.{place}: {first['msg']}") from error


class BranchedNetwork(NNBaseClass):
    """A branch for the particles, one for the decay string, and a head.

    ``inputs`` chooses both branches or one of them. The head joins what the branches give,
    the embedded event type and the summaries, if they are asked for; then dense layers
    with dropout behind the first, and one logit for each skim.

    Parameters
    ----------
    particles : mapping, optional
        Settings of the particle branch as plain values, see `smartbkg_tf.settings.branches`.
    decay : mapping, optional
        Settings of the decay branch.
    head : mapping, optional
        `smartbkg_tf.settings.models.HeadSettings` as plain values.
    summaries : bool, default False
        Give sums and counts over the detectable particles
        (`smartbkg_tf.models.physics.Summaries`) to the head.
    event_columns : sequence of str, default ()
        Columns of the particles that have one value for the whole event, which the head gets too;
        for feature sets of one's own.
    candidates : mapping, optional
        `smartbkg_tf.settings.models.CandidateSettings` as plain values: what a learned detector
        leaves of a skim's candidates (`smartbkg_tf.models.candidates`) goes to the head, and its
        estimate to the output.
    codes : sequence of int, optional
        PDG code of each token; those of the package's vocabulary by default.
    beams : sequence of float, default `smartbkg_tf.models.physics.BEAMS`
        Total px, py, pz and E of the beams, GeV; saved in the model. For other beams train with
        ``+model.parameters.beams=[PX,PY,PZ,E]``.
    acceptance : sequence of float, default (17, 150)
        Smallest and largest polar angle that the detector covers, degrees; saved in the model
        (``+model.parameters.acceptance=[LOW,HIGH]``).
    **common
        As `NNBaseClass`.

    Raises
    ------
    ConfigurationError
        When `inputs` asks for a branch that there is none of, or for something that the
        inputs cannot give.

    Examples
    --------
    >>> from smartbkg_tf.models.network import BranchedNetwork
    >>> network = BranchedNetwork(
    ...     vocabulary_size=100, inputs="decay", decay={"branch": "cnn_lstm"}
    ... )
    >>> network.model.output_shape
    (None, 1)
    """

    description = "branches for particles and decay string, and a head"

    def __init__(
        self,
        particles: Mapping[str, Any] | None = None,
        decay: Mapping[str, Any] | None = None,
        head: Mapping[str, Any] | None = None,
        summaries: bool = False,
        event_columns: Sequence[str] = (),
        candidates: Mapping[str, Any] | None = None,
        codes: Sequence[int] | None = None,
        beams: Sequence[float] = BEAMS,
        acceptance: Sequence[float] = ACCEPTANCE,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.particles = branch_sizes("particles", particles)
        self.decay = branch_sizes("decay", decay)
        self.head = dataclasses.asdict(HeadSettings(**(head or {})))
        self.summaries = bool(summaries)
        self.event_columns = [str(name) for name in event_columns]
        self.candidates = (
            None if candidates is None else dataclasses.asdict(CandidateSettings(**candidates))
        )
        self.codes = None if codes is None else [int(code) for code in codes]
        self.beams = checked_beams(beams)
        self.acceptance = checked_acceptance(acceptance)
        for kind, other in (("particles", "decay"), ("decay", "particles")):
            if self.inputs != other and getattr(self, kind) is None:
                raise ConfigurationError(
                    f"model.inputs={self.inputs} needs a {kind} branch, but this network has none "
                    f"(model.{kind} is null)",
                    next_step=f"use model.inputs={other}, or choose a branch: "
                    f"'model.{kind}={{branch: NAME}}'",
                )
        for wanted, text in (
            (self.summaries, "summaries=true adds up particles"),
            (self.event_columns, "event_columns are columns of particles"),
            (self.candidates, "candidates are columns of particles"),
        ):
            if wanted and self.inputs == "decay":
                raise ConfigurationError(
                    f"model.{text}, which model.inputs=decay does not read",
                    next_step="use model.inputs=particles or combined, or leave them out",
                )
        for name in self.event_columns:
            if name in self.relative_columns:
                raise ConfigurationError(
                    f"model.event_columns: '{name}' counts from the event's first particle, so "
                    "that it has no value for the whole event",
                    next_step="leave it out, or give a column of another name",
                )
        if self.head["event_units"] and not self.event_columns:
            raise ConfigurationError(
                f"model.head.event_units={self.head['event_units']}: the width of a layer for "
                "model.event_columns, of which there are none",
                next_step="name columns in model.event_columns, or use model.head.event_units=0",
            )

    @property
    def name(self) -> str:
        """Names of the branches."""
        chosen = [sizes["branch"] for _, sizes in self._branches()]
        return " + ".join(chosen)

    @property
    def not_for_particles(self) -> list[str]:
        """Columns that particle branches do not read: of candidates, and those beside them.

        Without candidates the branch reads `event_columns`, too: what it makes of a particle may
        depend on them. With candidates it need not, and is smaller: the benchmark's validation AUC
        is the same (0.9599 and 0.9603 with them, 0.9598 and 0.9602 without, two seeds each).
        """
        others = self.event_columns if self.candidates else []
        return [*super().not_for_particles, *others]

    def _branches(self) -> list[tuple[Kind, dict[str, Any]]]:
        """Give kind and sizes of each branch that there is."""
        kinds: tuple[tuple[Kind, str], ...] = (("particles", "decay"), ("decay", "particles"))
        found = [(kind, getattr(self, kind)) for kind, other in kinds if self.inputs != other]
        return [(kind, sizes) for kind, sizes in found if sizes is not None]

    def _input_names(self) -> list[str]:
        names: dict[str, None] = {}
        for kind, sizes in self._branches():
            names |= dict.fromkeys(find_branch(kind, str(sizes["branch"])).reads)
        if self.summaries:
            names |= dict.fromkeys(("particle_input", "pdg_input", "mother_index_input"))
        if self.event_columns:
            names |= dict.fromkeys(("particle_input", "pdg_input"))
        if self.candidates:
            names |= dict.fromkeys(("particle_input", "pdg_input", "mother_index_input"))
        if self.event_type:
            names["event_type_input"] = None
        return list(names)

    def build_model(self) -> keras.Model:
        """Build the network.

        Returns
        -------
        keras.Model
            From what the branches read to ``y_output`` [batch, n_outputs].
        """
        inputs = self.make_inputs(*self._input_names())
        self._shared.clear()
        parts = [build_branch(kind, self, inputs, sizes) for kind, sizes in self._branches()]
        if self.summaries:
            parts.append(self._event_summaries(inputs))
        if self.event_columns:
            columns = EventColumns(
                self.event_columns, self.feature_names, self.normalisation, name="event_columns"
            )
            values = columns(self.particle_values(inputs), mask=self.particle_mask(inputs))
            parts += [values, *self._event_steps(values)]
        survival = self._candidate_survival(inputs) if self.candidates else None
        if survival is not None:
            parts.append(survival)
        if self.event_type:
            parts.append(event_type_features(inputs, EVENT_TYPE_UNITS))
        x = parts[0] if len(parts) == 1 else keras.layers.Concatenate(name="event")(parts)
        for number, units in enumerate(self.head["units"], 1):
            x = keras.layers.Dense(units, name=f"head_{number}")(x)
            x = activation_layer(self.head["activation"], name=f"head_{number}_activation")(x)
            if number == 1:
                x = keras.layers.Dropout(self.head["dropout"], name="head_dropout")(x)
        if survival is not None:
            # The estimate itself, past the head: what is learned there corrects it.
            estimate = Columns(0, 1, name="estimate")(survival)
            output = CorrectedEstimate(self.n_outputs, name=OUTPUT)(x, estimate)
        else:
            output = self.output(x)
        name = "_".join(sizes["branch"] for _, sizes in self._branches())
        return keras.Model(inputs, output, name=f"{name}_{self.inputs}")

    def _event_steps(self, values: Any) -> list[Any]:
        """Let a dense layer of its own read soft steps of the event's columns, if there is one."""
        units, dropout = self.head["event_units"], self.head["event_dropout"]
        if not units:
            return []
        x = SoftSteps(_EVENT_STEPS, name="head_event_steps")(values)
        x = keras.layers.Dropout(dropout, name="head_event_steps_dropout")(x)
        x = keras.layers.Dense(units, name="head_event_dense")(x)
        x = activation_layer(self.head["activation"], name="head_event_activation")(x)
        return [keras.layers.Dropout(dropout, name="head_event_dropout")(x)]

    def _candidate_survival(self, inputs: Mapping[str, Any]) -> Any:
        settings = dict(self.candidates or {})
        mask = self.particle_mask(inputs)
        embedding = keras.layers.Embedding(
            self.vocabulary_size, settings.pop("embedding"), name="candidate_embedding"
        )
        particles = keras.layers.Concatenate(name="candidate_particles")(
            # What a detector sees, and nothing of the event: what becomes of a particle must not
            # learn the event by heart.
            [
                self.physical_variables(inputs),
                embedding(inputs["pdg_input"]),
                DetectorVariables(self.feature_names, self.acceptance, name="detector_variables")(
                    self.particle_values(inputs), mask=mask
                ),
            ]
        )
        return CandidateSurvival(self.feature_names, **settings, name="candidate_survival")(
            particles, self.particle_values(inputs), mask=mask
        )

    def _event_summaries(self, inputs: Mapping[str, Any]) -> Any:
        summaries = Summaries(
            self.feature_names, self.beams, self.acceptance, name="event_summaries"
        )(
            self.particle_values(inputs),
            self.code_properties(inputs),
            self.mother_matrix(inputs),
            mask=self.particle_mask(inputs),
        )
        return keras.layers.Flatten(name="event_summaries_flat")(summaries)
