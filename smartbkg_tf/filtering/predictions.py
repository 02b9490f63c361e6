"""The table of predictions: one row per event, as parquet or (by its suffix .root) a TTree.

Columns: experiment, run, event, production (int64), event_type (text), ``kept`` (bool, for any
skim) and ``weight`` (float64, its weight, for analyses that use all events kept for any skim),
and per skim ``score_<skim>`` (float32, logit), ``probability_<skim>`` (float64),
``kept_<skim>`` (bool), ``weight_<skim>`` (float64) and ``label_<skim>`` (int8, null where
unknown).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import InputError, did_you_mean
from smartbkg_tf.events.passing_keys import KEY_ALIASES
from smartbkg_tf.events.table import EVENT_TYPES, KEY_COLUMNS
from smartbkg_tf.filtering.prediction_columns import ColumnReader
from smartbkg_tf.filtering.predictions_root import RootWriter, read_root
from smartbkg_tf.filtering.rules import Decision, combine
from smartbkg_tf.runtime.files import atomic_file
from smartbkg_tf.settings.filtering import ROOT_SUFFIX

#: Name of an event type that is not known.
UNKNOWN = "unknown"
_METADATA = b"smartbkg_tf"
#: Columns of each skim, and their types in pyarrow.
_PER_SKIM = {
    "score": "float32",
    "probability": "float64",
    "kept": "bool_",
    "weight": "float64",
    "label": "int8",
}
_MADE_BY = "predictions are made by: python -m smartbkg_tf.apply (or train, for its test events)"


@dataclass(frozen=True)
class SkimPredictions:
    """What was predicted for one skim."""

    score: npt.NDArray[np.float32]  # [n] logit
    probability: npt.NDArray[np.float64]  # [n] of being kept
    kept: npt.NDArray[np.bool_]  # [n]
    weight: npt.NDArray[np.float64]  # [n] 1 / probability, 0 where not kept
    label: npt.NDArray[np.int8]  # [n] 1 passes, 0 does not, -1 unknown


@dataclass(frozen=True)
class Predictions:
    """A table of predictions in memory."""

    keys: dict[str, npt.NDArray[np.int64]]  # [n] each: experiment, run, event, production
    event_type: npt.NDArray[np.int8]  # [n] position in `EVENT_TYPES`, -1 if unknown
    skims: dict[str, SkimPredictions]  # in the order of the model's outputs
    information: dict[str, Any]  # how they were made: method, seed, model, rules
    notes: list[str] = field(default_factory=list)  # what was filled in

    def __len__(self) -> int:
        """Give the number of events."""
        return len(self.event_type)


class PredictionsWriter:
    """Write predictions chunk by chunk; the file appears when all of them are written.

    Parameters
    ----------
    path : str or pathlib.Path
        The file: .root for a TTree ``predictions``, else parquet.
    skims : sequence of str
        Names of the model's outputs.
    information : mapping, optional
        How the predictions were made; kept in the file as JSON.
    overwrite : bool, default True
        Replace a file of that name.
    alone : bool, default True
        Lock the file, as the output of a command; not needed in a folder that is locked.

    Raises
    ------
    OutputError
        When the disk is full or the place cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        skims: Sequence[str],
        information: Mapping[str, Any] | None = None,
        *,
        overwrite: bool = True,
        alone: bool = True,
    ) -> None:
        import pyarrow as pa

        self.path = Path(path)
        self._overwrite, self._alone = overwrite, alone
        self.skims = tuple(skims)
        self.rows = 0
        columns = [(name, pa.int64()) for name in KEY_COLUMNS]
        columns.append(("event_type", pa.dictionary(pa.int8(), pa.string())))
        columns += [("kept", pa.bool_()), ("weight", pa.float64())]
        columns += [
            (f"{kind}_{skim}", getattr(pa, name)())
            for skim in self.skims
            for kind, name in _PER_SKIM.items()
        ]
        self._text = json.dumps({"skims": list(self.skims), **(information or {})}, allow_nan=False)
        self._schema = pa.schema(columns, metadata={_METADATA: self._text.encode()})
        self._stack = ExitStack()

    def __enter__(self) -> PredictionsWriter:
        """Open the temporary file."""
        from pyarrow.parquet import ParquetWriter

        with ExitStack() as stack:
            partial = stack.enter_context(
                atomic_file(self.path, alone=self._alone, overwrite=self._overwrite)
            )
            self._writer: Any = stack.enter_context(
                RootWriter(partial, self._schema, self._text)
                if self.path.suffix == ROOT_SUFFIX
                else ParquetWriter(partial, self._schema, write_page_checksum=True)
            )
            self._stack = stack.pop_all()
        return self

    def write(
        self,
        keys: Mapping[str, npt.NDArray[np.int64]],
        event_type: npt.NDArray[np.int8],
        scores: npt.NDArray[np.float32],
        decisions: Sequence[Decision],
        labels: Mapping[str, npt.NDArray[np.int8]] | None = None,
    ) -> None:
        """Add events: keys, positions in `EVENT_TYPES`, logits [n, skims], decisions by skim.

        Event type and labels are -1 where unknown; labels of other skims are ignored.
        """
        import pyarrow as pa

        labels = labels or {}
        n = len(event_type)
        # -1 becomes the last name: unknown.
        codes = np.where(event_type < 0, len(EVENT_TYPES), event_type).astype(np.int8)
        columns = [pa.array(np.asarray(keys[name], dtype=np.int64)) for name in KEY_COLUMNS]
        columns.append(pa.DictionaryArray.from_arrays(pa.array(codes), [*EVENT_TYPES, UNKNOWN]))
        together = combine(decisions)
        columns += [pa.array(together.kept), pa.array(together.weight)]
        for position, (skim, decision) in enumerate(zip(self.skims, decisions, strict=True)):
            label = np.asarray(labels.get(skim, np.full(n, -1)), dtype=np.int8)
            columns += [
                pa.array(np.ascontiguousarray(scores[:, position], dtype=np.float32)),
                pa.array(decision.probability),
                pa.array(decision.kept),
                pa.array(decision.weight),
                pa.array(label, mask=label < 0),
            ]
        self.write_table(pa.Table.from_arrays(columns, schema=self._schema))

    def write_table(self, table: Any) -> None:
        """Add the rows of an Arrow table of predictions."""
        self._writer.write_table(table.cast(self._schema))
        self.rows += len(table)

    def add_metadata(self, key: bytes, text: str) -> None:
        """Add something to the metadata of a parquet file."""
        self._writer.add_key_value_metadata({key: text.encode()})

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the file its name, or remove what was half written."""
        self._stack.__exit__(kind, error, trace)


def decisions_of(
    table: Any, skims: Sequence[str]
) -> tuple[list[Decision], dict[str, npt.NDArray[np.int8]]]:
    """Give the decision about each skim, and its labels, of a table that `PredictionsWriter` made.

    The table is an Arrow table; labels [n] are -1 where they are unknown.
    """

    def values(kind: str, skim: str) -> npt.NDArray[Any]:
        return np.asarray(table.column(f"{kind}_{skim}").to_numpy())

    decisions = [
        Decision(*(values(k, s) for k in ("probability", "kept", "weight"))) for s in skims
    ]
    labels = {s: table.column(f"label_{s}").fill_null(-1).to_numpy() for s in skims}
    return decisions, labels


class _ParquetColumns:
    """The columns of a Parquet file, each read when it is asked for: one is in memory at a time."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(path)
        self.schema = self._file.schema_arrow

    def column(self, name: str) -> Any:
        return self._file.read([name]).column(name)

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)


def read_predictions(path: str | Path, *, unnamed_skim: str = "skim") -> Predictions:
    """Read a table of predictions, of this package or of any other program.

    Parameters
    ----------
    path : str or pathlib.Path
        A file that `apply` or `train` wrote (parquet, or .root with a TTree ``predictions``), or
        any such file or csv table with the column event and a score: ``score_<skim>`` and
        ``label_<skim>`` for each skim, or plain ``score`` and ``label``. Columns experiment, run
        and production are 0 where the table has none. Higher scores are more likely to pass;
        calibration takes them for logits.
    unnamed_skim : str, default "skim"
        The skim of the plain columns ``score`` and ``label``.

    Returns
    -------
    Predictions
        The table; where a file has no decisions, every event is kept with weight 1.

    Raises
    ------
    InputError
        When the file is missing or not a table, lacks columns, holds an event twice, or a value
        does not fit its column.
    """
    import pyarrow as pa
    from pyarrow import csv

    path = Path(path)
    if not path.is_file():
        raise InputError("the predictions do not exist", where=path, next_step=_MADE_BY)
    kind = "csv table" if path.suffix == ".csv" else "parquet file"
    try:
        table: Any
        if path.suffix == ".csv":
            table = csv.read_csv(path)
        elif path.suffix == ROOT_SUFFIX:
            table = read_root(path, made_by=_MADE_BY)
        else:
            table = _ParquetColumns(path)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        first = str(error).splitlines()[0]
        raise InputError(
            f"is not a complete {kind} ({first})", where=path, next_step=_MADE_BY
        ) from error
    names = {name: name for name in table.schema.names}
    for plain_name in ("score", "label"):
        if plain_name in names:
            names[f"{plain_name}_{unnamed_skim}"] = names.pop(plain_name)
    for key, aliases in KEY_ALIASES.items():
        there = [alias for alias in aliases if alias in names]
        if key not in names and there:
            names[key] = names.pop(there[0])
    skims = [name.removeprefix("score_") for name in names if name.startswith("score_")]
    lacking = "event" if "event" not in names else "" if skims else "score_<skim>"
    if lacking:
        raise InputError(
            f"lacks the column {lacking}; {did_you_mean(lacking, names)}",
            where=path,
            next_step=_MADE_BY,
        )
    columns = ColumnReader(table, names)
    absent = [name for name in KEY_COLUMNS if name not in names]
    try:
        predictions = Predictions(
            keys=columns.keys(KEY_COLUMNS),
            event_type=columns.event_type(),
            skims={skim: SkimPredictions(**columns.skim(skim)) for skim in skims},
            information=columns.information(_METADATA),
            notes=[f"its table has no {', '.join(absent)}: taken as 0"] if absent else [],
        )
    except (pa.ArrowInvalid, OSError) as error:
        first = str(error).splitlines()[0]
        raise InputError(
            f"is not a complete {kind} ({first})", where=path, next_step=_MADE_BY
        ) from error
    columns.problems.raise_if_any(
        "cannot be used as predictions", kind=InputError, where=path, next_step=_MADE_BY
    )
    return predictions
