"""The filtered event list: keys and weights of the events that go on to simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.events.table import KEY_COLUMNS
from smartbkg_tf.settings.filtering import EVENT_LIST_SUFFIXES

#: Columns of an event list.
EVENT_LIST = np.dtype([*((name, np.int64) for name in KEY_COLUMNS), ("weight", np.float64)])


def write_event_list(path: str | Path, events: npt.NDArray[np.void]) -> None:
    """Write keys and weights of events.

    Parameters
    ----------
    path : str or pathlib.Path
        ``.csv`` (with a header), ``.npy`` (structured array) or ``.parquet``.
    events : numpy.ndarray [n]
        Of the type `EVENT_LIST`.

    Raises
    ------
    ConfigurationError
        When the suffix is another.
    OSError
        When the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in EVENT_LIST_SUFFIXES:
        raise ConfigurationError(f"event lists end in {', '.join(EVENT_LIST_SUFFIXES)}", where=path)
    if path.suffix == ".npy":
        np.save(path, events, allow_pickle=False)
        return
    import pandas as pd

    frame = pd.DataFrame({name: events[name] for name in EVENT_LIST.names or ()})
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
