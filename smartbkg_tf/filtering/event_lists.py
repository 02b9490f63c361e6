"""The filtered event list: keys and weights of the events that go on to simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from smartbkg_tf.events.table import KEY_COLUMNS

#: Columns of an event list.
EVENT_LIST = np.dtype([*((name, np.int64) for name in KEY_COLUMNS), ("weight", np.float64)])


def write_event_list(path: str | Path, events: npt.NDArray[np.void]) -> None:
    """Write events [n] of the type `EVENT_LIST` as .csv, .npy or .parquet."""
    path = Path(path)
    if path.suffix == ".npy":
        np.save(path, events, allow_pickle=False)
        return
    import pandas as pd

    frame = pd.DataFrame({name: events[name] for name in EVENT_LIST.names or ()})
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
