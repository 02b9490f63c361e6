"""What `apply` tells at its end: events, kept, expected saving, and what was lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from smartbkg_tf.encoding.encode import EncodingReport
from smartbkg_tf.filtering.costs import CostModel
from smartbkg_tf.filtering.rules import Decision
from smartbkg_tf.filtering.sources import ScoredChunk


class _Sums:
    """Sums over events for one skim, or for all together."""

    def __init__(self) -> None:
        self.kept = 0
        self.probability = 0.0
        self.weight = 0.0
        self.weight2 = 0.0
        self.passing = 0
        self.passing_kept = 0
        self.inverse = 0.0
        self.smallest = 1.0

    def add(self, decision: Decision, label: npt.NDArray[np.int8] | None) -> None:
        self.kept += int(decision.kept.sum())
        self.probability += float(decision.probability.sum())
        self.weight += float(decision.weight.sum())
        self.weight2 += float(np.square(decision.weight).sum())
        if len(decision.probability):
            self.smallest = min(self.smallest, float(decision.probability.min()))
        if label is not None:
            passes = label == 1
            p = decision.probability[passes]
            self.passing += int(passes.sum())
            self.passing_kept += int((passes & decision.kept).sum())
            if np.all(p > 0):
                self.inverse += float((1.0 / p).sum())
            else:
                self.inverse = np.inf


class ApplySummary:
    """Add up what happens to events, chunk by chunk.

    Parameters
    ----------
    skims : tuple of str
        Names of the model's outputs.
    cost : CostModel
        Costs of generation and network.
    """

    def __init__(self, skims: tuple[str, ...], cost: CostModel) -> None:
        self.skims = skims
        self.cost = cost
        self.events = 0
        self._sums = [_Sums() for _ in skims]
        self._together = _Sums()

    def add(self, chunk: ScoredChunk, decisions: Sequence[Decision], together: Decision) -> None:
        """Count a chunk.

        Parameters
        ----------
        chunk : ScoredChunk
            The events.
        decisions : sequence of Decision
            One for each skim.
        together : Decision
            Of all skims.
        """
        self.events += len(chunk.event_type)
        for skim, sums, decision in zip(self.skims, self._sums, decisions, strict=True):
            sums.add(decision, chunk.labels.get(skim))
        self._together.add(together, None)

    def saving(self) -> float:
        """Give the part of the simulation that is expected to be saved.

        Returns
        -------
        float
            1 - mean probability that an event is simulated for any skim.
        """
        return 1.0 - self._together.probability / self.events if self.events else 0.0

    def table(self, report: EncodingReport) -> str:
        """Say everything in a few lines.

        Parameters
        ----------
        report : EncodingReport
            What was lost in the encoding.

        Returns
        -------
        str
            A small table.
        """
        n = max(self.events, 1)
        width = max(len(skim) for skim in (*self.skims, "any skim"))
        head = (
            f"{'skim':<{width}} {'events':>9} {'kept':>9} {'fraction':>9} {'expected':>9} "
            f"{'sum of w':>11} {'max. w':>7}"
        )
        lines = [head]
        rows = [*zip(self.skims, self._sums, strict=True)]
        if len(self.skims) > 1:
            rows.append(("any skim", self._together))
        for name, sums in rows:
            largest = f"{1 / sums.smallest:7.1f}" if sums.smallest > 0 else "      -"
            lines.append(
                f"{name:<{width}} {self.events:>9} {sums.kept:>9} {sums.kept / n:>9.4f} "
                f"{sums.probability / n:>9.4f} {sums.weight:>11.1f} {largest}"
            )
        lines.append(f"expected saving of simulation: {100 * self.saving():.1f} %")
        for skim, sums in zip(self.skims, self._sums, strict=True):
            if sums.passing:
                lines.append(self._known_labels(skim, sums))
        lines += _losses(report)
        return "\n".join(lines)

    def _known_labels(self, skim: str, sums: _Sums) -> str:
        text = f"{skim}: {sums.passing} events are known to pass, {sums.passing_kept} of them kept"
        if np.isfinite(sums.inverse):
            speedup = self.cost.speedup(sums.probability / self.events, sums.inverse / sums.passing)
            text += f"; speedup at equal effective statistics {speedup:.2f}"
        return text


def _losses(report: EncodingReport) -> list[str]:
    lines = []
    if report.unknown_codes:
        most = sorted(report.unknown_codes.items(), key=lambda item: (-item[1], item[0]))
        listed = ", ".join(f"{code} ({count})" for code, count in most[:8])
        lines.append(
            f"warning: {len(most)} PDG codes are unknown and were read as 'unknown': {listed}"
        )
    for count, what in (
        (report.truncated_particles, "particles"),
        (report.truncated_tokens, "decay tokens"),
    ):
        if count:
            lines.append(
                f"warning: {count} events have more {what} than the model reads; the rest was cut"
            )
    return lines
