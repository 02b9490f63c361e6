"""Which model for how many passing training events: the rule behind the hint of `train`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.answers import unlike_inputs
from smartbkg_tf.models.codes import codes_of
from smartbkg_tf.models.inputs import FOREST_READS
from smartbkg_tf.models.loading import target_of
from smartbkg_tf.models.physics import NEEDED
from smartbkg_tf.runtime.run_directory import PRESET, open_trained
from smartbkg_tf.settings.plugins import plain
from smartbkg_tf.settings.training import TrainSettings


@dataclass(frozen=True)
class Advice:
    """What is clearly better than networks without trees, from a number of passing events on."""

    passing: int
    #: None: nothing was measured there.
    model: str | None
    #: Whether its trees should read what the network of the package answers.
    preset: bool = False


#: In increasing order. docs/models.md says the same, with the measurements that it rests on: 1,000
#: and 5,000 passing events of skims that no model was developed on, and 30,000 of the quality
#: benchmark.
ADVICE = (
    Advice(0, "trees", preset=True),
    Advice(10_000, "treenet_trees"),
    Advice(100_000, None),
)
_NETWORK = f"{PRESET}belle2"
ANSWERS = f"model.head.forest.answers={_NETWORK}"
SOURCE = "docs/models.md, 'Which model for how many events'"


def better_model(settings: TrainSettings, dataset: Any, passing: int) -> str | None:
    """Say which model of the package would be clearly better, if one would and can be built.

    Nothing about models that have trees or a part of the user's own, that do not read particles,
    or are fine-tuned.
    """
    model = settings.model
    wanted = [one for one in ADVICE if one.passing <= passing][-1]
    own = any(not one.startswith("smartbkg_tf.") for one in target_of({"model": plain(model)}))
    chosen = own or model.head.forest is not None or model.inputs == "decay"
    if wanted.model is None or chosen or settings.training.init_from is not None:
        return None
    if not set(FOREST_READS) <= set(dataset.information["inputs"]):
        return None
    if not set(NEEDED) <= set(dataset.feature_names):
        return None
    try:
        codes_of(dataset.vocabulary_size, model.parameters.get("codes"))
    except ConfigurationError:
        return None
    answers = ""
    if wanted.preset:
        theirs = open_trained(_NETWORK).dataset_information()
        answers = "" if unlike_inputs(dataset.information, theirs) else f" {ANSWERS}"
    return (
        f"hint: with {passing} passing training events model={wanted.model}{answers} is clearly "
        f"better than networks without boosted trees, where it was measured ({SOURCE})"
    )
