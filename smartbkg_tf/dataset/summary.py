"""The contents of ``dataset.json``, and the summary that is shown at the end."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smartbkg_tf.dataset.hashing import HASH
from smartbkg_tf.dataset.information import FORMAT_VERSION, with_checksum
from smartbkg_tf.dataset.sources import SourceReport
from smartbkg_tf.dataset.writer import DatasetWriter
from smartbkg_tf.encoding.checks import Finding
from smartbkg_tf.encoding.feature_sets import CHARGE
from smartbkg_tf.events.table import EVENT_TYPES
from smartbkg_tf.events.vocabulary import Vocabulary
from smartbkg_tf.runtime.files import hash_of_values
from smartbkg_tf.runtime.versions import versions
from smartbkg_tf.settings.encoding import LEGACY, PARTICLES, TOKENS
from smartbkg_tf.settings.normalisation import FeatureScale
from smartbkg_tf.settings.preprocessing import PreprocessSettings

#: At most so many unknown codes are recorded by name.
_RECORDED_CODES = 1000


def information_of(
    settings: PreprocessSettings,
    writer: DatasetWriter,
    maps: dict[str, dict[str, Any]],
    reports: Sequence[SourceReport],
    findings: Sequence[Finding],
    vocabulary: Vocabulary,
) -> dict[str, Any]:
    """Put together what ``dataset.json`` holds.

    Plain values without times, host or folder names: the same events give the same file, byte by
    byte.
    """
    encoding = writer.encoding.plain()
    statistics = _statistics(writer)
    unknown = sum((report.unknown_codes for report in reports), Counter())
    ordered = sorted(unknown.items(), key=lambda item: (-item[1], item[0]))
    identity = {
        "format_version": FORMAT_VERSION,
        "encoding": encoding,
        "vocabulary": vocabulary.digest,
        "labels": writer.label_names,
        "maps": {name: entry[HASH] for name, entry in maps.items()},
    }
    information = {
        "format_version": FORMAT_VERSION,
        "digest": hash_of_values(identity),
        "storage": "ragged",
        "key": settings.key,
        "inputs": list(writer.inputs),
        "encoding": encoding,
        "particles": reports[0].particles,
        "vocabulary": {
            "size": max(report.vocabulary_size for report in reports),
            "digest": LEGACY,
            "codes_file": None,
        }
        if writer.encoding.features == LEGACY
        else {
            "size": vocabulary.size,
            "digest": vocabulary.digest,
            "codes_file": "smartbkg_tf/events/data/pdg_codes.txt",
        },
        "normalisation": _normalisation(settings, writer, statistics),
        "label_names": writer.label_names,
        "observable_names": writer.observable_names,
        "n_events": writer.n_events,
        "n_particles": writer.n_rows[PARTICLES],
        "n_tokens": writer.n_rows[TOKENS],
        "max_lengths": writer.longest,
        "truncated": writer.truncated,
        "counts": _counts(writer),
        "statistics": statistics,
        "unknown_codes": dict(ordered[:_RECORDED_CODES]),
        "n_unknown_codes": sum(unknown.values()),
        "mode": settings.mode,
        "dropped": {finding.reason: finding.count for finding in findings},
        "sources": sorted(
            (
                {"name": r.path.name, "size": r.size, HASH: r.hash, "n_events": r.n_read}
                for r in reports
            ),
            key=lambda source: (str(source["name"]), str(source[HASH])),
        ),
        "seed": settings.seed,
        "software": versions(("smartbkg_tf", "python", "numpy")),
        "maps": maps,
    }
    return with_checksum(information)


def _normalisation(
    settings: PreprocessSettings, writer: DatasetWriter, statistics: dict[str, dict[str, float]]
) -> dict[str, Any]:
    """Constants as configured; features without any get mean and spread of the data."""
    result = dataclasses.asdict(settings.normalisation)
    if writer.encoding.features == LEGACY:
        as_it_is = dataclasses.asdict(FeatureScale(limit=1e30))
        return {"name": LEGACY, "features": dict.fromkeys(writer.encoding.feature_names, as_it_is)}
    for name in writer.encoding.feature_names:
        if name != CHARGE and name not in result["features"] and name in statistics:
            found = statistics[name]
            scale = FeatureScale(centre=found["mean"], spread=found["spread"] or 1.0)
            result["features"][name] = dataclasses.asdict(scale)
    return result


def _counts(writer: DatasetWriter) -> dict[str, Any]:
    def of(counts: Any) -> dict[str, dict[str, int]]:
        names = ("passing", "failing", "unknown")
        return {
            label: dict(zip(names, numbers, strict=True))
            for label, numbers in zip(writer.label_names, counts.tolist(), strict=True)
        }

    # Code -1 is the last entry.
    types = (*EVENT_TYPES, "unknown")
    codes = sorted(writer.event_counts)
    return {
        "labels": of(sum(writer.label_counts.values())),
        "event_types": {types[code]: writer.event_counts[code] for code in codes},
        "labels_by_event_type": {types[code]: of(writer.label_counts[code]) for code in codes},
    }


def _statistics(writer: DatasetWriter) -> dict[str, dict[str, float]]:
    found = [stream.result() for stream in (writer.statistics, writer.charge_statistics)]
    if found[0].count == 0:
        return {}
    return {
        feature: {
            "mean": float(one.mean[i]),
            "spread": float(one.spread[i]),
            "min": float(one.minimum[i]),
            "max": float(one.maximum[i]),
        }
        for feature, (one, i) in zip(
            writer.encoding.feature_names,
            [*((found[0], i) for i in range(len(found[0].mean))), (found[1], 0)],
            strict=False,  # not all feature sets have a charge
        )
    }


def retention(counts: dict[str, int]) -> str:
    """Say a retention in per cent with its binomial error.

    The error is sqrt(p (1 - p) / n), or, at 0 and 1, the limit 3 / n (95 % confidence).
    """
    passing, n = counts["passing"], counts["passing"] + counts["failing"]
    if n == 0:
        return "unknown"
    p = passing / n
    if passing == 0:
        return f"0 % (< {min(300 / n, 100):.2g} %)"
    if passing == n:
        return f"100 % (> {max(100 - 300 / n, 0):.4g} %)"
    return f"({100 * p:.2f} +- {100 * (p * (1 - p) / n) ** 0.5:.2f}) %"


def describe_dataset(information: dict[str, Any], path: Path) -> str:
    """Summarise the dataset in the directory `path` in several lines."""
    n = information["n_events"]
    megabytes = sum(entry["bytes"] for entry in information["maps"].values()) / 1e6
    lines = [
        f"dataset {path}: {n} events, {information['n_particles']} particles, {megabytes:.1f} MB"
    ]
    counts = information["counts"]
    for label, numbers in counts["labels"].items():
        unknown = f", {numbers['unknown']} unknown" if numbers["unknown"] else ""
        lines.append(
            f"  {label}: {numbers['passing']} events pass, retention {retention(numbers)}{unknown}"
        )
        if len(counts["event_types"]) > 1:
            lines.extend(
                f"    {name}: {retention(by_label[label])} of {counts['event_types'][name]}"
                for name, by_label in counts["labels_by_event_type"].items()
            )
    encoding = information["encoding"]
    for what in ("particles", "tokens"):
        cut, limit = information["truncated"][what], encoding[f"max_{what}"]
        if cut:
            lines.append(
                f"  {cut} events ({100 * cut / n:.2g} %) have more than {limit} {what} "
                f"(longest: {information['max_lengths'][what]}) and lose their end"
            )
    if information["n_unknown_codes"]:
        first = list(information["unknown_codes"].items())[:5]
        listed = ", ".join(f"{code} ({count} times)" for code, count in first)
        lines.append(f"  warning: PDG codes without a token became 'unknown': {listed}")
    if information["dropped"]:
        reasons = ", ".join(f"{count} {name}" for name, count in information["dropped"].items())
        lines.append(f"  dropped events: {reasons}")
    return "\n".join(lines)
