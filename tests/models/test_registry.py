"""From a name in the configuration to a network, and every way that can go wrong."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.events.vocabulary import default_vocabulary
from smartbkg_tf.models import branches as registered
from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.branches import branches, register_branch
from smartbkg_tf.models.physics import ACCEPTANCE, BEAMS
from smartbkg_tf.models.registry import build, import_class, model_name
from smartbkg_tf.models.resnet import ResNet
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.models import CustomModelSettings, ResNetSettings
from smartbkg_tf.settings.normalisation import FeatureScale, NormalisationSettings
from smartbkg_tf.settings.training import TrainSettings
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
            inputs = self.make_inputs()
            x, mask = self.particle_features(inputs)
            x = MaskedAveragePooling()(keras.layers.Dense(self.units)(x), mask=mask)
            return keras.Model(inputs, self.output(x))

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


def custom(target: str, **values: Any) -> CustomModelSettings:
    return validate(CustomModelSettings, {"name": "custom", "_target_": target, **values})


def test_resnet_from_its_settings() -> None:
    settings = validate(
        ResNetSettings, {"name": "resnet", "inputs": "particles", "particles": {"filters": 8}}
    )
    network = build(settings, INFORMATION, max_particles=30)
    assert isinstance(network, ResNet)
    assert network.get_config() == {
        "vocabulary_size": 40,
        "inputs": "particles",
        "label_names": ["fei"],
        "feature_names": list(FEATURES),
        "normalisation": NORMALISATION,
        "max_particles": 30,
        "max_tokens": 150,
        "particles": {
            "branch": "resnet",
            "embedding": 8,
            "share_embedding": True,
            "filters": 8,
            "kernel_sizes": [4, 3, 3, 3],
            "activation": "leaky_relu",
            "batch_norm_momentum": 0.9,
        },
        "decay": network.decay,
        "head": {
            "units": [256, 128],
            "dropout": 0.4,
            "activation": "leaky_relu",
            "event_units": 0,
            "event_dropout": 0.2,
        },
        "event_type": False,
        "summaries": False,
        "event_columns": [],
        "candidates": None,
        "codes": None,
        "beams": list(BEAMS),
        "acceptance": list(ACCEPTANCE),
    }


def test_normalisation_of_the_command_line_wins() -> None:
    chosen = NormalisationSettings(
        name="mine", features={name: FeatureScale(scale=2.0) for name in FEATURES[:-1]}
    )
    network = build(ResNetSettings(), INFORMATION, chosen)
    assert {values["scale"] for values in network.normalisation.values()} == {2.0}


def test_own_class_with_own_arguments(folder: Path) -> None:
    write(folder, GOOD)
    network = build(
        custom("my_module.MyNet", inputs="particles", parameters={"units": 7}), INFORMATION
    )
    assert network.get_config()["units"] == 7
    assert network.model.output_shape == (None, 1)


def test_own_class_on_top_of_resnet_names_what_it_ignores(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, GOOD)
    settings = validate(ResNetSettings, {"name": "resnet", "_target_": "my_module.MyNet"})
    assert type(build(settings, INFORMATION)).__name__ == "MyNet"
    said = capsys.readouterr().out
    assert "MyNet takes no candidates, decay, event_columns, head, particles, summaries:" in said
    assert "these settings are ignored" in said
    assert model_name(settings) == "MyNet"
    assert model_name(ResNetSettings()) == "resnet"
    assert model_name(custom("a.b.Net")) == "Net"


def test_own_class_takes_settings_of_resnet_that_it_knows(folder: Path) -> None:
    write(
        folder,
        GOOD.replace("units=4", "head=None")
        .replace("self.units)", "4)")
        .replace("self.units = units", "self.head = head"),
    )
    settings = validate(
        ResNetSettings,
        {"name": "resnet", "_target_": "my_module.MyNet", "head": {"units": [3]}},
    )
    assert build(settings, INFORMATION).get_config()["head"]["units"] == [3]


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
        ("smartbkg_tf.models.resnt.ResNet", "there is no module 'smartbkg_tf.models.resnt'"),
        ("my_module.MyNett", "'my_module' has no class 'MyNett'; did you mean 'MyNet'"),
        ("my_module.number", "'number' is a int, no class"),
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
        import_class(target)
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


def test_argument_that_is_not_kept_is_named(folder: Path) -> None:
    write(
        folder,
        GOOD.replace("self.units = units", "self.width = units").replace(
            "Dense(self.units)", "Dense(self.width)"
        ),
    )
    network = build(custom("my_module.MyNet"), INFORMATION)
    with pytest.raises(ConfigurationError, match=r"write self.units = units"):
        network.get_config()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("keras.Model(inputs, self.output(x))", "x"), "not a keras.Model"),
        (("keras.Model(inputs, self.output(x))", "keras.Sequential()"), "functional model"),
        (("keras.Model(inputs, self.output(x))", "type('M', (keras.Model,), {})()"), "functional"),
        (("self.output(x))", "keras.layers.Dense(1)(x))"), r"one output 'y_output'"),
        (("self.output(x))", "keras.layers.Dense(2, name='y_output')(x))"), r"batch, 1"),
        (("self.make_inputs()", "{**self.make_inputs('pdg')}"), "no input 'pdg'; did you mean"),
    ],
)
def test_models_that_the_chain_cannot_use_are_refused(
    folder: Path, change: tuple[str, str], words: str
) -> None:
    write(folder, GOOD.replace(*change))
    network = build(custom("my_module.MyNet", inputs="particles"), INFORMATION)
    with pytest.raises(ConfigurationError, match=words):
        _ = network.model


def test_branch_names_are_taken_once() -> None:
    assert "resnet" in branches("particles")
    assert "wide_cnn" in branches("decay")
    assert all(b.description for kind in ("particles", "decay") for b in branches(kind).values())
    with pytest.raises(ValueError, match="already"):
        register_branch("particles", "resnet", "again")(lambda *_: None)


def whole_vocabulary() -> dict[str, Any]:
    """Give a dataset's information with the package's own codes, which `treenet` looks up."""
    return {**INFORMATION, "vocabulary": {"size": len(default_vocabulary().codes) + 4}}


def test_the_branch_of_the_documentation_works(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "models.md"
    example = page.read_text().partition("```python\n# my_module.py")[2].partition("```")[0]
    write(folder, example)
    monkeypatch.setattr(registered, "_BRANCHES", dict(registered._BRANCHES))
    overrides = ["model=treenet", "model._target_=my_module.MyNet"]
    swap = ["~model.particles", "+model.particles={branch: mean}"]
    assert " ".join(["train", *overrides, f"'{swap[0]}'", f"'{swap[1]}'"]) in page.read_text()
    settings = compose_settings("train", TrainSettings, [*overrides, *swap])
    network = build(settings.model, whole_vocabulary())
    assert network.model.output_shape == (None, 1)
    assert "particle_average" in [layer.name for layer in network.model.layers]


def test_a_branch_is_swapped_as_documented() -> None:
    swap = ["~model.particles", "+model.particles={branch: gcn}"]
    settings = compose_settings("train", TrainSettings, ["model=treenet", *swap])
    assert build(settings.model, whole_vocabulary()).model.output_shape == (None, 1)
