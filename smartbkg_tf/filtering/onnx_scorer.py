"""Score events with an exported ONNX file: no TensorFlow, one thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.information import encoding_of, particles_of
from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.filtering.description import ModelDescription
from smartbkg_tf.filtering.scorer import Batch, Scorer
from smartbkg_tf.runtime.files import read_json, sha256

#: Events scored at a time, unless asked otherwise.
ONNX_BATCH_SIZE = 16


class OnnxScorer(Scorer):
    """Score events with an exported ONNX file, on one thread by default.

    Parameters
    ----------
    path : str or pathlib.Path
        The .onnx file; its description (.json) stands beside it.
    batch_size : int, default 16
        Events scored at a time; more are no faster on one thread.
    threads : int, default 1
        Threads of ONNX Runtime; basf2 uses one.

    Raises
    ------
    ConfigurationError
        When ONNX Runtime is not installed.
    InputError
        When a file is missing, damaged, or the two do not belong together.
    """

    def __init__(
        self, path: str | Path, batch_size: int = ONNX_BATCH_SIZE, *, threads: int = 1
    ) -> None:
        path = Path(path)
        if not path.is_file():
            raise InputError(
                "the model does not exist",
                where=path,
                next_step="it is made by: python -m smartbkg_tf.export run=RUN_DIR output=DIR",
            )
        self._sidecar = path.with_suffix(".json")
        values = read_json(self._sidecar, made_by="python -m smartbkg_tf.export")
        try:
            description = ModelDescription(
                label_names=tuple(values["label_names"]),
                encoding=encoding_of(values),
                max_particles=int(values["max_particles"]),
                max_tokens=int(values["max_tokens"]),
                vocabulary=dict(values["vocabulary"]),
                particles=particles_of(values),
            )
            digest = str(values["sha256"])
            self._filter = values.get("filter")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"is no description of an exported model ({error!r})",
                where=self._sidecar,
                next_step="it is made by: python -m smartbkg_tf.export",
            ) from error
        if digest != sha256(path):
            raise InputError(
                f"is not the file that {self._sidecar.name} describes (its SHA-256 differs): "
                "truncated, or from another export",
                where=path,
                next_step="export again: python -m smartbkg_tf.export run=RUN_DIR output=DIR",
            )
        super().__init__(description, batch_size=batch_size, where=path)
        self._session = open_session(path, threads)
        self._output = self._session.get_outputs()[0].name

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the arrays that the model reads."""
        return tuple(tensor.name for tensor in self._session.get_inputs())

    def _call(self, batch: Batch) -> npt.NDArray[Any]:
        return np.asarray(self._session.run([self._output], batch)[0])

    def filter_values(self) -> tuple[dict[str, Any], Path]:
        """Read the fitted rules of the description."""
        if not self._filter:
            raise InputError("was exported without sampling rules", where=self._sidecar)
        return self._filter, self._sidecar


def open_session(path: Path, threads: int = 1) -> Any:
    """Open an ONNX file with ONNX Runtime.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    threads : int, default 1
        Threads that it may use.

    Returns
    -------
    onnxruntime.InferenceSession
        Ready to run.

    Raises
    ------
    ConfigurationError
        When ONNX Runtime is not installed.
    InputError
        When the file cannot be loaded.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigurationError(
            "an .onnx model needs ONNX Runtime, which is not installed",
            next_step="pip install 'smartbkg_tf[onnx]'",
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors share no other base class
        raise InputError(f"cannot be loaded ({str(error).splitlines()[0]})", where=path) from error
