"""Predictions as a TTree: the columns of the parquet file, for those who work with ROOT.

Texts are branches of characters, and labels -1 where they are unknown (a TTree has no nulls). What
parquet holds as metadata is the text ``smartbkg_tf`` beside the tree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from smartbkg_tf.errors import InputError

_TREE, _INFORMATION = "predictions", "smartbkg_tf"


class RootWriter:
    """Write Arrow tables of one schema, without nulls but in labels, as a TTree."""

    def __init__(self, path: Path, schema: Any, information: str) -> None:
        import uproot

        self._file = uproot.recreate(path)
        types = {f.name: "string" if f.name == "event_type" else _dtype(f) for f in schema}
        # Not file[name] = {...}, which makes an RNTuple.
        self._tree = self._file.mktree(_TREE, types)
        self._file[_INFORMATION] = information

    def write_table(self, table: Any) -> None:
        """Add rows."""
        import awkward as ak
        import pyarrow as pa

        if not len(table):
            return
        columns: dict[str, Any] = {}
        for name in table.column_names:
            column = table.column(name)
            if name == "event_type":
                columns[name] = ak.from_arrow(column.cast(pa.string()).combine_chunks())
                columns[name] = ak.drop_none(columns[name])
            else:
                values = column.fill_null(-1) if column.null_count else column
                columns[name] = values.to_numpy()
        self._tree.extend(columns)

    def __enter__(self) -> RootWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _dtype(field: Any) -> Any:
    return np.dtype(field.type.to_pandas_dtype())


def read_root(path: Path, *, made_by: str) -> Any:
    """Read a tree of predictions as an Arrow table, with its information as metadata."""
    import pyarrow as pa
    import uproot

    try:
        with uproot.open(path) as file:
            kinds = file.classnames(recursive=False, cycle=False)
            if kinds.get(_TREE) != "TTree":
                raise InputError(
                    f"has no TTree '{_TREE}' (it holds {', '.join(kinds) or 'nothing'})",
                    where=path,
                    next_step=made_by,
                )
            tree = file[_TREE]
            columns = {name: _column(tree[name]) for name in tree.keys()}  # noqa: SIM118
            text = str(file[_INFORMATION]) if _INFORMATION in kinds else None
    except InputError:
        raise
    except Exception as error:  # uproot raises what it likes on a damaged file
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"is not a complete ROOT file ({first[:200]})", where=path, next_step=made_by
        ) from error
    return pa.table(columns, metadata=None if text is None else {_INFORMATION: text})


def _column(branch: Any) -> Any:
    import awkward as ak
    import pyarrow as pa

    values = branch.array()
    if branch.typename in ("char*", "std::string", "TString"):
        return ak.to_arrow(values, extensionarray=False, string_to32=True).cast(pa.string())
    return pa.array(np.asarray(values))
