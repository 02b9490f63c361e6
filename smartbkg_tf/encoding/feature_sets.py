"""Feature sets of one's own: a class in a module outside of the package.

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

    python -m smartbkg_tf.preprocess features=my_features.Transverse input=... output=...

Everything else (tokens, mothers, padding, the data set, training, application) works as
with the built-in sets, by the same code offline and online.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import sys
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import ConfigurationError, InputError, did_you_mean
from smartbkg_tf.events.table import EventTable
from smartbkg_tf.runtime.code_digest import source_digest
from smartbkg_tf.runtime.kernels import kernel
from smartbkg_tf.settings.encoding import FEATURE_SETS, LEGACY, EncodingSettings

#: The column that is stored in units of e/3 and becomes a one-hot vector in a model.
CHARGE = "charge"


class FeatureSet(ABC):
    """Features of particles, computed from the columns of the particle table.

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
        and nothing else changes. ``data.symmetries`` takes no others.
    """

    names: ClassVar[tuple[str, ...]]
    units: ClassVar[tuple[str, ...]]
    symmetries: ClassVar[tuple[str, ...]] = ()

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


@lru_cache(maxsize=16)
def import_feature_set(path: str) -> FeatureSet:
    """Import a feature set; modules in the current folder are found too.

    Parameters
    ----------
    path : str
        ``module.Class``.

    Returns
    -------
    FeatureSet
        An instance.

    Raises
    ------
    ConfigurationError
        When the class cannot be imported, or is no feature set.
    """
    module_name, _, class_name = path.rpartition(".")
    where = f"features={path}"
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())  # last: nothing here hides an installed package
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may raise anything
        raise ConfigurationError(
            f"the module '{module_name}' cannot be imported ({type(error).__name__}: {error})",
            where=where,
            next_step="run the command in the folder of the file, or set PYTHONPATH",
        ) from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, FeatureSet)):
        own = [
            n for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, FeatureSet)
        ]
        raise ConfigurationError(
            f"'{module_name}' has no feature set '{class_name}'; {did_you_mean(class_name, own)}",
            where=where,
            next_step="a feature set inherits smartbkg_tf.encoding.feature_sets.FeatureSet",
        )
    if getattr(found, "__abstractmethods__", None):
        raise ConfigurationError(f"'{class_name}' does not write compute", where=where)
    names, units = (tuple(getattr(found, key, ())) for key in ("names", "units"))
    if not names or len(set(names)) != len(names) or len(units) != len(names):
        raise ConfigurationError(
            f"'{class_name}' needs names, each once, and one unit for each: names={names}, "
            f"units={units}",
            where=where,
        )
    if CHARGE in names and names[-1] != CHARGE:
        raise ConfigurationError(f"'{class_name}': the column 'charge' stands last", where=where)
    return found()


def complete(encoding_values: dict[str, Any]) -> EncodingSettings:
    """Make settings, with the columns of a class of one's own filled in.

    Parameters
    ----------
    encoding_values : dict
        ``features``, ``max_particles``, ``max_tokens``.

    Returns
    -------
    EncodingSettings
        Complete.

    Raises
    ------
    ConfigurationError
        When the class cannot be used.
    """
    name = str(encoding_values["features"])
    if name in FEATURE_SETS or name == LEGACY:
        return EncodingSettings(**encoding_values)
    found = import_feature_set(name)
    return EncodingSettings(
        **encoding_values, columns=list(found.names), column_units=list(found.units)
    )


def definition(encoding: EncodingSettings) -> str | None:
    """Hash the code of a feature set of one's own, to notice that it was changed.

    Parameters
    ----------
    encoding : EncodingSettings
        Names the set.

    Returns
    -------
    str or None
        16 hexadecimal digits, which comments and layout do not change; None for a built-in
        set, or where there is no text.
    """
    if encoding.features in FEATURE_SETS or encoding.features == LEGACY:
        return None
    digests = _digests(type(import_feature_set(encoding.features)))
    return digests[0] if digests else None


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
    """Let a feature set of one's own compute, and check what it returns.

    Parameters
    ----------
    table : EventTable
        The events.
    encoding : EncodingSettings
        Names the set and its columns.
    mother : numpy.ndarray [n_particles]
        int32 positions within the event, -1 for none.
    file : str, default ""
        Where the events come from, for messages.

    Returns
    -------
    values : numpy.ndarray [n_kept, n_features]
        float32.
    kept : numpy.ndarray [n_kept] or None
        int64 rows of the table; None for all.
    offsets : numpy.ndarray [n_events + 1]
        int64 of the kept particles.
    kept_mother : numpy.ndarray [n_kept]
        int32 positions among the event's kept particles, -1 for none or a removed one.

    Raises
    ------
    ConfigurationError
        When the class is another one than recorded, or returns the wrong shape.
    InputError
        When the arrays were taken from the original project as they were, or a kept
        particle has a NaN or infinite feature.
    """
    where = f"features={encoding.features}"
    if encoding.features == LEGACY:
        raise InputError(
            "the data set was taken over from arrays of the original project; how they were "
            "made is not recorded, so that no new event can be encoded in the same way",
            next_step="train on tables that this package preprocessed",
        )
    found = import_feature_set(encoding.features)
    if tuple(found.names) != encoding.feature_names:
        raise ConfigurationError(
            f"the feature set has the columns {list(found.names)} now, and had "
            f"{list(encoding.feature_names)} when the data set was made",
            where=where,
            next_step="run preprocess and train again",
        )
    digests = _digests(type(found))
    if encoding.definition is not None and digests and encoding.definition not in digests:
        raise ConfigurationError(
            "the class was edited after the data set was made with it",
            where=where,
            next_step="give the edited class another name, or run preprocess and train again",
        )
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
    kept_offsets, kept_mother = _kept_mothers(offsets, mother, mask)
    kept = np.flatnonzero(mask)
    values = values[kept]
    _refuse_not_finite(values, kept, table, encoding, file)
    return values, kept, kept_offsets, kept_mother


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


@kernel
def _kept_mothers(
    offsets: npt.NDArray[np.int64], mother: npt.NDArray[np.int32], keep: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    new_offsets = np.zeros(len(offsets), dtype=np.int64)
    place = np.empty(len(mother), dtype=np.int32)
    out = np.empty(len(mother), dtype=np.int32)
    total = 0
    for event in range(len(offsets) - 1):
        begin, end = offsets[event], offsets[event + 1]
        first = total
        for row in range(begin, end):
            place[row] = total - first if keep[row] else -1
            total += keep[row]
        for row in range(begin, end):
            if keep[row]:
                m = mother[row]
                out[first + place[row]] = place[begin + m] if m >= 0 else -1
        new_offsets[event + 1] = total
    return new_offsets, out[:total]
