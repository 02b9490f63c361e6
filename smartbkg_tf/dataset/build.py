"""Build a dataset directory: little memory, all or nothing.

Files are read chunk by chunk, checked and encoded (`sources`); events are brought into the order
of the hashes of their keys (`shuffle`), copies dropped (`duplicates`), and the rest written
(`writer`).

The place of an event follows from its key and the seed. Neither the order of files, nor
the way events are spread over them, nor chunks, nor workers change a byte of the maps.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from smartbkg_tf.dataset.duplicates import in_order
from smartbkg_tf.dataset.information import FILE_NAME
from smartbkg_tf.dataset.legacy import is_legacy, legacy_encoding
from smartbkg_tf.dataset.shuffle import Shuffle
from smartbkg_tf.dataset.sources import (
    Reading,
    SourceReport,
    find_files,
    read_sources,
)
from smartbkg_tf.dataset.summary import describe_dataset, information_of
from smartbkg_tf.dataset.writer import DatasetWriter, inputs_in, stored_schema
from smartbkg_tf.encoding.checks import Finding, summed
from smartbkg_tf.encoding.feature_sets import complete
from smartbkg_tf.errors import ConfigurationError, InputError, Problems
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.runtime.cluster import require_packages
from smartbkg_tf.runtime.files import atomic_directory, expand_inputs, write_json
from smartbkg_tf.runtime.outputs import check_output
from smartbkg_tf.runtime.progress import Progress, say
from smartbkg_tf.settings.encoding import FEATURE_SETS, LEGACY, EncodingSettings
from smartbkg_tf.settings.preprocessing import PreprocessSettings

#: About so many events are put together, described and written at a time, so that they stay in
#: the processor's caches.
_EVENTS_AT_A_TIME = 4000

#: What stands in a dataset directory.
WRITTEN = (FILE_NAME, "*.memmap", "*.memmap.shape", "*.memmap.dtype")

_MADE_BY = "python -m smartbkg_tf.produce source=pythia|mdst output=DIR"


def build_dataset(settings: PreprocessSettings) -> Path:
    """Read tables, encode them and write a dataset directory; gives its path.

    InputError when there is no input, a file cannot be read, no event is left, or, with
    ``mode=strict``, any event cannot be used; the message lists all reasons. OutputError when the
    output exists and `overwrite` is false, or cannot be written. Nothing half-written is left
    behind.
    """
    require_packages(settings.cluster)
    output = Path(settings.output)
    check_output(output, overwrite=settings.overwrite, own=WRITTEN)
    paths = find_files(expand_inputs(settings.input, made_by=_MADE_BY))
    encoding, inputs = _encoding(settings, paths)
    schema = stored_schema(encoding, inputs)
    start = time.monotonic()
    say(f"preprocess: {len(paths)} file{'s' * (len(paths) != 1)} -> {output}")
    with atomic_directory(
        output, overwrite=settings.overwrite, own=WRITTEN, inputs=paths
    ) as partial:
        folder = partial / "events"
        shuffle = Shuffle(folder / "shuffle")
        reports = read_sources(paths, Reading(settings, encoding, schema), folder, shuffle.add)
        _refuse_two_particle_sets(reports)
        found = [finding for report in reports for finding in report.findings]
        files = np.array([str(report.path) for report in reports], dtype=object)
        writer = DatasetWriter(
            partial,
            encoding=encoding,
            inputs=inputs,
            label_names=_names_of(report.label_names for report in reports),
            observable_names=_names_of(report.observable_names for report in reports),
        )
        n_read = sum(report.n_read for report in reports)
        labelled = any(report.labelled for report in reports)
        with writer, Progress("preprocess: shuffle and write", total=n_read) as progress:
            for bucket in shuffle.buckets():
                events, rows, more = in_order(
                    bucket,
                    schema,
                    writer.label_names,
                    writer.observable_names,
                    files,
                    labelled=labelled,
                )
                found += more
                for begin, end in _pieces(len(rows)):
                    writer.append(events.take(rows[begin:end]))
                progress.add(len(bucket))
            findings = summed(found)
            _check(writer, findings, reports, settings)
            maps = writer.close()
        if folder.exists():
            shutil.rmtree(folder)
        information = information_of(
            settings, writer, maps, reports, findings, default_vocabulary()
        )
        write_json(partial / FILE_NAME, information)
    seconds = time.monotonic() - start
    say(describe_dataset(information, output))
    say(f"preprocess: {n_read} events in {seconds:.1f} s, {n_read / seconds:.4g} events/s")
    return output


def _pieces(n_events: int) -> Iterable[tuple[int, int]]:
    """Cut events into pieces of equal length: a short rest costs as many calls as a long piece."""
    n_pieces = -(-n_events // _EVENTS_AT_A_TIME)
    return pairwise(i * n_events // n_pieces for i in range(n_pieces + 1)) if n_pieces else ()


def _names_of(lists: Iterable[Iterable[str]]) -> list[str]:
    """Give all names in the order of the files where they agree, else sorted."""
    orders = {tuple(names) for names in lists} - {()}
    if len(orders) == 1:
        return list(orders.pop())
    return sorted({name for names in orders for name in names})


def _encoding(
    settings: PreprocessSettings, paths: Sequence[Path]
) -> tuple[EncodingSettings, tuple[str, ...]]:
    """How events become arrays, as configured or as the original project left them, and inputs."""
    lengths = {"max_particles": settings.max_particles, "max_tokens": settings.max_tokens}
    legacy = [path for path in paths if is_legacy(path)]
    if not legacy:
        if settings.features == LEGACY:
            raise ConfigurationError(
                "features=legacy is for arrays of the original project, which are recognised by "
                "themselves; the input holds tables",
                next_step=f"use features={'|'.join(FEATURE_SETS)}",
            )
        encoding = complete(settings.features, **lengths)
        return encoding, inputs_in(settings.key, encoding)
    if len(legacy) < len(paths):
        other = next(path for path in paths if path not in legacy)
        raise InputError(
            f"arrays of the original project cannot be mixed with other events ({other})",
            where=legacy[0],
            next_step="preprocess them alone",
        )
    if settings.key == "decay_strings":
        raise InputError(
            "key=decay_strings is not for arrays of the original project",
            where=legacy[0],
            next_step="use key=all; a model then chooses model.inputs=decay",
        )
    return legacy_encoding(legacy, **lengths)


def _refuse_two_particle_sets(reports: Sequence[SourceReport]) -> None:
    """Refuse what a network would tell apart by its photons."""
    of = {report.particles: report.path for report in reports}
    if len(of) > 1:
        raise InputError(
            "tables of source.particles=generator cannot be mixed with those of "
            f"source.particles=tables ({of['tables']})",
            where=of["generator"],
            next_step="produce all of them with the same source.particles (ROOT files that are "
            "read directly count as tables)",
        )


def _check(
    writer: DatasetWriter,
    findings: Sequence[Finding],
    reports: Sequence[SourceReport],
    settings: PreprocessSettings,
) -> None:
    """Refuse what cannot be used; in lenient mode say what is dropped."""
    if not sum(report.n_read for report in reports):
        raise InputError(
            "there are no events in the input",
            where=", ".join(str(report.path) for report in reports[:5]),
            next_step=f"tables are made by: {_MADE_BY}",
        )
    labels = sum(writer.label_counts.values(), np.zeros((len(writer.label_names), 3), np.int64))
    one_class = [
        f"{name}: all {max(passing, failing)} events with a known label "
        f"{'pass' if passing else 'fail'}, so that nothing can be learned from them"
        for name, (passing, failing, _) in zip(writer.label_names, labels.tolist(), strict=True)
        if (passing == 0) != (failing == 0)
    ]
    known = [counts for counts in labels.tolist() if counts[0] or counts[1]]
    useless = bool(known) and all(min(counts[:2]) == 0 for counts in known)
    if settings.mode == "strict":
        problems = Problems()
        for finding in findings:
            problems.add(str(finding))
        for text in one_class if useless else ():
            problems.add(text)
        problems.raise_if_any(
            "the input holds events that cannot be used"
            if findings
            else "the input cannot be trained on",
            kind=InputError,
            next_step="mend the input, or drop such events: mode=lenient",
        )
    for finding in findings:
        say(f"warning: dropped {finding}")
    for text in one_class:
        say(f"warning: {text}")
    if writer.label_names == [] or not known:
        say("warning: no event has a label; the dataset can be applied to, not trained on")
    if writer.n_events == 0:
        raise InputError(
            "no usable event is left: " + "; ".join(str(f) for f in findings),
            next_step="see the counts above; tables are made by: " + _MADE_BY,
        )
