"""``conf/model`` against the classes that it names, and the table in docs/models.md."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.models.branches import Branch, DecayBranch, ParticleBranch
from smartbkg_tf.models.head_inputs import (
    EventColumnInput,
    HeadInput,
    QuantityInput,
    SummaryInput,
)
from smartbkg_tf.models.network import BranchedNetwork
from smartbkg_tf.models.registry import build, check_model, model_name
from smartbkg_tf.runtime.command import compose_settings, configuration_directory
from smartbkg_tf.settings.models import ModelSettings
from smartbkg_tf.settings.plugins import plain
from smartbkg_tf.settings.training import TrainSettings
from tests.models.branch_classes import package_branches
from tests.models.model_test_case import FEATURES, NORMALISATION, common_arguments
from tests.models.test_registry import folder, write  # noqa: F401

CONF = Path(str(configuration_directory())) / "model"
DOCS = Path(__file__).parents[2] / "docs" / "models.md"
NAMES = [path.stem for path in sorted(CONF.glob("[!_]*.yaml")) if path.stem != "custom"]
BRANCHES = [
    *[("particles", name, cls) for name, cls in package_branches(ParticleBranch).items()],
    *[("decay", name, cls) for name, cls in package_branches(DecayBranch).items()],
]
INFORMATION: dict[str, Any] = {
    "encoding": {"feature_names": list(FEATURES), "max_particles": 100, "max_tokens": 150},
    "vocabulary": {"size": 567},
    "normalisation": {"name": "test", "features": NORMALISATION},
    "label_names": ["first"],
}


def composed(*overrides: str) -> ModelSettings:
    return compose_settings("train", TrainSettings, overrides).model


def first_line(cls: type[Any]) -> str:
    return str(cls.__doc__).splitlines()[0].rstrip(".")


def comment(path: Path) -> str:
    lines = [line for line in path.read_text().splitlines() if "@package" not in line]
    assert lines[0].startswith(f"# {path.stem}: "), "the first comment is the line of --help"
    return lines[0].removeprefix(f"# {path.stem}: ")


@pytest.mark.parametrize(("kind", "name", "cls"), BRANCHES, ids=lambda x: x if x else None)
def test_every_branch_has_a_short_name(kind: str, name: str, cls: type[Branch]) -> None:
    path = CONF / kind / f"{name}.yaml"
    assert yaml.safe_load(path.read_text()) == {"_target_": f"{cls.__module__}.{cls.__name__}"}
    assert comment(path) == first_line(cls)


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("summaries", SummaryInput),
        ("event_columns", EventColumnInput),
        ("quantities", QuantityInput),
    ],
)
def test_every_head_input_has_a_short_name(name: str, cls: type[HeadInput]) -> None:
    path = CONF / "head" / "inputs" / f"{name}.yaml"
    assert comment(path) == first_line(cls)
    columns = [] if name != "event_columns" else ["model.head.inputs.event_columns.names=[energy]"]
    model = composed("model=gcn", f"model/head/inputs=[{name}]", *columns)
    assert isinstance(model.head.inputs[name], cls)


#: Networks whose weights take seconds to make.
LARGE = ("resnet_preact", "resnet34", "resnet50", "feed_forward")


def row(name: str, parameters: str | None = None) -> str:
    """Make a row of the table: configuration, class, number of weights; its source stands there."""
    model = composed(f"model={name}")
    assert check_model(model) is BranchedNetwork
    assert model_name(model) == name
    if parameters is None:
        network = build(model, INFORMATION)
        assert network.model.output_shape == (None, 1)
        parameters = f"{network.model.count_params():,}"
    design = first_line(type(model.particles or model.decay or model.head.forest))
    if model.particles is not None and model.decay is not None:
        design += f"; `{model.decay.label}` over the decay string"
    source = ROWS[name].rstrip(" |").rpartition(" | ")[2]
    cells = (f"`{name}`", parameters, comment(CONF / f"{name}.yaml"), design, source)
    return f"| {' | '.join(cells)} |"


TABLE = DOCS.read_text().partition("<!-- architectures -->\n")[2].partition("<!-- end")[0]
ROWS = {line.split("`")[1]: line for line in TABLE.splitlines()[2:]}


def test_every_network_is_in_the_table_of_the_documentation() -> None:
    assert list(ROWS) == NAMES


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LARGE])
def test_the_table_in_the_documentation_is_that_of_the_classes(name: str) -> None:
    assert ROWS[name] == row(name)


@pytest.mark.parametrize("name", ["transformer", "treenet"])
def test_our_networks_are_small(name: str) -> None:
    # The test above proves the number.
    assert 150_000 < int(ROWS[name].split(" | ")[1].replace(",", "")) < 280_000


@pytest.mark.parametrize("name", LARGE)
def test_words_about_large_networks_in_the_table(name: str) -> None:
    assert ROWS[name] == row(name, ROWS[name].split(" | ")[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_weights_of_large_networks_in_the_table(name: str) -> None:
    assert ROWS[name] == row(name)


@pytest.mark.parametrize("name", NAMES)
def test_branches_have_the_published_sizes(name: str) -> None:
    model = composed(f"model={name}")
    changed = {"conv1x1_resnet": {"decay"}, "wide_cnn": {"decay"}}
    for kind in {"particles", "decay"} - changed.get(name, set()):
        branch = getattr(model, kind)
        assert branch is None or branch == type(branch)()


def test_branches_and_head_inputs_are_swapped_by_groups() -> None:
    model = composed("model=treenet", "model/particles=gcn", "model.particles.units=4")
    assert model.particles.label == "gcn"
    assert model.particles.units == 4
    assert model.head.units == [128]
    assert isinstance(model.head.inputs["summaries"], SummaryInput)
    model = composed(
        "model=gcn",
        "model/decay=wide_cnn",
        "model.inputs=combined",
        "model/head/inputs=[summaries,event_columns]",
        "model.head.inputs.event_columns.names=[pz]",
        "model.event_type=true",
    )
    network = build(model, INFORMATION)
    assert network.name == "gcn + wide_cnn"
    assert network.model.get_layer("event").output.shape == (None, 128 + 32 + 21 + 1 + 8)
    assert composed("model=treenet", "model/head/inputs=[]").head.inputs == {}


CHOICES = {
    kind: [path.stem for path in sorted((CONF / kind).glob("*.yaml"))]
    for kind in ("particles", "decay")
}


@pytest.mark.parametrize("name", NAMES)
def test_a_named_network_sets_nothing_inside_its_branches(name: str) -> None:
    """So that another branch has no key that it does not know."""
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert set(values) <= {"defaults", "name", "inputs", "head"}


@pytest.mark.parametrize(
    ("name", "particles"),
    [
        pytest.param(
            name,
            particles,
            marks=[] if (j - i) % len(CHOICES["particles"]) == 0 else pytest.mark.slow,
        )
        for i, name in enumerate(NAMES)
        for j, particles in enumerate(CHOICES["particles"])
    ],
)
def test_every_branch_goes_with_every_network(name: str, particles: str) -> None:
    decay = CHOICES["decay"][CHOICES["particles"].index(particles) % len(CHOICES["decay"])]
    model = composed(f"model={name}", f"model/particles={particles}", f"model/decay={decay}")
    for kind, chosen in (("particles", particles), ("decay", decay)):
        target = yaml.safe_load((CONF / kind / f"{chosen}.yaml").read_text())["_target_"]
        assert type(getattr(model, kind)).__name__ == target.rpartition(".")[2]


def test_the_schema_knows_every_class_of_the_configuration() -> None:
    """In a process of its own: nothing else has imported them."""
    code = (
        "from smartbkg_tf.settings.base import json_schema\n"
        "from smartbkg_tf.settings.training import TrainSettings\n"
        "print(json_schema(TrainSettings))\n"
    )
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    texts = [
        path.read_text()
        for group in ("model", "training")
        for path in CONF.parent.glob(f"{group}/*/**/*.yaml")
    ]
    targets = {target for text in texts for target in re.findall(r"_target_: (\S+)", text)}
    assert len(targets) > 20
    assert {target for target in targets if f"'{target}'" not in shown} == set()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model/particles=gnc"], "gcn"),
        (["model.particles.filter=3"], r"model.particles.filter: .*did you mean 'filters'"),
        (["model.particles.filters=0"], r"model.particles.filters: .*greater than 0"),
        (["model.particles._target_=no_module.Branch"], "there is no module 'no_module'"),
        (["model.decay._target_=smartbkg_tf.models.tree_branches.Gcn"], "inherit DecayBranch"),
        (["model/head/inputs=[event_columns]"], r"event_columns.names: a value is needed"),
        (["model.head.inputs.mine=3"], r"a mapping with _target_"),
        (["model=custom"], r"model._target_: a value is needed"),
    ],
)
def test_mistakes_are_named(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        composed(*overrides)


def example(path: Path, begin: str) -> str:
    """Take the code block of a page that begins with a comment."""
    return path.read_text().partition(f"```python\n{begin}")[2].partition("```")[0]


def test_an_own_branch_of_a_file_outside_the_package(folder: Path) -> None:  # noqa: F811
    """The example of the docstring, by the command line that stands there."""
    text = textwrap.dedent(str(ParticleBranch.__doc__).split("\n", 1)[1])
    begin, end = text.index("    from smartbkg_tf"), text.index("trains with::")
    write(folder, textwrap.dedent(text[begin:end]))
    command = text[end:].replace("\\\n", "").split("smartbkg_tf.train ")[1].split()
    network = build(composed(*command), INFORMATION)
    assert network.name == "MyBranch"
    assert network.model.get_layer("mine").units == 3
    again = BranchedNetwork(**common_arguments("particles"), particles=plain(network.particles))
    assert again.particles == network.particles  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match=r"particles.widht: .*did you mean 'width'"):
        composed(*command[:-1], "model.particles.widht=3")


def test_an_own_head_input_of_the_documentation(folder: Path) -> None:  # noqa: F811
    write(folder, example(DOCS, "# my_input.py"), "my_input")
    command = "model.head.inputs.total._target_=my_input.TotalEnergy"
    assert command in DOCS.read_text()
    network = build(composed("model=gcn", command), INFORMATION)
    assert network.model.get_layer("event").output.shape == (None, 128 + 1)


def test_a_branch_without_build_is_named(folder: Path) -> None:  # noqa: F811
    write(
        folder,
        """
        from smartbkg_tf.models.branches import ParticleBranch
        from smartbkg_tf.settings.base import settings

        @settings
        class Empty(ParticleBranch):
            pass
        """,
    )
    model = composed("model.inputs=particles", "model.particles._target_=my_module.Empty")
    with pytest.raises(ConfigurationError, match="Empty does not write build"):
        _ = build(model, INFORMATION).model
