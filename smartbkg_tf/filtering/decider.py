"""Apply the rule of every skim to scored events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smartbkg_tf.filtering.event_source import ScoredChunk
from smartbkg_tf.filtering.predictions import PredictionsWriter
from smartbkg_tf.filtering.rules import Rule, checked_probability, decide, random_numbers
from smartbkg_tf.filtering.scorers import Scorer
from smartbkg_tf.settings.plugins import plain


class Decider:
    """Apply the rule of every skim to scored events, and write the predictions."""

    def __init__(self, scorer: Scorer, rules: Mapping[str, Rule], seed: int, method: str) -> None:
        self.rules = rules
        self.seed = seed
        self.biased = method == "threshold"
        self.information: dict[str, Any] = {
            "method": method,
            "seed": seed,
            "model": scorer.where.name,
            "biased": self.biased,
            "rules": {skim: plain(rule) for skim, rule in rules.items()},
        }

    def write(self, writer: PredictionsWriter, chunk: ScoredChunk) -> None:
        """Decide about events, and write them."""
        uniform = random_numbers(chunk.keys, self.seed)
        decisions = [
            decide(checked_probability(rule, chunk.scores[:, i], biased=self.biased), uniform)
            for i, rule in enumerate(self.rules.values())
        ]
        writer.write(chunk.keys, chunk.event_type, chunk.scores, decisions, chunk.labels)
