"""Schedule, loss, optimiser and callback of a user's own, from a file outside the package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.training.fit import fit
from tests.training.samples import history, tiny_settings

#: Keras 3.15 calls np.array on its variables in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

_MODULE = """
from smartbkg_tf.settings.base import Field, settings
from smartbkg_tf.training.callbacks import TrainingCallback
from smartbkg_tf.training.losses import TrainingLoss
from smartbkg_tf.training.optimizers import TrainingOptimizer
from smartbkg_tf.training.schedules import Schedule


@settings
class Halving(Schedule):
    every: int = Field(default=5, gt=0)

    def rate(self, highest, steps, steps_per_epoch):
        import keras

        return keras.optimizers.schedules.ExponentialDecay(
            highest, self.every * steps_per_epoch, 0.5, staircase=True
        )


@settings
class Squares(TrainingLoss):
    offset: float = 0.0

    def make(self, n_skims, retention):
        from keras import ops

        assert len(retention) == n_skims == 1

        def squares(labels, logits):
            return ops.square(labels - ops.sigmoid(logits)) + self.offset

        return squares


@settings
class Lion(TrainingOptimizer):
    beta: float = 0.95

    def make(self, **common):
        import keras

        return keras.optimizers.Lion(beta_1=self.beta, **common)


@settings
class Note(TrainingCallback):
    text: str

    def make(self, run):
        import keras

        class Write(keras.callbacks.Callback):
            def on_epoch_end(this, epoch, logs=None):
                name = type(this.model.optimizer).__name__
                with (run.path / "notes.txt").open("a") as file:
                    print(self.text, epoch, name, this.model.optimizer.beta_1, file=file)

        return Write()


class Stranger:
    pass


from pathlib import Path

import keras

from smartbkg_tf.models.base import NNBaseClass
from smartbkg_tf.models.layers import MaskedAveragePooling

CALLS = []


class MyNet(NNBaseClass):
    def build_model(self):
        inputs = self.make_inputs()
        particles, mask = self.particle_features(inputs, embedding=4)
        return keras.Model(inputs, self.output(MaskedAveragePooling()(particles, mask=mask)))

    def callbacks(self, training):
        CALLS.append("callbacks")
        return super().callbacks(training)

    def compile(self, training=None, steps_per_epoch=None, retention=None):
        CALLS.append("compile")
        return super().compile(training, steps_per_epoch, retention)

    def fit(self, stream, **options):
        CALLS.append("fit")
        return super().fit(stream, **options)

    def save(self, path):
        CALLS.append(Path(path).name)
        super().save(path)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write the module into the current folder, where it is found."""
    (tmp_path / "my_training.py").write_text(_MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_training", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return "my_training"


def test_a_training_takes_all_four(mine: str, dataset_path: Path, tmp_path: Path) -> None:
    settings = tiny_settings(
        dataset_path,
        tmp_path / "run",
        f"++training.schedule={{_target_: {mine}.Halving, every: 1}}",
        f"++training.loss={{_target_: {mine}.Squares, offset: 100.0}}",
        f"++training.optimizer={{_target_: {mine}.Lion, beta: 0.9}}",
        f"++training.callbacks=[{{_target_: {mine}.Note, text: hello}}]",
        *("model.inputs=decay", "model.decay.filters=4", "model.decay.kernel_sizes=[4]"),
    )
    run = fit(settings, open_dataset(dataset_path))
    rows = history(run)
    # The rate at the end of an epoch is that of the next one's first step.
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.0005, 0.00025])
    assert all(100 < row["loss"] < 101 for row in rows)
    notes = (run.path / "notes.txt").read_text().split()
    assert notes == ["hello", "0", "Lion", "0.9", "hello", "1", "Lion", "0.9"]
    config = yaml.safe_load(run.config.read_text())["training"]
    assert config["schedule"] == {"_target_": "my_training.Halving", "every": 1}
    assert config["callbacks"] == [{"_target_": "my_training.Note", "text": "hello"}]


def test_a_network_may_compile_fit_and_save_in_its_own_way(
    mine: str, dataset_path: Path, tmp_path: Path
) -> None:
    overrides = ["model=custom", f"model._target_={mine}.MyNet", "model.inputs=particles"]
    overrides += ["training.epochs=1", "training.progress=false", f"data.path={dataset_path}"]
    settings = compose_settings("train", TrainSettings, [*overrides, f"run_dir={tmp_path / 'run'}"])
    fit(settings, open_dataset(dataset_path))
    calls = sys.modules[mine].CALLS
    assert calls == ["compile", "callbacks", "fit", "model.keras", "last.keras"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("++training.schedule._target_=my_training.Halvings", "has no class 'Halvings'"),
        ("++training.schedule._target_=my_training.Stranger", "does not inherit Schedule"),
        ("++training.loss={_target_: my_training.Squares, ofset: 1}", "did you mean 'offset'"),
        (
            "++training.optimizer={_target_: my_training.Lion, beta: fast}",
            "training.optimizer.beta",
        ),
        ("++training.callbacks=[{_target_: my_training.Note}]", "training.callbacks.0.text"),
        ("++training.loss._target_=no_such_module.Loss", "no module 'no_such_module'"),
    ],
)
def test_what_is_wrong_with_one_is_said(mine: str, override: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        tiny_settings(Path("data"), None, override)
