"""Train a network on a dataset and write the run directory."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset import stream
from smartbkg_tf.dataset.order import balanced_counts
from smartbkg_tf.errors import ConfigurationError, InputError, OutputError, Problems, UserError
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.registry import build, model_name
from smartbkg_tf.runtime.files import atomic_file, read_yaml, write_json
from smartbkg_tf.runtime.log import keep_log_in
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.runtime.versions import versions
from smartbkg_tf.settings.stored import RECORD, check_stored
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.training.bad_batch import write_bad_batch
from smartbkg_tf.training.callbacks import SaveBest, SaveLast
from smartbkg_tf.training.checkpoints import Checkpoint, Checkpoints
from smartbkg_tf.training.devices import check_devices, device_scope
from smartbkg_tf.training.filling import filled
from smartbkg_tf.training.finetuning import Source, open_source, take_backbone
from smartbkg_tf.training.loop import DivergenceError, Plan, TrainingLoop
from smartbkg_tf.training.parts import check_parts
from smartbkg_tf.training.provenance import code_version, hardware, now
from smartbkg_tf.training.report import EpochReport
from smartbkg_tf.training.run_folder import (
    check_run_folder,
    flat_settings,
    make_run_directory,
    note_unfinished,
    plain_settings,
    training_lock,
    unfinished_run,
    write_yaml,
)
from smartbkg_tf.training.tracking import MLflowLog, require_mlflow
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

#: Widths of validation batches.
BUCKETS = 8

#: Software whose version may change the last bits.
_DECIDING = ("tensorflow", "keras", "numpy")


def _check_lengths(settings: TrainSettings, dataset: Any) -> None:
    """Refuse lengths that no event has, and ones that cut members of candidates away."""
    longest = dataset.information.get("max_lengths", {})
    problems = Problems()
    for what, n in longest.items():
        asked, made_for = (getattr(s, f"max_{what}") for s in (settings.data, dataset.encoding))
        if asked is not None and asked > max(n, made_for):
            problems.add(
                f"data.max_{what}={asked}: the longest event has {n} {what}, and padding beyond "
                f"costs time only; use at most {max(n, made_for)}"
            )
    used = settings.data.max_particles or dataset.encoding.max_particles
    n = longest.get("particles", 0)
    if n > used and any(one.whole_events for one in settings.model.head.inputs.values()):
        problems.add(
            f"data.max_particles={used}: the longest event has {n} particles, and a candidate that "
            f"loses a member would look likelier to survive; use data.max_particles={n}"
        )
    problems.raise_if_any(
        "the lengths do not fit the events", kind=ConfigurationError, where=dataset.path
    )


def fit(settings: TrainSettings, dataset: Any) -> RunDirectory:
    """Train a network and write the run directory, or continue one that was ended.

    Everything that can be wrong with settings and data is found before the folder is made.
    The folder is complete but for predictions and metrics when this returns.

    Parameters
    ----------
    settings : TrainSettings
        Network, data, optimisation, folder.
    dataset : smartbkg_tf.dataset.dataset.Dataset
        The events; of its labels those of ``data.skims`` are learned.

    Returns
    -------
    RunDirectory
        With ``model.keras`` of the best epoch by ``training.monitor`` and ``last.keras``.

    Raises
    ------
    InputError
        When a part of the data has only one class, or the model needs what the data lack.
    ConfigurationError
        When the network's class or arguments cannot be used, or a skim of ``data.skims`` is
        none of the dataset's.
    OutputError
        When the run directory exists and can be neither continued nor replaced.
    UserError
        When training diverges, or a GPU is asked for and there is none.
    """
    begin, started = time.monotonic(), now()
    training = settings.training
    check_devices(training)
    if training.mlflow is not None:
        require_mlflow()
    check_run_folder(settings)
    _check_lengths(settings, dataset)
    dataset = dataset.with_skims(settings.data.skims)
    parts = _parts(settings, dataset)
    plan = Plan(training.epochs, training.sub_epochs, math.ceil(parts.events / training.batch_size))
    if plan.parts > plan.batches:
        raise ConfigurationError(
            f"training.sub_epochs={plan.parts}: a pass has only {plan.batches} batches",
            next_step="use fewer sub_epochs, or a smaller training.batch_size",
        )
    information = dict(dataset.information)
    source: Source | None = None
    if training.init_from is not None:
        source = open_source(training.init_from, information)
        information["normalisation"] = source.normalisation
    with device_scope(training) as strategy:
        devices = strategy.num_replicas_in_sync
        with strategy.scope():
            network = build(
                settings.model,
                information,
                settings.normalisation,
                max_particles=settings.data.max_particles,
                max_tokens=settings.data.max_tokens,
            )
            if source is not None:
                take_backbone(source, network.model, training.fine_tuning)
            network.compile(
                training, steps_per_epoch=plan.batches, retention=parts.retention.tolist()
            )
        check_parts(training, network.model)
        dataset.check_inputs(network.input_names)
        dataset.lengths(settings.data.max_particles, settings.data.max_tokens)
        run, checkpoint = _run_directory(settings, dataset, network)
        with training_lock(run):
            keep_log_in(run.path)
            run.failure.unlink(missing_ok=True)
            if checkpoint is None:
                record = _record(settings, dataset, network, parts, started)
                record["hardware"]["devices"] = devices
                _describe(run, settings, dataset, network, record)
            else:
                record = read_yaml(run.metadata)
                record["timings"].setdefault("continued", []).append(started)
            say(
                f"training {network.name} ({network.inputs}, {network.model.count_params():,} "
                f"weights) on {parts.events} events a pass, watching {len(parts.validation)} "
                f"validation events{f', on {devices} devices' if devices > 1 else ''}"
            )
            report, best = _train(run, settings, dataset, network, parts, plan, checkpoint)
            rates = [row["events_per_second"] for row in report.rows]
            record["result"] = {
                "epochs": len(report.rows),
                "best_epoch": best.best_epoch,
                training.monitor: best.best,
                "stopped_early": len(report.rows) < plan.epochs,
            }
            record["timings"] |= {
                "ended": now(),
                "training_seconds": round(sum(float(row["seconds"]) for row in report.rows), 1),
                "command_seconds": round(time.monotonic() - begin, 1),
                "events_per_second": float(np.median(rates)),
            }
            write_yaml(run.metadata, record)
    say(f"best epoch {best.best_epoch} of {len(report.rows)} ({training.monitor} {best.best:.4f})")
    return run


def _run_directory(
    settings: TrainSettings, dataset: Any, network: NNBaseClass
) -> tuple[RunDirectory, Checkpoint | None]:
    """Make the folder, or find the unfinished run in it and its newest checkpoint."""
    run = unfinished_run(settings)
    if run is None:
        note_unfinished(settings)
        return make_run_directory(settings, model_name(settings.model)), None
    with training_lock(run):
        checkpoint = Checkpoints(run.checkpoints).newest()
        if checkpoint is None or not run.metadata.is_file():
            say(
                f"{run.path} holds a run that was ended before its first checkpoint: from the start"
            )
            return make_run_directory(settings, model_name(settings.model)), None
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
    say(
        f"continuing {run.path} in epoch {checkpoint.epoch + 1}"
        + (f" after {checkpoint.batch} batches" if checkpoint.batch else "")
    )
    return run, checkpoint


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
    #: Natural fraction of passing events of each skim.
    retention: npt.NDArray[np.float64]


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
    for name, share, growth in zip(names, drawn.known, drawn.growth, strict=True):
        if growth > 1.005:
            say(
                f"note: {name} is known for {100 * share:.3g} % of the training events; each of "
                f"its labels weighs {growth:.3g} times as much"
            )
    weights = training_weights(drawn, settings.training.class_weights, names)
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
        retention=every.share,
    )


def _train(
    run: RunDirectory,
    settings: TrainSettings,
    dataset: Any,
    network: NNBaseClass,
    parts: _Parts,
    plan: Plan,
    checkpoint: Checkpoint | None,
) -> tuple[EpochReport, SaveBest]:
    training = settings.training
    options: dict[str, Any] = {
        "batch_size": training.batch_size,
        "inputs": network.input_names,
        "max_particles": settings.data.max_particles,
        "max_tokens": settings.data.max_tokens,
    }
    buckets = settings.data.length_buckets
    # The order of validation events decides nothing, so that they can be sorted by length. XLA
    # would compile every length anew.
    buckets_watched = buckets if buckets is not None or training.xla else BUCKETS
    counter = stream.EpochCounter(parts=True)
    train = stream.training_stream(
        dataset,
        parts.train,
        seed=training.seed,
        balance=parts.balance,
        class_weights=parts.weights.table(dataset.label_names),
        counter=counter,
        symmetries=settings.data.symmetries,
        **options,
    )
    watched = stream.evaluation_stream(
        dataset,
        parts.validation,
        with_weights=True,
        class_weights=parts.validation_weights.table(dataset.label_names),
        length_buckets=buckets_watched,
        **options,
    )
    if buckets is None and not training.xla:
        train = trimmed(train)
    devices = network.model.distribute_strategy.num_replicas_in_sync
    train, watched = filled(train, devices), filled(watched, devices)
    best = SaveBest(run.model, training.monitor, "min" if training.monitor == "val_loss" else "max")
    report = EpochReport(
        plan=plan,
        events=parts.events,
        batch_size=training.batch_size,
        best=best,
        history=run.history,
        tensorboard=run.tensorboard,
        label_names=dataset.label_names,
        progress=training.progress,
    )
    callbacks = [*network.callbacks(training), best, SaveLast(run.last_model), report]
    if training.mlflow is not None:
        parameters = flat_settings(plain_settings(settings))
        callbacks.append(MLflowLog(training.mlflow, run.path.name, parameters))
    loop = TrainingLoop(
        network.model,
        stream=train,
        watched=watched,
        counter=counter,
        plan=plan,
        callbacks=callbacks,
        checkpoints=Checkpoints(run.checkpoints),
        seconds=training.checkpoint.seconds,
        batches=training.checkpoint.batches,
        steps_per_execution=training.steps_per_execution,
        batch_parts=training.batch_parts,
        ema=training.ema is not None,
    )
    try:
        loop.run(checkpoint)
    except DivergenceError as error:
        if error.part == "training":
            options |= {"seed": training.seed, "epoch": error.pass_number}
            options["balance"] = parts.balance
        else:
            options["length_buckets"] = buckets_watched
        events = parts.train if error.part == "training" else parts.validation
        rows = stream.batch_events(dataset, events, error.batch, **options)
        write_bad_batch(run.bad_batch, dataset, rows)
        raise _explained(error, run) from error
    finally:
        report.close()
    return report, best


def _explained(error: DivergenceError, run: RunDirectory) -> UserError:
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
        f"batch that gives no number is {error.part} batch {error.batch + 1}, whose events are "
        f"listed in {run.bad_batch}; kept: {', '.join(kept) or 'nothing, it was the first epoch'}",
        where=run.path,
        next_step="lower training.learning_rate, set training.gradient_clipping=1, train in "
        "float32 (training.mixed_precision=null), or look at these events; then choose another "
        "run_dir or add overwrite=true",
    )


def _record(
    settings: TrainSettings, dataset: Any, network: NNBaseClass, parts: _Parts, started: str
) -> dict[str, Any]:
    """Make the content of ``metadata.yaml``."""
    encoding = dataset.information["encoding"]
    return {
        "software": versions(),
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
    write_yaml(run.config, plain_settings(settings))
    write_yaml(run.metadata, record)
    # Not the file itself: of its labels some may have been chosen.
    write_json(run.dataset, dataset.information)
    with atomic_file(run.summary) as partial:
        partial.write_text(network.summary(), encoding="utf-8")
    network.draw(run.drawing)
