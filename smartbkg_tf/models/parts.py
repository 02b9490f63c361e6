"""What networks are built from: inputs, normalised features, embeddings, output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from smartbkg_tf.encoding.candidate_columns import candidate_names
from smartbkg_tf.encoding.pad import INPUTS_OF
from smartbkg_tf.errors import ConfigurationError, did_you_mean
from smartbkg_tf.models.codes import CodeProperties, codes_of
from smartbkg_tf.models.masks import PaddingMask
from smartbkg_tf.models.normalisation import ParticleNormalisation
from smartbkg_tf.models.packing import PackedRows
from smartbkg_tf.models.physics import ACCEPTANCE, BEAMS, PhysicalVariables
from smartbkg_tf.models.relative import RELATIVE, RelativeToFirst
from smartbkg_tf.models.tree import MotherMatrix

#: Name, type and rank (with the batch) of every array that a network may read.
INPUTS: dict[str, tuple[str, int]] = {
    "particle_input": ("float32", 3),
    "pdg_input": ("int32", 2),
    "mother_pdg_input": ("int32", 2),
    "mother_index_input": ("int32", 2),
    "decay_input": ("int32", 2),
    "event_type_input": ("int32", 1),
}

#: What `NNBaseClass.make_inputs` makes for each choice of ``model.inputs``.
DEFAULT_INPUTS = INPUTS_OF

#: Name of the output layer of every network.
OUTPUT = "y_output"

#: How the names of the dense layers between branches and output begin.
HEAD = "head_"


class ModelParts:
    """The parts that `NNBaseClass.build_model` puts together."""

    vocabulary_size: int
    inputs: str
    label_names: list[str]
    feature_names: list[str]
    normalisation: dict[str, dict[str, Any]]
    event_type: bool
    #: Total px, py, pz, E of the beams (GeV), and polar angles that the detector covers (degrees).
    beams: Sequence[float] = BEAMS
    acceptance: Sequence[float] = ACCEPTANCE
    #: Parts that several branches use, by name, each with the input that it was made from.
    _shared: dict[str, tuple[Any, Any]]

    @property
    def n_outputs(self) -> int:
        """Number of skims."""
        return len(self.label_names)

    @property
    def not_for_particles(self) -> list[str]:
        """Columns that particle branches do not read: those of candidates."""
        return candidate_names(self.feature_names)

    def make_inputs(self, *names: str) -> dict[str, Any]:
        """Make the input tensors, with the fixed names and dynamic lengths.

        Parameters
        ----------
        *names : str
            Which of `INPUTS`; by default those of ``self.inputs`` (`DEFAULT_INPUTS`), and
            ``event_type_input`` if ``self.event_type``.

        Returns
        -------
        dict of str to KerasTensor
            ``particle_input`` [batch, particle, feature] float32, ``pdg_input``,
            ``mother_pdg_input``, ``mother_index_input`` [batch, particle], ``decay_input``
            [batch, token] and ``event_type_input`` [batch] int32.

        Raises
        ------
        ConfigurationError
            For an unknown name.
        """
        if not names:
            names = DEFAULT_INPUTS[self.inputs]
            names = (*names, "event_type_input") if self.event_type else names
        result: dict[str, Any] = {}
        for name in names:
            if name not in INPUTS:
                raise ConfigurationError(f"no input '{name}'; {did_you_mean(name, INPUTS)}")
            dtype, rank = INPUTS[name]
            shape: tuple[int | None, ...] = (None,) * (rank - 1)
            if name == "particle_input":
                shape = (None, len(self.feature_names))
            result[name] = keras.Input(shape=shape, dtype=dtype, name=name)
        return result

    def _once(self, name: str, source: Any, make: Callable[[], Any]) -> Any:
        """Make a part once for an input, however many branches ask for it."""
        made_from, part = self._shared.get(name, (None, None))
        if made_from is not source:
            part = make()
            self._shared[name] = (source, part)
        return part

    @property
    def relative_columns(self) -> list[str]:
        """Columns that count from the event's first particle: times, vertices, and chosen ones."""
        return [
            name
            for name in self.feature_names
            if name in RELATIVE or self.normalisation.get(name, {}).get("relative")
        ]

    def particle_values(self, inputs: Mapping[str, Any]) -> Any:
        """Give the particles' physical values; times and vertices count from the first particle.

        Every part of the package begins here: what all times or all vertices of an event are
        shifted by changes nothing. ``particle_input`` itself is as the files have it.

        Parameters
        ----------
        inputs : mapping of str to KerasTensor
            With ``particle_input``.

        Returns
        -------
        KerasTensor [batch, particle, feature]
            GeV, cm, ns (`smartbkg_tf.models.relative.RelativeToFirst`).
        """
        x = inputs["particle_input"]

        def make() -> Any:
            names = self.relative_columns
            return RelativeToFirst(self.feature_names, names, name="relative_to_first")(x)

        return self._once("relative_to_first", x, make) if self.relative_columns else x

    def particle_mask(self, inputs: Mapping[str, Any]) -> Any:
        """Tell particles from padding.

        Parameters
        ----------
        inputs : mapping of str to KerasTensor
            With ``pdg_input``.

        Returns
        -------
        KerasTensor [batch, particle]
            True where there is a particle.
        """
        tokens = inputs["pdg_input"]
        return self._once(
            "particle_mask", tokens, lambda: PaddingMask(name="particle_mask")(tokens)
        )

    def mother_matrix(self, inputs: Mapping[str, Any]) -> Any:
        """Make the matrix of the decay tree.

        Parameters
        ----------
        inputs : mapping of str to KerasTensor
            With ``pdg_input`` and ``mother_index_input``.

        Returns
        -------
        KerasTensor [batch, particle, particle]
            1 at (particle, its mother), else 0: `smartbkg_tf.models.tree.MotherMatrix`.
        """
        mothers, mask = inputs["mother_index_input"], self.particle_mask(inputs)
        return self._once(
            "mother_matrix", mothers, lambda: MotherMatrix(name="mothers")(mothers, mask=mask)
        )

    def code_properties(self, inputs: Mapping[str, Any]) -> Any:
        """Look up what the PDG codes tell: track, photon, neutrino, charm, ...

        Parameters
        ----------
        inputs : mapping of str to KerasTensor
            With ``pdg_input``.

        Returns
        -------
        KerasTensor [batch, particle, property]
            `smartbkg_tf.models.codes.CodeProperties`.

        Raises
        ------
        ConfigurationError
            When the vocabulary is not that of the package, and the network has no ``codes``.
        """
        tokens = inputs["pdg_input"]

        def make() -> Any:
            codes = codes_of(self.vocabulary_size, getattr(self, "codes", None))
            return CodeProperties(codes, name="code_properties")(tokens)

        return self._once("code_properties", tokens, make)

    def physical_variables(self, inputs: Mapping[str, Any]) -> Any:
        """Compute what a detector would measure of each particle.

        Parameters
        ----------
        inputs : mapping of str to KerasTensor
            With ``particle_input``, ``pdg_input`` and ``mother_index_input``.

        Returns
        -------
        KerasTensor [batch, particle, column]
            `smartbkg_tf.models.physics.PhysicalVariables`.

        Raises
        ------
        ConfigurationError
            When a column is missing.
        """
        x = self.particle_values(inputs)

        def make() -> Any:
            return PhysicalVariables(
                self.feature_names, self.beams, self.acceptance, name="physical_variables"
            )(
                x,
                self.code_properties(inputs),
                self.mother_matrix(inputs),
                mask=self.particle_mask(inputs),
            )

        return self._once("physical_variables", x, make)

    def particle_features(
        self, inputs: Mapping[str, Any], *, embedding: int = 8, share_embedding: bool = True
    ) -> tuple[Any, Any]:
        """Make what a particle branch starts from.

        Parameters
        ----------
        inputs : mapping of str to KerasTensor
            With ``particle_input``, ``pdg_input`` and ``mother_pdg_input``.
        embedding : int, default 8
            Dimensions of the embedding of the two codes; 0 leaves them out.
        share_embedding : bool, default True
            One embedding for both codes, or two.

        Returns
        -------
        features : KerasTensor [batch, particle, column]
            Normalised features, charge one-hot and embeddings; zero in padding except for
            the embeddings (masked layers take care of them).
        mask : KerasTensor [batch, particle]
            True where there is a particle.
        """
        mask = self.particle_mask(inputs)
        features = self._normalised(inputs, mask)
        return self._with_codes(features, inputs, embedding, share_embedding), mask

    def packed_particle_features(
        self,
        inputs: Mapping[str, Any],
        *,
        gap: int,
        align: int = 1,
        embedding: int = 8,
        share_embedding: bool = True,
    ) -> tuple[Any, Any, Any]:
        """Make what a particle branch starts from, events end to end while training.

        For branches whose layers look at neighbours only: convolutions, normalisations,
        pairs; `smartbkg_tf.models.packing.PackedAveragePooling` comes last.

        Parameters
        ----------
        inputs : mapping of str to KerasTensor
            With ``particle_input``, ``pdg_input`` and ``mother_pdg_input``.
        gap, align : int
            As `smartbkg_tf.models.packing.PackedRows`.
        embedding, share_embedding
            As `particle_features`.

        Returns
        -------
        features, mask : KerasTensor
            As `particle_features`, or of one row of all events.
        segments : KerasTensor
            Which event a position belongs to, for the pooling.
        """
        features = self._normalised(inputs, self.particle_mask(inputs))
        arrays = {name: inputs[name] for name in ("pdg_input", "mother_pdg_input")}
        packed = PackedRows("pdg_input", gap, align, name="packed_particles")(
            {"features": features, **arrays}
        )
        mask = PaddingMask(name="packed_particle_mask")(packed["pdg_input"])
        x = self._with_codes(packed["features"], packed, embedding, share_embedding)
        return x, mask, packed["segments"]

    def _normalised(self, inputs: Mapping[str, Any], mask: Any) -> Any:
        x = self.particle_values(inputs)
        # What counts from the first particle does so already.
        constants = {name: {**one, "relative": False} for name, one in self.normalisation.items()}

        def make() -> Any:
            return ParticleNormalisation(
                self.feature_names,
                constants,
                self.not_for_particles,
                name="normalisation",
            )(x, mask=mask)

        return self._once("normalisation", x, make)

    def _with_codes(
        self, features: Any, inputs: Mapping[str, Any], embedding: int, share_embedding: bool
    ) -> Any:
        if not embedding:
            return features
        own = keras.layers.Embedding(self.vocabulary_size, embedding, name="pdg_embedding")
        mother = own
        if not share_embedding:
            mother = keras.layers.Embedding(
                self.vocabulary_size, embedding, name="mother_pdg_embedding"
            )
        columns = [features, own(inputs["pdg_input"]), mother(inputs["mother_pdg_input"])]
        return keras.layers.Concatenate(name="particle_features")(columns)

    def token_features(self, inputs: Mapping[str, Any], *, embedding: int = 8) -> tuple[Any, Any]:
        """Make what a decay branch starts from.

        Parameters
        ----------
        inputs : mapping of str to KerasTensor
            With ``decay_input``.
        embedding : int, default 8
            Dimensions of the embedding of a token.

        Returns
        -------
        embedded : KerasTensor [batch, token, embedding]
            Embedded tokens.
        mask : KerasTensor [batch, token]
            True where there is a token.
        """
        mask = PaddingMask(name="decay_mask")(inputs["decay_input"])
        embedded = keras.layers.Embedding(self.vocabulary_size, embedding, name="decay_embedding")(
            inputs["decay_input"]
        )
        return embedded, mask

    def packed_token_features(
        self, inputs: Mapping[str, Any], *, gap: int, align: int = 1, embedding: int = 8
    ) -> tuple[Any, Any, Any]:
        """Make what a decay branch starts from, events end to end while training.

        Parameters
        ----------
        inputs : mapping of str to KerasTensor
            With ``decay_input``.
        gap, align : int
            As `smartbkg_tf.models.packing.PackedRows`.
        embedding : int, default 8
            Dimensions of the embedding of a token.

        Returns
        -------
        embedded, mask : KerasTensor
            As `token_features`, or of one row of all events.
        segments : KerasTensor
            Which event a position belongs to, for the pooling.
        """
        packed = PackedRows("decay_input", gap, align, name="packed_tokens")(
            {"decay_input": inputs["decay_input"]}
        )
        embedded, mask = self.token_features(packed, embedding=embedding)
        return embedded, mask, packed["segments"]

    def output(self, x: Any) -> Any:
        """Make the output: one float32 logit for each skim, under the name ``y_output``.

        Parameters
        ----------
        x : KerasTensor [batch, channels]
            The last hidden layer.

        Returns
        -------
        KerasTensor [batch, n_outputs]
            Logits.
        """
        return keras.layers.Dense(self.n_outputs, dtype="float32", name=OUTPUT)(x)
