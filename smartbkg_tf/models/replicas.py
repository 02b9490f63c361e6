"""Sums over all devices that share a batch."""

from __future__ import annotations

from typing import Any


def replicas() -> int:
    """Tell how many devices share the batch that is being worked on."""
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return 1 if context is None else int(context.num_replicas_in_sync)


def over_replicas(values: Any) -> Any:
    """Sum over the replicas of a ``tf.distribute`` strategy; on one device, give the same back."""
    import tensorflow as tf

    if replicas() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
