"""Saved models: what is wrong with a file is said, and code inside it never runs."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from smartbkg_tf.errors import InputError
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.loading import copy_weights, load_model, save_model, target_of
from smartbkg_tf.models.network import BranchedNetwork
from tests.models.model_test_case import common_arguments, random_events
from tests.models.test_resnet import SMALL


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model.keras"
    BranchedNetwork(**common_arguments("decay"), **SMALL).save(path)
    return path


def test_a_model_of_version_0_1_is_refused_with_what_to_do() -> None:
    """Saved when blocks were layers."""
    path = Path(__file__).parent / "saved" / "resnet_0_1.keras"
    words = r"version of smartbkg_tf knows its 'ConvolutionBlock'[\s\S]*train again"
    with pytest.raises(InputError, match=words):
        load_model(path)


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
    with pytest.raises(InputError, match="not a Keras model"):
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


def _with_members(saved: Path, path: Path, **changes: bytes) -> None:
    """Copy a model, members replaced and compressed."""
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, changes.get(name.replace(".", "_"), old.read(name)))


def test_an_archive_that_unpacks_to_gigabytes_is_refused_unread(
    saved: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.keras"
    _with_members(saved, path, config_json=b" " * 40_000_000)
    with pytest.raises(InputError, match=r"config\.json unpacks to 40 MB"):
        load_model(path)
    _with_members(saved, path, model_weights_h5=b"\0" * 100_000_000)
    with pytest.raises(InputError, match=r"all of it unpacks to 100 MB"):
        load_model(path)


def test_weights_that_claim_gigabytes_are_refused_unread(saved: Path, tmp_path: Path) -> None:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        # Nothing of it is stored: HDF5 gives zeros.
        file.create_dataset("layers/dense/vars/0", (20_000, 10_000), "f4", chunks=(100, 100))
    path = tmp_path / "model.keras"
    _with_members(saved, path, model_weights_h5=content.getvalue())
    with pytest.raises(InputError, match=r"model\.weights\.h5 unpacks to 800 MB"):
        load_model(path)
    _with_members(saved, path, model_weights_h5=b"not HDF5")
    with pytest.raises(InputError, match="is not an HDF5 file"):
        load_model(path)


def test_a_recompressed_model_loads(saved: Path, tmp_path: Path) -> None:
    _with_members(saved, tmp_path / "model.keras")
    assert load_model(tmp_path / "model.keras").output_shape == (None, 2)


@pytest.fixture
def with_own_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Save a model with a layer of one's own, which Keras then no longer knows."""

    @keras.saving.register_keras_serializable(package="own")
    class Doubled(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    inputs = keras.Input((3,))
    path = tmp_path / "model.keras"
    save_model(keras.Model(inputs, Doubled()(inputs)), path)
    keras.saving.get_custom_objects().pop("own>Doubled")
    monkeypatch.chdir(tmp_path)
    yield path
    keras.saving.get_custom_objects().pop("own>Doubled", None)


def test_no_module_is_imported_that_is_not_needed(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A run directory from somewhere, and a file that came with it.
    (tmp_path / "evil_net.py").write_text("open('written', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    assert load_model(saved, target="evil_net.MyNet").output_shape == (None, 2)
    assert load_model(saved, target="gone_module.Net").output_shape == (None, 2)
    # Nor for a file that is wrong in another way.
    _with_members(saved, tmp_path / "model.keras", config_json=b'{"class_name": "Wrong"}')
    with pytest.raises(InputError, match="cannot be rebuilt"):
        load_model(tmp_path / "model.keras", target="evil_net.MyNet")
    assert not (tmp_path / "written").exists()


def test_a_module_that_is_needed_is_named_and_imported(
    with_own_layer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_layer_net.py").write_text(
        "import keras\n"
        "from smartbkg_tf.models.network import BranchedNetwork\n"
        "@keras.saving.register_keras_serializable(package='own')\n"
        "class Doubled(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return 2 * x\n"
        "class Net(BranchedNetwork):\n"
        "    pass\n"
    )
    try:
        model = load_model(with_own_layer, target="own_layer_net.Net")
    finally:
        sys.modules.pop("own_layer_net", None)
    np.testing.assert_array_equal(model(np.ones((1, 3), np.float32)), [[2, 2, 2]])
    assert "needs 'Doubled': importing own_layer_net" in capsys.readouterr().out


def test_the_module_of_a_branch_is_imported_for_its_layers(
    with_own_layer: Path, tmp_path: Path
) -> None:
    (tmp_path / "own_layer_branch.py").write_text(
        "import keras\n"
        "from smartbkg_tf.models.branches import ParticleBranch\n"
        "@keras.saving.register_keras_serializable(package='own')\n"
        "class Doubled(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return 2 * x\n"
        "class Mine(ParticleBranch):\n"
        "    pass\n"
    )
    network = "smartbkg_tf.models.network.BranchedNetwork"
    branch = {"_target_": "own_layer_branch.Mine", "width": 3}
    targets = target_of({"model": {"_target_": network, "particles": branch, "decay": None}})
    assert targets == [network, "own_layer_branch.Mine"]
    try:
        model = load_model(with_own_layer, targets)
    finally:
        sys.modules.pop("own_layer_branch", None)
    np.testing.assert_array_equal(model(np.ones((1, 3), np.float32)), [[2, 2, 2]])


def test_class_that_is_gone_is_named(with_own_layer: Path) -> None:
    with pytest.raises(InputError, match=r"needs 'Doubled'.*there is no module 'gone_module'"):
        load_model(with_own_layer, target="gone_module.Net")
    with pytest.raises(InputError, match="register_keras_serializable"):
        load_model(with_own_layer, target="smartbkg_tf.models.network.BranchedNetwork")
    with pytest.raises(InputError, match="register_keras_serializable"):
        load_model(with_own_layer)


def test_weights_of_another_architecture_are_refused(saved: Path) -> None:
    other = BranchedNetwork(**common_arguments("decay"), **{**SMALL, "head": {"units": [5]}})
    before = other.model.get_weights()
    with pytest.raises(InputError, match=r"another architecture \(head_1"):
        other.load(saved)
    for a, b in zip(before, other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    fewer = BranchedNetwork(**common_arguments("particles"), **SMALL)
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
    model = load_model(saved, target="smartbkg_tf.models.network.BranchedNetwork")
    network: NNBaseClass = BranchedNetwork(**common_arguments("decay"), **SMALL)
    network.load(saved)
    events = random_events(4)
    np.testing.assert_array_equal(model(events), network.model(events))
