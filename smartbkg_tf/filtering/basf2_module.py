"""A module for basf2's steering files: decide right after the generator what is simulated.

basf2 is not on PyPI, so that `NNFilterModule` is made when it is asked for::

    from smartbkg_tf.filtering.basf2_module import NNFilterModule
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.events.mdst import generated_events
from smartbkg_tf.events.table import KEY_COLUMNS, EventTable, event_type_code
from smartbkg_tf.filtering.event_filter import EventDecision, EventFilter, Method
from smartbkg_tf.settings.sources import ParticleSet

Mode = Literal["sampling", "threshold", "debug"]


def read_event(
    particles: Iterable[Any], meta_data: Any, event_type: str | None, which: ParticleSet
) -> EventTable:
    """Make a table of one event of basf2's MCParticles and its EventMetaData."""
    rows = []
    for particle in particles:
        vertex, momentum, mother = (
            particle.getProductionVertex(),
            particle.getMomentum(),
            particle.getMother(),
        )
        rows.append(
            (
                particle.getPDG(),
                particle.getStatus(),
                mother.getArrayIndex() + 1 if mother else 0,
                particle.getMass(),
                particle.getEnergy(),
                particle.getProductionTime(),
                *(vertex.X(), vertex.Y(), vertex.Z()),
                *(momentum.X(), momentum.Y(), momentum.Z()),
            )
        )
    values = np.array(rows, dtype=np.float64).reshape(-1, 12)
    names = ("mass", "energy", "prodTime", "x", "y", "z", "px", "py", "pz")
    raw: dict[str, Any] = {name: values[:, 3 + i] for i, name in enumerate(names)}
    for i, name in enumerate(("PDG", "status", "mother")):
        raw[name] = values[:, i].astype(np.int64)
    numbers = (
        meta_data.getExperiment(),
        meta_data.getRun(),
        meta_data.getEvent(),
        meta_data.getProduction(),
    )
    table, _ = generated_events(
        raw,
        np.array([len(values)]),
        {name: np.array([n], dtype=np.int64) for name, n in zip(KEY_COLUMNS, numbers, strict=True)},
        np.array([event_type_code(event_type)], dtype=np.int8),
        which,
        where="DataStore",
    )
    return table


class _Filter:
    """What `NNFilterModule` does, without basf2's base class."""

    def __init__(
        self,
        model: str,
        mode: Mode = "sampling",
        *,
        threshold: float | None = None,
        seed: int = 0,
        event_type: str | None = None,
        skims: Sequence[str] | None = None,
        extra_info: str = "NNFilter",
    ) -> None:
        methods: dict[str, Method] = {
            "sampling": "sampling", "threshold": "threshold", "debug": "score",
        }  # fmt: skip
        if mode not in methods:
            raise ConfigurationError(
                f"mode='{mode}' is not a choice; there are: {', '.join(methods)}"
            )
        event_type_code(event_type)
        self.event_type = event_type
        self.extra_info = extra_info
        self.filter = EventFilter(
            model, method=methods[mode], threshold=threshold, skims=skims, seed=seed
        )

    def decide(self, particles: Iterable[Any], meta_data: Any, information: Any) -> EventDecision:
        """Decide about an event; the event type of its EventExtraInfo counts if none was given."""
        event_type = self.event_type or information.getEventType() or None
        table = read_event(particles, meta_data, event_type, self.filter.particles)
        decision = self.filter(table)
        for skim in self.filter.skims:
            name = f"{self.extra_info}_{skim}"
            information.addExtraInfo(name, decision.scores[skim])
            information.addExtraInfo(f"{name}_probability", decision.probabilities[skim])
            information.addExtraInfo(f"{name}_weight", decision.weights[skim])
        information.addExtraInfo(f"{self.extra_info}_weight", decision.weight)
        return decision


def _module_class() -> type[Any]:
    try:
        import basf2
        from ROOT import Belle2
    except ImportError as error:
        raise ConfigurationError(
            f"NNFilterModule runs inside basf2 only ({error})",
            next_step="set up basf2 first (b2setup), and install smartbkg_tf there; without "
            "basf2, use smartbkg_tf.filtering.event_filter.EventFilter",
        ) from error

    class NNFilterModule(basf2.Module):  # type: ignore[misc, unused-ignore]
        """Decide after the generator whether an event is simulated.

        The return value is 1 for events that go on and 0 for others. EventExtraInfo gets
        for every skim the score (``NNFilter_SKIM``), the probability of being kept and the
        weight (``..._probability``, ``..._weight``), and ``NNFilter_weight``, the weight of
        an analysis that uses all kept events.

        Parameters
        ----------
        model : str
            An exported model (``python -m smartbkg_tf.export``).
        mode : {"sampling", "threshold", "debug"}, default "sampling"
            ``debug`` keeps every event and stores what the network says.
        threshold : float, optional
            On the score (logit), for ``mode="threshold"``, which biases distributions.
        seed : int, default 0
            Of the sampling; with the event's key it fixes every decision.
        event_type : str, optional
            "mixed", "charged", ...; by default what EventExtraInfo says, if it does.
        skims : sequence of str, optional
            Which skims decide; by default all of the model.
        extra_info : str, default "NNFilter"
            Begin of the names in EventExtraInfo.

        Examples
        --------
        ::

            keep = NNFilterModule("exported/model.onnx", event_type="mixed", seed=1)
            path.add_module(keep)
            keep.if_false(basf2.create_path())
            simulation.add_simulation(path)
        """

        def __init__(self, model: str, mode: Mode = "sampling", **options: Any) -> None:
            super().__init__()
            self.set_name("NNFilter")
            self._arguments = (model, mode, options)

        def initialize(self) -> None:
            """Load the model, once in every process."""
            model, mode, options = self._arguments
            self._filter = _Filter(model, mode, **options)
            self._particles = Belle2.PyStoreArray("MCParticles")
            self._particles.isRequired()
            self._meta_data = Belle2.PyStoreObj("EventMetaData")
            self._meta_data.isRequired()
            self._information = Belle2.PyStoreObj("EventExtraInfo")
            self._information.registerInDataStore()

        def event(self) -> None:
            """Decide about the event that is in the DataStore."""
            if not self._information.isValid():
                self._information.create()
            decision = self._filter.decide(
                self._particles, self._meta_data.obj(), self._information.obj()
            )
            self.return_value(int(decision.kept))

    return NNFilterModule


def __getattr__(name: str) -> Any:
    if name == "NNFilterModule":
        globals()[name] = _module_class()
        return globals()[name]
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
