"""One HTML page about a sweep: table, history, parallel coordinates, importance of parameters."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import UserError
from smartbkg_tf.runtime.files import atomic_file
from smartbkg_tf.runtime.sweeps.jobs import Job, JobList
from smartbkg_tf.runtime.sweeps.search import import_optuna, objective, objective_of
from smartbkg_tf.runtime.sweeps.table import sweep_rows

_NAMES = {"val_auc": "validation AUC", "val_speedup": "validation speedup"}

#: A ratio of largest to smallest value from which an axis is logarithmic.
_LOG = 30.0

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
th, td {{ padding: .2rem .7rem; border-bottom: 1px solid #ddd; text-align: right; }}
th:first-child, td:first-child, th:last-child, td:last-child {{ text-align: left; }}
tr.best {{ background: #e8f3e8; font-weight: 600; }}
figure {{ margin: 1rem 0; }} img {{ max-width: 100%; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
{body}
</body>
</html>
"""


@dataclass(frozen=True)
class Parameter:
    """An override that differs between jobs, with its value in each (None: not given)."""

    name: str
    values: list[float | str | None]

    @property
    def numeric(self) -> bool:
        """Whether all values are numbers."""
        return all(isinstance(value, float) for value in self.values)

    @property
    def numbers(self) -> list[float]:
        """The values, if they are all numbers."""
        return [value for value in self.values if isinstance(value, float)]

    @property
    def logarithmic(self) -> bool:
        """Whether they are best seen on a logarithmic axis."""
        low, high = min(self.numbers), max(self.numbers)
        return low > 0 and high / low >= _LOG

    @property
    def categories(self) -> list[str]:
        """The different values as text, in their order of appearance."""
        return list(dict.fromkeys("not given" if v is None else str(v) for v in self.values))

    def positions(self) -> list[float]:
        """Give a place between 0 and 1 to each value."""
        if self.numeric:
            numbers = [math.log(x) if self.logarithmic else x for x in self.numbers]
        else:
            order = self.categories
            numbers = [order.index("not given" if v is None else str(v)) for v in self.values]
        low, high = min(numbers), max(numbers)
        return [(x - low) / (high - low) if high > low else 0.5 for x in numbers]

    def ends(self) -> list[tuple[float, str]]:
        """Give labels of the axis: limits of numbers, or all categories."""
        if self.numeric:
            return [(0.0, f"{min(self.numbers):.3g}"), (1.0, f"{max(self.numbers):.3g}")]
        n = max(1, len(self.categories) - 1)
        return [(i / n if n else 0.5, name) for i, name in enumerate(self.categories)]


def parameters_of(jobs: Sequence[Job]) -> list[Parameter]:
    """Find the overrides that differ between jobs."""
    given = [dict(t.lstrip("+").split("=", 1) for t in job.overrides if "=" in t) for job in jobs]
    names = dict.fromkeys(name for values in given for name in values)
    found = [Parameter(name, [_value(values.get(name)) for values in given]) for name in names]
    return [parameter for parameter in found if len(parameter.categories) > 1]


def _value(text: str | None) -> float | str | None:
    try:
        number = float(text or "")
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a sweep; give its path."""
    jobs = JobList.read(folder).jobs
    if not jobs:
        raise UserError("the sweep has no jobs yet", where=folder)
    name = objective_of(folder)
    rows = sweep_rows(jobs)
    states = [job.state for job in jobs]
    reached = [
        _reached(job, row, state, name) for job, row, state in zip(jobs, rows, states, strict=True)
    ]
    finished = [i for i, state in enumerate(states) if state == "done" and reached[i] is not None]
    best = max(finished, key=lambda i: reached[i] or 0.0, default=None)
    parameters = parameters_of(jobs)
    sections = [_section("Jobs", _table(jobs, rows, parameters, reached, best, _NAMES[name]))]
    if finished:
        figure = _image(lambda axes: _history(axes, states, reached, _NAMES[name]), "history")
        sections.append(_section("History", figure))
    shown = [i for i, value in enumerate(reached) if value is not None]
    if len(shown) > 1 and parameters:
        chosen = parameters_of([jobs[i] for i in shown])
        values = [reached[i] for i in shown]
        figure = _image(
            lambda axes: _parallel(axes, chosen, values, _NAMES[name]), "parallel coordinates"
        )
        sections.append(_section("Parallel coordinates", figure))
        chosen = parameters_of([jobs[i] for i in finished])
        values = [reached[i] for i in finished]
        sections.append(_section("Parameter importance", _importance(chosen, values)))
    order = ("done", "pruned", "failed", "not finished")
    told = ", ".join(f"{states.count(state)} {state}" for state in order if state in states)
    if best is not None:
        told += f"; best: {jobs[best].name} ({_NAMES[name]} {reached[best]:.4f})"
    path = folder / "report.html"
    title = f"Sweep {folder.resolve().name}"
    page = _PAGE.format(
        title=html.escape(title), summary=html.escape(told), body="\n".join(sections)
    )
    with atomic_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path


def _reached(job: Job, row: dict[str, Any], state: str, name: str) -> float | None:
    """Give the value of a job; one that was ended early has the AUC of its last epoch only."""
    if state == "done" and name == "val_speedup":
        return objective(job, name)
    return _number(row["val_auc"]) if state in ("done", "pruned") and name == "val_auc" else None


def _number(value: Any) -> float | None:
    return value if isinstance(value, float) and math.isfinite(value) else None


def _section(title: str, body: str) -> str:
    return f"<h2>{html.escape(title)}</h2>\n{body}"


def _table(
    jobs: Sequence[Job],
    rows: Sequence[dict[str, Any]],
    parameters: Sequence[Parameter],
    reached: Sequence[float | None],
    best: int | None,
    name: str,
) -> str:
    """Write the jobs, the best first."""

    def text(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str("" if value is None else value)

    further = [c for c in ("epochs", "val_loss", "auc", "seconds") if any(r[c] != "" for r in rows)]
    words = {"val_loss": "validation loss", "auc": "test AUC"}
    head = ["job", *(p.name for p in parameters), name, *(words.get(c, c) for c in further)]
    lines = [_line([*head, "state"], "th")]
    order = sorted(range(len(jobs)), key=lambda i: (reached[i] is None, -(reached[i] or 0.0), i))
    for i in order:
        cells = [jobs[i].number, *(p.values[i] for p in parameters)]
        value = "" if reached[i] is None else f"{reached[i]:.4f}"
        cells += [value, *(rows[i][c] for c in further), rows[i]["state"]]
        lines.append(_line([text(cell) for cell in cells], "td", best=i == best))
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _line(cells: Sequence[str], tag: str, *, best: bool = False) -> str:
    inner = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
    return f"<tr{' class=best' if best else ''}>{inner}</tr>"


def _image(draw: Callable[[Any], None], text: str) -> str:
    """Draw into a page: an SVG inside the file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    draw(figure.add_subplot())
    stream = io.BytesIO()
    figure.savefig(stream, format="svg")
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<figure><img alt="{text}" src="data:image/svg+xml;base64,{data}"></figure>'


def _history(axes: Any, states: Sequence[str], reached: Sequence[float | None], name: str) -> None:
    groups: dict[str, list[tuple[int, float]]] = {"done": [], "pruned": []}
    for number, (state, value) in enumerate(zip(states, reached, strict=True)):
        if value is not None:
            groups[state].append((number, value))
    for (state, points), marker in zip(groups.items(), ("o", "x"), strict=True):
        if points:
            axes.plot(*zip(*points, strict=True), marker, label=state)
    highest, line = -math.inf, []
    for number, value in groups["done"]:
        highest = max(highest, value)
        line.append((number, highest))
    axes.step(*zip(*line, strict=True), where="post", label="best so far")
    axes.set(xlabel="job", ylabel=name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()


def _parallel(
    axes: Any, parameters: Sequence[Parameter], values: Sequence[float | None], name: str
) -> None:
    from matplotlib import colormaps

    last = Parameter(name, list(values))
    columns = [*parameters, last]
    paths = list(zip(*(column.positions() for column in columns), strict=True))
    colors = colormaps["viridis"]
    for path in sorted(paths, key=lambda path: path[-1]):  # The best on top.
        axes.plot(range(len(columns)), path, color=colors(path[-1]), alpha=0.8)
    for x, column in enumerate(columns):
        axes.axvline(x, color="0.6", linewidth=0.8)
        for y, label in column.ends():
            axes.annotate(
                label, (x, y), (4, 0), textcoords="offset points", fontsize=8, va="center"
            ).set_bbox({"color": "white", "alpha": 0.7, "pad": 1})
    axes.set_xticks(range(len(columns)), [c.name.replace("training.", "") for c in columns])
    axes.tick_params(axis="x", labelrotation=15)
    axes.set(yticks=[], xlim=(-0.2, len(columns) - 0.5), ylim=(-0.08, 1.08))


def _importance(parameters: Sequence[Parameter], values: Sequence[float | None]) -> str:
    """Draw how much of the variance each parameter explains (functional ANOVA of Optuna)."""
    known = [value for value in values if value is not None]
    if len(known) < 4 or not parameters or max(known) == min(known):
        return "<p>Too few finished jobs with different results.</p>"
    try:
        shares = importance(parameters, known)
    except UserError as error:
        return f"<p>{html.escape(str(error))}</p>"

    def draw(axes: Any) -> None:
        names, heights = list(shares)[::-1], list(shares.values())[::-1]
        axes.barh(names, heights)
        axes.set(xlabel="share of the variance", xlim=(0, 1))

    return _image(draw, "importance of the parameters")


def importance(parameters: Sequence[Parameter], values: Sequence[float]) -> dict[str, float]:
    """Give the share of the variance that each parameter explains, largest first."""
    optuna = import_optuna()
    distributions = {
        p.name: optuna.distributions.FloatDistribution(
            min(p.numbers), max(p.numbers), log=p.logarithmic
        )
        if p.numeric
        else optuna.distributions.CategoricalDistribution(p.categories)
        for p in parameters
    }
    study = optuna.create_study(direction="maximize")
    for i, value in enumerate(values):
        params = {
            p.name: p.values[i]
            if p.numeric
            else ("not given" if p.values[i] is None else str(p.values[i]))
            for p in parameters
        }
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=value)
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {str(name): float(share) for name, share in found.items()}
