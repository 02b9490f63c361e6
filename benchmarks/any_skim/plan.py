"""What the benchmark of many skims consists of: samples, skims, sizes, models.

Half of the skims are for choices; the other half, with a detector of its own, is for the judgement
and is looked at once.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A skim on events of one type."""

    skim: str
    event_type: str
    chosen_on: bool  # else: judged on


#: Some of each kind on either side: tags, charm, event shapes, single particles.
TASKS = (
    Task("fei_hadronic_b0", "mixed", True),
    Task("fei_semileptonic", "charged", True),
    Task("btox_gamma", "charged", True),
    Task("tau_thrust", "ssbar", True),
    Task("three_track_charm", "mixed", True),
    Task("fei_hadronic_bplus", "charged", False),
    Task("jpsi_ll", "mixed", False),
    Task("dstar_d0_kpi", "ccbar", False),
    Task("low_multiplicity", "mixed", False),
    Task("missing_energy", "charged", False),
)

#: Detectors (``conf/detector``) of the choices, and of the judgement.
CHOICE_DETECTORS = ("belle2", "crowded")
JUDGEMENT_DETECTORS = ("belle2", "fine")

#: Events of each type; the rarest skim passes one per cent of them.
N_EVENTS = {"mixed": 600_000, "charged": 600_000, "ccbar": 200_000, "ssbar": 200_000}

#: Balanced training events.
SIZES = (2_000, 10_000, 25_000)

#: Test events, of each sample; validation events for each training event: who has few passing
#: events has few to watch. The training share of no size reaches the test events.
TEST, VALIDATION = 0.1, 0.2
MOST_TRAINING = (1.0 - TEST) / (1.0 + VALIDATION)

_TREENET = (
    *("model.particles.dropout=0.15", "model.head.dropout=0.25"),
    *("training.epochs=14", "training/schedule=cosine", "training.optimizer.weight_decay=0.01"),
    "data.balance=1",
)

#: Passes of networks at the largest sizes; small ones have as many as give `LEAST_EVENTS`.
PASSES = {"treenet_trees_scratch": 14, "treenet_preset": 6, "treenet_trees_preset": 6}
#: Training events that a network of `PASSES` sees, half of which pass.
LEAST_EVENTS = 20_000

#: The command line of ``train`` of every model. Which of the failing events are taken is drawn anew
#: for each pass.
MODELS: dict[str, tuple[str, ...]] = {
    "trees": ("model=trees", "data.balance=1"),
    "trees_3": ("model=trees", "data.balance=3"),
    "trees_8": ("model=trees", "data.balance=8"),
    "resnet": ("model=resnet", "training.epochs=20", "data.balance=1"),
    "treenet": ("model=treenet", *_TREENET),
    "treenet_trees": ("model=treenet_trees", *_TREENET),
    "treenet_trees_scratch": ("experiment=any_skim/from_scratch",),
    "trees_preset": ("experiment=any_skim/trees_preset",),
    "treenet_preset": ("experiment=any_skim/fine_tuned", "model.head.forest=null"),
    "treenet_trees_preset": ("experiment=any_skim/fine_tuned",),
}

#: Where the preset stands in their settings: ``run --preset RUN`` puts another network there.
READS_PRESET = {
    "trees_preset": ("model.head.forest.answers",),
    "treenet_preset": ("training.init_from",),
    "treenet_trees_preset": ("model.head.forest.answers", "training.init_from"),
}

#: What all of them share.
COMMON = (
    *("data.symmetries=[charge_conjugation,mirror]", "training.monitor=val_auc"),
    "training.progress=false",
)


def overrides_of(model: str, size: int, preset: str | None = None) -> list[str]:
    """Give the command line of ``train`` for a model and a number of balanced training events."""
    overrides = [*COMMON, *MODELS[model]]
    if preset is not None:
        overrides += [f"{key}={preset}" for key in READS_PRESET.get(model, ())]
    if model in PASSES:
        overrides.append(f"training.epochs={max(PASSES[model], LEAST_EVENTS // size)}")
    return overrides
