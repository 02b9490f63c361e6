"""Every file in ``conf/model`` is complete, valid, and has the published sizes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from smartbkg_tf.models.network import BranchedNetwork
from smartbkg_tf.models.registry import build, check_model, model_name
from smartbkg_tf.models.resnet import ResNet
from smartbkg_tf.runtime.command import configuration_directory
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.models import BranchedSettings, ResNetSettings
from tests.models.model_test_case import FEATURES, NORMALISATION

FILES = sorted((Path(str(configuration_directory())) / "model").glob("*.yaml"))
NAMES = [path.stem for path in FILES if path.stem != "custom"]


def values_of(name: str) -> dict[str, Any]:
    text = next(path for path in FILES if path.stem == name).read_text()
    assert text.startswith(f"# {name}: "), "the first comment is the line of --help"
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def settings_of(name: str) -> Any:
    kind = ResNetSettings if name == "resnet" else BranchedSettings
    return validate(kind, values_of(name))


def plain(settings: Any) -> dict[str, Any]:
    values = dataclasses.asdict(settings)
    values["_target_"] = values.pop("target")
    return values


@pytest.mark.parametrize("name", NAMES)
def test_every_key_stands_in_the_file(name: str) -> None:
    assert plain(settings_of(name)) == values_of(name)


@pytest.mark.parametrize("name", NAMES)
def test_branches_have_the_published_sizes(name: str) -> None:
    values = values_of(name)
    changed = {"conv1x1_resnet": ("decay",), "wide_cnn": ("decay",)}
    for kind in ("particles", "decay"):
        if values[kind] is None or kind in changed.get(name, ()):
            continue
        branch = {"branch": values[kind]["branch"]}
        published = validate(type(settings_of(name)), {"name": name, kind: branch})
        assert dataclasses.asdict(getattr(published, kind)) == values[kind]


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("resnet_preact", "feed_forward")])
def test_each_is_built_as_it_stands(name: str) -> None:
    settings = settings_of(name)
    assert issubclass(check_model(settings), ResNet if name == "resnet" else BranchedNetwork)
    assert model_name(settings) == name
    information: dict[str, Any] = {
        "encoding": {"feature_names": list(FEATURES), "max_particles": 100, "max_tokens": 150},
        "vocabulary": {"size": 567},
        "normalisation": {"name": "test", "features": NORMALISATION},
        "label_names": ["first", "second"],
    }
    network = build(settings, information)
    assert network.model.output_shape == (None, 2)
    line = next(row for row in TABLE if row.startswith(f"| `{name}` "))
    assert f"{network.model.count_params() - 1 - head_inputs(network):,}" in line


def head_inputs(network: Any) -> int:
    """Weights of the second skim: the table counts networks with one."""
    return int(network.model.get_layer("y_output").kernel.shape[0])


TABLE = (Path(__file__).parents[2] / "docs" / "models.md").read_text().splitlines()
