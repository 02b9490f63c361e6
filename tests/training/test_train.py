"""The command, run in this process: one run, a sweep, and configuration files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from smartbkg_tf.config import command_named
from smartbkg_tf.errors import OutputError
from smartbkg_tf.runtime.command import compose_settings, configuration_directory
from smartbkg_tf.runtime.run_directory import RunDirectory, open_run
from smartbkg_tf.settings.models import HeadSettings
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.train import main
from smartbkg_tf.training.run_folder import training_lock
from tests.training.samples import TINY

#: Keras 3.15 calls np.array on its variables in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> object:
    """Give a function that runs the command in an empty folder and returns its lines."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["train", *arguments])
        main()
        return capsys.readouterr().out.splitlines()

    return call


def test_one_run(  # type: ignore[no-untyped-def]
    command, dataset_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smartbkg_tf.filtering import apply

    predict = apply.predict_split
    refused = []

    def predict_alone(run: RunDirectory, *arguments: Any, **options: Any) -> Path:
        with pytest.raises(OutputError, match="another process is training"), training_lock(run):
            raise AssertionError("two commands in one folder")
        refused.append(run)
        return predict(run, *arguments, **options)

    monkeypatch.setattr(apply, "predict_split", predict_alone)
    lines = command(*TINY, f"data.path={dataset_path}")
    run = open_run(Path(lines[-1]))
    assert len(refused) == 1
    assert run.path.parts[0] == "runs"
    assert run.path.name.endswith("_resnet-particles")
    assert lines[-2].startswith("AUC of fei_hadronic_b0 on test events: 0.")
    assert run.done.is_file()
    assert run.predictions.is_file()
    assert run.metrics.is_file()
    assert not run.checkpoints.exists()
    hints = [line for line in lines if line.startswith("hint: ")]
    assert len(hints) == 1
    wanted = "model=trees model.head.forest.answers=preset:belle2"
    assert f"passing training events {wanted} is clearly better" in hints[0]
    log = run.log.read_text().splitlines()
    assert log[1:] == [line for line in log[1:] if line in lines or "score test" in line]
    assert log[-2:] == lines[-2:]
    assert {p.name for p in tmp_path.iterdir()} == {"runs"}, "Hydra has left something"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.particles._target_=no_such_module.Branch", "no module 'no_such_module'"),
        ("model._target_=no_such_module.Net", "no module 'no_such_module'"),
        ("+model.parameters.units=3", "BranchedNetwork takes no such argument"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_before_data_are_made(  # type: ignore[no-untyped-def]
    command, override: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        command(override, f"data.demo.cache={tmp_path / 'cache'}")
    assert caught.value.code == 1
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_help_lists_every_model_and_branch() -> None:
    text = command_named("train").help().replace("* ", "")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for group in ("model", "model/particles", "model/decay", "model/head/inputs"):
        assert f"{group}=NAME" in lines
        for path in (configuration_directory() / group).glob("[!_]*.yaml"):
            # The first comment of the file is its description.
            comments = path.read_text().splitlines()
            first = next(line for line in comments if line.startswith(f"# {path.stem}: "))
            assert first.removeprefix("# ").replace(":", "", 1) in lines


def test_a_model_is_what_its_classes_have_by_default() -> None:
    model = compose_settings("train", TrainSettings, ["model=resnet"]).model
    assert model.particles == type(model.particles)()
    assert model.decay == type(model.decay)()
    assert model.head == HeadSettings()


@pytest.mark.parametrize("group", ["training", "data"])
def test_every_key_is_explained(group: str) -> None:
    for path in (configuration_directory() / group).glob("*.yaml"):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            key = line.strip()
            # Entries of a defaults list name files, which explain themselves.
            if not key or key.startswith(("#", "- ")) or key.endswith(":"):
                continue
            if path.stem == "default" and lines[number - 1].strip().endswith("fractions:"):
                continue
            above = lines[number - 1].strip()
            explained = above.startswith("#") or key.startswith(("validation", "test", "name:"))
            assert explained, f"{path.name}: {key}"


def test_the_quickstart_is_a_valid_experiment_that_names_its_command() -> None:
    path = configuration_directory() / "experiment" / "quickstart.yaml"
    first = path.read_text().splitlines()[1]
    assert first == "# python -m smartbkg_tf.train experiment=quickstart"
    settings = compose_settings("train", TrainSettings, ["experiment=quickstart"])
    assert settings.data.path is None
    assert settings.model.inputs == "combined"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epoch=3", "did you mean 'epochs'"),
        ("model.inputs=particle", "did you mean 'particles'"),
        ("model=resnt", "did you mean 'resnet'"),
        ("training.batch_size=0", "training.batch_size"),
        ("training.learning_rate=fast", "training.learning_rate"),
        ("data.fractions.train=0.9", "exceeds 1"),
        ("model.particles.kernel_sizes=[]", "model.particles.kernel_sizes"),
        ("model._target_=MyNet", "module.Class"),
    ],
)
def test_a_wrong_setting_is_one_clear_message(
    override: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", override])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
