"""Train a network on a dataset and write the run directory."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from smartbkg_tf.dataset import stream
from smartbkg_tf.dataset.batches import EvaluationBatches, TrainingBatches
from smartbkg_tf.errors import ConfigurationError, OutputError, Problems, UserError
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.forest import one_class
from smartbkg_tf.models.registry import build, model_name
from smartbkg_tf.runtime.files import atomic_file, read_yaml, write_json
from smartbkg_tf.runtime.log import keep_log_in
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.runtime.versions import versions
from smartbkg_tf.settings.plugins import plain
from smartbkg_tf.settings.stored import RECORD, check_stored
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.training.advice import better_model
from smartbkg_tf.training.chosen_events import ChosenEvents, choose_events
from smartbkg_tf.training.devices import check_devices, device_scope, share_batches
from smartbkg_tf.training.divergence import DivergenceError, StopOnDivergence, write_bad_batch
from smartbkg_tf.training.finetuning import BackboneRun, open_source, take_backbone
from smartbkg_tf.training.history import EpochReport
from smartbkg_tf.training.input_pipeline import WaitingTime, filled, trimmed
from smartbkg_tf.training.loggers import MLflowLog, TensorBoardLog, require_mlflow
from smartbkg_tf.training.micro_batches import number_of_micro_batches, use_micro_batches
from smartbkg_tf.training.provenance import code_version, hardware, now
from smartbkg_tf.training.resume import Checkpoint, EpochPlan, Resume, newest_checkpoint
from smartbkg_tf.training.run_folder import (
    check_run_folder,
    flat_settings,
    make_run_directory,
    note_unfinished,
    training_lock,
    unfinished_run,
    write_yaml,
)
from smartbkg_tf.training.savers import AveragedWeights, SaveModels

#: Widths of validation batches.
BUCKETS = 8

#: Software whose version may change the last bits.
_DECIDING = ("tensorflow", "keras", "numpy")


def _check_lengths(settings: TrainSettings, dataset: Any) -> None:
    """Refuse lengths that no event has."""
    longest = dataset.information.get("max_lengths", {})
    problems = Problems()
    for what, n in longest.items():
        asked, made_for = (getattr(s, f"max_{what}") for s in (settings.data, dataset.encoding))
        if asked is not None and asked > max(n, made_for):
            problems.add(
                f"data.max_{what}={asked}: the longest event has {n} {what}, and padding beyond "
                f"costs time only; use at most {max(n, made_for)}"
            )
    problems.raise_if_any(
        "the lengths do not fit the events", kind=ConfigurationError, where=dataset.path
    )


def fit(settings: TrainSettings, dataset: Any) -> RunDirectory:
    """Train a network and write the run directory, or continue one that was ended.

    Everything that can be wrong with settings and data is found before the folder is made.
    The folder is complete but for predictions and metrics when this returns.
    """
    begin, started = time.monotonic(), now()
    training = settings.training
    check_devices(training)
    if training.mlflow is not None:
        require_mlflow()
    check_run_folder(settings)
    _check_lengths(settings, dataset)
    dataset = dataset.with_skims(settings.data.skims)
    events = choose_events(settings, dataset)
    batches = math.ceil(events.events / training.batch_size)
    plan = EpochPlan(training.epochs, training.sub_epochs, batches)
    if plan.parts > plan.batches:
        raise ConfigurationError(
            f"training.sub_epochs={plan.parts}: a pass has only {plan.batches} batches",
            next_step="use fewer sub_epochs, or a smaller training.batch_size",
        )
    information = dict(dataset.information)
    source: BackboneRun | None = None
    if training.init_from is not None:
        source = open_source(training.init_from, information)
        information["normalisation"] = source.normalisation
    lengths = {"max_particles": settings.data.max_particles, "max_tokens": settings.data.max_tokens}
    with device_scope(training) as strategy:
        devices = strategy.num_replicas_in_sync
        with strategy.scope():
            network = build(settings.model, information, settings.normalisation, **lengths)
            if network.one_pass:
                plan = EpochPlan(1, 1, batches)
            if source is not None:
                take_backbone(source, network.model, training.fine_tuning)
            network.compile(
                training,
                steps_per_epoch=plan.steps * plan.parts,
                retention=events.retention.tolist(),
            )
            micro_batches = 1
            if not network.one_pass:
                micro_batches = number_of_micro_batches(training, network.model, devices)
            use_micro_batches(network.model, micro_batches)
            if devices > 1:
                share_batches(network.model)
            # A checkpoint fills its variables.
            network.model.optimizer.build(network.model.trainable_variables)
        dataset.check_inputs(network.input_names)
        dataset.lengths(**lengths)
        _check_forest(settings, dataset, network, events)
        run, checkpoint = _run_directory(settings, dataset, devices)
        with training_lock(run):
            keep_log_in(run.path)
            run.failure.unlink(missing_ok=True)
            if checkpoint is None:
                record = _record(settings, dataset, network, events, started)
                record["hardware"]["devices"] = devices
                record["micro_batches"] = micro_batches
                _describe(run, settings, dataset, network, record)
            else:
                record = read_yaml(run.metadata)
                record["timings"].setdefault("continued", []).append(started)
            say(
                f"training {network.name} ({network.inputs}, {network.model.count_params():,} "
                f"weights) on {events.events} events a pass, watching {len(events.validation)} "
                f"validation events{f', on {devices} devices' if devices > 1 else ''}"
            )
            if checkpoint is None and (hint := better_model(settings, dataset, events.passing)):
                say(hint)
            report, best = _train(run, settings, dataset, network, events, plan, checkpoint)
            record["result"] = {
                "epochs": len(report.rows),
                "best_epoch": best.best_epoch,
                training.monitor: best.best,
                "stopped_early": len(report.rows) < plan.epochs,
            }
            seconds = [float(row["seconds"]) for row in report.rows]
            rates = [float(row["events_per_second"]) for row in report.rows]
            record["timings"] |= {
                "ended": now(),
                "training_seconds": round(sum(seconds), 1),
                "command_seconds": round(time.monotonic() - begin, 1),
                "events_per_second": float(np.median(rates)),
            }
            write_yaml(run.metadata, record)
    say(f"best epoch {best.best_epoch} of {len(report.rows)} ({training.monitor} {best.best:.4f})")
    return run


def _check_forest(
    settings: TrainSettings, dataset: Any, network: NNBaseClass, events: ChosenEvents
) -> None:
    """Refuse a skim of which all events that trees would be fitted on are of one class."""
    forest, size = settings.model.head.forest, settings.training.batch_size
    if forest is None:
        return
    batches = TrainingBatches(
        dataset,
        events.train,
        batch_size=size,
        inputs=network.input_names,
        seed=settings.training.seed,
        balance=events.balance,
    )
    # As `NNBaseClass.prepare` reads them: whole batches from the first pass.
    labels = dataset.labels[batches.rows(0, 0, math.ceil(forest.max_events / size))]
    for skim, name in enumerate(dataset.label_names):
        if not {0, 1} <= set(np.unique(labels[:, skim]).tolist()):
            raise one_class(name)


def _run_directory(
    settings: TrainSettings, dataset: Any, devices: int
) -> tuple[RunDirectory, Checkpoint | None]:
    """Make the folder, or find the unfinished run in it and its newest checkpoint."""
    name = model_name(settings.model)
    run = unfinished_run(settings)
    if run is None:
        note_unfinished(settings)
        return make_run_directory(settings, name), None
    with training_lock(run):
        checkpoint = newest_checkpoint(run.checkpoints)
        if checkpoint is None or not run.metadata.is_file():
            say(
                f"{run.path} holds a run that was ended before its first checkpoint: from the start"
            )
            return make_run_directory(settings, name), None
        record = read_yaml(run.metadata)
        check_stored(RECORD, record, run.metadata, next_step="train again with overwrite=true")
        if record["dataset"]["digest"] != dataset.digest:
            raise OutputError(
                "holds an unfinished run on other data (data.path: "
                f"digest {record['dataset']['digest']} -> {dataset.digest})",
                where=run.path,
                next_step="give the same data, choose another run_dir, or remove the folder",
            )
        changed = [
            f"{name} {version} -> {versions().get(name, 'missing')}"
            for name, version in record["software"].items()
            if name in _DECIDING and version != versions().get(name)
        ]
        if record["code"] != code_version():
            changed.append("this package's code")
        if changed:
            say(
                f"warning: changed since {run.path} was begun: {', '.join(changed)}; the result "
                "may differ from that of a run that was never ended"
            )
        begun = int(record["hardware"]["devices"])
        if begun != devices:
            say(
                f"note: {run.path} was begun on {begun} device{'s' * (begun > 1)} and goes on on "
                f"{devices}: the last digits, and what dropout draws, are those of {devices}"
            )
    say(f"continuing {run.path} after epoch {checkpoint.epoch}")
    return run, checkpoint


def _train(
    run: RunDirectory,
    settings: TrainSettings,
    dataset: Any,
    network: NNBaseClass,
    events: ChosenEvents,
    plan: EpochPlan,
    checkpoint: Checkpoint | None,
) -> tuple[EpochReport, SaveModels]:
    import tensorflow as tf

    training = settings.training
    options: dict[str, Any] = {
        "batch_size": training.batch_size,
        "inputs": network.input_names,
        "max_particles": settings.data.max_particles,
        "max_tokens": settings.data.max_tokens,
    }
    # How the events of both parts follow one another.
    counter = stream.EpochCounter(parts=True)
    order: dict[str, Any] = {"seed": training.seed, "balance": events.balance}
    # The order of validation events decides nothing, so that they can be sorted by length. XLA
    # would compile every length anew.
    watched_order: dict[str, Any] = {"length_buckets": None if training.xla else BUCKETS}
    train = stream.training_stream(
        dataset,
        events.train,
        class_weights=events.weights.table(dataset.label_names),
        counter=counter,
        symmetries=settings.data.symmetries,
        **order,
        **options,
    )
    watched = stream.evaluation_stream(
        dataset,
        events.validation,
        with_weights=True,
        class_weights=events.validation_weights.table(dataset.label_names),
        **watched_order,
        **options,
    )
    if checkpoint is None:
        counter.first_batch, counter.last_batch = 0, None
        network.prepare(train, watched, training)
        counter.epoch = 0
    waiting = WaitingTime()
    train = waiting.measure(train)
    train = train.apply(tf.data.experimental.assert_cardinality(plan.steps))
    if not training.xla:
        train = trimmed(train)
    devices = network.model.distribute_strategy.num_replicas_in_sync
    train, watched = filled(train, devices), filled(watched, devices)
    best = SaveModels(network, run, training.monitor, training.mode)
    size = min(plan.steps * training.batch_size, events.events)
    report = EpochReport(plan, size, best, waiting, run.history, progress=training.progress)
    remembered: list[Any] = [
        *network.callbacks(training),
        *(plugin.make(run) for plugin in training.callbacks),
        best,
        report,
    ]
    if training.mlflow is not None:
        parameters = flat_settings(plain(settings))
        remembered.append(MLflowLog(training.mlflow, run.path.name, parameters))
    tensorboard = TensorBoardLog(run.tensorboard, best, dataset.label_names)
    callbacks = [StopOnDivergence(network.model), *remembered, tensorboard]
    if training.ema is not None:
        callbacks.append(AveragedWeights())
    callbacks.append(Resume(run.checkpoints, counter, plan, remembered, checkpoint))
    begin = 0 if checkpoint is None else checkpoint.epoch
    if checkpoint is not None and checkpoint.stopped:
        begin = plan.epochs
    counter.epoch, counter.first_batch, counter.last_batch = plan.place(begin)
    try:
        network.fit(
            train,
            validation_data=watched,
            epochs=plan.epochs,
            initial_epoch=begin,
            callbacks=callbacks,
        )
    except DivergenceError as error:
        batch = error.batch
        if error.part == "training":
            number, first, _ = plan.place(error.epoch)
            batch += first
            rows = TrainingBatches(dataset, events.train, **order, **options).rows(number, batch)
        else:
            watched_batches = EvaluationBatches(
                dataset, events.validation, **watched_order, **options
            )
            rows = watched_batches.rows(0, batch)
        write_bad_batch(run.bad_batch, dataset, rows)
        raise _explained(error, batch, run) from error
    finally:
        report.close()
    return report, best


def _explained(error: DivergenceError, batch: int, run: RunDirectory) -> UserError:
    name = "loss" if error.part == "training" else "val_loss"
    kept = [
        f"{path.name} ({what})"
        for path, what in (
            (run.model, "the best epoch before"),
            (run.last_model, "the last epoch before"),
            (run.checkpoints, "the last good state"),
        )
        if path.exists()
    ]
    return UserError(
        f"training diverged: {name} is {error.loss:.4g} in epoch {error.epoch + 1}; the first "
        f"batch whose loss or gradient is not finite is {error.part} batch {batch + 1}, whose "
        f"events are listed in {run.bad_batch}; kept: "
        f"{', '.join(kept) or 'nothing, it was the first epoch'}",
        where=run.path,
        next_step="lower training.learning_rate, set training.gradient_clipping=1, train in "
        "float32 (training.mixed_precision=null), or look at these events; then choose another "
        "run_dir or add overwrite=true",
    )


def _record(
    settings: TrainSettings, dataset: Any, network: NNBaseClass, events: ChosenEvents, started: str
) -> dict[str, Any]:
    """Make the content of ``metadata.yaml``."""
    encoding = dataset.information["encoding"]
    return {
        "software": versions(),
        "code": code_version(),
        "hardware": hardware(),
        "dataset": {
            "digest": dataset.digest,
            "path": str(dataset.path.resolve()),
            "events": len(dataset),
            "train": len(events.train),
            "validation": len(events.validation),
            "test": len(events.test),
            "events_per_epoch": events.events,
            "label_names": list(dataset.label_names),
        },
        "model": {
            "class": f"{type(network).__module__}.{type(network).__qualname__}",
            "weights": int(network.model.count_params()),
            "inputs": list(network.input_names),
        },
        "init_from": settings.training.init_from,
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
    write_yaml(run.config, plain(settings))
    write_yaml(run.metadata, record)
    # Not the file itself: of its labels some may have been chosen.
    write_json(run.dataset, dataset.information)
    with atomic_file(run.summary) as partial:
        partial.write_text(network.summary(), encoding="utf-8")
    network.draw(run.drawing)
