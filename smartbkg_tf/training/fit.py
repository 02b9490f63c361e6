"""Train a network on a dataset and write the run directory."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.order import balanced_counts
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.registry import build, model_name
from smartbkg_tf.runtime.files import whole_file
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.errors import InputError
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.training.callbacks import FollowEpochs, SaveBest, SaveLast, StopOnNaN
from smartbkg_tf.training.devices import device_scope
from smartbkg_tf.training.provenance import code_version, hardware, now, software
from smartbkg_tf.training.report import EpochReport
from smartbkg_tf.training.run_folder import make_run_directory, plain_settings, write_yaml
from smartbkg_tf.training.trimming import trimmed
from smartbkg_tf.training.weights import (
    SkimWeights,
    count_labels,
    require_both_classes,
    training_weights,
    validation_weights,
)

#: Fewer passing validation events than this are told about: their AUC decides little.
_FEW = 100


def fit(settings: TrainSettings, dataset: Any) -> RunDirectory:
    """Train a network and write the run directory.

    Everything that can be wrong with settings and data is found before the folder is made.
    The folder is complete but for predictions and metrics when this returns.

    Parameters
    ----------
    settings : TrainSettings
        Network, data, optimisation, folder.
    dataset : smartbkg_tf.dataset.dataset.Dataset
        The events.

    Returns
    -------
    RunDirectory
        With ``model.keras`` of the best epoch by ``training.monitor`` and ``last.keras``.

    Raises
    ------
    InputError
        When a part of the data has only one class, or the model needs what the data lack.
    ConfigurationError
        When the network's class or arguments cannot be used.
    OutputError
        When the run directory exists and may not be replaced.
    UserError
        When training diverges, or a GPU is asked for and there is none.
    """
    begin, started = time.monotonic(), now()
    training = settings.training
    parts = _parts(settings, dataset)
    with device_scope(training) as strategy:
        with strategy.scope():
            network = build(
                settings.model,
                dataset.information,
                settings.normalisation,
                max_particles=settings.data.max_particles,
                max_tokens=settings.data.max_tokens,
            )
            steps = math.ceil(parts.events / training.batch_size)
            network.compile(training, steps_per_epoch=steps)
        dataset.check_inputs(network.input_names)
        dataset.lengths(settings.data.max_particles, settings.data.max_tokens)
        run = make_run_directory(settings, model_name(settings.model))
        record = _record(settings, dataset, network, parts, started)
        _describe(run, settings, dataset, network, record)
        say(
            f"training {network.name} ({network.inputs}, {network.model.count_params():,} weights) "
            f"on {parts.events} events an epoch, watching {len(parts.validation)} validation events"
        )
        report, best = _train(run, settings, dataset, network, parts)
    record["result"] = {
        "epochs": len(report.rows),
        "best_epoch": best.best_epoch,
        training.monitor: best.best,
        "stopped_early": len(report.rows) < training.epochs,
    }
    record["timings"] |= {
        "ended": now(),
        "training_seconds": round(time.monotonic() - begin, 1),
        "events_per_second": float(np.median([row["events_per_second"] for row in report.rows])),
    }
    write_yaml(run.metadata, record)
    say(f"best epoch {best.best_epoch} of {len(report.rows)} ({training.monitor} {best.best:.4f})")
    return run


@dataclass(frozen=True)
class _Parts:
    """Events of training and validation, with their weights in the loss."""

    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]
    #: Failing events for each passing one; None takes all.
    balance: float | None
    #: Training events of an epoch.
    events: int
    weights: SkimWeights
    validation_weights: SkimWeights


def _parts(settings: TrainSettings, dataset: Any) -> _Parts:
    """Split, check that there is something to learn, count and weigh."""
    labels = np.asarray(dataset.labels)
    names = list(dataset.label_names)
    if not names:
        raise InputError(
            "the dataset has no labels",
            where=dataset.path,
            next_step="produce tables with a skim, or give skim_files to produce source=mdst",
        )
    split = dataset.split(settings.data.fractions)
    # An event without any known label teaches nothing.
    known = np.any(labels >= 0, axis=1)
    train, validation = (split[part][known[split[part]]] for part in ("train", "validation"))
    require_both_classes(
        {
            "training": count_labels(labels[train]),
            "validation": count_labels(labels[validation]),
            "test": count_labels(labels[split["test"]]),
        },
        names,
        where=str(dataset.path),
    )
    every = count_labels(labels[train])
    balance = settings.data.balance
    if balance is not None and every.failing[0] <= balance * every.passing[0]:
        # There are no more than that: take all, leave no passing event out.
        balance = None
    drawn = count_labels(labels[train], balance)
    watched = count_labels(labels[validation])
    passing = int(watched.passing.min())
    if passing < _FEW:
        say(
            f"note: only {passing} validation events pass; the choice of the best epoch "
            f"is uncertain (AUC to about +-{0.3 / math.sqrt(passing):.2f})"
        )
    weights = training_weights(drawn, settings.training.class_weights)
    events = len(train)
    if balance is not None:
        events = sum(balanced_counts(int(every.passing[0]), int(every.failing[0]), balance))
    return _Parts(
        train=train,
        validation=validation,
        test=split["test"],
        balance=balance,
        events=events,
        weights=weights,
        validation_weights=validation_weights(watched, drawn, weights),
    )


def _train(
    run: RunDirectory, settings: TrainSettings, dataset: Any, network: NNBaseClass, parts: _Parts
) -> tuple[EpochReport, SaveBest]:
    import tensorflow as tf

    from smartbkg_tf.dataset.stream import (
        EpochCounter,
        evaluation_stream,
        steps_per_epoch,
        training_stream,
    )

    training = settings.training
    options: dict[str, Any] = {
        "batch_size": training.batch_size,
        "inputs": network.input_names,
        "max_particles": settings.data.max_particles,
        "max_tokens": settings.data.max_tokens,
        "length_buckets": settings.data.length_buckets,
    }
    counter = EpochCounter()
    stream = training_stream(
        dataset,
        parts.train,
        seed=training.seed,
        balance=parts.balance,
        class_weights=parts.weights.table(dataset.label_names),
        counter=counter,
        **options,
    )
    # With a counter of ours the stream does not know its length.
    steps = steps_per_epoch(
        dataset, parts.train, batch_size=training.batch_size, balance=parts.balance
    )
    watched = evaluation_stream(
        dataset,
        parts.validation,
        with_weights=True,
        class_weights=parts.validation_weights.table(dataset.label_names),
        **options,
    )
    stream = stream.apply(tf.data.experimental.assert_cardinality(steps))
    # Buckets are few lengths already; XLA would compile every other one anew.
    if settings.data.length_buckets is None and not training.xla:
        stream, watched = trimmed(stream), trimmed(watched)
    best = SaveBest(run.model, training.monitor, "min" if training.monitor == "val_loss" else "max")
    report = EpochReport(
        epochs=training.epochs,
        events=parts.events,
        batch_size=training.batch_size,
        best=best,
        history=run.history,
        tensorboard=run.tensorboard,
        progress=training.progress,
    )
    callbacks = [
        FollowEpochs(counter),
        StopOnNaN(f"{run.model} holds the best epoch before, if there was one"),
        *network.callbacks(training),
        best,
        SaveLast(run.last_model),
        report,
    ]
    try:
        network.fit(
            stream,
            validation_data=watched,
            epochs=training.epochs,
            callbacks=callbacks,
        )
    finally:
        report.close()
    return report, best


def _record(
    settings: TrainSettings, dataset: Any, network: NNBaseClass, parts: _Parts, started: str
) -> dict[str, Any]:
    """Make the content of ``metadata.yaml``."""
    encoding = dataset.information["encoding"]
    return {
        "software": software(),
        "code": code_version(),
        "hardware": hardware(),
        "dataset": {
            "digest": dataset.digest,
            "events": len(dataset),
            "train": len(parts.train),
            "validation": len(parts.validation),
            "test": len(parts.test),
            "events_per_epoch": parts.events,
            "label_names": list(dataset.label_names),
        },
        "model": {
            "class": f"{type(network).__module__}.{type(network).__qualname__}",
            "weights": int(network.model.count_params()),
            "inputs": list(network.input_names),
        },
        "max_particles": settings.data.max_particles or encoding["max_particles"],
        "max_tokens": settings.data.max_tokens or encoding["max_tokens"],
        "seeds": {
            "training": settings.training.seed,
            "dataset": dataset.information.get("seed"),
        },
        "timings": {"started": started},
    }


def _describe(
    run: RunDirectory,
    settings: TrainSettings,
    dataset: Any,
    network: NNBaseClass,
    record: dict[str, Any],
) -> None:
    """Write everything that is known before the first step."""
    write_yaml(run.config, plain_settings(settings))
    write_yaml(run.metadata, record)
    with whole_file(run.dataset) as partial:
        shutil.copyfile(dataset.path / "dataset.json", partial)
    with whole_file(run.summary) as partial:
        partial.write_text(network.summary(), encoding="utf-8")
    network.draw(run.drawing)
