"""Settings of the command `rerun`."""

from __future__ import annotations

from smartbkg_tf.settings.base import CommandSettings, Field, settings


@settings
class RerunSettings(CommandSettings):
    """Settings of the command `rerun`.

    Parameters
    ----------
    run : str
        The run directory to repeat; the first word of the command without a key.
    output : str, optional
        Where the new run is written; null: beside the old one, ``RUN_rerun``.
    dataset : str, optional
        The dataset of the run; null: where it was, or the demo sample made again.
    tolerance : float, default 1e-6
        Largest difference of a number, relative to the number where that is above 1.
    """

    run: str = Field(min_length=1)
    output: str | None = Field(default=None, min_length=1)
    dataset: str | None = Field(default=None, min_length=1)
    tolerance: float = Field(default=1e-6, ge=0)
