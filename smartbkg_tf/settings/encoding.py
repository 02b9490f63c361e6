"""How particle tables become the arrays that a model reads."""

from __future__ import annotations

from typing import Literal

from smartbkg_tf.settings.base import Field, settings

#: Feature columns of ``particle_input`` in their order, for every feature set.
FEATURE_SETS: dict[str, tuple[str, ...]] = {
    "original": ("energy", "prodTime", "x", "y", "z", "px", "py", "pz", "charge"),
    "smartbackground": ("prodTime", "x", "y", "z", "energy", "px", "py", "pz"),
}

#: Unit of every feature.
FEATURE_UNITS: dict[str, str] = {
    "energy": "GeV",
    "prodTime": "ns",
    "x": "cm",
    "y": "cm",
    "z": "cm",
    "px": "GeV",
    "py": "GeV",
    "pz": "GeV",
    "charge": "e",
}


@settings
class EncodingSettings:
    """How particle tables become the arrays that a model reads.

    Parameters
    ----------
    features : {"original", "smartbackground"}, default "original"
        ``original``: all particles of the table; energy, prodTime, x, y, z, px, py, pz,
        charge, as they stand. ``smartbackground``: what basf2's module of that name
        feeds its network; prodTime, x, y, z relative to the first kept particle, then
        energy, px, py, pz; initial particles, quarks, gluons and particles from
        vertices beyond 10 cm are left out.
    max_particles : int, default 100
        Length to which an event's particles are padded or, at the end, cut.
    max_tokens : int, default 150
        Length to which an event's decay tokens are padded or, at the end, cut.
    """

    features: Literal["original", "smartbackground"] = "original"
    max_particles: int = Field(default=100, gt=0, le=32767)
    max_tokens: int = Field(default=150, gt=0, le=1_000_000)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The columns of ``particle_input`` in their order."""
        return FEATURE_SETS[self.features]

    @property
    def units(self) -> tuple[str, ...]:
        """Unit of each feature column."""
        return tuple(FEATURE_UNITS[name] for name in self.feature_names)
