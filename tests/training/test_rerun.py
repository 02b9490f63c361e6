"""A run repeated, and what is said where it cannot be, or comes out differently."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest
import yaml

from smartbkg_tf.errors import ConfigurationError, InputError, UserError
from smartbkg_tf.rerun import main
from smartbkg_tf.rerun import run as rerun
from smartbkg_tf.runtime.run_directory import RunDirectory
from smartbkg_tf.settings.rerun import RerunSettings
from smartbkg_tf.train import run as train
from smartbkg_tf.training.rerun import _apart, check_same, prepare
from tests.shared import made_once
from tests.training.samples import history, tiny_settings, without_times

#: Keras 3.15 calls np.array on its variables in a way that NumPy 2 warns about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CODE = {"commit": "a" * 40, "dirty": False}


@pytest.fixture(scope="module")
def finished(dataset_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a finished run of one epoch."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("smartbkg_tf.evaluation.evaluate.draw_models", lambda *_: [])
            patch.setattr("smartbkg_tf.training.fit.code_version", lambda: CODE)
            train(tiny_settings(dataset_path, folder / "run", "training.epochs=1"))

    return made_once(tmp_path_factory, "rerun", make) / "run"


def test_the_same_run_gives_the_same_numbers(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("smartbkg_tf.evaluation.evaluate.draw_models", lambda *_: [])
    monkeypatch.setattr("smartbkg_tf.training.rerun.code_version", lambda: CODE)
    monkeypatch.setattr("sys.argv", ["rerun", str(finished), f"output={tmp_path / 'again'}"])
    main()
    printed = capsys.readouterr().out
    assert "software, code and hardware are those of the run" in printed
    assert "metrics.skims.fei_hadronic_b0.auc " in printed
    assert "the same: " in printed
    assert "largest difference 0" in printed
    first, again = (RunDirectory(p) for p in (finished, tmp_path / "again"))
    assert json.loads(first.metrics.read_text()) == json.loads(again.metrics.read_text())
    assert without_times(history(first)) == without_times(history(again))


def copied(finished: Path, folder: Path) -> RunDirectory:
    return RunDirectory(Path(shutil.copytree(finished, folder / "copy")))


def change_metadata(run: RunDirectory, **values: object) -> None:
    record = yaml.safe_load(run.metadata.read_text())
    run.metadata.write_text(yaml.safe_dump({**record, **values}))


def test_numbers_that_differ_end_with_an_error(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(finished, tmp_path)
    values = json.loads(run.metrics.read_text())
    values["skims"]["fei_hadronic_b0"]["log_loss"] += 0.001
    values["skims"]["fei_hadronic_b0"]["of a newer version"] = 1.0
    run.metrics.write_text(json.dumps(values))
    again = dataclasses.replace(tiny_settings(Path("d"), run.path))
    with pytest.raises(UserError, match=r"1 of \d+ numbers differ by more than 1e-06"):
        check_same(RunDirectory(finished), again, 1e-6)
    printed = capsys.readouterr().out
    assert "log_loss" in printed
    assert "note: 1 numbers are in the new run only" in printed
    check_same(RunDirectory(finished), again, 0.01)
    assert "largest difference 0.001" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"lacks 1 of its numbers, such as .*of a newer version"):
        check_same(run, dataclasses.replace(again, run_dir=str(finished)), 0.01)


@pytest.mark.parametrize(("old", "new", "apart"), [(1.0, math.nan, math.inf), (3.0, 3.3, 0.1)])
def test_numbers_that_are_not_finite_differ(old: float, new: float, apart: float) -> None:
    assert _apart(old, new) == pytest.approx(apart)
    assert _apart(new, new) == 0


def test_what_differs_is_said_and_other_events_are_refused(
    finished: Path, tmp_path: Path, dataset_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(finished, tmp_path)
    record = yaml.safe_load(run.metadata.read_text())
    change_metadata(run, software={**record["software"], "keras": "2.0"}, code=None)
    old, again = prepare(RerunSettings(run=str(run.path)))
    printed = capsys.readouterr().out
    assert "what is not as it was" in printed
    assert "keras" in printed
    assert "unknown commit" in printed
    assert old.path == run.path
    assert again.run_dir == f"{run.path}_rerun"
    assert Path(str(again.data.path)) == dataset_path.resolve()

    change_metadata(run, dataset={**record["dataset"], "digest": "0" * 16})
    with pytest.raises(InputError, match="holds other events than the run was trained on"):
        prepare(RerunSettings(run=str(run.path)))
    gone = {**record["dataset"], "path": str(tmp_path / "gone")}
    change_metadata(run, dataset=gone)
    # The configuration still names it.
    assert prepare(RerunSettings(run=str(run.path)))[1].data.path == str(dataset_path)
    with pytest.raises(InputError, match="does not exist"):
        prepare(RerunSettings(run=str(run.path), dataset=str(tmp_path / "gone")))


def test_a_strict_training_needs_a_commit(
    dataset_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dirty = {"commit": "a" * 40, "dirty": True}
    monkeypatch.setattr("smartbkg_tf.training.provenance.code_version", lambda: dirty)
    with pytest.raises(ConfigurationError, match="files were changed since commit"):
        train(tiny_settings(dataset_path, tmp_path / "run", "strict_repro=true"))
    assert not (tmp_path / "run").exists()


def test_what_is_not_a_finished_run(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a finished run"):
        rerun(RerunSettings(run=str(tmp_path)))
    with pytest.raises(ConfigurationError, match="is the run itself"):
        rerun(RerunSettings(run=str(finished), output=str(finished)))
