"""What `apply` prints at its end: events, kept, expected saving, and what was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from smartbkg_tf.encoding.encode import EncodingReport
from smartbkg_tf.filtering.rules import Decision
from smartbkg_tf.filtering.scorers import added
from smartbkg_tf.runtime.text_table import text_table
from smartbkg_tf.settings.costs import CostSettings


class _Sums:
    """Sums over events for one skim, or for all together."""

    def __init__(self) -> None:
        self.kept = 0
        self.probability = 0.0
        self.weight = 0.0
        self.passing = 0
        self.passing_kept = 0
        self.inverse = 0.0
        self.smallest = 1.0

    def add(self, decision: Decision, label: npt.NDArray[np.int8] | None = None) -> None:
        self.kept += int(decision.kept.sum())
        self.probability += float(decision.probability.sum())
        self.weight += float(decision.weight.sum())
        self.smallest = min(self.smallest, float(decision.probability.min(initial=1.0)))
        if label is not None:
            passes = label == 1
            p = decision.probability[passes]
            self.passing += int(passes.sum())
            self.passing_kept += int((passes & decision.kept).sum())
            self.inverse += float((1.0 / p).sum()) if np.all(p > 0) else np.inf

    def row(self, name: str, events: int) -> list[str]:
        return [
            name,
            str(events),
            str(self.kept),
            f"{self.kept / events:.4f}",
            f"{self.probability / events:.4f}",
            f"{self.weight:.1f}",
            f"{1 / self.smallest:.1f}" if self.smallest > 0 else "-",
        ]


class ApplySummary:
    """Add up what happens to events, chunk by chunk."""

    def __init__(self, skims: Sequence[str], cost: CostSettings) -> None:
        self.cost = cost
        self.events = 0
        self.report = EncodingReport()
        self._sums = {skim: _Sums() for skim in skims}
        self._together = _Sums()

    def add(
        self,
        decisions: Sequence[Decision],
        labels: Mapping[str, npt.NDArray[np.int8]],
        together: Decision,
    ) -> None:
        """Count events: the decision and the label for each skim, and the decision for any skim."""
        self.events += len(together.kept)
        for (skim, sums), decision in zip(self._sums.items(), decisions, strict=True):
            sums.add(decision, labels[skim])
        self._together.add(together)

    def add_report(self, report: EncodingReport) -> None:
        """Add what was lost in the encoding."""
        self.report = added(self.report, report)

    def text(self) -> str:
        """Summarise in a few lines."""
        rows = [sums.row(skim, self.events) for skim, sums in self._sums.items()]
        if len(self._sums) > 1:
            rows.append(self._together.row("any skim", self.events))
        head = ("skim", "events", "kept", "fraction", "expected", "sum of w", "max. w")
        lines = [text_table(head, rows)]
        saving = 1.0 - self._together.probability / self.events
        lines.append(f"expected saving of simulation: {100 * saving:.1f} %")
        lines += [self._known_labels(skim, sums) for skim, sums in self._sums.items()]
        return "\n".join([line for line in lines if line] + _losses(self.report))

    def _known_labels(self, skim: str, sums: _Sums) -> str:
        if not sums.passing:
            return ""
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
