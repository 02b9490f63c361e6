"""What a skim is, and how to add one.

A skim is a class with a nested, typed ``Settings`` and one method::

    # my_skims.py
    from smartbkg_tf.generation.skims.base import Skim, SkimResult
    from smartbkg_tf.settings.base import Field, settings

    class ManyTracks(Skim):
        @settings
        class Settings:
            minimum_tracks: int = Field(default=5, ge=0)

        def select(self, events):
            summary = events.summary(Cleaning())
            return SkimResult(summary.n_tracks >= self.settings.minimum_tracks)

and a file ``skim/many_tracks.yaml`` in a folder given with ``--config-dir``::

    many_tracks:
      _target_: my_skims.ManyTracks
      minimum_tracks: 6
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from smartbkg_tf.generation.observables import EventView
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.generation import skim_class


@dataclass(frozen=True)
class SkimResult:
    """Which events pass.

    Parameters
    ----------
    passes : numpy.ndarray [n_events]
        bool.
    observables : dict of str to numpy.ndarray [n_events]
        Bias observables of the selected candidate, NaN where there is none.
    """

    passes: npt.NDArray[np.bool_]
    observables: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)


class Skim(ABC):
    """A selection of reconstructed events.

    Parameters
    ----------
    name : str
        Name of the label.
    settings : object
        An instance of the class's own ``Settings``.
    """

    #: Settings of the skim: a class declared with `smartbkg_tf.settings.base.settings`.
    Settings: ClassVar[type[Any]]

    def __init__(self, name: str, settings: Any) -> None:
        self.name = name
        self.settings = settings

    @abstractmethod
    def select(self, events: EventView) -> SkimResult:
        """Choose events.

        Parameters
        ----------
        events : EventView
            Tracks, clusters and event-level quantities of a chunk.

        Returns
        -------
        SkimResult
            Which pass.
        """


def make_skims(configuration: Mapping[str, Mapping[str, Any]]) -> list[Skim]:
    """Make the skims of a configuration.

    Parameters
    ----------
    configuration : mapping of str to mapping
        As in `ProduceSettings.skim`: by name, ``_target_`` and cuts.

    Returns
    -------
    list of Skim
        In the order of the configuration.

    Raises
    ------
    ConfigurationError
        For an unknown cut.
    ValueError
        For a class that cannot be used.
    """
    skims: list[Skim] = []
    for name, values in configuration.items():
        kind = skim_class(str(values["_target_"]))
        cuts = {key: value for key, value in values.items() if key != "_target_"}
        skims.append(kind(name, validate(kind.Settings, cuts, where=f"skim.{name}")))
    return skims
