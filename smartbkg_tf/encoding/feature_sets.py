"""Custom feature sets: a class in a module outside the package.

::

    # my_features.py, in the folder where the commands are run (or on PYTHONPATH)
    import numpy as np
    from smartbkg_tf.encoding.feature_sets import FeatureSet

    class Transverse(FeatureSet):
        names = ("pt", "energy", "charge")
        units = ("GeV", "GeV", "e")

        def keep(self, table):                       # neutrinos teach nothing here
            return ~np.isin(np.abs(table.particles["PDG"]), (12, 14, 16))

        def compute(self, table):
            p = table.particles
            return np.stack([np.hypot(p["px"], p["py"]), p["energy"], p["charge"]], axis=1)

    python -m smartbkg_tf.preprocess features._target_=my_features.Transverse input=... output=...

Everything else (tokens, mothers, padding, the data set, training, application) works as
with the built-in sets, by the same code offline and online.

Quantities of the whole event, and further lists that every event has, are columns of their own.
They are declared in one place, and are then stored, streamed, padded, and inputs of a model::

    class WithCandidates(Transverse):
        further_columns = (
            Column(name="thrust_input", shape=(2,)),
            Column(name="candidate_input", axis="candidates", shape=(3,), max_length=16),
        )

        def compute_further(self, table):
            ...
            return {"thrust_input": axes, "candidates": n_candidates, "candidate_input": values}
"""

from __future__ import annotations

import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.runtime.code_digest import source_digest
from smartbkg_tf.settings.encoding import (
    EVENT,
    FEATURE_SETS,
    LEGACY,
    PARTICLES,
    TOKENS,
    Column,
    EncodingSettings,
)
from smartbkg_tf.settings.plugins import TARGET, Plugin, import_class, make_plugin

#: The column that is stored in units of e/3 and becomes a one-hot vector in a model.
CHARGE = "charge"


class FeatureSet(Plugin, ABC):
    """Features of particles, computed from the columns of the particle table.

    A class that `smartbkg_tf.settings.base.settings` declares may have arguments, annotated fields:
    ``features={_target_: my_features.Near, radius: 2}``.

    Attributes
    ----------
    names : tuple of str
        The columns. One called ``charge`` (in e) is treated as the built-in sets treat it;
        it stands last.
    units : tuple of str
        Unit of each column, "" for none.
    symmetries : tuple of str, default ()
        Those of `smartbkg_tf.dataset.symmetries.SYMMETRIES` under which the columns change as
        that table says: y and py change their sign in the mirror, charge under charge conjugation,
        and nothing else changes, further columns included. ``data.symmetries`` takes no others.
    further_columns : tuple of Column, default ()
        Columns of the whole event (``axis="event"``) and of further lists (any other name of an
        axis, with `max_length`), as `compute_further` gives them. Their names end in ``_input`` by
        convention: they are inputs of a model.
    """

    names: ClassVar[tuple[str, ...]]
    units: ClassVar[tuple[str, ...]]
    symmetries: ClassVar[tuple[str, ...]] = ()
    further_columns: ClassVar[tuple[Column, ...]] = ()

    def keep(self, table: EventTable) -> npt.NDArray[np.bool_] | None:
        """Choose particles; those of a removed mother get mother -1.

        Parameters
        ----------
        table : EventTable
            Many events; columns in ``table.particles``.

        Returns
        -------
        numpy.ndarray [n_particles] or None
            bool; None keeps all.
        """
        return None

    @abstractmethod
    def compute(self, table: EventTable) -> npt.NDArray[np.floating]:
        """Compute the features of all particles of the table, also of those that are dropped.

        Parameters
        ----------
        table : EventTable
            Many events; columns in ``table.particles``. Particles of an event stand one
            after the other: ``table.offsets``, ``table.event_of_particle()``.

        Returns
        -------
        numpy.ndarray [n_particles, n_features]
            Physical values; the model normalises them.
        """

    def compute_further(self, table: EventTable) -> Mapping[str, npt.ArrayLike]:
        """Compute the further columns.

        Parameters
        ----------
        table : EventTable
            Many events; columns in ``table.particles``.

        Returns
        -------
        mapping of str to array
            For every further column by name its rows [n_rows, ...], those of a list one event
            after the other; for every further list, by the name of its axis, the rows of each
            event: int [n_events].
        """
        return {}


def import_feature_set(path: str, arguments: Mapping[str, Any] | None = None) -> FeatureSet:
    """Make a feature set ``module.Class``; modules in the current folder are found, too."""
    return _made(path, json.dumps(dict(arguments or {}), sort_keys=True))


@lru_cache(maxsize=16)
def _made(path: str, arguments: str) -> FeatureSet:
    where = f"features={path}"
    found = import_class(path, FeatureSet)
    if getattr(found, "__abstractmethods__", None):
        raise ConfigurationError(f"'{found.__name__}' does not write compute", where=where)
    names, units = (tuple(getattr(found, key, ())) for key in ("names", "units"))
    if not names or len(set(names)) != len(names) or len(units) != len(names):
        raise ConfigurationError(
            f"'{found.__name__}' needs names, each once, and one unit for each: names={names}, "
            f"units={units}",
            where=where,
        )
    if CHARGE in names and names[-1] != CHARGE:
        raise ConfigurationError(
            f"'{found.__name__}': the column 'charge' stands last", where=where
        )
    _check_further(found, found.__name__, where)
    if arguments == "{}" and "__pydantic_fields__" not in vars(found):
        return found()
    try:
        made: FeatureSet = make_plugin(
            f"{__name__}.FeatureSet", {TARGET: path, **json.loads(arguments)}
        )
    except ValueError as error:
        raise ConfigurationError(str(error), where=where) from error
    return made


#: Names and axes that every dataset has.
_TAKEN = (
    *("particle_input", "charge", "pdg_input", "mother_pdg_input", "mother_index_input"),
    *("decay_input", "event_type_input", "particle_offsets", "decay_offsets"),
    *("n_particles", "n_tokens", "labels", "keys", "observables", "hash", "source"),
    *(EVENT, PARTICLES, TOKENS, "particle", "decay", "y_output"),
)


def _check_further(found: type[FeatureSet], class_name: str, where: str) -> None:
    """Refuse further columns that cannot be stored."""
    columns = found.further_columns
    if not all(isinstance(column, Column) for column in columns):
        raise ConfigurationError(
            f"'{class_name}': further_columns are of the class Column", where=where
        )
    axes = {column.axis for column in columns} - {EVENT}
    names = [*(column.name for column in columns), *axes, *(f"{axis}_offsets" for axis in axes)]
    for name in dict.fromkeys(names):
        if name in _TAKEN or not name.isidentifier() or names.count(name) > 1:
            raise ConfigurationError(
                f"'{class_name}': a further column or list cannot be called '{name}'",
                where=where,
                next_step="choose another name, such as candidate_input on the axis candidates; "
                "further columns of particles belong into names",
            )
    for column in columns:
        if column.axis != EVENT and column.max_length < 1:
            raise ConfigurationError(
                f"'{class_name}': the column '{column.name}' needs a max_length: the rows of "
                f"'{column.axis}' in a batch",
                where=where,
            )


def complete(
    features: str | Mapping[str, Any], max_particles: int, max_tokens: int
) -> EncodingSettings:
    """Make settings of features and lengths; what a custom class says of itself is filled in."""
    lengths: dict[str, Any] = {"max_particles": max_particles, "max_tokens": max_tokens}
    if isinstance(features, str) and (features in FEATURE_SETS or features == LEGACY):
        return EncodingSettings(features=features, **lengths)
    values = {TARGET: features} if isinstance(features, str) else dict(features)
    path, arguments = str(values.pop(TARGET)), values or None
    found = import_feature_set(path, arguments)
    return EncodingSettings(
        features=path,
        arguments=arguments,
        **lengths,
        columns=list(found.names),
        column_units=list(found.units),
        further_columns=found.further_columns,
        definition=next(iter(_digests(type(found))), None),
    )


@lru_cache(maxsize=16)
def _digests(chosen: type[FeatureSet]) -> tuple[str, ...]:
    """Digest a class as it is recorded now, and as it was (its text); nothing without text."""
    try:
        text = inspect.getsource(chosen)
    except (OSError, TypeError):
        return ()
    return source_digest(text), hashlib.sha256(text.encode()).hexdigest()[:16]


def computed_features(
    table: EventTable, encoding: EncodingSettings, mother: npt.NDArray[np.int32], file: str = ""
) -> tuple[
    npt.NDArray[np.float32],
    npt.NDArray[np.int64] | None,
    npt.NDArray[np.int64],
    npt.NDArray[np.int32],
]:
    """Let a custom feature set compute, and check what it returns.

    `mother` holds positions within the event [n_particles], -1 for none. Gives the values
    float32 [n_kept, n_features], the kept rows (None for all), the offsets of the kept particles,
    and their mothers among them.
    """
    found = _as_recorded(encoding)
    where = f"features={encoding.features}"
    n = table.n_particles
    # A copy: columns of the table may hold until the next one only.
    values = np.array(found.compute(table), dtype=np.float32)
    if values.shape != (n, len(found.names)):
        raise ConfigurationError(
            f"compute returned {values.shape} for {n} particles and {len(found.names)} names",
            where=where,
        )
    offsets = np.asarray(table.offsets, dtype=np.int64)
    mask = found.keep(table)
    if mask is None:
        _refuse_not_finite(values, None, table, encoding, file)
        return np.ascontiguousarray(values), None, offsets, mother
    mask = np.asarray(mask)
    if mask.shape != (n,) or mask.dtype != bool:
        raise ConfigurationError(
            f"keep returned {mask.dtype} {mask.shape}, not one bool for each of {n} particles",
            where=where,
        )
    kept = np.flatnonzero(mask)
    values = values[kept]
    _refuse_not_finite(values, kept, table, encoding, file)
    rows_before = np.concatenate([[0], np.cumsum(mask)])
    kept_offsets = rows_before[offsets]
    event = table.event_of_particle()[kept]
    above = offsets[event] + mother[kept]
    stays = (mother[kept] >= 0) & mask[np.maximum(above, 0)]
    positions = np.where(stays, rows_before[above] - kept_offsets[event], -1)
    return values, kept, kept_offsets, positions.astype(np.int32)


def further_features(
    table: EventTable, encoding: EncodingSettings, file: str = ""
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[np.int64]]]:
    """Let a custom feature set compute its further columns: values by name, lengths by axis."""
    found, where = _as_recorded(encoding), f"features={encoding.features}"
    given = dict(found.compute_further(table))
    axes = {column.axis for column in encoding.further_columns} - {EVENT}
    wanted = {column.name for column in encoding.further_columns} | axes
    if set(given) != wanted:
        raise ConfigurationError(
            f"compute_further gives {sorted(given)}, not {sorted(wanted)}", where=where
        )
    counts = {}
    for axis in axes:
        lengths = np.asarray(given[axis])
        if lengths.shape != (len(table),) or lengths.dtype.kind not in "iu" or (lengths < 0).any():
            raise ConfigurationError(
                f"compute_further: '{axis}' does not hold the rows of each of {len(table)} events",
                where=where,
            )
        counts[axis] = lengths.astype(np.int64)
    columns = {}
    for column in encoding.further_columns:
        n_rows = len(table) if column.axis == EVENT else int(counts[column.axis].sum())
        values = np.asarray(given[column.name])
        if values.shape != (n_rows, *column.shape):
            raise ConfigurationError(
                f"compute_further: '{column.name}' is {values.shape}, not "
                f"{(n_rows, *column.shape)}",
                where=where,
            )
        stored = np.ascontiguousarray(values, dtype=column.dtype)
        changed = stored.dtype.kind in "iu" and bool((stored != values).any())
        if changed or not np.isfinite(stored).all():
            raise InputError(
                f"features={encoding.features} gives values in {column.name} that are NaN, "
                f"infinite or do not fit into {column.dtype}",
                where=file or None,
                next_step="mend compute_further",
            )
        columns[column.name] = stored
    return columns, counts


def _as_recorded(encoding: EncodingSettings) -> FeatureSet:
    """Import the class of an encoding, and refuse one with other columns."""
    if encoding.features == LEGACY:
        raise InputError(
            "the data set was taken over from arrays of the original project; how they were "
            "made is not recorded, so that no new event can be encoded in the same way",
            next_step="train on tables that this package preprocessed",
        )
    found = import_feature_set(encoding.features, encoding.arguments)
    for now, then in (
        (tuple(found.names), tuple(encoding.feature_names)),
        (tuple(found.further_columns), tuple(encoding.further_columns)),
    ):
        if now != then:
            raise ConfigurationError(
                f"the feature set has the columns {list(now)} now, and had {list(then)} when the "
                "data set was made",
                where=f"features={encoding.features}",
                next_step="run preprocess and train again",
            )
    digests = _digests(type(found))
    if encoding.definition is not None and digests and encoding.definition not in digests:
        raise ConfigurationError(
            "the class was edited after the data set was made with it",
            where=f"features={encoding.features}",
            next_step="give the edited class another name, or run preprocess and train again",
        )
    return found


def _refuse_not_finite(
    values: npt.NDArray[np.float32],
    kept: npt.NDArray[np.int64] | None,
    table: EventTable,
    encoding: EncodingSettings,
    file: str,
) -> None:
    """Name the first event for which the feature set computes NaN or infinity."""
    wrong = ~np.isfinite(values)
    if not wrong.any():
        return
    rows = np.flatnonzero(wrong.any(axis=1))
    row = int(rows[0] if kept is None else kept[rows[0]])
    event = int(np.searchsorted(table.offsets, row, side="right")) - 1
    key = ", ".join(f"{name} {int(values[event])}" for name, values in table.keys.items())
    columns = [name for i, name in enumerate(encoding.feature_names) if wrong[:, i].any()]
    raise InputError(
        f"features={encoding.features} gives NaN or infinite values in {', '.join(columns)} "
        f"for {len(rows)} particles; the first is particle {row - int(table.offsets[event])} of "
        f"{key}",
        where=file or None,
        next_step="mend compute, or leave such particles out with keep",
    )
