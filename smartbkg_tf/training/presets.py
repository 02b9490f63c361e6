"""Backbones that are shipped with the package: run directories in ``smartbkg_tf/presets``."""

from __future__ import annotations

from pathlib import Path

import smartbkg_tf
from smartbkg_tf.errors import ConfigurationError

_PREFIX = "preset:"


def backbone_folder(source: str) -> Path:
    """Give the run directory that ``training.init_from`` means."""
    if not source.startswith(_PREFIX):
        return Path(source)
    folder = Path(smartbkg_tf.__file__).parent / "presets"
    name = source.removeprefix(_PREFIX)
    known = sorted(path.parent.name for path in folder.glob("*/model.keras"))
    if name not in known:
        raise ConfigurationError(
            f"training.init_from={source}: there is no preset of that name",
            next_step=f"choose one of: {', '.join(known) or 'none in this installation'}",
        )
    return folder / name
