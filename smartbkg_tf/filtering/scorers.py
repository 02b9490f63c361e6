"""Score events with the Keras model of a run directory, or with an exported file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from smartbkg_tf.errors import InputError
from smartbkg_tf.filtering.description import describe_run, read_yaml
from smartbkg_tf.filtering.filter_file import read_filter
from smartbkg_tf.filtering.onnx_scorer import ONNX_BATCH_SIZE, OnnxScorer
from smartbkg_tf.filtering.scorer import BATCH_SIZE, Batch, Scorer
from smartbkg_tf.runtime.quiet import load_tensorflow
from smartbkg_tf.runtime.run_directory import RunDirectory, open_run

__all__ = ["KerasScorer", "OnnxScorer", "Scorer", "load_run_model", "open_scorer"]


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
        self, run: RunDirectory, batch_size: int = BATCH_SIZE, *, file: Path | None = None
    ) -> None:
        self.run = run
        path = run.model if file is None else file
        super().__init__(describe_run(run), batch_size=batch_size, where=path)
        self.model = load_run_model(run, path)
        self._input_names = tuple(tensor.name for tensor in self.model.inputs)
        self._function: Any = None

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the arrays that the model reads."""
        return self._input_names

    def _call(self, batch: Batch) -> npt.NDArray[Any]:
        load_tensorflow()
        import tensorflow as tf

        tensors = {name: tf.constant(values) for name, values in batch.items()}
        if self._function is None:
            # One concrete function: a batch of another shape would be an error, not a
            # silent (and slow) second trace.
            traced = tf.function(lambda arrays: self.model(arrays, training=False))
            shapes = {name: tf.TensorSpec(t.shape, t.dtype) for name, t in tensors.items()}
            self._function = traced.get_concrete_function(shapes)
        scores: npt.NDArray[Any] = self._function(tensors).numpy()
        return scores

    def filter_values(self) -> tuple[dict[str, Any], Path]:
        """Read ``filter.json`` of the run."""
        if not self.run.filter.is_file():
            raise InputError(
                f"holds no {self.run.filter.name}, the fitted sampling rule: its training did "
                "not end",
                where=self.run.path,
                next_step="train again with python -m smartbkg_tf.train, or give a rule by hand "
                "(sampling.a=0.5 sampling.b=1.0), or use method=score",
            )
        return read_filter(self.run.filter), self.run.filter


def load_run_model(run: RunDirectory, path: Path | None = None) -> Any:
    """Load a Keras model of a run directory.

    Parameters
    ----------
    run : RunDirectory
        The run.
    path : pathlib.Path, optional
        The model file; by default the best model.

    Returns
    -------
    keras.Model
        The model.

    Raises
    ------
    InputError
        When the file is missing, truncated or holds no such model.
    """
    load_tensorflow()
    from smartbkg_tf.models.loading import load_model, target_of

    return load_model(path or run.model, target_of(read_yaml(run.config)))


def open_scorer(
    model: str | Path, batch_size: int | None = None
) -> tuple[Scorer, RunDirectory | None]:
    """Open whatever ``model=`` names.

    Parameters
    ----------
    model : str or pathlib.Path
        A run directory, a .keras file inside one, or an exported .onnx file.
    batch_size : int, optional
        Events scored at a time; by default what suits the kind of model.

    Returns
    -------
    scorer : Scorer
        Ready to score.
    run : RunDirectory or None
        The run directory; None for an exported file.

    Raises
    ------
    InputError
        When it is missing, damaged, or something else.
    """
    path = Path(model).expanduser()
    if path.suffix == ".onnx":
        return OnnxScorer(path, batch_size or ONNX_BATCH_SIZE), None
    if path.suffix == ".keras":
        if not path.is_file():
            raise InputError(
                "the model does not exist",
                where=path,
                next_step="models are made by: python -m smartbkg_tf.train model=resnet",
            )
        run = open_run(path.parent)
        return KerasScorer(run, batch_size or BATCH_SIZE, file=path), run
    if path.is_file():
        raise InputError(
            "is no model: model= takes a run directory, a .keras file inside one, or a "
            ".onnx file that was exported",
            where=path,
            next_step="run directories are made by: python -m smartbkg_tf.train model=resnet",
        )
    run = open_run(path)
    return KerasScorer(run, batch_size or BATCH_SIZE), run
