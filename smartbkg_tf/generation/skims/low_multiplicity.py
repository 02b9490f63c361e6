"""Events with few tracks: two-photon, tau and dark-sector physics."""

from __future__ import annotations

from smartbkg_tf.generation.observables import Cleaning, EventView
from smartbkg_tf.generation.skims.base import Skim, SkimResult
from smartbkg_tf.settings.base import Field, settings


class LowMultiplicity(Skim):
    """Few tracks near the beams, after Belle II's low-multiplicity skims.

    Parameters
    ----------
    name : str
        Name of the label.
    settings : LowMultiplicity.Settings
        The cuts.
    """

    @settings
    class Settings:
        """Cuts on the number of tracks.

        Parameters
        ----------
        minimum_tracks, maximum_tracks : int
            Defaults 2 and 4.
        minimum_track_pt, maximum_d0, maximum_z0 : float
            Which tracks count, GeV and cm, defaults 0.2, 0.5, 2.
        maximum_net_charge : float
            Largest absolute sum of charges, default 2.
        """

        minimum_tracks: int = Field(default=2, ge=0)
        maximum_tracks: int = Field(default=4, ge=0)
        minimum_track_pt: float = Field(default=0.2, ge=0)
        maximum_d0: float = Field(default=0.5, gt=0)
        maximum_z0: float = Field(default=2.0, gt=0)
        maximum_net_charge: float = Field(default=2.0, ge=0)

    def select(self, events: EventView) -> SkimResult:
        """Choose events.

        Parameters
        ----------
        events : EventView
            Tracks and clusters.

        Returns
        -------
        SkimResult
            Which pass.
        """
        cuts = self.settings
        summary = events.summary(
            Cleaning(
                minimum_track_pt=cuts.minimum_track_pt,
                maximum_d0=cuts.maximum_d0,
                maximum_z0=cuts.maximum_z0,
            )
        )
        return SkimResult(
            (summary.n_tracks >= cuts.minimum_tracks)
            & (summary.n_tracks <= cuts.maximum_tracks)
            & (abs(summary.net_charge) <= cuts.maximum_net_charge)
        )
