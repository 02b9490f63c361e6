"""The head input of ``treenet_candidates``: a class of one's own, chosen by ``_target_``.

Nothing here imports Keras before `build` is called: the class serves configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from smartbkg_tf.models.branches import PositiveInt
from smartbkg_tf.models.head_inputs import HeadInput
from smartbkg_tf.settings.base import Field, settings

if TYPE_CHECKING:
    from smartbkg_tf.models.inputs import ModelInputs

#: Name of the layer whose first output is the estimate.
SURVIVAL = "candidate_survival"


@settings
class CandidateInput(HeadInput):
    """a learned detector in front of a skim's candidates.

    For feature sets that write candidates (`benchmarks.fei_b0.candidate_columns`), in a network
    of `benchmarks.fei_b0.candidate_network`, whose output corrects the estimate.

    Parameters
    ----------
    embedding : int, default 8
        Dimensions of the embedding of a particle's PDG code.
    units : int, default 32
        Width of the candidates' vectors; inner layers are twice as wide.
    traits : int, default 8
        Numbers that each particle hands to its candidates.
    draws : int, default 64
        Imagined measurements of each event.
    softness : float, default 0.5
        Width of their steps, in logits.
    """

    reads: ClassVar[tuple[str, ...]] = ("particle_input", "pdg_input", "mother_index_input")

    embedding: PositiveInt = 8
    units: PositiveInt = 32
    traits: PositiveInt = 8
    draws: PositiveInt = 64
    softness: float = Field(default=0.5, gt=0)

    def build(self, event: ModelInputs) -> Any:
        """Give what is left of the candidates, [batch, 3 + 2 units]."""
        import keras

        from benchmarks.fei_b0.candidate_network import CandidateSurvival, DetectorVariables

        detector = DetectorVariables(
            event.feature_names, event.acceptance, name="detector_variables"
        )
        # What a detector sees, and nothing of the event: what becomes of a particle must not
        # overfit the event.
        particles = keras.layers.Concatenate(name="candidate_particles")(
            [
                event.physical(),
                event.embedded_codes(self.embedding, "candidate_embedding"),
                detector(event.values(), mask=event.mask()),
            ]
        )
        survival = CandidateSurvival(
            event.feature_names,
            units=self.units,
            traits=self.traits,
            draws=self.draws,
            softness=self.softness,
            name=SURVIVAL,
        )
        return survival(particles, event.values(), mask=event.mask())
