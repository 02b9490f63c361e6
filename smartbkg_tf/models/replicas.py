"""Sums over all devices that share a batch."""

from __future__ import annotations

from typing import Any


def replicas() -> int:
    """Tell how many devices share the batch that is being worked on.

    Returns
    -------
    int
        1 without a strategy, and outside of its ``run``, for example while a model is built in
        its scope.
    """
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return 1 if context is None else int(context.num_replicas_in_sync)


def over_replicas(values: Any) -> Any:
    """Sum over the replicas of a ``tf.distribute`` strategy; on one device, give the same back.

    Has a gradient: that of a sum, summed over the replicas too.

    Parameters
    ----------
    values : tensor, or a list or tuple of tensors
        Of this replica's share of the batch; the same shapes on every replica. One list is
        one exchange between the devices.

    Returns
    -------
    tensor, or a list or tuple of tensors
        Of the whole batch.
    """
    import tensorflow as tf

    if replicas() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
