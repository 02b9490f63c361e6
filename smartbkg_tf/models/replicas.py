"""Devices that share a batch: how many, which one, and sums over all of them."""

from __future__ import annotations

from typing import Any


def replicas() -> int:
    """Tell how many devices share the batch that is being worked on."""
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return 1 if context is None else int(context.num_replicas_in_sync)


def replica() -> Any:
    """Tell which of them this is, from 0."""
    import tensorflow as tf

    return tf.distribute.get_replica_context().replica_id_in_sync_group


def over_replicas(values: Any) -> Any:
    """Sum over the replicas of a ``tf.distribute`` strategy; on one device, give the same back."""
    import tensorflow as tf

    if replicas() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
