"""What a skim is, and how to add one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from smartbkg_tf.generation.arrays import Floats, Mask
from smartbkg_tf.generation.observables import EventView
from smartbkg_tf.settings.base import settings
from smartbkg_tf.settings.plugins import Plugin


@dataclass(frozen=True)
class SkimResult:
    """Which events pass.

    Parameters
    ----------
    passes : numpy.ndarray [n_events]
        bool.
    observables : dict of str to numpy.ndarray [n_events]
        Bias observables of the selected candidate, NaN where there is none. In tables the name of
        the skim is added: ``Mbc`` of ``skim.mine`` becomes ``Mbc_mine``.
    """

    passes: Mask
    observables: Mapping[str, Floats] = field(default_factory=dict)


@settings
class Skim(Plugin):
    """A selection of reconstructed events, which gives a label.

    Inherit, declare the cuts as fields, and write `select`. numba and the like are best imported
    inside it: ``--help`` and a mistake in the configuration import the module, too.

    Examples
    --------
    A file ``my_skims.py`` in the current folder::

        from smartbkg_tf.generation.observables import Cleaning
        from smartbkg_tf.generation.skims.base import Skim, SkimResult
        from smartbkg_tf.settings.base import Field, settings

        @settings
        class ManyTracks(Skim):
            minimum_tracks: int = Field(default=5, ge=0)

            def select(self, events):
                summary = events.summary(Cleaning())
                return SkimResult(summary.n_tracks >= self.minimum_tracks)

    labels with ``skim.many._target_=my_skims.ManyTracks skim.many.minimum_tracks=6``, or with
    ``--config-dir FOLDER skim=many`` and a file ``FOLDER/skim/many.yaml``::

        many:
          _target_: my_skims.ManyTracks
          minimum_tracks: 6
    """

    def select(self, events: EventView) -> SkimResult:
        """Choose events.

        Parameters
        ----------
        events : EventView
            Tracks, clusters and event-level quantities of a chunk.

        Returns
        -------
        SkimResult
            Which pass, with observables of its own.
        """
        raise NotImplementedError
