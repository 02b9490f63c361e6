"""Export to ONNX: the same scores at every length and batch, and `apply` on the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pandas as pd
import pytest

from smartbkg_tf.errors import ConfigurationError, InputError, OutputError, UserError
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.filtering.apply import apply
from smartbkg_tf.filtering.export import compare, convert, export, in_float32, random_inputs
from smartbkg_tf.filtering.model_description import ModelDescription, describe_run
from smartbkg_tf.filtering.onnx_metadata import seal_of
from smartbkg_tf.filtering.scorers import (
    KerasScorer,
    OnnxScorer,
    load_run_model,
    open_session,
)
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.filtering import ApplySettings, ExportSettings
from tests.filtering.conftest import SKIMS, Trained, save


@pytest.fixture(scope="module")
def exported(fitted: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("export") / "onnx"
    return export(ExportSettings(run=str(fitted.run.path), output=str(output)))


@pytest.fixture(scope="module")
def description(fitted: Trained) -> ModelDescription:
    return describe_run(fitted.run)


def tiny(*names: str, activation: Any = None, length: int | None = None) -> keras.Model:
    """Make a small model that reads given inputs."""
    inputs, parts = {}, []
    for name in names:
        shape: tuple[int | None, ...] = (length, 9) if name == "particle_input" else (length,)
        if name == "event_type_input":
            shape = ()
        dtype = "float32" if name == "particle_input" else "int32"
        tensor = inputs[name] = keras.Input(shape=shape, dtype=dtype, name=name)
        if name == "event_type_input":
            parts.append(keras.layers.Embedding(8, 4)(tensor))
            continue
        x = (
            tensor
            if name == "particle_input"
            else keras.layers.Embedding(600, 4)(keras.ops.maximum(tensor, 0))
        )
        x = keras.layers.Conv1D(4, 3, padding="same", activation=activation)(x)
        parts.append(keras.layers.GlobalAveragePooling1D()(x))
    x = parts[0] if len(parts) == 1 else keras.layers.Concatenate()(parts)
    return keras.Model(inputs, keras.layers.Dense(2, name="y_output", dtype="float32")(x))


def test_names_and_dimensions_are_fixed(exported: Path, fitted: Trained) -> None:
    graph = onnx.load(exported).graph
    dimensions = {
        tensor.name: [d.dim_param or d.dim_value for d in tensor.type.tensor_type.shape.dim]
        for tensor in (*graph.input, *graph.output)
    }
    assert dimensions == {
        "particle_input": ["batch", "particle", 9],
        "pdg_input": ["batch", "particle"],
        "mother_pdg_input": ["batch", "particle"],
        "decay_input": ["batch", "token"],
        "y_output": ["batch", 2],
    }


@pytest.mark.parametrize("length", [1, 2, 31, 60, 200])
@pytest.mark.parametrize("batch", [1, 2, 33])
def test_scores_are_those_of_keras(
    exported: Path, fitted: Trained, description: ModelDescription, length: int, batch: int
) -> None:
    # Trap 27: dynamic lengths were baked in as 1 or as the traced length.
    model = KerasScorer(fitted.run).model
    arrays = random_inputs(model, description, batch, length, np.random.default_rng(length))
    expected = model(arrays, training=False).numpy()
    found = open_session(exported).run(["y_output"], arrays)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_scores_of_real_events(exported: Path, fitted: Trained) -> None:
    keras_scores = KerasScorer(fitted.run).score_events(fitted.events)
    scorer = OnnxScorer(exported, batch_size=50)
    assert scorer.label_names == SKIMS
    np.testing.assert_allclose(scorer.score_events(fitted.events), keras_scores, atol=2e-5)
    rows = np.arange(10)
    np.testing.assert_allclose(
        scorer.score_dataset(fitted.dataset, rows),
        KerasScorer(fitted.run).score_dataset(fitted.dataset, rows),
        atol=2e-5,
    )


def test_apply_decides_alike(exported: Path, fitted: Trained, tmp_path: Path) -> None:
    frames = []
    for i, model in enumerate((exported, fitted.run.path)):
        output = tmp_path / f"{i}.parquet"
        apply(ApplySettings(run=str(model), input=str(fitted.tables), output=str(output)))
        frames.append(pd.read_parquet(output))
    for skim in SKIMS:
        assert (frames[0][f"kept_{skim}"] == frames[1][f"kept_{skim}"]).all()


def test_the_file_describes_itself(exported: Path, fitted: Trained) -> None:
    assert [file.name for file in exported.parent.iterdir()] == ["model.onnx"]
    stored = {entry.key: entry.value for entry in onnx.load(exported).metadata_props}
    assert list(stored)[-1] == "sha256"
    values = {name: json.loads(text) for name, text in stored.items() if name != "sha256"}
    assert values["filter"] == json.loads(fitted.run.filter.read_text())
    assert values["label_names"] == list(SKIMS)
    assert values["vocabulary"]["digest"] == default_vocabulary().digest
    encoding = values["encoding"]
    assert encoding["feature_names"][:2] == ["energy", "prodTime"]
    assert encoding["units"][:3] == ["GeV", "ns", "cm"]
    assert {"smartbkg_tf", "keras", "onnxruntime"} <= set(values["software"])
    # Every length of this model up to 60 particles and 90 tokens, alone and among others.
    assert values["checks"] == {"comparisons": 2 * 90 + 1, "tolerance": 1e-5}


def test_exports_of_a_run_are_equal_in_every_byte(
    exported: Path, fitted: Trained, tmp_path: Path
) -> None:
    """Here in the place of an export of an earlier version, which was two files."""
    output = tmp_path / "onnx"
    output.mkdir()
    for name in ("model.onnx", "model.json"):
        (output / name).write_text("{}")
    with pytest.raises(InputError, match="whose models were two files"):
        OnnxScorer(output / "model.onnx")
    again = export(ExportSettings(run=str(fitted.run.path), output=str(output), overwrite=True))
    assert again.read_bytes() == exported.read_bytes()
    assert [file.name for file in output.iterdir()] == ["model.onnx"]


def test_a_changed_byte_is_noticed_wherever_it_is(exported: Path, tmp_path: Path) -> None:
    whole, copy = exported.read_bytes(), tmp_path / "model.onnx"
    random = np.random.default_rng(0)
    rules = whole.index(b'"maximum_weight"')
    places = [0, 1, rules + 20, *range(len(whole) - 80, len(whole), 7)]
    for place in [*places, *random.integers(0, len(whole), 40).tolist()]:
        changed = bytearray(whole)
        changed[place] ^= 1
        copy.write_bytes(changed)
        with pytest.raises(InputError, match=r"model\.onnx.*(was changed|not a whole exported)"):
            OnnxScorer(copy)


def resealed(path: Path, copy: Path, **entries: Any) -> Path:
    """Write an export with other entries, as another version of the package would."""
    model = onnx.load(path)
    stored = {entry.key: entry.value for entry in model.metadata_props if entry.key != "sha256"}
    stored |= {name: json.dumps(value) for name, value in entries.items()}
    onnx.helper.set_model_props(model, stored)
    content = model.SerializeToString()
    copy.write_bytes(content + seal_of(content))
    return copy


def test_what_does_not_fit_this_version_is_refused(exported: Path, tmp_path: Path) -> None:
    stored = {entry.key: entry.value for entry in onnx.load(exported).metadata_props}
    encoding = json.loads(stored["encoding"])
    copy = tmp_path / "model.onnx"
    assert OnnxScorer(resealed(exported, copy)).label_names == SKIMS
    order = [*encoding["feature_names"][1:], encoding["feature_names"][0]]
    for entries, words in (
        ({"vocabulary": {"digest": "0123", "size": 567}}, "another vocabulary of PDG codes"),
        ({"encoding": {**encoding, "feature_names": order}}, "has the columns"),
        ({"encoding": {**encoding, "features": "unheard"}}, "not a feature set"),
        ({"format_version": 3}, "format_version: input should be 2"),
        ({"label_names": ["one", "two", "three"]}, "gives 2 scores for the skims one, two, three"),
    ):
        with pytest.raises(UserError, match=words) as error:
            OnnxScorer(resealed(exported, copy, **entries))
        assert "model.onnx" in str(error.value)


def test_a_run_of_another_vocabulary_is_not_exported(
    run_copy: RunDirectory, tmp_path: Path
) -> None:
    values = json.loads(run_copy.dataset.read_text())
    values["vocabulary"]["digest"] = "0123"
    run_copy.dataset.write_text(json.dumps(values))
    with pytest.raises(InputError, match="another list of PDG codes"):
        export(ExportSettings(run=str(run_copy.path), output=str(tmp_path / "onnx")))


def test_split_needs_the_run(exported: Path, fitted: Trained, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not know which events it was trained on"):
        apply(
            ApplySettings(
                run=str(exported),
                input=str(fitted.dataset.path),
                output=str(tmp_path / "p.parquet"),
                split="test",
            )
        )


@pytest.mark.parametrize(
    "names",
    [
        ("particle_input",),
        ("decay_input",),
        ("pdg_input", "mother_index_input", "event_type_input"),
    ],
)
def test_other_sets_of_inputs(
    names: tuple[str, ...], description: ModelDescription, tmp_path: Path
) -> None:
    model = tiny(*names, activation="relu")
    convert(model, tmp_path / "m.onnx", 15)
    checks = compare(model, tmp_path / "m.onnx", description, 1e-5)
    assert checks["largest_difference"] < 1e-5
    found = {tensor.name for tensor in open_session(tmp_path / "m.onnx").get_inputs()}
    assert found == set(names)


def test_a_fixed_length_is_compared_at_that_length(
    description: ModelDescription, tmp_path: Path
) -> None:
    model = tiny("decay_input", length=90)
    convert(model, tmp_path / "m.onnx", 13)
    assert compare(model, tmp_path / "m.onnx", description, 1e-5)["comparisons"] == 3


def test_a_difference_is_found(description: ModelDescription, tmp_path: Path) -> None:
    model = tiny("decay_input")
    convert(model, tmp_path / "m.onnx", 15)
    weights = model.get_weights()
    weights[-1][0] += 0.01
    model.set_weights(weights)
    with pytest.raises(InputError, match=r"differs from Keras by 0\.01"):
        compare(model, tmp_path / "m.onnx", description, 1e-5)


def test_a_wrapped_mother_index_is_found(description: ModelDescription, tmp_path: Path) -> None:
    mother = keras.Input(shape=(None,), dtype="int32", name="mother_index_input")
    x = keras.layers.Lambda(lambda m: keras.ops.one_hot(m, 8))(mother)
    x = keras.layers.Dense(2)(keras.ops.mean(x, axis=1))
    model = keras.Model({"mother_index_input": mother}, x)
    convert(model, tmp_path / "m.onnx", 15)
    with pytest.raises(InputError, match="differs from Keras"):
        compare(model, tmp_path / "m.onnx", description, 1e-5)


def test_mixed_precision_is_exported_in_float32(run_copy: RunDirectory, tmp_path: Path) -> None:
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        model = tiny("decay_input", activation="relu")
    finally:
        keras.config.set_dtype_policy(before)
    plain = in_float32(model, run_copy)
    assert plain is not model
    for mine, theirs in zip(plain.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    save(model, run_copy.model)
    path = export(ExportSettings(run=str(run_copy.path), output=str(tmp_path / "onnx")))
    arrays = {"decay_input": np.arange(1, 41, dtype=np.int32)[None]}
    found = open_session(path).run(None, arrays)[0]
    np.testing.assert_allclose(found, plain(arrays).numpy(), atol=1e-5)
    # bfloat16 has three digits: close to, but not, what training saw.
    np.testing.assert_allclose(found, model(arrays).numpy(), atol=0.05)


def test_float32_models_are_left_alone(run_copy: RunDirectory) -> None:
    model = load_run_model(run_copy)
    assert in_float32(model, run_copy) is model


def test_gelu_is_refused_with_a_way_out(tmp_path: Path) -> None:
    # keras_facts: the activation gelu exports a file that cannot be loaded (op Erfc).
    with pytest.raises(InputError, match="Erfc") as error:
        convert(tiny("decay_input", activation="gelu"), tmp_path / "m.onnx", 15)
    assert "keras.ops.erf" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_nothing_stays_of_a_failed_export(run_copy: RunDirectory, tmp_path: Path) -> None:
    output = tmp_path / "onnx"
    with pytest.raises(InputError, match="differs from Keras"):
        export(ExportSettings(run=str(run_copy.path), output=str(output), tolerance=1e-12))
    assert [file.name for file in tmp_path.iterdir()] == ["run"]
    output.mkdir()
    (output / "mine").write_text("")
    with pytest.raises(OutputError, match="exists"):
        export(ExportSettings(run=str(run_copy.path), output=str(output)))
    with pytest.raises(InputError, match="does not exist"):
        export(ExportSettings(run=str(tmp_path / "no"), output=str(tmp_path / "new")))


def test_settings() -> None:
    given = ["run=r", "output=o"]
    assert compose_settings("export", ExportSettings, given) == ExportSettings(run="r", output="o")
    with pytest.raises(ConfigurationError, match="there are: basf2, onnx"):
        compose_settings("export", ExportSettings, [*given, "format=tflite"])


def test_a_run_is_never_replaced_by_its_export(fitted: Trained, tmp_path: Path) -> None:
    """It was: the folder with the weights was gone."""
    run = fitted.run.path
    (tmp_path / "link").symlink_to(run)
    for output in (run, tmp_path / "link", run.parent, run / "onnx"):
        with pytest.raises(OutputError, match="the input"):
            export(ExportSettings(run=str(run), output=str(output), overwrite=True))
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.keras").touch()
    with pytest.raises(OutputError, match=r"did not write \(model.keras\)"):
        export(ExportSettings(run=str(run), output=str(other), overwrite=True))
