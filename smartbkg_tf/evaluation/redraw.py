"""`evaluate from=REPORT_DIR`: figures and report again, without events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.evaluation.figure_files import INDEX, redraw
from smartbkg_tf.evaluation.html_report import write_report
from smartbkg_tf.evaluation.plots import Plot
from smartbkg_tf.runtime.files import atomic_directory, read_json, write_json
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.settings.evaluation import EvaluateSettings

#: What the folder of an evaluation holds.
WRITTEN = ("metrics.json", "report.html", "plots")


def redraw_report(settings: EvaluateSettings, source: Path) -> Path:
    """Make the figures and the report of a folder again, there or in another folder."""
    if settings.runs is not None or settings.observables is not None:
        raise ConfigurationError(
            "from: draws what a report holds, without events: runs and observables do not go "
            "with it",
            next_step="leave them out, or leave from out",
        )
    if not (source / "plots" / INDEX).is_file():
        raise InputError(
            "holds no report that can be drawn again: plots/figures.json is missing",
            where=source,
            next_step="make it with: python -m smartbkg_tf.evaluate runs=[...] output=DIR",
        )
    values = read_json(source / "metrics.json", made_by="python -m smartbkg_tf.evaluate")
    output = source if settings.output is None else Path(settings.output)
    if output.resolve() == source.resolve():
        remarks = _redraw_into(source, source, settings.plots)
    else:
        with atomic_directory(
            output, overwrite=settings.overwrite, own=WRITTEN, inputs=[source]
        ) as folder:
            write_json(folder / "metrics.json", values)
            remarks = _redraw_into(source, folder, settings.plots)
    for remark in remarks:
        say(f"warning: {remark}")
    say(f"report: {output / 'report.html'}")
    return output


def _redraw_into(source: Path, folder: Path, own: Sequence[Plot]) -> list[str]:
    try:
        remarks = redraw(source / "plots", folder / "plots", own)
        write_report(folder, source.resolve().name)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"its numbers or figures are not as this smartbkg_tf writes them "
            f"({type(error).__name__}: {error})",
            where=source,
            next_step="evaluate the runs again: python -m smartbkg_tf.evaluate runs=[...]",
        ) from error
    return remarks
