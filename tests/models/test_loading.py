"""Saved models: what is wrong with a file is said, and code inside it never runs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.loading import copy_weights, load_model
from smartbkg_tf.models.resnet import ResNet
from smartbkg_tf.models.saving import save_model
from smartbkg_tf.settings.errors import InputError
from tests.models.model_test_case import common_arguments, random_events
from tests.models.test_resnet import SMALL


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model.keras"
    ResNet(**common_arguments("decay"), **SMALL).save(path)
    return path


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not exist\n.*smartbkg_tf.train"):
        load_model(tmp_path / "model.keras")


def test_folder_and_empty_file_and_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        load_model(tmp_path)
    path = tmp_path / "model.keras"
    path.touch()
    with pytest.raises(InputError, match="is empty"):
        load_model(path)
    path.write_text("no model at all")
    with pytest.raises(InputError, match="no Keras model"):
        load_model(path)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
def test_truncated_file(saved: Path, tmp_path: Path, share: float) -> None:
    content = saved.read_bytes()
    path = tmp_path / "model.keras"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"truncated or damaged\n.*last.keras"):
        load_model(path)


def test_flipped_byte(saved: Path, tmp_path: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path = tmp_path / "model.keras"
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="truncated or damaged"):
        load_model(path)


def test_another_zip_archive(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letter.txt", "hello")
    with pytest.raises(InputError, match=r"config\.json is missing"):
        load_model(path)


def test_code_inside_a_file_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2.0)(inputs))
    save_model(model, tmp_path / "model.keras")
    with pytest.raises(InputError, match="cannot be rebuilt") as caught:
        load_model(tmp_path / "model.keras")
    assert "ambda" in str(caught.value)


def test_class_that_is_gone_is_named_only_when_it_is_needed(saved: Path, tmp_path: Path) -> None:
    # The network's class is not needed to rebuild a model of known layers.
    assert load_model(saved, target="gone_module.Net").output_shape == (None, 2)

    @keras.saving.register_keras_serializable(package="gone")
    class Gone(keras.layers.Layer):
        def call(self, x: object) -> object:
            return x

    inputs = keras.Input((3,))
    save_model(keras.Model(inputs, Gone()(inputs)), tmp_path / "model.keras")
    keras.saving.get_custom_objects().pop("gone>Gone")
    with pytest.raises(InputError, match=r"there is no module 'gone_module'"):
        load_model(tmp_path / "model.keras", target="gone_module.Net")
    with pytest.raises(InputError, match="register_keras_serializable"):
        load_model(tmp_path / "model.keras")


def test_weights_of_another_architecture_are_refused(saved: Path) -> None:
    other = ResNet(**common_arguments("decay"), **{**SMALL, "head": {"units": [5]}})
    before = other.model.get_weights()
    with pytest.raises(InputError, match=r"another architecture \(head_1"):
        other.load(saved)
    for a, b in zip(before, other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    fewer = ResNet(**common_arguments("particles"), **SMALL)
    with pytest.raises(InputError, match="another architecture"):
        copy_weights(load_model(saved), fewer.model)


def test_a_failed_save_keeps_the_older_file(tmp_path: Path) -> None:
    class Fails:
        def save(self, path: Path) -> None:
            path.write_bytes(b"half a model")
            raise RuntimeError("killed")

    path = tmp_path / "model.keras"
    path.write_bytes(b"the older one")
    with pytest.raises(RuntimeError):
        save_model(Fails(), path)
    assert path.read_bytes() == b"the older one"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match=r"ends in \.keras"):
        save_model(Fails(), tmp_path / "model.h5")


def test_loaded_model_reads_arrays_by_name(saved: Path) -> None:
    model = load_model(saved, target="smartbkg_tf.models.resnet.ResNet")
    network: NNBaseClass = ResNet(**common_arguments("decay"), **SMALL)
    network.load(saved)
    events = random_events(4)
    np.testing.assert_array_equal(model(events), network.model(events))
