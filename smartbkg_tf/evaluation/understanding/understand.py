"""What explains a model, added to its results: ``understanding`` in metrics.json, and curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartbkg_tf.dataset.dataset import Dataset, open_dataset
from smartbkg_tf.encoding.events import Events
from smartbkg_tf.errors import InputError, UserError
from smartbkg_tf.evaluation.metrics import place_of
from smartbkg_tf.evaluation.results import EvaluatedModel
from smartbkg_tf.evaluation.understanding import groups
from smartbkg_tf.evaluation.understanding.importance import changes, losses
from smartbkg_tf.evaluation.understanding.overfitting import compare_samples
from smartbkg_tf.evaluation.understanding.trees import TREE_INPUTS, trees_of
from smartbkg_tf.evaluation.understanding.wrong_events import most_wrong, tree_data
from smartbkg_tf.events.keys import KeyIndex, uniform
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.filtering.event_source import score_rows, split_of_run
from smartbkg_tf.filtering.score_counts import ScoreCounts
from smartbkg_tf.filtering.scorers import KerasScorer, Scorer
from smartbkg_tf.runtime.progress import Progress
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.evaluation import MetricsSettings

Rows = npt.NDArray[np.int64]

#: Events whose trees are read, at most.
_MOST_TREES = 200_000
#: Events whose keys are compared at a time.
_BLOCK = 1_000_000
#: Events count as kept above the threshold of this efficiency.
_EFFICIENCY = 0.9

_SALT = "evaluation/understanding"


def understand(
    model: EvaluatedModel,
    settings: MetricsSettings,
    *,
    dataset: str | None = None,
    ask: bool = False,
) -> list[str]:
    """Add what explains a model to its results; give remarks on what is missing, and why.

    `dataset` is where its events are, if not where its run was trained. `ask` has the network score
    events again: training events, and events of which a part was shuffled.
    """
    missing: list[str] = []
    for skim in model.results:
        _add_groups(model, skim, {"event_type": groups.by_event_type(model.predictions.event_type)})
    try:
        events = _dataset_of(model, dataset)
        _add_events(model, events, settings)
    except UserError as error:
        missing.append(f"multiplicity, decay modes and the most wrongly scored events: {error}")
        events = None
    if ask:
        try:
            if model.run is None:
                raise InputError(
                    "a predictions file comes without its model: give the run directory in runs="
                )
            if events is None:
                raise InputError("the events are missing, see above")
            _add_answers(model, model.run, events, settings)
        except UserError as error:
            missing.append(f"answers of the network: {error}")
    for result in model.results.values():
        result.metrics["understanding"]["missing"] = missing
    return [f"{model.name}: without {text}" for text in missing]


def _dataset_of(model: EvaluatedModel, given: str | None) -> Dataset:
    """Open the dataset with the events of a model; `InputError` when it is not there."""
    next_step = "give the dataset directory that the events came from: dataset=DIR"
    if given is not None:
        return _checked(open_dataset(given))
    if model.run is None:
        raise InputError("a predictions file does not hold the events", next_step=next_step)
    recorded = model.run.read_metadata().get("dataset") if model.run.metadata.is_file() else None
    recorded = recorded if isinstance(recorded, Mapping) else {}
    path = recorded.get("path")
    if path is None:
        data = model.run.read_config().get("data") if model.run.config.is_file() else None
        path = data.get("path") if isinstance(data, Mapping) else None
    if path is None:
        raise InputError("the run does not say where its dataset is", next_step=next_step)
    if not Path(path).is_dir():
        raise InputError(
            "the dataset that the run was trained on is not there", where=path, next_step=next_step
        )
    dataset = open_dataset(path)
    if recorded.get("digest") not in (None, dataset.digest):
        raise InputError(
            f"holds other events than those that the run was trained on (digest {dataset.digest}, "
            f"not {recorded['digest']})",
            where=path,
            next_step=next_step,
        )
    return _checked(dataset)


def _checked(dataset: Dataset) -> Dataset:
    if dataset.information["vocabulary"]["digest"] != default_vocabulary().digest:
        raise InputError("its tokens are those of another list of PDG codes", where=dataset.path)
    return dataset


def _positions(model: EvaluatedModel, dataset: Dataset, chosen: Rows) -> Rows:
    """Find chosen predicted events in a dataset: their positions, -1 where there is none."""
    index = KeyIndex({name: values[chosen] for name, values in model.predictions.keys.items()})
    found = np.full(len(chosen), -1, dtype=np.int64)
    for start in range(0, len(dataset), _BLOCK):
        block = {name: values[start : start + _BLOCK] for name, values in dataset.keys.items()}
        rows = index.find(block)
        here = np.flatnonzero(rows >= 0)
        found[rows[here]] = start + here
    return found


def _read(dataset: Dataset, names: tuple[str, ...], rows: Rows) -> Events:
    """Read events at the positions `rows` [n], in this order."""
    ordered, places = np.unique(rows, return_inverse=True)
    return dataset.stored(names).read(ordered).take(places)


def _add_groups(
    model: EvaluatedModel,
    skim: str,
    divisions: Mapping[str, list[Any]],
    chosen: Rows | None = None,
    formulas: Mapping[str, str] | None = None,
) -> None:
    """Add what is kept of groups of the chosen events at the working point."""
    result, values = model.results[skim], model.predictions.skims[skim]
    counts = ScoreCounts.of(values.score, values.label)
    place = place_of(counts, _EFFICIENCY)
    threshold = float(counts.lowest[place])
    efficiency = float(counts.above()[1][place] / counts.n_passing)
    label, score = values.label, values.score
    if chosen is not None:
        label, score = label[chosen], score[chosen]
    passing, known, kept = label == 1, label >= 0, score >= threshold
    everything = groups.kept_of_groups([("all", np.arange(len(label)))], passing, known, kept)[0]
    numbers = result.metrics.setdefault(
        "understanding",
        {"threshold": threshold, "efficiency": efficiency},
    )
    numbers.setdefault("kept_by", {})
    for name, division in divisions.items():
        entries = groups.kept_of_groups(division, passing, known, kept)
        numbers["kept_by"][name] = entries
        shown = [
            {**entry, "name": (formulas or {}).get(entry["name"], entry["name"])}
            for entry in entries
        ]
        result.curves[f"kept_by_{name}"] = {"groups": shown, "all": everything}


def _add_events(model: EvaluatedModel, dataset: Dataset, settings: MetricsSettings) -> None:
    """Add what the trees of the events tell."""
    available = dataset.information["inputs"]
    names = next((n for n in TREE_INPUTS if set(n) <= set(available)), None)
    if names is None:
        raise InputError("holds neither mother links nor decay strings", where=dataset.path)
    predictions = model.predictions
    chosen = np.arange(len(predictions))
    if len(chosen) > _MOST_TREES:
        order = uniform(predictions.keys, _SALT)
        chosen = np.sort(np.argpartition(order, _MOST_TREES)[:_MOST_TREES])
    position = _positions(model, dataset, chosen)
    chosen, position = chosen[position >= 0], position[position >= 0]
    if not len(chosen):
        raise InputError(
            "holds none of the predicted events",
            where=dataset.path,
            next_step="the four-part event key must be that of the predictions",
        )
    trees = trees_of(_read(dataset, names, position))
    assert trees is not None
    numbers = {
        "n_particles": groups.by_number(np.diff(trees.offsets)),
        "n_charged": groups.by_number(trees.charged_final()),
    }
    modes = groups.DecayModes(trees)
    for skim, result in model.results.items():
        _add_groups(model, skim, numbers, chosen)
        label = predictions.skims[skim].label[chosen]
        frequent = modes.most_frequent(label == 1)
        formulas = {text: formula for text, formula, _ in frequent}
        _add_groups(
            model, skim, {"decay_mode": [(text, rows) for text, _, rows in frequent]}, chosen,
            formulas,
        )  # fmt: skip
        _add_wrong_events(model, skim, dataset, settings.wrong_events)
        result.metrics["understanding"]["n_events"] = len(chosen)


def _add_wrong_events(model: EvaluatedModel, skim: str, dataset: Dataset, number: int) -> None:
    """Add the most wrongly scored events, and their trees for the figures."""
    worst = most_wrong(model.predictions, skim, number)
    rows = np.array([entry.pop("row") for entry in worst], dtype=np.int64)
    position = _positions(model, dataset, rows)
    found = np.flatnonzero(position >= 0)
    available = set(dataset.information["inputs"])
    names = tuple(n for n in ("particle_input", *TREE_INPUTS[0]) if n in available)
    if not set(TREE_INPUTS[0]) <= set(names):
        names = TREE_INPUTS[1]
    events = _read(dataset, names, position[found])
    longest = None
    if model.run is not None and model.run.metadata.is_file() and "pdg_input" in names:
        longest = model.run.read_metadata().get("max_particles")
    result = model.results[skim]
    result.metrics["understanding"]["wrong_events"] = worst
    for i, place in enumerate(found.tolist()):
        entry = worst[place]
        particles = tree_data(events, i, dataset.feature_names, longest)
        result.curves[f"{entry['kind']}_{entry['rank']}"] = {**entry, "particles": particles}


def _add_answers(
    model: EvaluatedModel, run: RunDirectory, dataset: Dataset, settings: MetricsSettings
) -> None:
    """Add what only the network can tell."""
    scorer = KerasScorer(run)
    label_of = {name: i for i, name in enumerate(dataset.label_names)}
    absent = [skim for skim in model.results if skim not in label_of]
    if absent:
        raise InputError(f"has no labels of {', '.join(absent)}", where=dataset.path)
    for skim, result in model.results.items():
        found = _importance(model, skim, dataset, label_of[skim], scorer, settings)
        result.metrics["understanding"]["importance"] = found
        for name, kinds in (("input", ("list", "input", "feature")), ("type", ("type",))):
            entries = [entry for entry in found["parts"] if entry["kind"] in kinds]
            if entries:
                curve = {**found, "parts": entries}
                result.curves[f"{name}_importance"] = curve
    recorded = run.read_metadata().get("dataset", {}).get("digest")
    if recorded not in (None, dataset.digest):
        raise InputError(
            "is not the dataset that the run was trained on, so nothing is said on overfitting",
            where=dataset.path,
        )
    _add_overfitting(model, run, dataset, scorer, settings)


def _add_overfitting(
    model: EvaluatedModel,
    run: RunDirectory,
    dataset: Dataset,
    scorer: Scorer,
    settings: MetricsSettings,
) -> None:
    """Score a sample of training events, and compare them with the test events."""
    rows = split_of_run(run, dataset)["train"]
    number = min(len(rows), settings.overfitting_events, len(model.predictions))
    rows = np.sort(np.random.default_rng(settings.seed).choice(rows, number, replace=False))
    scores, labels = [], []
    with Progress("score training events", total=number) as progress:
        for start in range(0, number, 5000):
            chunk = score_rows(scorer, dataset, rows[start : start + 5000])
            scores.append(chunk.scores)
            labels.append(np.stack([chunk.labels[s] for s in dataset.label_names], axis=1))
            progress.add(len(chunk.scores))
    score, label = np.concatenate(scores), np.concatenate(labels)
    for skim, result in model.results.items():
        column, test = dataset.label_names.index(skim), model.predictions.skims[skim]
        output = scorer.label_names.index(skim)
        try:
            metrics, data = compare_samples(
                score[:, output], label[:, column], test.score, test.label
            )
        except InputError as error:  # a skim so rare that no training event of the sample passes
            metrics, data = {"refused": error.message}, None
        result.metrics["understanding"]["overfitting"] = metrics
        if data is not None:
            result.curves["overfitting"] = data


def _importance(
    model: EvaluatedModel,
    skim: str,
    dataset: Dataset,
    column: int,
    scorer: Scorer,
    settings: MetricsSettings,
) -> dict[str, Any]:
    """Shuffle parts of a sample of test events: half of it passes, if there are as many."""
    label = model.predictions.skims[skim].label
    random = np.random.default_rng(settings.seed)
    half = settings.importance_events // 2
    chosen = np.concatenate(
        [random.permutation(np.flatnonzero(label == value))[:half] for value in (0, 1)]
    )
    position = _positions(model, dataset, chosen)
    chosen, position = chosen[position >= 0], position[position >= 0]
    names = tuple(
        name
        for name in (*scorer.input_names, "mother_index_input")
        if name in dataset.information["inputs"]
    )
    events = _read(dataset, tuple(dict.fromkeys(names)), position)
    features, inputs = dataset.feature_names, scorer.input_names
    number = 1 + sum(1 for _ in changes(events, inputs, features))
    output = scorer.label_names.index(skim)
    with Progress(f"importance for {skim}", total=number * len(chosen)) as progress:
        parts = losses(
            events,
            label[chosen],
            inputs,
            features,
            lambda spoilt: scorer.score_encoded(spoilt)[:, output],
            random,
            progress.add,
        )
    n_passing = int(np.count_nonzero(label[chosen] == 1))
    return {"n_events": len(chosen), "n_passing": n_passing, "parts": parts}
