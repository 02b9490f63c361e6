"""What networks are built from: inputs, normalised features, embeddings, output."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras

from smartbkg_tf.errors import ConfigurationError, did_you_mean
from smartbkg_tf.models.attention import EventTypeOneHot
from smartbkg_tf.models.codes import CodeProperties, codes_of
from smartbkg_tf.models.forest import Forest, MeanWithForest
from smartbkg_tf.models.normalisation import RELATIVE, ParticleNormalisation, RelativeToFirst
from smartbkg_tf.models.packing import PackedAveragePooling, PackedRows
from smartbkg_tf.models.physics import PhysicalVariables
from smartbkg_tf.models.pooling import MaskedAveragePooling, PaddingMask
from smartbkg_tf.models.quantities import KINDS, EventQuantities
from smartbkg_tf.models.tree import MotherMatrix
from smartbkg_tf.models.treenet import Sides, SliceFeatures
from smartbkg_tf.settings.models import ForestSettings

if TYPE_CHECKING:
    from smartbkg_tf.models.base import NNBaseClass

#: Name, type and rank (with the batch) of every array that a network may read.
INPUTS: dict[str, tuple[str, int]] = {
    "particle_input": ("float32", 3),
    "pdg_input": ("int32", 2),
    "mother_pdg_input": ("int32", 2),
    "mother_index_input": ("int32", 2),
    "decay_input": ("int32", 2),
    "event_type_input": ("int32", 1),
}

#: Name of the output layer of every network.
OUTPUT = "y_output"

#: Layers that belong to the skims that a network learns: no backbone has them. `ANSWERS` is the
#: trained network whose logits the trees read.
NETWORK_OUTPUT, FOREST, ANSWERS = "network_output", "forest", "answers"

#: What boosted trees read.
FOREST_READS = ("particle_input", "pdg_input", "mother_index_input")

#: How the names of the dense layers between branches and output begin.
HEAD = "head_"


def _once(make: Callable[[ModelInputs], Any]) -> Callable[[ModelInputs], Any]:
    """Let a method without arguments make its result at the first call only."""

    @functools.wraps(make)
    def made(self: ModelInputs) -> Any:
        if make.__name__ not in self._made:
            self._made[make.__name__] = make(self)
        return self._made[make.__name__]

    return made


class ModelInputs:
    """An event as a network sees it while it is built: its inputs, and what is made of them.

    Everything is made once, however many branches and head inputs ask for it.

    Parameters
    ----------
    network : NNBaseClass
        Columns, constants and vocabulary.
    names : sequence of str
        Which of `INPUTS` there are.

    Attributes
    ----------
    inputs : dict of str to KerasTensor
        ``particle_input`` [batch, particle, feature] float32, ``pdg_input``, ``mother_pdg_input``,
        ``mother_index_input`` [batch, particle], ``decay_input`` [batch, token] and
        ``event_type_input`` [batch] int32; lengths are dynamic.
    feature_names : list of str
        Columns of ``particle_input``.
    normalisation : dict of str to dict
        Constants of each column.
    beams, acceptance : sequence of float
        Total px, py, pz, E of the beams (GeV), and polar angles that the detector covers (degrees).

    Raises
    ------
    ConfigurationError
        For an unknown name.
    """

    def __init__(self, network: NNBaseClass, names: Sequence[str]) -> None:
        self._network = network
        self.feature_names, self.normalisation = network.feature_names, network.normalisation
        self.beams, self.acceptance = network.beams, network.acceptance
        self.inputs: dict[str, Any] = {}
        self._made: dict[str, Any] = {}
        self._forest: ForestSettings | None = None
        self._answering: Any = None
        for name in names:
            if name not in INPUTS:
                raise ConfigurationError(f"no input '{name}'; {did_you_mean(name, INPUTS)}")
            dtype, rank = INPUTS[name]
            shape: tuple[int | None, ...] = (None,) * (rank - 1)
            if name == "particle_input":
                shape = (None, len(self.feature_names))
            self.inputs[name] = keras.Input(shape=shape, dtype=dtype, name=name)

    # -- particles -------------------------------------------------------------------------

    @property
    def relative_columns(self) -> list[str]:
        """Columns that count from the event's first particle: times, vertices, and chosen ones."""
        constants = self.normalisation
        return [
            name
            for name in self.feature_names
            if name in RELATIVE or constants.get(name, {}).get("relative")
        ]

    @_once
    def values(self) -> Any:
        """Give the particles' physical values [batch, particle, feature] in GeV, cm, ns.

        Times and vertices count from the event's first particle, so that what all of them are
        shifted by changes nothing; ``inputs["particle_input"]`` itself is as the files have it.
        """
        x, names = self.inputs["particle_input"], self.relative_columns
        if not names:
            return x
        return RelativeToFirst(self.feature_names, names, name="relative_to_first")(x)

    @_once
    def mask(self) -> Any:
        """Tell particles from padding, bool [batch, particle]."""
        return PaddingMask(name="particle_mask")(self.inputs["pdg_input"])

    @_once
    def mothers(self) -> Any:
        """Make the matrix of the decay tree [batch, n, n]: 1 at (particle, its mother)."""
        matrix = MotherMatrix(name="mothers")
        return matrix(self.inputs["mother_index_input"], mask=self.mask())

    @_once
    def codes(self) -> Any:
        """Look up what the PDG codes tell [batch, particle, property]: track, photon, charm, ...

        Columns are `smartbkg_tf.models.codes.CODE_COLUMNS`. A vocabulary that is not that of the
        package needs the network's argument ``codes``.
        """
        codes = codes_of(self._network.vocabulary_size, self._network.codes)
        return CodeProperties(codes, name="code_properties")(self.inputs["pdg_input"])

    @_once
    def physical(self) -> Any:
        """Compute what a detector would measure of each particle [batch, particle, column].

        See `smartbkg_tf.models.physics.PhysicalVariables`.
        """
        layer = PhysicalVariables(
            self.feature_names, self.beams, self.acceptance, name="physical_variables"
        )
        return layer(self.values(), self.codes(), self.mothers(), mask=self.mask())

    @_once
    def sides(self) -> Any:
        """Find the two sides of the event, [batch, n, 4]: `smartbkg_tf.models.treenet.Sides`."""
        energy = SliceFeatures(self.feature_names.index("energy"), 1, name="energy")
        return Sides(name="sides")(
            energy(self.values()), self.codes(), self.mothers(), mask=self.mask()
        )

    @_once
    def quantities(self) -> Any:
        """Compute generic quantities of the event and of both sides, [batch, quantity].

        `smartbkg_tf.models.quantities.QUANTITIES` names them; GeV, cm, and -100 for what an event
        does not have.
        """
        codes = codes_of(self._network.vocabulary_size, self._network.codes)
        kinds = CodeProperties(codes, KINDS, name="kinds")(self.inputs["pdg_input"])
        layer = EventQuantities(
            self.feature_names, self.beams, self.acceptance, name="event_quantities"
        )
        return layer(
            self.values(), kinds, self.codes(), self.mothers(), self.sides(), mask=self.mask()
        )

    @_once
    def forest_reads(self) -> Any:
        """Give the quantities and the logits of the network that answers, [batch, column]."""
        if self._answering is None:
            return self.quantities()
        arrays = [self.inputs[tensor.name] for tensor in self._answering.inputs]
        answers = self._answering(arrays, training=False)
        return keras.layers.Concatenate(name="quantities_and_answers")([self.quantities(), answers])

    def particles(self, *, embedding: int = 8, share_embedding: bool = True) -> tuple[Any, Any]:
        """Make what a particle branch starts from.

        Parameters
        ----------
        embedding : int, default 8
            Dimensions of the embedding of the codes of particle and mother; 0 leaves them out.
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
        x = self._with_codes(self._normalised(), self.inputs, embedding, share_embedding)
        return x, self.mask()

    def packed_particles(
        self, gap: int, *, align: int = 1, embedding: int = 8, share_embedding: bool = True
    ) -> tuple[Any, Any, Any]:
        """Make what a particle branch starts from, as packed batches while training.

        For branches whose layers look at neighbours only: convolutions, normalisations, pairs.

        Parameters
        ----------
        gap : int
            Zeros between two events: `smartbkg_tf.models.packing.gap_of`.
        align : int, default 1
            Events begin at multiples of this.
        embedding, share_embedding
            As `particles`.

        Returns
        -------
        features, mask : KerasTensor
            As `particles`, or of one row of all events.
        segments : KerasTensor
            Which event a position belongs to, for `average`.
        """
        arrays = {name: self.inputs[name] for name in ("pdg_input", "mother_pdg_input")}
        packed = PackedRows("pdg_input", gap, align, name="packed_particles")(
            {"features": self._normalised(), **arrays}
        )
        mask = PaddingMask(name="packed_particle_mask")(packed["pdg_input"])
        x = self._with_codes(packed["features"], packed, embedding, share_embedding)
        return x, mask, packed["segments"]

    def average(self, x: Any, mask: Any, segments: Any = None, stride: int = 1) -> Any:
        """Average over the particles of each event, [batch, channels].

        Parameters
        ----------
        x : KerasTensor
            Values of particles.
        mask : KerasTensor
            True where there is a particle.
        segments : KerasTensor, optional
            Of `packed_particles`.
        stride : int, default 1
            Positions of `segments` for each of the values, where pairs of neighbours were joined.
        """
        if segments is None:
            return MaskedAveragePooling(name="particle_average")(x, mask=mask)
        pool = PackedAveragePooling(stride, name="particle_average")
        return pool(x, mask, segments, self.inputs["pdg_input"])

    @_once
    def _normalised(self) -> Any:
        # What counts from the first particle does so already.
        constants = {name: {**one, "relative": False} for name, one in self.normalisation.items()}
        left_out = self._network.not_for_particles
        layer = ParticleNormalisation(self.feature_names, constants, left_out, name="normalisation")
        return layer(self.values(), mask=self.mask())

    def _with_codes(
        self, features: Any, arrays: Mapping[str, Any], embedding: int, share_embedding: bool
    ) -> Any:
        if not embedding:
            return features
        own = mother = self._embedding(embedding, "pdg_embedding")
        if not share_embedding:
            mother = self._embedding(embedding, "mother_pdg_embedding")
        columns = [features, own(arrays["pdg_input"]), mother(arrays["mother_pdg_input"])]
        return keras.layers.Concatenate(name="particle_features")(columns)

    def _embedding(self, units: int, name: str) -> keras.layers.Embedding:
        return keras.layers.Embedding(self._network.vocabulary_size, units, name=name)

    def embedded_codes(self, units: int, name: str) -> Any:
        """Embed the particles' PDG codes anew, [batch, particle, units]."""
        return self._embedding(units, name)(self.inputs["pdg_input"])

    # -- decay string, event -----------------------------------------------------------------

    def tokens(self, *, embedding: int = 8) -> tuple[Any, Any]:
        """Make what a decay branch starts from: embedded tokens and their mask.

        Parameters
        ----------
        embedding : int, default 8
            Dimensions of the embedding of a token.

        Returns
        -------
        embedded : KerasTensor [batch, token, embedding]
            Embedded tokens.
        mask : KerasTensor [batch, token]
            True where there is a token.
        """
        return self._embedded(self.inputs["decay_input"], embedding)

    def packed_tokens(
        self, gap: int, *, align: int = 1, embedding: int = 8
    ) -> tuple[Any, Any, Any]:
        """Make what a decay branch starts from, as packed batches while training.

        Arguments and result as those of `packed_particles` and `tokens`.
        """
        packed = PackedRows("decay_input", gap, align, name="packed_tokens")(
            {"decay_input": self.inputs["decay_input"]}
        )
        return *self._embedded(packed["decay_input"], embedding), packed["segments"]

    def _embedded(self, tokens: Any, embedding: int) -> tuple[Any, Any]:
        mask = PaddingMask(name="decay_mask")(tokens)
        return self._embedding(embedding, "decay_embedding")(tokens), mask

    def fixed_length(self, name: str) -> int:
        """Give ``max_particles`` or ``max_tokens`` to a branch that has weights for each place."""
        length: int | None = getattr(self._network, name)
        if length is None:
            raise ConfigurationError(
                f"a feed_forward branch needs {name}: its first layer has weights for each place",
                next_step=f"give {name}= to the network",
            )
        return int(length)

    def event_type(self, units: int, name: str = "event_type_embedding") -> Any:
        """Embed the event type [batch, units]; zero for a type that is not known."""
        row = EventTypeOneHot(name=f"{name}_one_hot")(self.inputs["event_type_input"])
        return keras.layers.Dense(units, use_bias=False, name=name)(row)

    def average_with_forest(self, settings: ForestSettings, answering: Any = None) -> None:
        """Let the output be the mean of the network's logits and those of boosted trees.

        The trees read what a trained network, `answering`, answers.
        """
        self._forest, self._answering = settings, answering

    def output(self, x: Any) -> Any:
        """Make the output, a float32 logit for each skim, from the last layer [batch, channels].

        Without a last layer (None) it is that of the trees.
        """
        if self._forest is None:
            return self._logits(x, OUTPUT)
        units, name = len(self._network.label_names), OUTPUT if x is None else FOREST
        forest = Forest(units, self._forest.trees, self._forest.leaves, name=name)
        trees = forest(self.forest_reads())
        if x is None:
            return trees
        return MeanWithForest(name=OUTPUT)(self._logits(x, NETWORK_OUTPUT), trees)

    def _logits(self, x: Any, name: str) -> Any:
        return keras.layers.Dense(len(self._network.label_names), dtype="float32", name=name)(x)
