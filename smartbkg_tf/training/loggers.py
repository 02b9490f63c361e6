"""What other programs show of a run: TensorBoard and MLflow."""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import UserError
from smartbkg_tf.models.metrics import SkimAUC
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.settings.training import MLflowSettings
from smartbkg_tf.training.savers import SaveModels


class TensorBoardLog(keras.callbacks.Callback):
    """Values of every epoch, and the ROC of validation events for each epoch that is the best.

    Written as ``tf.summary.scalar`` and ``image`` do, which want TensorBoard to be installed.
    """

    def __init__(self, folder: Path, best: SaveModels, label_names: Sequence[str]) -> None:
        super().__init__()
        self.folder = folder
        self.best = best
        self.label_names = list(label_names)
        self._writers: dict[str, Any] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the values and the curve."""
        import tensorflow as tf

        for name, value in (logs or {}).items():
            part = "validation" if name.startswith("val_") else "train"
            scalar = tf.constant(float(value), tf.float32)
            tag = f"epoch/{name.removeprefix('val_')}"
            self._write(part, tag, "scalars", "SCALAR", scalar, epoch)
        curves = validation_curves(self.model, self.label_names)
        if self.best.best_epoch == epoch + 1 and curves:
            image = roc_png(curves, f"validation events, epoch {epoch + 1}")
            width, height = (str(int.from_bytes(image[i : i + 4], "big")) for i in (16, 20))
            values = tf.constant([width.encode(), height.encode(), image])
            self._write("validation", "roc", "images", "BLOB_SEQUENCE", values, epoch)
        for writer in self._writers.values():
            writer.flush()

    def _write(self, part: str, tag: str, plugin: str, kind: str, value: Any, epoch: int) -> None:
        import tensorflow as tf

        if part not in self._writers:
            self._writers[part] = tf.summary.create_file_writer(str(self.folder / part))
        metadata = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name=plugin),
            data_class=f"DATA_CLASS_{kind}",
        )
        with self._writers[part].as_default():
            tf.summary.write(tag, value, step=epoch + 1, metadata=metadata)


#: A legend of more skims would hide the curves.
_MOST_NAMES = 20


def validation_curves(model: Any, label_names: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """Read the ROC curve of each skim from the full histograms of the metric `SkimAUC`."""
    found = [metric for metric in _flat(model.metrics) if isinstance(metric, SkimAUC)]
    if not found:
        return {}
    histograms = (np.asarray(found[0].passing.numpy()), np.asarray(found[0].failing.numpy()))
    return {
        name: roc_points(passing, failing)
        for name, passing, failing in zip(label_names, *histograms, strict=True)
        if passing.any() and failing.any()
    }


def _flat(metrics: Sequence[Any]) -> list[Any]:
    return [m for metric in metrics for m in (_flat(getattr(metric, "metrics", ())) or [metric])]


def roc_points(
    passing: npt.NDArray[np.float32], failing: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Turn histograms [bins] of the score into fractions (failing, passing) above each bin."""
    used = (passing > 0) | (failing > 0)
    curves = []
    for histogram in (failing, passing):
        kept = np.cumsum(np.asarray(histogram, np.float64)[used][::-1])
        curves.append(np.concatenate([[0.0], kept / max(kept[-1] if len(kept) else 0.0, 1e-300)]))
    return curves[0], curves[1]


def roc_png(curves: Mapping[str, tuple[Any, Any]], title: str) -> bytes:
    """Draw ROC curves, (failing kept, passing kept) by skim, as PNG."""
    # Without pyplot: no window system, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, (failing, passing) in curves.items():
        axes.plot(failing, passing, label=name)
    axes.set(xlabel="failing events kept", ylabel="passing events kept", title=title)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    if len(curves) <= _MOST_NAMES:
        axes.legend(loc="lower right")
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


class MLflowLog(keras.callbacks.Callback):
    """Record parameters and the values of every epoch with MLflow.

    A run that is continued goes on under its MLflow run.
    """

    def __init__(self, settings: MLflowSettings, name: str, parameters: Mapping[str, Any]) -> None:
        super().__init__()
        self._mlflow = require_mlflow()
        self._settings = settings
        self._name = name
        self._parameters = dict(parameters)
        self.run_id: str | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Find the experiment, before any work; later errors are warnings."""
        try:
            self._connect()
        except Exception as error:  # MLflow and its stores raise what they like
            place = self._settings.tracking_uri or "MLFLOW_TRACKING_URI"
            raise UserError(
                f"MLflow cannot record the run at {place}: {_first_line(error)}",
                next_step="give another training.mlflow.tracking_uri, such as "
                "sqlite:///mlflow.db, or leave training.mlflow=null",
            ) from error

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the values of an epoch; warn where that fails."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        try:
            self._record(epoch, values)
        except Exception as error:  # a training is worth more than its record
            say(
                f"warning: MLflow did not take epoch {epoch + 1} ({_first_line(error)}); the "
                "training goes on, its values stand in history.csv"
            )

    def _connect(self) -> None:
        if self._settings.tracking_uri is not None:
            self._mlflow.set_tracking_uri(self._settings.tracking_uri)
        self._mlflow.set_experiment(self._settings.experiment)

    def _record(self, epoch: int, values: dict[str, float]) -> None:
        self._connect()
        with self._mlflow.start_run(run_id=self.run_id, run_name=self._name) as run:
            if self.run_id is None:
                self.run_id = str(run.info.run_id)
                # MLflow takes up to 100 parameters at a time.
                items = list(self._parameters.items())
                for i in range(0, len(items), 100):
                    self._mlflow.log_params(dict(items[i : i + 100]))
            self._mlflow.log_metrics(values, step=epoch + 1)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def require_mlflow() -> Any:
    """Import MLflow, or say how to install it."""
    try:
        return importlib.import_module("mlflow")
    except ImportError as error:
        raise UserError(
            "training.mlflow is set, but MLflow cannot be imported",
            next_step="pip install 'smartbkg_tf[tracking]' (in a checkout: pip install -e "
            "'.[tracking]'), or leave training.mlflow=null",
        ) from error
