"""`NNBaseClass`: what a network of one's own inherits."""

from __future__ import annotations

import abc
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import keras

from smartbkg_tf.encoding.pad import INPUTS_OF
from smartbkg_tf.models.drawing import draw_model
from smartbkg_tf.models.layers import PaddingMask
from smartbkg_tf.models.losses import SkimAUC, SkimCrossentropy
from smartbkg_tf.models.normalisation import ParticleNormalisation
from smartbkg_tf.models.optimisation import make_optimizer, watching_callbacks
from smartbkg_tf.runtime.files import whole_file
from smartbkg_tf.settings.errors import ConfigurationError, did_you_mean
from smartbkg_tf.settings.training import TrainingSettings

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


class NNBaseClass(abc.ABC):
    r"""A network that predicts from generated particles whether an event passes the skims.

    Inherit, keep your constructor's arguments as attributes of the same names, and build a
    functional Keras model in `build_model`. Everything else is here: inputs, normalisation
    and output in the right form, compile, fit, atomic saving, summary, drawing, callbacks.

    The arguments below are common to all networks and are given by ``train``. A class of
    one's own takes further ones with plain values as defaults and hands ``**common`` on.

    Parameters
    ----------
    vocabulary_size : int
        Number of tokens of PDG codes and decay strings, padding included.
    inputs : {"combined", "particles", "decay"}
        Which parts of an event to read.
    label_names : sequence of str, default ("label",)
        The skims; one logit for each.
    feature_names : sequence of str
        Columns of ``particle_input``.
    normalisation : mapping of str to mapping
        Constants of each column but ``charge``, as in ``conf/normalisation``. Values in
        GeV, cm and ns enter the network.
    max_particles : int, optional
        Longest particle list of the data: a hint. Lengths stay dynamic.
    max_tokens : int, optional
        Longest decay string of the data: a hint.

    Raises
    ------
    ConfigurationError
        When `inputs` is no such choice, there is no label, or particles are read without
        features.

    Examples
    --------
    A file ``my_module.py`` in the current folder::

        import keras

        from smartbkg_tf.models.base import NNBaseClass
        from smartbkg_tf.models.layers import MaskedAveragePooling

        class MyNet(NNBaseClass):
            "Deep sets: one dense network for every particle, a mean, another one."

            def __init__(self, units: int = 64, **common):
                super().__init__(**common)
                self.units = units

            def build_model(self):
                inputs = self.make_inputs()
                particles, mask = self.particle_features(inputs, embedding=8)
                x = keras.layers.Dense(self.units, activation="relu")(particles)
                x = MaskedAveragePooling()(x, mask=mask)
                x = keras.layers.Dense(self.units, activation="relu")(x)
                return keras.Model(inputs, self.output(x))

    trains with::

        python -m smartbkg_tf.train model=custom model._target_=my_module.MyNet \
            model.inputs=particles +model.parameters.units=128
    """

    #: One line about the network, for ``--help`` and messages.
    description: ClassVar[str] = ""

    def __init__(
        self,
        *,
        vocabulary_size: int,
        inputs: str = "combined",
        label_names: Sequence[str] = ("label",),
        feature_names: Sequence[str] = (),
        normalisation: Mapping[str, Mapping[str, Any]] | None = None,
        max_particles: int | None = None,
        max_tokens: int | None = None,
    ) -> None:
        if inputs not in DEFAULT_INPUTS:
            raise ConfigurationError(
                f"model.inputs: '{inputs}' is no choice; {did_you_mean(inputs, DEFAULT_INPUTS)}"
            )
        if not label_names:
            raise ConfigurationError("a network needs at least one label to predict")
        if inputs != "decay" and not feature_names:
            raise ConfigurationError(
                f"model.inputs={inputs} reads particles, but the data have no particle features",
                next_step="use model.inputs=decay, or preprocess data with a particle table",
            )
        self.vocabulary_size = int(vocabulary_size)
        self.inputs = str(inputs)
        self.label_names = [str(name) for name in label_names]
        self.feature_names = [str(name) for name in feature_names]
        self.normalisation = {
            str(name): dict(values) for name, values in (normalisation or {}).items()
        }
        self.max_particles = max_particles
        self.max_tokens = max_tokens
        self._model: keras.Model | None = None

    # -- what a subclass writes -----------------------------------------------------------

    @abc.abstractmethod
    def build_model(self) -> keras.Model:
        """Build the network.

        Returns
        -------
        keras.Model
            Functional, from inputs made by `make_inputs` to a tensor made by `output`.
        """

    def callbacks(self, training: TrainingSettings) -> list[Any]:
        """Make the callbacks of a fit; override to add one's own.

        Parameters
        ----------
        training : TrainingSettings
            Patience and schedule.

        Returns
        -------
        list of keras.callbacks.Callback
            Plateau schedule and early stopping on a validation quantity. Saving, history
            and progress are added by ``training.fit``.
        """
        return watching_callbacks(training)

    # -- parts for build_model ------------------------------------------------------------

    def make_inputs(self, *names: str) -> dict[str, Any]:
        """Make the input tensors, with the fixed names and dynamic lengths.

        Parameters
        ----------
        *names : str
            Which of `INPUTS`; by default those of ``self.inputs`` (`DEFAULT_INPUTS`).

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
        result: dict[str, Any] = {}
        for name in names or DEFAULT_INPUTS[self.inputs]:
            if name not in INPUTS:
                raise ConfigurationError(f"no input '{name}'; {did_you_mean(name, INPUTS)}")
            dtype, rank = INPUTS[name]
            shape: tuple[int | None, ...] = (None,) * (rank - 1)
            if name == "particle_input":
                shape = (None, len(self.feature_names))
            result[name] = keras.Input(shape=shape, dtype=dtype, name=name)
        return result

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
        mask = PaddingMask(name="particle_mask")(inputs["pdg_input"])
        features = ParticleNormalisation(
            self.feature_names, self.normalisation, name="normalisation"
        )(inputs["particle_input"], mask=mask)
        if not embedding:
            return features, mask
        own = keras.layers.Embedding(self.vocabulary_size, embedding, name="pdg_embedding")
        mother = own
        if not share_embedding:
            mother = keras.layers.Embedding(
                self.vocabulary_size, embedding, name="mother_pdg_embedding"
            )
        columns = [features, own(inputs["pdg_input"]), mother(inputs["mother_pdg_input"])]
        return keras.layers.Concatenate(name="particle_features")(columns), mask

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

    # -- what every network gives ---------------------------------------------------------

    @property
    def n_outputs(self) -> int:
        """Number of skims."""
        return len(self.label_names)

    @property
    def name(self) -> str:
        """Name of the class."""
        return type(self).__name__

    @property
    def model(self) -> keras.Model:
        """The Keras model; built and checked at the first use."""
        if self._model is None:
            self._model = self._checked(self.build_model())
        return self._model

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the arrays that the network reads."""
        return tuple(tensor.name for tensor in self.model.inputs)

    def get_config(self) -> dict[str, Any]:
        """Give the constructor's arguments.

        Returns
        -------
        dict
            Plain values; ``type(self)(**config)`` makes the same network.

        Raises
        ------
        ConfigurationError
            When the class does not keep an argument under its own name, or its value is
            none that JSON can hold.
        """
        config: dict[str, Any] = {}
        for name in constructor_arguments(type(self)):
            if not hasattr(self, name):
                raise ConfigurationError(
                    f"{self.name} does not keep its argument '{name}'",
                    next_step=f"write self.{name} = {name} in its __init__",
                )
            config[name] = getattr(self, name)
        try:
            plain: dict[str, Any] = json.loads(json.dumps(config))
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"{self.name}: an argument is no plain value ({error})",
                next_step="take numbers, texts, lists and dicts as arguments",
            ) from error
        return plain

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make a network from the values of `get_config`.

        Parameters
        ----------
        config : mapping
            Constructor arguments.

        Returns
        -------
        NNBaseClass
            The network, with new weights.
        """
        return cls(**config)

    def compile(
        self, training: TrainingSettings | None = None, steps_per_epoch: int | None = None
    ) -> keras.Model:
        """Prepare for training.

        Parameters
        ----------
        training : TrainingSettings, optional
            Optimiser, loss and compiler; defaults without it.
        steps_per_epoch : int, optional
            Batches of an epoch, for the cosine schedule.

        Returns
        -------
        keras.Model
            The compiled model.
        """
        training = TrainingSettings() if training is None else training
        metrics: list[Any] = [SkimAUC(self.n_outputs, name="auc")]
        if self.n_outputs > 1:
            metrics += [
                SkimAUC(self.n_outputs, skim=i, name=f"auc_{label}")
                for i, label in enumerate(self.label_names)
            ]
        self.model.compile(
            optimizer=make_optimizer(training, steps_per_epoch),
            loss=SkimCrossentropy(training.label_smoothing),
            # Weighted: Keras hands weights, which mark unknown labels, to these only.
            weighted_metrics=metrics,
            jit_compile=training.xla,
        )
        return self.model

    def fit(self, stream: Any, **options: Any) -> keras.callbacks.History:
        """Train on a stream, silently.

        Parameters
        ----------
        stream : tf.data.Dataset
            Batches of (inputs, labels[, weights]); extra inputs are ignored.
        **options
            As `keras.Model.fit`: ``validation_data``, ``epochs``, ``callbacks``, ...

        Returns
        -------
        keras.callbacks.History
            One value per epoch of every quantity.
        """
        if not self.model.compiled:
            self.compile()
        # The stream shuffles; Keras would warn that it does not.
        return self.model.fit(stream, verbose=0, shuffle=False, **options)

    def save(self, path: str | Path) -> None:
        """Write the model, whole or not at all.

        Parameters
        ----------
        path : str or pathlib.Path
            A name that ends in ``.keras``; an older file is replaced when the new one is
            complete and on the disk.

        Raises
        ------
        OutputError
            When the disk is full or the place cannot be written.
        """
        save_model(self.model, path)

    def load(self, path: str | Path) -> keras.Model:
        """Take the weights of a saved model of the same architecture.

        Parameters
        ----------
        path : str or pathlib.Path
            Written by `save`.

        Returns
        -------
        keras.Model
            The model with these weights.

        Raises
        ------
        InputError
            When the file is missing, damaged, or holds another architecture.
        """
        from smartbkg_tf.models.loading import copy_weights, load_model

        copy_weights(load_model(path), self.model, where=path)
        return self.model

    def summary(self) -> str:
        """Describe the layers.

        Returns
        -------
        str
            A table with shapes and numbers of weights.
        """
        lines: list[str] = []
        self.model.summary(
            line_length=110,
            expand_nested=True,
            print_fn=lambda text, line_break=True: lines.append(text),
        )
        return "\n".join(lines).rstrip() + "\n"

    def draw(self, path: str | Path) -> None:
        """Draw the architecture.

        Parameters
        ----------
        path : str or pathlib.Path
            An SVG file; replaced when it exists.
        """
        draw_model(self.model, path, title=f"{self.name} ({self.inputs})")

    # -- checks ---------------------------------------------------------------------------

    def _checked(self, model: Any) -> keras.Model:
        """Refuse what the rest of the chain could not use; make inputs go by name."""
        step = "see the example in the docstring of smartbkg_tf.models.base.NNBaseClass"
        if not isinstance(model, keras.Model):
            raise ConfigurationError(
                f"{self.name}.build_model returns a {type(model).__name__}, not a keras.Model",
                next_step=step,
            )
        if not isinstance(model, keras.src.models.Functional):
            raise ConfigurationError(
                f"{self.name}.build_model must return a functional model: "
                "keras.Model(inputs, self.output(x))",
                next_step=step,
            )
        names = [tensor.name for tensor in model.inputs]
        unknown = [name for name in names if name not in INPUTS]
        if unknown:
            raise ConfigurationError(
                f"{self.name} has an input '{unknown[0]}'; {did_you_mean(unknown[0], INPUTS)}",
                next_step="make inputs with self.make_inputs()",
            )
        outputs = list(model.outputs)
        shape = tuple(outputs[0].shape) if len(outputs) == 1 else ()
        if (
            len(outputs) != 1
            or model.output_names != [OUTPUT]
            or shape != (None, self.n_outputs)
            or outputs[0].dtype != "float32"
        ):
            raise ConfigurationError(
                f"{self.name} must have one output '{OUTPUT}', float32 [batch, {self.n_outputs}], "
                f"not {model.output_names} {[(tuple(o.shape), o.dtype) for o in outputs]}",
                next_step="make it with self.output(x)",
            )
        # A list of inputs: Keras then picks them by name out of a dict that holds more.
        # With a dict it would take extra arrays by position.
        ordered = sorted(model.inputs, key=lambda tensor: list(INPUTS).index(tensor.name))
        return keras.Model(ordered, outputs[0], name=model.name)


def constructor_arguments(cls: type) -> list[str]:
    """Names of all arguments that a class takes, its bases' included.

    Parameters
    ----------
    cls : type
        The class.

    Returns
    -------
    list of str
        Named arguments of every ``__init__`` up to the first one that hands nothing on
        (has no ``**``).
    """
    names: dict[str, None] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                names[parameter.name] = None
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return list(names)


def save_model(model: keras.Model, path: str | Path) -> None:
    """Write a Keras model, whole or not at all: temporary name, flush, rename.

    Parameters
    ----------
    model : keras.Model
        The model.
    path : str or pathlib.Path
        A name that ends in ``.keras``.

    Raises
    ------
    ValueError
        For another suffix.
    OutputError
        When the disk is full or the place cannot be written.
    """
    if Path(path).suffix != ".keras":
        raise ValueError(f"{path}: the name of a saved model ends in .keras")
    with whole_file(path) as partial:
        model.save(partial)
