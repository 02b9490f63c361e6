"""A run repeated: the same settings and events, what else differs, and how the results compare."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.errors import ConfigurationError, InputError, UserError
from smartbkg_tf.runtime.files import read_json
from smartbkg_tf.runtime.progress import say
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.runtime.text_table import text_table
from smartbkg_tf.runtime.versions import versions
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.rerun import RerunSettings
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.training.data import prepare_dataset
from smartbkg_tf.training.provenance import code_version, hardware

_MADE_BY = "run directories are made by: python -m smartbkg_tf.train model=resnet"

#: Columns of the history that are measured with a clock.
_TIMES = ("seconds", "events_per_second", "waiting_share")

#: Rows of numbers that differ, at most.
_MOST_ROWS = 20


def prepare(settings: RerunSettings) -> tuple[RunDirectory, TrainSettings]:
    """Give a finished run, and the settings that repeat it on the same events.

    Says which software, code and processor differ. `InputError` when the run is not finished, or
    its events are not at hand.
    """
    run = RunDirectory(Path(settings.run))
    if not run.done.is_file() or not run.metrics.is_file():
        raise InputError("is not a finished run", where=run.path, next_step=_MADE_BY)
    output = Path(settings.output or f"{run.path.resolve()}_rerun")
    if output.resolve() == run.path.resolve():
        raise ConfigurationError("output: is the run itself", next_step="choose another folder")
    record = run.read_metadata()
    config = validate(TrainSettings, run.read_config(), where=str(run.config))
    path = _dataset(settings, record, config)
    again = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, path=str(path)),
        run_dir=str(output),
        overwrite=settings.overwrite,
        debug=settings.debug,
    )
    rows = list(_differences(record))
    if rows:
        say("what is not as it was:\n" + text_table(("what", "in the run", "now"), rows))
    else:
        say("software, code and hardware are those of the run")
    return run, again


def _dataset(settings: RerunSettings, record: Mapping[str, Any], config: TrainSettings) -> Path:
    """Find the events of a run; `InputError` if they are others."""
    recorded = record.get("dataset") or {}
    place = settings.dataset
    if place is None and Path(str(recorded.get("path"))).is_dir():
        place = recorded["path"]
    if place is not None:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, path=place))
    path = prepare_dataset(config)
    digest = open_dataset(path).digest
    if digest != recorded.get("digest"):
        raise InputError(
            f"holds other events than the run was trained on (digest {digest}, not "
            f"{recorded.get('digest')})",
            where=path,
            next_step="give the dataset of the run: dataset=DIR",
        )
    return path


def _differences(record: Mapping[str, Any]) -> Iterator[list[str]]:
    """List what is not as it was when the run was made: what, then, now."""
    old, new = record.get("software") or {}, versions()
    yield from ([n, old.get(n, "-"), new.get(n, "-")] for n in {**old, **new}
                if old.get(n) != new.get(n))  # fmt: skip
    before, after = (
        {
            "code": _code(code),
            **{f"hardware.{k}": str(hard.get(k)) for k in ("cpu", "cores", "gpus")},
        }
        for code, hard in (
            (record.get("code"), record.get("hardware") or {}),
            (code_version(), hardware()),
        )
    )
    yield from ([n, before[n], after[n]] for n in before if before[n] != after[n])
    if before["code"] == after["code"] and before["code"].endswith("changes"):
        yield ["code", before["code"], "may be other changes"]


def _code(code: Mapping[str, Any] | None) -> str:
    if not code:
        return "unknown commit"
    return f"{str(code.get('commit'))[:12]}{' with changes' if code.get('dirty') else ''}"


def _apart(old: float, new: float) -> float:
    """Give the difference relative to max(1, abs(old)); infinite where one is not finite."""
    if old == new or (math.isnan(old) and math.isnan(new)):
        return 0.0
    apart = abs(new - old) / max(abs(old), 1.0)
    return apart if math.isfinite(apart) else math.inf


def check_same(run: RunDirectory, again: TrainSettings, tolerance: float) -> None:
    """Compare the numbers of two runs; `UserError` when one differs by more than `tolerance`."""
    assert again.run_dir is not None
    old, new = (_numbers(one) for one in (run, RunDirectory(Path(again.run_dir))))
    compared = [name for name in old if name in new]
    apart = {name: _apart(old[name], new[name]) for name in compared}
    beyond = sorted((n for n in compared if apart[n] > tolerance), key=lambda n: -apart[n])
    headline = [name for name in compared if name.count(".") == 3 and name.endswith(".auc")]
    shown = list(dict.fromkeys([*headline, *beyond]))[:_MOST_ROWS]
    rows = [[n, f"{old[n]:.8g}", f"{new[n]:.8g}", f"{apart[n]:.2g}"] for n in shown]
    say(text_table(("number", "run", "again", "difference"), rows))
    further, lacking = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
    if further:
        say(f"note: {len(further)} numbers are in the new run only, such as {further[0]}")
    if not beyond and (lacking or not compared):
        missing = f"{len(lacking)} of its numbers, such as {lacking[0]}" if lacking else "numbers"
        raise UserError(
            f"the new run lacks {missing}",
            where=again.run_dir,
            next_step="one training ended earlier, or one was evaluated otherwise: compare "
            "history.csv and metrics.json of both",
        )
    if beyond:
        raise UserError(
            f"{len(beyond)} of {len(compared)} numbers differ by more than {tolerance:g}",
            where=again.run_dir,
            next_step="on another processor or with other versions the last bits differ and grow "
            "during a training: allow for that with tolerance=0.01",
        )
    largest = max(apart.values(), default=0.0)
    say(f"the same: {len(compared)} numbers, largest difference {largest:.2g}")


def _numbers(run: RunDirectory) -> dict[str, float]:
    """Give the numbers of ``metrics.json`` and ``history.csv``, by their places."""
    metrics = read_json(run.metrics)
    metrics.pop("predictions", None)
    with open(run.history, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    history = {
        f"epoch {row['epoch']}": {k: float(v) for k, v in row.items() if v and k not in _TIMES}
        for row in rows
    }
    return dict(_leaves({"metrics": metrics, "history": history}))


def _leaves(node: Any, place: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{place}.{key}" if place else str(key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _leaves(value, f"{place}.{i}")
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield place, float(node)
