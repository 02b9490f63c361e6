r"""A custom skim, outside the package: many tracks and a fast one.

::

    PYTHONPATH=examples/own_skim python -m smartbkg_tf.produce --config-dir examples/own_skim \
        skim=many_tracks n_events=2000 output=tables
"""

from __future__ import annotations

import numpy as np

from smartbkg_tf.generation.observables import Cleaning, EventView
from smartbkg_tf.generation.skims.base import Skim, SkimResult
from smartbkg_tf.settings.base import Field, settings


@settings
class ManyTracks(Skim):
    """At least so many cleaned tracks, one of them fast.

    Parameters
    ----------
    minimum_tracks : int
        Default 8.
    minimum_momentum : float
        Of one of them in the CMS, GeV, default 1.5.
    """

    minimum_tracks: int = Field(default=8, ge=0)
    minimum_momentum: float = Field(default=1.5, ge=0)

    def select(self, events: EventView) -> SkimResult:
        """Choose events; arrays hold the tracks of all events, one after the other."""
        summary = events.summary(Cleaning(minimum_track_pt=0.15))
        tracks = events.reconstruction.tracks
        inside = events.collision.to_centre_of_mass(tracks.vectors(species=2))  # as pions
        momentum = np.where(summary.good_tracks, np.linalg.norm(inside[:, :3], axis=1), 0.0)
        fastest = np.zeros(len(events))
        np.maximum.at(fastest, tracks.event, momentum)
        passes = (summary.n_tracks >= self.minimum_tracks) & (fastest > self.minimum_momentum)
        return SkimResult(passes, observables={"fastest": fastest})
