"""Score events with the Keras model of a run directory, or with an exported ONNX file.

A batch holds events of like length, padded to it. An event's padding is decided by its own length
alone, so that its score does not depend on its neighbours (but for the last bits, where a
library computes batches of other sizes in another order).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.dataset import Dataset
from smartbkg_tf.encoding.checks import (
    Finding,
    all_sound,
    find_unusable_encoded,
    find_unusable_events,
)
from smartbkg_tf.encoding.encode import EncodingReport, encode, pad
from smartbkg_tf.encoding.events import Events
from smartbkg_tf.encoding.pad import empty_batch, fill_batch
from smartbkg_tf.errors import ConfigurationError, InputError, Problems
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.filtering.filter_file import FittedFilter, read_filter
from smartbkg_tf.filtering.model_description import (
    ModelDescription,
    describe_run,
    description_of,
)
from smartbkg_tf.filtering.onnx_metadata import AGAIN, check_seal, read_metadata
from smartbkg_tf.runtime.quiet import load_tensorflow
from smartbkg_tf.runtime.run_directory import RunDirectory, open_run
from smartbkg_tf.settings.encoding import PARTICLES, TOKENS
from smartbkg_tf.settings.stored import EXPORTED, check_stored

Scores = npt.NDArray[np.float32]
Batch = dict[str, npt.NDArray[Any]]

#: Events scored at a time, unless asked otherwise; ONNX Runtime is no faster with more.
KERAS_BATCH_SIZE = 256
ONNX_BATCH_SIZE = 16
_FIRST_EVENT = np.zeros(1, dtype=np.int64)

#: Faults that a network would turn into a wrong number. An event without particles is not
#: one of them: a filter must decide about it too.
_FATAL = (
    "not_finite",
    "too_large",
    "negative_energy",
    "mother_index",
    "charge",
    "too_many_particles",
    "no_tokens",
    "decay_string",
)


class Scorer(ABC):
    """Encode events and score them; how the model is called is left to subclasses.

    Parameters
    ----------
    description : ModelDescription
        What the model reads and answers.
    batch_size : int
        Events scored at a time.
    where : pathlib.Path
        The model's file, for messages.
    step : int, default 8
        Events are padded to multiples of so many particles and tokens.

    Raises
    ------
    InputError
        When the model was trained with another vocabulary than this version has.
    """

    #: Names of the arrays that the model reads; a subclass sets them.
    input_names: tuple[str, ...]
    #: Axes whose length is part of the model; a subclass sets them.
    fixed_axes: frozenset[str]

    def __init__(
        self,
        description: ModelDescription,
        *,
        batch_size: int,
        where: Path,
        step: int = 8,
    ) -> None:
        self.description = description
        self.label_names = description.label_names
        self.batch_size = batch_size
        self.step = step
        self.where = where
        #: What was lost while events were encoded, added up over calls of `score_events`.
        self.report = EncodingReport()
        digest = description.vocabulary.get("digest")
        if digest != default_vocabulary().digest:
            raise InputError(
                f"was trained with another vocabulary of PDG codes (digest {digest}, this "
                f"version of smartbkg_tf has {default_vocabulary().digest})",
                where=where,
                next_step="use the version that trained it, or train again",
            )

    @abstractmethod
    def _call(self, batch: Batch) -> npt.NDArray[Any]:
        """Score one batch of events of like length."""

    @abstractmethod
    def fitted_filter(self) -> FittedFilter:
        """Read what was fitted on validation events; `InputError` when the model comes without."""

    def score_encoded(self, encoded: Events) -> Scores:
        """Score encoded events, [n, skims]; each is padded to a multiple of `step` places.

        So a score depends on nothing but the event, and nothing is computed for long padding.
        """
        names, schema = self.input_names, encoded.schema.by_name
        read = {schema[name].axis for name in names}
        limits = (self.description.max_particles, self.description.max_tokens)
        widths = np.ones((len(encoded), 2), dtype=np.int64)
        for i, (axis, most) in enumerate(zip((PARTICLES, TOKENS), limits, strict=True)):
            if axis in self.fixed_axes:
                widths[:, i] = most
            elif axis in read:
                n = np.maximum(encoded.lengths(axis), 1)
                widths[:, i] = np.minimum(-(-n // self.step) * self.step, most)
        order = np.lexsort(widths.T)
        ends = np.flatnonzero(np.any(np.diff(widths[order], axis=0), axis=1)) + 1
        scores = np.empty((len(encoded), len(self.label_names)), dtype=np.float32)
        for alike in np.split(order, ends):
            for start in range(0, len(alike), self.batch_size):
                rows = alike[start : start + self.batch_size]
                batch = pad(encoded, rows, names, *widths[rows[0]].tolist())
                found = np.asarray(self._call(batch), dtype=np.float32)
                if found.shape != (len(rows), len(self.label_names)):
                    raise InputError(
                        f"gives scores of shape {list(found.shape)} for {len(rows)} events and "
                        f"the skims {', '.join(self.label_names)}",
                        where=self.where,
                    )
                scores[rows] = found
        return scores

    def score_dataset(self, dataset: Dataset, indices: npt.ArrayLike) -> Scores:
        """Score events of a dataset directory.

        Parameters
        ----------
        dataset : Dataset
            The dataset.
        indices : array_like of int [n]
            Positions of events.

        Returns
        -------
        numpy.ndarray [n, skims]
            float32 logits.

        Raises
        ------
        InputError
            When the dataset was encoded for another kind of model.
        """
        self._check_dataset(dataset)
        rows, places = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
        return self.score_encoded(dataset.stored(self.input_names).read(rows))[places]

    def _check_dataset(self, dataset: Dataset) -> None:
        again = "preprocess the events again: python -m smartbkg_tf.preprocess ..."
        if dataset.information["vocabulary"]["digest"] != self.description.vocabulary["digest"]:
            raise InputError(
                "was written with another vocabulary of PDG codes than the model's",
                where=dataset.path,
                next_step=again,
            )
        mine, theirs = (
            {"_target_": encoding.features, **encoding.arguments}
            if encoding.arguments
            else encoding.features
            for encoding in (self.description.encoding, dataset.encoding)
        )
        if mine != theirs and "particle_input" in self.input_names:
            raise InputError(
                f"was written with features={theirs}, the model reads features={mine}",
                where=dataset.path,
                next_step=f"{again} features={mine}",
            )

    def score_events(self, table: EventTable, where: str | Path | None = None) -> Scores:
        """Encode events as for training, and score them.

        Parameters
        ----------
        table : EventTable
            The events; what is truncated or unknown is added to ``self.report``.
        where : str or pathlib.Path, optional
            The events' file, for messages.

        Returns
        -------
        numpy.ndarray [n, skims]
            float32 logits.

        Raises
        ------
        InputError
            When the events lack what the model reads, or hold values that cannot be used
            (NaN, mother indices out of range, ...).
        """
        return self.score_encoded(self.encode_events(table, where))

    def encode_events(self, table: EventTable, where: str | Path | None = None) -> Events:
        """Check and encode events; see `score_events`."""
        if not table.particles and {*self.input_names} - {"decay_input", "event_type_input"}:
            raise InputError(
                "holds decay strings only, but the model reads particles",
                where=where,
                next_step="give files with particle tables (key=all), or a model that was "
                "trained with model.inputs=decay",
            )
        file, decay = str(where or ""), "decay_input" in self.input_names
        if not (table.particles and all_sound(table)):
            _refuse(find_unusable_events(table, file=file)[1], where)
        encoded = encode(
            table, self.description.encoding, default_vocabulary(), file=file, decay=decay
        )
        # Trees without faults have tokens and brackets that fit.
        if decay and (table.decay_strings is not None or not table.particles):
            _refuse(find_unusable_encoded(encoded, table, file=file)[1], where)
        self.report = added(self.report, encoded.report)
        return encoded


def _refuse(findings: list[Finding], where: str | Path | None) -> None:
    """Raise when a network would turn any of the faults into a wrong number."""
    if not findings:
        return
    problems = Problems()
    for finding in findings:
        if finding.reason in _FATAL:
            problems.add(str(finding))
    problems.raise_if_any(
        "some events cannot be scored",
        kind=InputError,
        where=where,
        next_step="fix or remove these events; nothing was written",
    )


def _fixed_axes(shapes: Mapping[str, tuple[Any, ...]]) -> frozenset[str]:
    """Find the axes that a model reads at one length only, by the shapes of its inputs."""
    return frozenset(
        TOKENS if name == "decay_input" else PARTICLES
        for name, shape in shapes.items()
        if len(shape) > 1 and isinstance(shape[1], int)
    )


def added(first: EncodingReport, second: EncodingReport) -> EncodingReport:
    """Add up what was lost in two encodings."""
    if not (second.unknown_codes or second.truncated_particles or second.truncated_tokens):
        return first
    return EncodingReport(
        unknown_codes=dict(Counter(first.unknown_codes) + Counter(second.unknown_codes)),
        truncated_particles=first.truncated_particles + second.truncated_particles,
        truncated_tokens=first.truncated_tokens + second.truncated_tokens,
    )


class KerasScorer(Scorer):
    """Score events with the Keras model of a run directory.

    Parameters
    ----------
    run : RunDirectory
        The run.
    batch_size : int, default 256
        Events scored at a time.
    file : pathlib.Path, optional
        Another model file of the run; by default the best model.

    Raises
    ------
    InputError
        When a file is missing, truncated or does not fit.
    """

    def __init__(
        self, run: RunDirectory, batch_size: int = KERAS_BATCH_SIZE, *, file: Path | None = None
    ) -> None:
        self.run = run
        path = run.model if file is None else file
        super().__init__(describe_run(run), batch_size=batch_size, where=path)
        self.model = load_run_model(run, path)
        from smartbkg_tf.models.loading import target_of

        #: Import paths of the classes that the network is made of.
        self.targets = target_of(run.read_config())
        self.input_names = tuple(tensor.name for tensor in self.model.inputs)
        self.fixed_axes = _fixed_axes({t.name: tuple(t.shape) for t in self.model.inputs})
        self._function: Any = None

    def _call(self, batch: Batch) -> npt.NDArray[Any]:
        load_tensorflow()
        import tensorflow as tf

        if self._function is None:
            # One trace for all shapes; another type would be an error, not a slow second trace.
            shapes = {
                t.name: tf.TensorSpec([None, *t.shape[1:]], t.dtype) for t in self.model.inputs
            }
            traced = tf.function(lambda arrays: self.model(arrays, training=False))
            self._function = traced.get_concrete_function(shapes)
        tensors = {name: tf.constant(values) for name, values in batch.items()}
        scores: npt.NDArray[Any] = self._function(tensors).numpy()
        return scores

    def fitted_filter(self) -> FittedFilter:
        """Read ``filter.json`` of the run."""
        if not self.run.filter.is_file():
            raise InputError(
                f"holds no {self.run.filter.name}, the fitted sampling rule: its training was "
                "not finished",
                where=self.run.path,
                next_step="train again with python -m smartbkg_tf.train, or give a rule yourself "
                "(sampling.a=0.5 sampling.b=1.0), or use method=score",
            )
        return read_filter(self.run.filter)


class OnnxScorer(Scorer):
    """Score events with an exported ONNX file, on one thread, as in basf2.

    Parameters
    ----------
    path : pathlib.Path
        The .onnx file; it describes itself.
    batch_size : int, default 16
        Events scored at a time; more are no faster on one thread.
    step : int, default 8
        Events are padded to multiples of so many particles and tokens.

    Raises
    ------
    ConfigurationError
        When ONNX Runtime is not installed.
    InputError
        When the file is missing, was changed, or does not fit this version.
    """

    def __init__(self, path: Path, batch_size: int = ONNX_BATCH_SIZE, *, step: int = 8) -> None:
        if not path.is_file():
            raise InputError(
                "the model does not exist",
                where=path,
                next_step="it is made by: python -m smartbkg_tf.export run=RUN_DIR output=DIR",
            )
        check_seal(path)
        self._session = open_session(path)
        values = read_metadata(self._session, path)
        check_stored(EXPORTED, values, path, next_step=AGAIN)
        self._filter = values["filter"]
        super().__init__(description_of(values, path), batch_size=batch_size, where=path, step=step)
        shapes = {tensor.name: tuple(tensor.shape) for tensor in self._session.get_inputs()}
        self.input_names = tuple(shapes)
        self.fixed_axes = _fixed_axes(shapes)
        output = self._session.get_outputs()[0]
        self._output = output.name
        if output.shape[-1] != len(self.label_names):
            raise InputError(
                f"gives {output.shape[-1]} scores for the skims {', '.join(self.label_names)}",
                where=path,
                next_step=AGAIN,
            )

    def score_event(self, table: EventTable) -> npt.NDArray[np.float32]:
        """Score a table of one event, [skims], without what `score_events` does for many."""
        encoded = self.encode_events(table)
        limits = (self.description.max_particles, self.description.max_tokens)
        lengths = {
            axis: most if axis in self.fixed_axes else min(max(encoded.n_rows(axis), 1), most)
            for axis, most in zip((PARTICLES, TOKENS), limits, strict=True)
        }
        batch = empty_batch(encoded.schema, self.input_names, 1, lengths)
        fill_batch(batch, 0, encoded, _FIRST_EVENT)
        scores: npt.NDArray[np.float32] = self._call(batch)[0]
        return scores

    def _call(self, batch: Batch) -> npt.NDArray[Any]:
        return np.asarray(self._session.run([self._output], batch)[0])

    def fitted_filter(self) -> FittedFilter:
        """Give what the file holds of ``filter.json``."""
        if not self._filter:
            raise InputError("was exported without sampling rules", where=self.where)
        return FittedFilter(self._filter, self.where)


def open_session(path: Path) -> Any:
    """Open an ONNX file with ONNX Runtime, for one thread."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigurationError(
            "an .onnx model needs ONNX Runtime, which is not installed",
            next_step="pip install onnxruntime",
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors share no other base class
        raise InputError(f"cannot be loaded ({str(error).splitlines()[0]})", where=path) from error


def load_run_model(run: RunDirectory, path: Path | None = None) -> Any:
    """Load a Keras model of a run directory, by default the best one."""
    load_tensorflow()
    from smartbkg_tf.models.loading import load_model, target_of

    return load_model(path or run.model, target_of(run.read_config()))


def open_scorer(
    model: str | Path, batch_size: int | None = None
) -> tuple[Scorer, RunDirectory | None]:
    """Open whatever ``run=`` names; also give the run directory, None for an exported file."""
    path = Path(model).expanduser()
    if path.suffix == ".onnx":
        return OnnxScorer(path, batch_size or ONNX_BATCH_SIZE), None
    file = None
    if path.suffix == ".keras":
        if not path.is_file():
            raise InputError(
                "the model does not exist",
                where=path,
                next_step="models are made by: python -m smartbkg_tf.train model=resnet",
            )
        path, file = path.parent, path
    elif path.is_file():
        raise InputError(
            "is not a model: run= takes a run directory, a .keras file inside one, or a "
            ".onnx file that was exported",
            where=path,
            next_step="run directories are made by: python -m smartbkg_tf.train model=resnet",
        )
    run = open_run(path)
    return KerasScorer(run, batch_size or KERAS_BATCH_SIZE, file=file), run
