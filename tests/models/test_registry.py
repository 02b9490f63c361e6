"""From a name in the configuration to a network, and every way that can go wrong."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.decay_branches import WideCnn
from smartbkg_tf.models.network import BranchedNetwork
from smartbkg_tf.models.particle_branches import ResNet
from smartbkg_tf.models.physics import ACCEPTANCE, BEAMS
from smartbkg_tf.models.registry import build, check_model, model_name
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.models import ModelSettings
from smartbkg_tf.settings.normalisation import FeatureScale, NormalisationSettings
from tests.models.model_test_case import FEATURES, NORMALISATION, random_events

INFORMATION: dict[str, Any] = {
    "encoding": {"feature_names": list(FEATURES), "max_particles": 100, "max_tokens": 150},
    "vocabulary": {"size": 40},
    "normalisation": {"name": "test", "features": NORMALISATION},
    "label_names": ["fei"],
}

GOOD = """
    import keras
    from smartbkg_tf.models.base import NNBaseClass
    from smartbkg_tf.models.layers import MaskedAveragePooling

    class MyNet(NNBaseClass):
        def __init__(self, units=4, **common):
            super().__init__(**common)
            self.units = units

        def build_model(self):
            event = self.event()
            x, mask = event.particles()
            x = MaskedAveragePooling()(keras.layers.Dense(self.units)(x), mask=mask)
            return keras.Model(event.inputs, event.output(x))

    class Other: pass
    number = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a current folder whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(tmp_path)):
            del sys.modules[name]


def write(folder: Path, text: str, name: str = "my_module") -> None:
    (folder / f"{name}.py").write_text(textwrap.dedent(text))


def custom(target: str, **values: Any) -> ModelSettings:
    return validate(ModelSettings, {"name": "custom", "_target_": target, **values})


def resnet(**values: Any) -> ModelSettings:
    given = {"name": "resnet", "_target_": "smartbkg_tf.models.network.BranchedNetwork"}
    branches = {"particles": ResNet(filters=8), "decay": WideCnn(filters=4)}
    return validate(ModelSettings, {**given, **branches, **values})


def test_resnet_from_its_settings() -> None:
    network = build(resnet(inputs="particles"), INFORMATION, max_particles=30)
    assert isinstance(network, BranchedNetwork)
    assert network.name == "resnet"
    assert (network.max_particles, network.max_tokens) == (30, 150)
    assert (network.vocabulary_size, network.label_names) == (40, ["fei"])
    assert (network.feature_names, network.normalisation) == (list(FEATURES), NORMALISATION)
    assert network.particles == ResNet(filters=8)
    assert network.decay == WideCnn(filters=4)
    assert (network.beams, network.acceptance) == (list(BEAMS), list(ACCEPTANCE))


def test_normalisation_of_the_command_line_wins() -> None:
    chosen = NormalisationSettings(
        name="mine", features={name: FeatureScale(scale=2.0) for name in FEATURES[:-1]}
    )
    network = build(resnet(), INFORMATION, chosen)
    assert {values["scale"] for values in network.normalisation.values()} == {2.0}


def test_own_class_with_own_arguments(folder: Path) -> None:
    write(folder, GOOD)
    network = build(
        custom("my_module.MyNet", inputs="particles", parameters={"units": 7}), INFORMATION
    )
    assert network.units == 7  # type: ignore[attr-defined]
    assert network.model.output_shape == (None, 1)


def test_own_class_on_top_of_resnet_names_what_it_ignores(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, GOOD)
    settings = resnet(_target_="my_module.MyNet")
    assert type(build(settings, INFORMATION)).__name__ == "MyNet"
    said = capsys.readouterr().out
    assert "MyNet takes no particles, decay: these settings are ignored" in said
    assert model_name(settings) == "MyNet"
    assert model_name(resnet()) == "resnet"
    assert model_name(custom("a.b.Net")) == "Net"


def test_own_class_takes_settings_of_resnet_that_it_knows(folder: Path) -> None:
    write(
        folder,
        GOOD.replace("units=4", "head=None")
        .replace("self.units)", "4)")
        .replace("self.units = units", "self.head = head"),
    )
    settings = resnet(_target_="my_module.MyNet", head={"units": [3]})
    assert build(settings, INFORMATION).head.units == [3]  # type: ignore[attr-defined]


def test_a_class_written_before_there_was_event_still_works(folder: Path) -> None:
    before = (
        GOOD.replace("event = self.event()", "inputs = self.make_inputs()")
        .replace("event.particles()", "self.particle_features(inputs, embedding=4)")
        .replace("event.inputs, event.output(x)", "inputs, self.output(x)")
    )
    write(folder, before)
    network = build(custom("my_module.MyNet", inputs="particles"), INFORMATION)
    assert network.model.output_shape == (None, 1)
    write(folder, before.replace("features(inputs", "features({'pdg_input': None}"), "other")
    network = build(custom("other.MyNet", inputs="particles"), INFORMATION)
    with pytest.raises(ConfigurationError, match="inputs that it did not make last"):
        _ = network.model


def test_the_example_in_the_docstring_works(folder: Path) -> None:
    text = textwrap.dedent(str(NNBaseClass.__doc__).split("\n", 1)[1])
    start = text.index("    import keras")
    write(folder, textwrap.dedent(text[start : text.index("trains with::")]), "from_docstring")
    network = build(
        custom("from_docstring.MyNet", inputs="particles", parameters={"units": 5}), INFORMATION
    )
    scores = np.asarray(network.model(random_events(3)))
    assert scores.shape == (3, 1)
    assert scores.std() > 0
    network.save(folder / "model.keras")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("no_such_module.Net", "there is no module 'no_such_module' in"),
        ("smartbkg_tf.models.netwrk.Net", "there is no module 'smartbkg_tf.models.netwrk'"),
        ("my_module.MyNett", "'my_module' has no class 'MyNett'; did you mean 'MyNet'"),
        ("my_module.number", "has a int, not a class, 'number'"),
        ("my_module.Other", "'Other' does not inherit NNBaseClass"),
        ("smartbkg_tf.models.base.NNBaseClass", "does not write build_model"),
        ("broken.Net", r"cannot be imported \(SyntaxError"),
        ("needs.Net", "needs the module 'no_such_package', which is not installed"),
        ("fails.Net", r"cannot be imported \(ZeroDivisionError"),
    ],
)
def test_unusable_classes_are_refused(folder: Path, target: str, words: str) -> None:
    write(folder, GOOD)
    write(folder, "class Net(:", "broken")
    write(folder, "import no_such_package", "needs")
    write(folder, "1 / 0", "fails")
    with pytest.raises(ConfigurationError, match=words) as caught:
        check_model(custom(target))
    assert target in str(caught.value)


def test_unknown_parameter_names_the_nearest(folder: Path) -> None:
    write(folder, GOOD)
    with pytest.raises(ConfigurationError, match=r"model.parameters.unit:.*did you mean 'units'"):
        build(custom("my_module.MyNet", parameters={"unit": 7}), INFORMATION)


def test_common_arguments_are_no_parameters(folder: Path) -> None:
    write(folder, GOOD)
    with pytest.raises(ConfigurationError, match=r"model.parameters.label_names"):
        build(custom("my_module.MyNet", parameters={"label_names": ["x"]}), INFORMATION)


def test_constructor_without_common_arguments_is_refused(folder: Path) -> None:
    write(folder, GOOD.replace("units=4, **common", "units=4").replace("(**common)", "()"))
    with pytest.raises(ConfigurationError, match=r"does not take vocabulary_size[\s\S]*\*\*common"):
        build(custom("my_module.MyNet"), INFORMATION)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("keras.Model(event.inputs, event.output(x))", "x"), "not a keras.Model"),
        (("keras.Model(event.inputs, event.output(x))", "keras.Sequential()"), "functional model"),
        (
            ("keras.Model(event.inputs, event.output(x))", "type('M', (keras.Model,), {})()"),
            "functional",
        ),
        (("event.output(x))", "keras.layers.Dense(1)(x))"), r"one output 'y_output'"),
        (("event.output(x))", "keras.layers.Dense(2, name='y_output')(x))"), r"batch, 1"),
        (("self.event()", "self.event('pdg')"), "no input 'pdg'; did you mean"),
    ],
)
def test_models_that_the_chain_cannot_use_are_refused(
    folder: Path, change: tuple[str, str], words: str
) -> None:
    write(folder, GOOD.replace(*change))
    network = build(custom("my_module.MyNet", inputs="particles"), INFORMATION)
    with pytest.raises(ConfigurationError, match=words):
        _ = network.model


def test_the_architecture_is_drawn_where_graphviz_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build(resnet(inputs="decay"), INFORMATION)

    class Dot:
        def create(self, format: str) -> bytes:
            return b"<svg/>"

    monkeypatch.setattr(keras.utils, "model_to_dot", lambda model, **_: Dot())
    assert network.draw(tmp_path / "model.svg")
    assert (tmp_path / "model.svg").read_bytes() == b"<svg/>"

    def missing(*_: Any, **__: Any) -> Any:
        raise ImportError("You must install pydot")

    monkeypatch.setattr(keras.utils, "model_to_dot", missing)
    assert not network.draw(tmp_path / "other.svg")
    assert not (tmp_path / "other.svg").exists()
