"""The loop over epochs and batches, which can stop and go on anywhere.

Keras's own ``fit`` begins with a whole epoch. This loop does the same arithmetic (Keras's
``train_step`` and ``test_step``, its callbacks in its order) and knows its place: it goes on
after any batch with the state that a checkpoint holds, measures how long it waits for
data, and notices the first step that gives no number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from smartbkg_tf.dataset.stream import EpochCounter
from smartbkg_tf.errors import InputError
from smartbkg_tf.training.checkpoints import Checkpoint, Checkpoints
from smartbkg_tf.training.parts import step_in_parts
from smartbkg_tf.training.state import (
    HUGE,
    finite,
    read_callbacks,
    read_random,
    read_variables,
    write_callbacks,
    write_random,
    write_variables,
)

#: Executions between two looks at the loss on a GPU, where each look waits for it.
LOOK = 10


class DivergenceError(Exception):
    """A step, or the validation, gave no number.

    Parameters
    ----------
    part : {"training", "validation"}
        Where.
    epoch : int
        Epoch of the history, from 0.
    pass_number : int
        Pass over the training events, from 0.
    batch : int
        Batch of the pass, or of the validation, from 0.
    loss : float
        Mean loss when it was seen.
    """

    def __init__(self, part: str, epoch: int, pass_number: int, batch: int, loss: float) -> None:
        super().__init__(f"{part} diverged in epoch {epoch + 1}, batch {batch + 1}: {loss}")
        self.part = part
        self.epoch = epoch
        self.pass_number = pass_number
        self.batch = batch
        self.loss = loss


@dataclass(frozen=True)
class Plan:
    """How passes over the data are divided into epochs of the history.

    Parameters
    ----------
    passes : int
        Passes over the training events.
    parts : int
        Epochs of each.
    batches : int
        Batches of a pass.
    """

    passes: int
    parts: int
    batches: int

    @property
    def epochs(self) -> int:
        """Epochs of the history."""
        return self.passes * self.parts

    def place(self, epoch: int) -> tuple[int, int, int]:
        """Tell what an epoch consists of.

        Parameters
        ----------
        epoch : int
            From 0.

        Returns
        -------
        pass_number, first, last : int
            The pass, and its batches; `last` exclusive.
        """
        number, part = divmod(epoch, self.parts)
        first, last = (self.batches * (part + i) // self.parts for i in (0, 1))
        return number, first, last


@dataclass
class Clock:
    """Where the time of an epoch goes, in seconds.

    Parameters
    ----------
    waited : float
        Waiting for data, after the first step.
    worked : float
        Between the ends of the first and the last step.
    batches : int
        Steps in this time.
    """

    waited: float = 0.0
    worked: float = 0.0
    batches: int = 0
    _first: float = field(default=0.0, repr=False)

    def step(self, waited: float, batches: int) -> None:
        """Count an execution that has just ended.

        Parameters
        ----------
        waited : float
            For its data.
        batches : int
            Its steps.
        """
        now = time.monotonic()
        if not self._first:
            # The first one may hold the compilation and the start of the stream.
            self._first = now
            return
        self.waited += waited
        self.worked = now - self._first
        self.batches += batches


class _Function:
    """A compiled step that remembers the first batch which gave no number."""

    def __init__(self, model: Any, step: Any, spec: Any, *, watch_weights: bool) -> None:
        import tensorflow as tf

        strategy = model.distribute_strategy
        with strategy.scope():
            self._count = tf.Variable(0, dtype=tf.int64, trainable=False)
            self._bad = tf.Variable(-1, dtype=tf.int64, trainable=False)

        def on_replica(data: Any) -> tuple[Any, Any]:
            logs = step(data)
            loss = tf.cast(logs["loss"], tf.float32)
            good = tf.math.is_finite(loss) & (tf.abs(loss) < HUGE)
            if watch_weights:
                # A gradient may be no number where the loss still is one.
                # A norm is one number of every weight, and none if one of them is none.
                values = [tf.convert_to_tensor(w.value) for w in model.trainable_variables]
                good &= tf.math.is_finite(tf.linalg.global_norm(values))
            return logs, good

        def one(data: Any) -> Any:
            logs, good = strategy.run(on_replica, args=(data,))
            logs = {name: strategy.experimental_local_results(v)[0] for name, v in logs.items()}
            fine = tf.reduce_all(tf.stack(strategy.experimental_local_results(good)))
            count, bad = self._count.read_value(), self._bad.read_value()
            self._bad.assign(tf.where((bad < 0) & ~fine, count, bad))
            self._count.assign(count + 1)
            return logs

        def several(batches: tuple[Any, ...]) -> Any:
            logs = None
            for data in batches:
                logs = one(data)
            return logs

        self._functions: dict[int, Any] = {}

        def compiled(n: int) -> Any:
            if n not in self._functions:
                self._functions[n] = tf.function(
                    several,
                    input_signature=[(spec,) * n],
                    jit_compile=bool(model.jit_compile),
                    autograph=False,
                )
            return self._functions[n]

        self._compiled: Callable[[int], Any] = compiled

    def __call__(self, batches: Sequence[Any]) -> dict[str, Any]:
        logs: dict[str, Any] = self._compiled(len(batches))(tuple(batches))
        return logs

    def begin(self, batch: int) -> None:
        """Count batches from this one on."""
        self._count.assign(batch)
        self._bad.assign(-1)

    @property
    def bad(self) -> int | None:
        """The first batch that gave no number."""
        batch = int(self._bad.numpy())
        return None if batch < 0 else batch


class TrainingLoop:
    """Train a compiled model, from the beginning or from a checkpoint.

    Parameters
    ----------
    model : keras.Model
        Compiled, under the strategy that it is trained with.
    stream : tf.data.Dataset
        Training batches (inputs, labels, weights) of the part that `counter` names.
    watched : tf.data.Dataset
        Validation batches.
    counter : EpochCounter
        Of `stream`.
    plan : Plan
        Epochs.
    callbacks : sequence of keras.callbacks.Callback
        Called in this order. On batches they get the logs of the last step of an execution.
        One with an attribute ``clock`` is given the `Clock` of the epoch.
    checkpoints : Checkpoints
        Where the state is saved.
    seconds : float, optional
        Between two checkpoints inside an epoch.
    batches : int, optional
        Between two checkpoints inside an epoch.
    steps_per_execution : int, default 1
        Batches in one call of the compiled step.
    batch_parts : int, default 1
        Parts of like length in which a training batch goes through the network.
    ema : bool, default False
        The optimiser keeps averages of the weights: validate and save with them.
    """

    def __init__(
        self,
        model: Any,
        *,
        stream: Any,
        watched: Any,
        counter: EpochCounter,
        plan: Plan,
        callbacks: Sequence[Any],
        checkpoints: Checkpoints,
        seconds: float | None = None,
        batches: int | None = None,
        steps_per_execution: int = 1,
        batch_parts: int = 1,
        ema: bool = False,
    ) -> None:
        import tensorflow as tf

        self.model = model
        self.counter = counter
        self.plan = plan
        self.callbacks = list(callbacks)
        self.checkpoints = checkpoints
        self.seconds = seconds
        self.batches = batches
        self.steps = steps_per_execution
        self.ema = ema
        strategy = model.distribute_strategy
        with strategy.scope():
            # Makes the variables of optimiser and metrics, which a checkpoint fills.
            model._symbolic_build(data_batch=stream.element_spec)
        self._stream = strategy.experimental_distribute_dataset(stream)
        self._watched = strategy.experimental_distribute_dataset(watched)
        self._train = _Function(
            model,
            step_in_parts(model, batch_parts),
            self._stream.element_spec,
            watch_weights=True,
        )
        self._test = _Function(
            model, model.test_step, self._watched.element_spec, watch_weights=False
        )
        self._look = LOOK if tf.config.list_logical_devices("GPU") else 1

    def run(self, checkpoint: Checkpoint | None = None) -> None:
        """Train to the end.

        Parameters
        ----------
        checkpoint : Checkpoint, optional
            Go on from here instead of beginning.

        Raises
        ------
        DivergenceError
            When a step or the validation gives no number.
        InputError
            When the checkpoint is of another program or network.
        """
        model = self.model
        listed = keras.callbacks.CallbackList(
            self.callbacks, add_history=False, model=model, epochs=self.plan.epochs, verbose=0
        )
        model.stop_training = False
        listed.on_train_begin()
        start, batch = 0, 0
        if checkpoint is not None:
            start, batch = checkpoint.epoch, checkpoint.batch
            self._restore(checkpoint)
        self._saved = time.monotonic()
        logs: dict[str, float] = {}
        for epoch in range(start, self.plan.epochs):
            if model.stop_training:
                break
            if batch == 0:
                model.reset_metrics()
            logs = self._epoch(epoch, batch, listed)
            batch = 0
            self._save(epoch + 1, 0)
        listed.on_train_end(logs)

    def _epoch(self, epoch: int, batch: int, callbacks: Any) -> dict[str, float]:
        model = self.model
        number, first, last = self.plan.place(epoch)
        counter = self.counter
        counter.epoch, counter.first_batch, counter.last_batch = number, first + batch, last
        self._train.begin(first + batch)
        clock = Clock()
        for callback in self.callbacks:
            if hasattr(callback, "clock"):
                callback.clock = clock
        callbacks.on_epoch_begin(epoch)
        done, since = batch, batch
        logs: dict[str, Any] = {}
        for batches, waited in self._executions(self._stream, last - first - batch):
            callbacks.on_train_batch_begin(done)
            logs = self._train(batches)
            done += len(batches)
            look = (done // self.steps) % self._look == 0 or done == last - first
            if look and self._train.bad is not None:
                self._diverged("training", epoch, number, self._train, logs["loss"])
            clock.step(waited, len(batches))
            callbacks.on_train_batch_end(done - 1, logs)
            if model.stop_training:
                break
            if done < last - first and self._due(done - since):
                if self._train.bad is not None:
                    self._diverged("training", epoch, number, self._train, logs["loss"])
                self._save(epoch, done)
                since = done
        results = {name: float(value) for name, value in model.get_metrics_result().items()}
        with _Averages(model, self.ema):
            results |= self._validate(epoch, number, callbacks)
            callbacks.on_epoch_end(epoch, results)
        return results

    def _executions(self, stream: Any, n_batches: int) -> Iterator[tuple[list[Any], float]]:
        """Give the batches of one call, and how long they were waited for."""
        iterator = iter(stream)
        left = n_batches
        while left > 0:
            begin = time.monotonic()
            # What does not fill a call comes one by one: each number is compiled anew.
            n = self.steps if left >= self.steps else 1
            batches = [next(iterator) for _ in range(n)]
            left -= n
            yield batches, time.monotonic() - begin

    def _validate(self, epoch: int, number: int, callbacks: Any) -> dict[str, float]:
        self.model.reset_metrics()
        self._test.begin(0)
        callbacks.on_test_begin()
        for i, data in enumerate(self._watched):
            callbacks.on_test_batch_begin(i)
            logs = self._test([data])
            callbacks.on_test_batch_end(i, logs)
        values = {f"val_{k}": float(v) for k, v in self.model.get_metrics_result().items()}
        if self._test.bad is not None or not finite(values["val_loss"]):
            self._diverged("validation", epoch, number, self._test, values["val_loss"])
        callbacks.on_test_end({k.removeprefix("val_"): v for k, v in values.items()})
        return values

    @staticmethod
    def _diverged(part: str, epoch: int, number: int, function: _Function, loss: Any) -> None:
        raise DivergenceError(part, epoch, number, function.bad or 0, float(loss))

    def _due(self, batches: int) -> bool:
        if self.batches is not None and batches >= self.batches:
            return True
        return self.seconds is not None and time.monotonic() - self._saved >= self.seconds

    def _save(self, epoch: int, batch: int) -> None:
        callbacks, arrays = read_callbacks(self.callbacks)
        numbers, more = read_random()
        values = {
            "callbacks": callbacks,
            "random": numbers,
            "stop_training": bool(self.model.stop_training),
        }
        arrays |= more
        arrays |= read_variables(self.model)
        self.checkpoints.write(Checkpoint(epoch, batch, values, arrays))
        self._saved = time.monotonic()

    def _restore(self, checkpoint: Checkpoint) -> None:
        where = self.checkpoints.folder
        write_variables(self.model, checkpoint.arrays, where)
        try:
            write_callbacks(self.callbacks, checkpoint.values["callbacks"], checkpoint.arrays)
        except InputError as error:
            raise InputError(error.message, where=where, next_step=error.next_step) from error
        write_random(checkpoint.values["random"], checkpoint.arrays)
        self.model.stop_training = checkpoint.values["stop_training"]


class _Averages:
    """Let a model have the averages of its weights for a while."""

    def __init__(self, model: Any, wanted: bool) -> None:
        self._pairs: list[tuple[Any, Any]] = []
        if wanted:
            optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
            # Keras's averages have no public name.
            averages = optimizer._model_variables_moving_average
            self._pairs = list(zip(optimizer._trainable_variables, averages, strict=True))
        self._kept: list[Any] = []

    def __enter__(self) -> None:
        self._kept = [variable.numpy() for variable, _ in self._pairs]
        for variable, average in self._pairs:
            variable.assign(average.numpy())

    def __exit__(self, *error: object) -> None:
        for (variable, _), value in zip(self._pairs, self._kept, strict=True):
            variable.assign(value)
