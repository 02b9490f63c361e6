"""Scorers: offline = online, one trace, empty events, and models that do not fit."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.events.table import EventTable, concatenate
from smartbkg_tf.filtering.onnx_metadata import seal_of
from smartbkg_tf.filtering.scorers import KerasScorer, OnnxScorer, open_scorer, open_session
from smartbkg_tf.runtime.files import write_json
from smartbkg_tf.runtime.run_directory import RunDirectory
from tests.filtering.conftest import SKIMS, Trained
from tests.samples import make_events


@pytest.fixture(scope="module")
def scorer(trained: Trained) -> KerasScorer:
    return KerasScorer(trained.run, batch_size=64)


def with_column(table: EventTable, name: str, row: int, value: float) -> EventTable:
    changed = table.particles[name].copy()
    changed[row] = value
    return EventTable(
        particles={**table.particles, name: changed},
        offsets=table.offsets,
        keys=table.keys,
        event_type=table.event_type,
        labels=table.labels,
        decay_strings=table.decay_strings,
    )


def test_offline_and_online_scores_are_equal(trained: Trained, scorer: KerasScorer) -> None:
    # Trap 1: another encoding in application.
    offline = scorer.score_dataset(trained.dataset, np.arange(len(trained.dataset)))
    online = scorer.score_events(trained.events)
    assert offline.shape == (600, 2)
    assert offline.dtype == np.float32
    position = {int(e): i for i, e in enumerate(trained.events.keys["event"])}
    order = [position[int(e)] for e in trained.dataset.keys["event"]]
    # Other rows of other batches: equal but for rounding.
    np.testing.assert_allclose(offline, online[order], atol=1e-6)
    assert offline[:, 0].std() > 0.1


def test_scores_are_those_of_the_model_itself(trained: Trained, scorer: KerasScorer) -> None:
    rows = np.array([7, 3, 500])
    arrays = trained.dataset.batch(rows, inputs=scorer.input_names)
    expected = keras.ops.convert_to_numpy(scorer.model(arrays, training=False))
    np.testing.assert_allclose(scorer.score_dataset(trained.dataset, rows), expected, atol=1e-5)


def test_order_neighbours_and_batch_size_do_not_matter(
    trained: Trained, scorer: KerasScorer
) -> None:
    whole = scorer.score_events(trained.events)
    order = np.random.default_rng(0).permutation(600)
    shuffled = scorer.score_events(trained.events.take(order))
    np.testing.assert_allclose(shuffled, whole[order], atol=1e-6)
    single = scorer.score_events(trained.events.take([17]))
    np.testing.assert_allclose(single, whole[[17]], atol=1e-6)
    other = KerasScorer(trained.run, batch_size=100)
    np.testing.assert_allclose(other.score_events(trained.events), whole, atol=1e-6)


def test_traced_once_whatever_the_number_of_events(trained: Trained) -> None:
    # Trap 19: `predict` per event, or a new trace for every shape.
    fresh = KerasScorer(trained.run, batch_size=32)
    calls: list[int] = []
    original = fresh.model

    def counting(arrays: object, training: bool) -> object:
        calls.append(1)
        return original(arrays, training=training)

    counting.inputs = original.inputs  # type: ignore[attr-defined]
    fresh.model = counting
    for n in (1, 5, 32, 33, 100):
        assert fresh.score_events(trained.events.take(np.arange(n))).shape == (n, 2)
    assert len(calls) == 1


def test_no_events_give_no_scores(trained: Trained, scorer: KerasScorer) -> None:
    assert scorer.score_events(trained.events.take(np.arange(0))).shape == (0, 2)
    assert scorer.score_dataset(trained.dataset, []).shape == (0, 2)


def test_an_event_without_particles_has_a_score(scorer: KerasScorer) -> None:
    # Trap 9: a filter must decide about every event.
    events = make_events(6, seed=9, skims=SKIMS, empty=(0, 3))
    scores = scorer.score_events(events)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores[0], scores[3], atol=1e-6)


def test_unknown_codes_and_truncation_are_counted(trained: Trained) -> None:
    scorer = KerasScorer(trained.run, batch_size=8)
    strange = with_column(trained.events.take(np.arange(4)), "PDG", 1, 99999999)
    assert np.isfinite(scorer.score_events(strange)).all()
    assert scorer.report.unknown_codes["99999999"] == 1
    scorer.score_events(strange)
    assert scorer.report.unknown_codes["99999999"] == 2
    long = make_events(3, seed=1, skims=SKIMS)
    # One event of 61 particles and more than 90 tokens: all of them in one.
    many = concatenate([long] * 4)
    strings: Any = [] if many.decay_strings is None else many.decay_strings
    merged = EventTable(
        particles={
            **many.particles,
            "motherIndex": np.full(many.n_particles, -1, np.int32),
        },
        offsets=np.array([0, many.n_particles]),
        keys={name: column[:1] for name, column in many.keys.items()},
        event_type=many.event_type[:1],
        decay_strings=np.array(["".join(strings)], dtype=np.object_),
    )
    scorer.score_events(merged)
    assert scorer.report.truncated_particles == 1
    assert scorer.report.truncated_tokens == 1


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("px", np.nan, "NaN, infinite or too large values in px"),
        ("energy", np.inf, "NaN, infinite or too large values in energy"),
        ("motherIndex", 5000, "mother indices out of range"),
    ],
)
def test_values_that_would_give_wrong_numbers(
    trained: Trained, scorer: KerasScorer, column: str, value: float, words: str
) -> None:
    broken = with_column(trained.events.take(np.arange(3)), column, 2, value)
    with pytest.raises(InputError, match=words) as error:
        scorer.score_events(broken, "file.h5")
    assert "experiment 1003, run 3, event 1" in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "1 event with no decay tokens"), (" 511 (--> 211", "brackets do not fit together")],
)
def test_decay_strings_that_preprocess_refuses(
    trained: Trained, scorer: KerasScorer, text: str, words: str
) -> None:
    events = trained.events.take(np.arange(3))
    assert events.decay_strings is not None
    events.decay_strings[1] = text
    with pytest.raises(InputError, match=words) as error:
        scorer.score_events(events, "file.h5")
    assert "file.h5: experiment 1003, run 3, event 2" in str(error.value)


def test_decay_strings_alone_do_not_feed_a_particle_model(
    trained: Trained, scorer: KerasScorer
) -> None:
    events = trained.events.take([0, 1])
    only = EventTable(
        particles={},
        offsets=np.zeros(3, np.int64),
        keys=events.keys,
        event_type=events.event_type,
        decay_strings=events.decay_strings,
    )
    with pytest.raises(InputError, match="decay strings only") as error:
        scorer.score_events(only)
    assert "key=all" in str(error.value)


def test_another_vocabulary_is_refused(run_copy: RunDirectory) -> None:
    values = json.loads(run_copy.dataset.read_text())
    values["vocabulary"]["digest"] = "0123"
    write_json(run_copy.dataset, values)
    with pytest.raises(InputError, match="another vocabulary"):
        KerasScorer(run_copy)


def test_another_number_of_skims_is_refused(run_copy: RunDirectory, trained: Trained) -> None:
    values = json.loads(run_copy.dataset.read_text())
    values["label_names"] = ["only_one"]
    write_json(run_copy.dataset, values)
    with pytest.raises(InputError, match=r"shape \[\d+, 2\] for .* skims only_one"):
        KerasScorer(run_copy).score_events(trained.events)


def test_a_truncated_model_is_one_sentence(run_copy: RunDirectory) -> None:
    run_copy.model.write_bytes(run_copy.model.read_bytes()[:2000])
    with pytest.raises(InputError, match="truncated") as error:
        open_scorer(run_copy.path)
    assert str(run_copy.model) in str(error.value)


def test_what_can_be_opened(fitted: Trained, tmp_path: Path) -> None:
    found, run = open_scorer(fitted.run.path)
    assert run == fitted.run
    assert found.label_names == SKIMS
    assert open_scorer(fitted.run.model)[0].where == fitted.run.model
    with pytest.raises(InputError, match="does not exist"):
        open_scorer(tmp_path / "nothing")
    with pytest.raises(InputError, match="does not exist"):
        open_scorer(tmp_path / "nothing.keras")
    with pytest.raises(InputError, match="does not exist"):
        open_scorer(tmp_path / "nothing.onnx")
    with pytest.raises(InputError, match="is not a run directory"):
        open_scorer(tmp_path)
    (tmp_path / "model.txt").write_text("")
    with pytest.raises(InputError, match="is not a model"):
        open_scorer(tmp_path / "model.txt")


def test_without_onnx_runtime_there_is_a_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigurationError, match="ONNX Runtime") as error:
        open_session(tmp_path / "x.onnx")
    assert "pip install onnxruntime" in str(error.value)


def test_an_exported_model_needs_no_tensorflow() -> None:
    code = (
        "import sys; import smartbkg_tf.filtering.apply, smartbkg_tf.filtering.scorers; "
        "bad = {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules); "
        "sys.exit(repr(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_files_that_are_no_export(tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "model.onnx"
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    tensors = [onnx.helper.make_tensor_value_info(n, 1, [1]) for n in "xy"]
    graph = onnx.helper.make_graph([node], "g", tensors[:1], tensors[1:])
    foreign = onnx.helper.make_model(graph).SerializeToString()
    for content in (b"", b"not onnx", foreign):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"not a whole exported model.*another program"):
            OnnxScorer(path)
    for content, words in ((b"not onnx", "cannot be loaded"), (foreign, "is damaged: 8 problems")):
        path.write_bytes(content + seal_of(content))
        with pytest.raises(InputError, match=words):
            OnnxScorer(path)


#: In a process of its own: logical devices are chosen before TensorFlow starts.
_OTHER_DEVICES = """
import sys
from pathlib import Path
import keras, numpy as np
from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.models.registry import build
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.training import TrainSettings, TrainingSettings
from smartbkg_tf.training.devices import device_scope
from tests.filtering.conftest import save

folder, dataset = sys.argv[1:]
given = ["model=resnet", f"data.path={dataset}", "model.inputs=particles"]
given += ["model.particles.filters=8", "model.particles.kernel_sizes=[4]", "model.head.units=[16]"]
settings = compose_settings("train", TrainSettings, given)
devices = validate(TrainingSettings, {"device": "cpu", "devices": 2, "batch_size": 24})
with device_scope(devices) as strategy, strategy.scope():
    assert strategy.num_replicas_in_sync == 2
    keras.config.set_dtype_policy("mixed_float16")
    keras.utils.set_random_seed(3)
    model = build(settings.model, open_dataset(dataset).information).model
    save(model, Path(folder) / "model.keras")
    batch = open_dataset(dataset).batch(np.arange(30), inputs=[t.name for t in model.inputs])
    np.save(folder + "/scores.npy", np.asarray(model(batch, training=False), np.float32))
"""


def test_a_model_of_two_devices_and_mixed_precision_is_applied_on_one_processor(
    run_copy: RunDirectory, trained: Trained
) -> None:
    command = [sys.executable, "-c", _OTHER_DEVICES, str(run_copy.path), str(trained.dataset.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with zipfile.ZipFile(run_copy.model) as archive:
        texts = [archive.read(name) for name in ("config.json", "metadata.json")]
    assert not any(word in text for text in texts for word in (b"GPU", b"/device", b"/job"))
    scorer, _ = open_scorer(run_copy.path)
    found = scorer.score_dataset(trained.dataset, np.arange(30))
    expected = np.load(run_copy.path / "scores.npy")
    assert found.dtype == np.float32
    assert expected.std() > 0
    np.testing.assert_allclose(found, expected, atol=0.02)  # float16 has three digits


def test_a_changed_byte_of_a_keras_model_is_noticed(run_copy: RunDirectory) -> None:
    content = bytearray(run_copy.model.read_bytes())
    content[len(content) // 2] ^= 1
    run_copy.model.write_bytes(content)
    with pytest.raises(InputError, match="truncated or damaged"):
        open_scorer(run_copy.path)
