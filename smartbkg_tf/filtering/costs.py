"""The cost model of a filter, which the loss *speedup* shares: `smartbkg_tf.models.costs`."""

from __future__ import annotations

from smartbkg_tf.models.costs import CostModel, effective_number

__all__ = ["CostModel", "effective_number"]
