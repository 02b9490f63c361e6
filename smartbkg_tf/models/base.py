"""`NNBaseClass`: what a custom network inherits."""

from __future__ import annotations

import abc
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from smartbkg_tf.encoding.pad import INPUTS_OF
from smartbkg_tf.errors import ConfigurationError, did_you_mean
from smartbkg_tf.models.inputs import INPUTS, OUTPUT, ModelInputs
from smartbkg_tf.models.loading import copy_weights, load_model, save_model
from smartbkg_tf.models.metrics import SkimAUC
from smartbkg_tf.models.packing import set_packing
from smartbkg_tf.models.physics import ACCEPTANCE, BEAMS
from smartbkg_tf.runtime.files import atomic_file
from smartbkg_tf.settings.training import TrainingSettings


class NNBaseClass(abc.ABC):
    r"""A network that predicts from generated particles whether an event passes the skims.

    Inherit and build a functional Keras model in `build_model`. Everything else is here: inputs,
    normalisation and output in the right form, compile, fit, atomic saving, summary, callbacks.

    The arguments below are common to all networks and are given by ``train``. A custom class
    takes further ones with plain values as defaults and hands ``**common`` on.

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
    event_type : bool, default False
        Read the type of the event as well: ``event_type_input`` is then among the inputs.

    Raises
    ------
    ConfigurationError
        When `inputs` is not such a choice, there is no label, or particles are read without
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
                event = self.event()
                particles, mask = event.particles(embedding=8)
                x = keras.layers.Dense(self.units, activation="relu")(particles)
                x = MaskedAveragePooling()(x, mask=mask)
                x = keras.layers.Dense(self.units, activation="relu")(x)
                return keras.Model(event.inputs, event.output(x))

    trains with::

        python -m smartbkg_tf.train model=custom model._target_=my_module.MyNet \
            model.inputs=particles model.parameters.units=128
    """

    #: PDG code of each token; None: those of the package's vocabulary.
    codes: Sequence[int] | None = None
    #: Total px, py, pz, E of the beams (GeV), and polar angles that the detector covers (degrees).
    beams: Sequence[float] = BEAMS
    acceptance: Sequence[float] = ACCEPTANCE

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
        event_type: bool = False,
    ) -> None:
        if inputs not in INPUTS_OF:
            raise ConfigurationError(
                f"model.inputs: '{inputs}' is not a choice; {did_you_mean(inputs, INPUTS_OF)}"
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
        self.event_type = bool(event_type)
        self._event: ModelInputs | None = None
        self._model: keras.Model | None = None

    # -- what a subclass writes -----------------------------------------------------------

    @abc.abstractmethod
    def build_model(self) -> keras.Model:
        """Build the network.

        Returns
        -------
        keras.Model
            Functional, from the inputs of `event` to a tensor made by its `output`.
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
            Those of the schedule, and early stopping on a validation quantity. Neither restores
            weights: the best epoch is on the disk. ``train`` adds saving, history, progress and
            ``training.callbacks``.
        """
        monitor, mode = training.monitor, training.mode
        callbacks: list[Any] = training.schedule.callbacks(monitor, mode)
        if training.patience is not None:
            callbacks.append(
                keras.callbacks.EarlyStopping(monitor, mode=mode, patience=training.patience)
            )
        return callbacks

    @property
    def one_pass(self) -> bool:
        """Whether everything is done in `prepare`, and one pass over the events is enough."""
        return False

    def prepare(  # noqa: B027
        self, stream: Any, validation: Any, training: TrainingSettings
    ) -> None:
        """Look at the events before the first step; by default nothing.

        Parameters
        ----------
        stream, validation : tf.data.Dataset
            Batches of (inputs, labels, weights) of one pass.
        training : TrainingSettings
            Seed and other settings.
        """

    # -- what build_model starts from -------------------------------------------------------

    def event(self, *names: str) -> ModelInputs:
        """Make the inputs of the network, and what is made of them.

        Parameters
        ----------
        *names : str
            Which of `smartbkg_tf.models.inputs.INPUTS`; by default those of ``self.inputs``, and
            ``event_type_input`` if ``self.event_type``.

        Returns
        -------
        ModelInputs
            ``inputs``, `particles`, `tokens`, `mothers`, `output`, ...

        Raises
        ------
        ConfigurationError
            For an unknown name.
        """
        if not names:
            names = INPUTS_OF[self.inputs]
            names = (*names, "event_type_input") if self.event_type else names
        self._event = ModelInputs(self, names)
        return self._event

    def make_inputs(self, *names: str) -> dict[str, Any]:
        """Give ``event(*names).inputs``, for networks that were written before `event` was."""
        return self.event(*names).inputs

    def particle_features(self, inputs: Mapping[str, Any], **options: Any) -> tuple[Any, Any]:
        """Give `ModelInputs.particles` of the inputs made last; as `make_inputs`."""
        return self._made_from(inputs).particles(**options)

    def token_features(self, inputs: Mapping[str, Any], **options: Any) -> tuple[Any, Any]:
        """Give `ModelInputs.tokens` of the inputs made last; as `make_inputs`."""
        return self._made_from(inputs).tokens(**options)

    def output(self, x: Any) -> Any:
        """Give `ModelInputs.output` of the inputs made last; as `make_inputs`."""
        return self._made_from({}).output(x)

    def _made_from(self, inputs: Mapping[str, Any]) -> ModelInputs:
        if self._event is None or any(
            self._event.inputs.get(k) is not x for k, x in inputs.items()
        ):
            raise ConfigurationError(
                f"{self.name}.build_model uses inputs that it did not make last",
                next_step="begin with event = self.event(), and use event.particles()",
            )
        return self._event

    @property
    def n_outputs(self) -> int:
        """Number of skims."""
        return len(self.label_names)

    @property
    def not_for_particles(self) -> list[str]:
        """Columns that particle branches do not read."""
        return []

    # -- what every network gives ---------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the class."""
        return type(self).__name__

    @property
    def model(self) -> keras.Model:
        """The Keras model; built and checked at the first use."""
        if self._model is None:
            self._model = _checked_model(self.name, self.build_model(), self.n_outputs)
        return self._model

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the arrays that the network reads."""
        return tuple(tensor.name for tensor in self.model.inputs)

    def compile(
        self,
        training: TrainingSettings | None = None,
        steps_per_epoch: int | None = None,
        retention: Sequence[float] | None = None,
    ) -> keras.Model:
        """Prepare for training.

        Parameters
        ----------
        training : TrainingSettings, optional
            Optimiser, loss and compiler; defaults without it.
        steps_per_epoch : int, optional
            Batches of a pass, for schedules that follow them; 1 without it.
        retention : sequence of float, optional
            Natural fraction of passing events of each skim, for the loss *Speedup*.

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
        set_packing(self.model, not training.xla)
        self.model.compile(
            optimizer=training.optimizer.for_training(training, steps_per_epoch or 1, self.model),
            loss=training.loss.make(self.n_outputs, retention),
            # Weighted: Keras hands weights, which mark unknown labels, to these only.
            weighted_metrics=metrics,
            jit_compile=training.xla,
            steps_per_execution=training.steps_per_execution,
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
        with warnings.catch_warnings():
            # What `prepare` has done may be everything.
            warnings.filterwarnings("ignore", "The model does not have any trainable weights")
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
        copy_weights(load_model(path), self.model, where=path)
        return self.model

    def summary(self) -> str:
        """Describe the layers: a table with shapes and numbers of weights."""
        lines: list[str] = []
        self.model.summary(
            line_length=110,
            expand_nested=True,
            print_fn=lambda text, line_break=True: lines.append(text),
        )
        return "\n".join(lines).rstrip() + "\n"

    def draw(self, path: str | Path) -> bool:
        """Draw the architecture as SVG if Graphviz and pydot are installed; tell whether it was."""
        try:
            dot = keras.utils.model_to_dot(self.model, show_shapes=True, show_layer_names=True)
            drawing = dot.create(format="svg")
        except (ImportError, OSError):
            return False
        with atomic_file(path) as partial:
            partial.write_bytes(drawing)
        return True


def traced(model: keras.Model) -> Callable[[Mapping[str, Any]], Any]:
    """Trace a model once, for prediction on any number of events of any length."""
    import tensorflow as tf

    read = {x.name: tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in model.inputs}
    function = tf.function(lambda arrays: model(arrays, training=False), input_signature=[read])
    return lambda arrays: function({name: arrays[name] for name in read})


def _checked_model(name: str, model: Any, n_outputs: int) -> Any:
    """Refuse a network that the rest of the chain could not use; make inputs go by name.

    The result has the same layers and picks its arrays by name out of a dict that may hold more.
    """
    step = "see the example in the docstring of smartbkg_tf.models.base.NNBaseClass"
    if not isinstance(model, keras.Model):
        raise ConfigurationError(
            f"{name}.build_model returns a {type(model).__name__}, not a keras.Model",
            next_step=step,
        )
    if not getattr(model, "inputs", None):
        raise ConfigurationError(
            f"{name}.build_model must return a functional model: "
            "keras.Model(event.inputs, event.output(x))",
            next_step=step,
        )
    outputs = list(model.outputs)
    shape = tuple(outputs[0].shape) if len(outputs) == 1 else ()
    if (
        len(outputs) != 1
        or model.output_names != [OUTPUT]
        or shape != (None, n_outputs)
        or outputs[0].dtype != "float32"
    ):
        raise ConfigurationError(
            f"{name} must have one output '{OUTPUT}', float32 [batch, {n_outputs}], "
            f"not {model.output_names} {[(tuple(o.shape), o.dtype) for o in outputs]}",
            next_step="make it with event.output(x)",
        )
    # A list of inputs: Keras then picks them by name out of a dict that holds more.
    # With a dict it would take extra arrays by position.
    # Further columns of a feature set come last; a dataset refuses names that it does not have.
    known = list(INPUTS)
    ordered = sorted(
        model.inputs,
        key=lambda tensor: known.index(tensor.name) if tensor.name in known else len(known),
    )
    # A class of the user's own keeps its training step.
    kind = keras.Model if type(model).__module__.startswith("keras.") else type(model)
    return kind(ordered, outputs[0], name=model.name)
