"""What other programs show of a run: the ROC curve for TensorBoard, and MLflow."""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import UserError
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.settings.training import MLflowSettings

#: Points of a drawn curve.
_POINTS = 512


def roc_points(
    passing: npt.NDArray[np.float32], failing: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Turn histograms of the score into an ROC curve.

    Parameters
    ----------
    passing, failing : numpy.ndarray [bins]
        Events by score, the lowest first.

    Returns
    -------
    failing_kept, passing_kept : numpy.ndarray [points]
        Fractions above a falling threshold, from (0, 0) to (1, 1); bins without events are
        left out.
    """
    used = (passing > 0) | (failing > 0)
    curves = []
    for histogram in (failing, passing):
        kept = np.cumsum(np.asarray(histogram, np.float64)[used][::-1])
        curves.append(np.concatenate([[0.0], kept / max(kept[-1] if len(kept) else 0.0, 1e-300)]))
    return curves[0], curves[1]


def roc_png(curves: Mapping[str, tuple[Any, Any]], title: str) -> bytes:
    """Draw ROC curves.

    Parameters
    ----------
    curves : mapping of str to (failing_kept, passing_kept)
        By skim.
    title : str
        Above the figure.

    Returns
    -------
    bytes
        A PNG image.
    """
    # Without pyplot: no window system, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, (failing, passing) in curves.items():
        step = max(len(failing) // _POINTS, 1)
        x, y = (np.append(values[:-1:step], values[-1]) for values in (failing, passing))
        axes.plot(x, y, label=name)
    axes.set(
        xlabel="failing events kept",
        ylabel="passing events kept",
        xlim=(0, 1),
        ylim=(0, 1),
        title=title,
        aspect="equal",
    )
    axes.legend(loc="lower right")
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def validation_curves(model: Any, label_names: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """Read the ROC curves of the pass over validation events that has just ended.

    Parameters
    ----------
    model : keras.Model
        With the metric `smartbkg_tf.models.losses.SkimAUC`, whose histograms are full.
    label_names : sequence of str
        The skims.

    Returns
    -------
    dict of str to tuple of numpy.ndarray
        (failing_kept, passing_kept) by skim; skims without both classes are left out.
    """
    from smartbkg_tf.models.losses import SkimAUC

    for metric in _flat_metrics(model.metrics):
        if isinstance(metric, SkimAUC):
            histograms = (np.asarray(metric.passing.numpy()), np.asarray(metric.failing.numpy()))
            return {
                name: roc_points(passing, failing)
                for name, passing, failing in zip(label_names, *histograms, strict=True)
                if passing.any() and failing.any()
            }
    return {}


def _flat_metrics(metrics: Sequence[Any]) -> list[Any]:
    flat: list[Any] = []
    for metric in metrics:
        inner = getattr(metric, "metrics", None)
        flat += _flat_metrics(inner) if inner else [metric]
    return flat


class MLflowLog(keras.callbacks.Callback):
    """Record parameters and the values of every epoch with MLflow.

    A run that is continued goes on under its MLflow run.

    Parameters
    ----------
    settings : MLflowSettings
        Where to.
    name : str
        Of the run.
    parameters : mapping
        Nested plain values: the configuration.

    Raises
    ------
    UserError
        When MLflow is not installed.
    """

    def __init__(self, settings: MLflowSettings, name: str, parameters: Mapping[str, Any]) -> None:
        super().__init__()
        self._mlflow = require_mlflow()
        self._settings = settings
        self._name = name
        self._parameters = dict(parameters)
        self._run_id: str | None = None

    def state(self) -> dict[str, Any]:
        """Give what a checkpoint keeps.

        Returns
        -------
        dict
            Plain values.
        """
        return {"run_id": self._run_id}

    def restore(self, state: dict[str, Any]) -> None:
        """Take what a checkpoint kept.

        Parameters
        ----------
        state : dict
            From `state`.
        """
        self._run_id = state["run_id"]

    def _connect(self) -> None:
        if self._settings.tracking_uri is not None:
            self._mlflow.set_tracking_uri(self._settings.tracking_uri)
        self._mlflow.set_experiment(self._settings.experiment)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Find the experiment, before any work.

        Parameters
        ----------
        logs : dict, optional
            Nothing.

        Raises
        ------
        UserError
            When MLflow refuses; later it can only be late, and the training goes on without it.
        """
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
        """Record the values of an epoch; warn where that fails.

        Parameters
        ----------
        epoch : int
            From 0.
        logs : dict, optional
            Losses and metrics.
        """
        values = {name: float(value) for name, value in (logs or {}).items()}
        try:
            self._record(epoch, values)
        except Exception as error:  # a training is worth more than its record
            say(
                f"warning: MLflow did not take epoch {epoch + 1} ({_first_line(error)}); the "
                "training goes on, its values stand in history.csv"
            )

    def _record(self, epoch: int, values: dict[str, float]) -> None:
        mlflow = self._mlflow
        self._connect()
        if self._run_id is None:
            with mlflow.start_run(run_name=self._name) as run:
                self._run_id = str(run.info.run_id)
                # MLflow takes up to 100 parameters at a time.
                items = list(self._parameters.items())
                for i in range(0, len(items), 100):
                    mlflow.log_params(dict(items[i : i + 100]))
        with mlflow.start_run(run_id=self._run_id):
            mlflow.log_metrics(values, step=epoch + 1)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def require_mlflow() -> Any:
    """Import MLflow.

    Returns
    -------
    module
        MLflow.

    Raises
    ------
    UserError
        When it is not installed.
    """
    try:
        return importlib.import_module("mlflow")
    except ImportError as error:
        raise UserError(
            "training.mlflow is set, but MLflow cannot be imported",
            next_step="pip install 'smartbkg_tf[tracking]' (in a checkout: pip install -e "
            "'.[tracking]'), or leave training.mlflow=null",
        ) from error
