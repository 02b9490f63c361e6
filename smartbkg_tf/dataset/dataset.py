"""A dataset directory, opened: events by position, split by key, padded on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.information import (
    check_vocabulary,
    encoding_of,
    normalisation_of,
    read_information,
)
from smartbkg_tf.dataset.split import split_events
from smartbkg_tf.dataset.store import check_map, open_map
from smartbkg_tf.dataset.stored import StoredEvents
from smartbkg_tf.dataset.writer import stored_schema
from smartbkg_tf.encoding.events import Schema
from smartbkg_tf.encoding.pad import INPUTS_OF, inputs_of, pad
from smartbkg_tf.errors import (
    ConfigurationError,
    InputError,
    Problems,
    did_you_mean,
)
from smartbkg_tf.events.table import KEY_COLUMNS
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.settings.encoding import EncodingSettings
from smartbkg_tf.settings.normalisation import NormalisationSettings
from smartbkg_tf.settings.preprocessing import SplitFractions


class Dataset:
    """Encoded events in read-only memory maps; made by `open_dataset`.

    Nothing but labels, keys and event types is ever read as a whole. A dataset may be used by
    several threads, forked, and sent to other processes (it is opened anew).

    Attributes
    ----------
    path : pathlib.Path
        The dataset directory.
    information : dict
        What stands in ``dataset.json``; names and counts of labels are those of the chosen
        skims.
    """

    def __init__(
        self,
        path: Path,
        information: dict[str, Any],
        skims: Sequence[str] | None = None,
    ) -> None:
        self.path = path
        self.information = information
        self._opened: dict[str, npt.NDArray[Any]] = {}
        self._columns: list[int] | None = None
        self._labels: npt.NDArray[np.int8] | None = None
        if skims is not None:
            self._columns = _columns(tuple(information["label_names"]), skims, path)
            self.information = _with_skims(information, skims)
        self._encoding = encoding_of(information)
        #: Columns of the events that are stored.
        self.schema: Schema = stored_schema(self._encoding, information["maps"])
        self._stored: dict[Schema, StoredEvents] = {}

    def __len__(self) -> int:
        """Give the number of events."""
        return int(self.information["n_events"])

    def __repr__(self) -> str:
        """Say what it is."""
        return f"Dataset('{self.path}', {len(self)} events, {', '.join(self.label_names)})"

    def __reduce__(self) -> tuple[object, ...]:
        """Send the path, not the data."""
        return (open_dataset, (self.path, None if self._columns is None else self.label_names))

    def _map(self, name: str) -> npt.NDArray[Any]:
        """Map a file into memory when it is first used.

        The large ones are read as files (`stored`), so that a dataset may be larger than the
        address space of a process.
        """
        if name not in self._opened:
            # A plain view: indexing the class memmap costs more than the reading itself.
            self._opened[name] = open_map(self.path, name).view(np.ndarray)
        return self._opened[name]

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change with any event, label or encoding."""
        return str(self.information["digest"])

    @property
    def encoding(self) -> EncodingSettings:
        """How the events were encoded, and how new ones must be."""
        return self._encoding

    @property
    def normalisation(self) -> NormalisationSettings:
        """Constants for the model."""
        return normalisation_of(self.information)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Columns of ``particle_input``."""
        return self._encoding.feature_names

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens: the input dimension of an embedding."""
        return int(self.information["vocabulary"]["size"])

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the skims."""
        return tuple(self.information["label_names"])

    @property
    def labels(self) -> npt.NDArray[np.int8]:
        """int8 [n_events, n_skims]: 1 passes, 0 does not, -1 unknown; read-only."""
        if self._columns is None:
            return self._map("labels")
        if self._labels is None:
            # A byte for each event and skim, in memory: streams ask for it in every batch.
            labels = np.ascontiguousarray(self._map("labels")[:, self._columns])
            labels.flags.writeable = False
            self._labels = labels
        return self._labels

    @property
    def keys(self) -> dict[str, npt.NDArray[np.int64]]:
        """Experiment, run, event, production: int64 [n_events] each; read-only."""
        return {name: self._map("keys")[:, i] for i, name in enumerate(KEY_COLUMNS)}

    @property
    def event_type(self) -> npt.NDArray[np.int8]:
        """Position in `events.table.EVENT_TYPES`, -1 unknown: int8 [n_events]; read-only."""
        return self._map("event_type_input")

    @property
    def observables(self) -> dict[str, npt.NDArray[np.float64]]:
        """Bias observables where the tables had them: float64 [n_events] each."""
        values = self._map("observables")
        return {name: values[:, i] for i, name in enumerate(self.information["observable_names"])}

    @property
    def n_particles(self) -> npt.NDArray[np.int32]:
        """Particles of every event before cutting: int32 [n_events]; read-only."""
        return self._map("n_particles")

    @property
    def n_tokens(self) -> npt.NDArray[np.int32]:
        """Decay tokens of every event before cutting: int32 [n_events]; read-only."""
        return self._map("n_tokens")

    def with_skims(self, skims: Sequence[str] | None) -> Dataset:
        """Show other labels of the same events: some of `label_names`, in the wanted order.

        None changes nothing. ConfigurationError when a skim is none of `label_names`, is named
        twice, or none is named.
        """
        if skims is None or tuple(skims) == self.label_names:
            return self
        _columns(self.label_names, skims, self.path)
        return open_dataset(self.path, skims)

    def split(
        self, fractions: SplitFractions | Mapping[str, Any] | None = None
    ) -> dict[str, npt.NDArray[np.int64]]:
        """Divide the events into training, validation and test events by their keys.

        `fractions` default to 0.7, 0.15, 0.15. Gives increasing int64 positions for ``train``,
        ``validation`` and ``test``. ConfigurationError when the fractions cannot be used.
        """
        return split_events(self.keys, fractions)

    def check_inputs(self, inputs: str | Sequence[str]) -> tuple[str, ...]:
        """Make sure that the dataset has what a model reads; gives the names of the inputs.

        `inputs` is a variant (combined, particles, decay) or names of inputs. ConfigurationError
        when a name is not known, InputError when the dataset lacks an input.
        """
        names = inputs_of(inputs, (c.name for c in self._encoding.further_columns))
        available = self.information["inputs"]
        missing = [name for name in names if name not in available]
        if missing:
            possible = [v for v, needed in INPUTS_OF.items() if set(needed) <= set(available)]
            raise InputError(
                f"the dataset has no {', '.join(missing)}: it was made with "
                f"key={self.information.get('key')}",
                where=self.path,
                next_step=f"use model.inputs={'|'.join(possible)}, or preprocess with key=all",
            )
        return names

    def lengths(
        self, max_particles: int | None = None, max_tokens: int | None = None
    ) -> tuple[int, int]:
        """Fill in the default lengths of particles and tokens and check them.

        None: as the dataset was preprocessed. InputError when a length is below 1.
        """
        chosen = (
            self._encoding.max_particles if max_particles is None else int(max_particles),
            self._encoding.max_tokens if max_tokens is None else int(max_tokens),
        )
        for what, length in zip(("particles", "tokens"), chosen, strict=True):
            if length < 1:
                raise InputError(f"max_{what} must be at least 1, not {length}", where=self.path)
        return chosen

    def batch(
        self,
        indices: npt.ArrayLike,
        inputs: str | Sequence[str] = "combined",
        max_particles: int | None = None,
        max_tokens: int | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """Read events and pad them.

        Parameters
        ----------
        indices : array_like of int [batch]
            Positions, in any order.
        inputs : str or sequence of str, default "combined"
            A variant or names of inputs.
        max_particles, max_tokens : int, optional
            Lengths; None: as the dataset was preprocessed.

        Returns
        -------
        dict of str to numpy.ndarray
            New arrays, as `encoding.pad.pad` gives them.

        Raises
        ------
        InputError, IndexError
            When the dataset lacks an input or a length is below 1; when a position lies outside.
        """
        names = self.check_inputs(inputs)
        lengths = self.lengths(max_particles, max_tokens)
        rows = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"positions must lie in 0..{len(self) - 1}")
        ordered, places = np.unique(rows, return_inverse=True)
        return pad(self.stored(names).read(ordered), places, names, *lengths)

    def stored(self, inputs: str | Sequence[str]) -> StoredEvents:
        """Give a reader of the columns of some inputs, which reads neighbours together."""
        names = set(self.check_inputs(inputs))
        if "particle_input" in names:
            names.add("charge")
        schema = self.schema.select(names)
        if schema not in self._stored:
            self._stored[schema] = StoredEvents(self.path, schema)
        return self._stored[schema]


def _columns(names: tuple[str, ...], skims: Sequence[str], path: Path) -> list[int]:
    """Find the columns of labels, or say everything that is wrong with the choice."""
    problems = Problems()
    if not skims:
        problems.add(f"no skim is named (there are: {', '.join(names) or 'none'})")
    for name in dict.fromkeys(skims):
        if name not in names:
            problems.add(f"the dataset has no label '{name}'; {did_you_mean(name, names)}")
        if list(skims).count(name) > 1:
            problems.add(f"'{name}' is named more than once")
    problems.raise_if_any("data.skims", kind=ConfigurationError, where=path)
    return [names.index(name) for name in skims]


def _with_skims(information: dict[str, Any], skims: Sequence[str]) -> dict[str, Any]:
    """Describe the dataset as if it held these labels only."""
    counts = dict(information["counts"])

    def chosen(by_label: Mapping[str, Any]) -> dict[str, Any]:
        return {name: by_label[name] for name in skims}

    counts["labels"] = chosen(counts["labels"])
    counts["labels_by_event_type"] = {
        name: chosen(by_label) for name, by_label in counts["labels_by_event_type"].items()
    }
    # The checksum speaks of all labels.
    rest = {name: value for name, value in information.items() if name != "checksum"}
    return {**rest, "label_names": list(skims), "counts": counts}


def open_dataset(path: str | Path, skims: Sequence[str] | None = None) -> Dataset:
    """Open a dataset directory.

    Parameters
    ----------
    path : str or pathlib.Path
        What `preprocess` wrote.
    skims : sequence of str, optional
        The labels to show, in this order; None shows all. Events, their order and the split
        do not depend on the choice.

    Returns
    -------
    Dataset
        Its events. Sizes, types and a fingerprint of every map were checked against
        ``dataset.json`` (`verify.verify_dataset` checks every byte).

    Raises
    ------
    InputError
        When the directory is missing or no dataset directory, its layout is of another
        version, it was made with another vocabulary, or a map is missing, truncated,
        swapped or damaged. The message names the map.
    ConfigurationError
        When a skim is none of the dataset's, is named twice, or none is named.
    """
    path = Path(path)
    information = read_information(path)
    check_vocabulary(information, default_vocabulary(), where=path)
    normalisation_of(information)
    for name, entry in information["maps"].items():
        check_map(path, name, entry)
    dataset = Dataset(path, information, skims)
    problems = Problems()
    for column in dataset.schema.columns:
        entry = information["maps"].get(column.name, {"dtype": None, "shape": [0]})
        if (entry["dtype"], tuple(entry["shape"][1:])) != (column.dtype, column.shape):
            problems.add(
                f"the map '{column.name}' holds {entry['shape']} of {entry['dtype']}, not rows of "
                f"{list(column.shape)} {column.dtype}"
            )
    problems.raise_if_any(
        "the maps do not fit the encoding",
        kind=InputError,
        where=path,
        next_step="make it again: python -m smartbkg_tf.preprocess input=TABLES output=DIR",
    )
    return dataset
