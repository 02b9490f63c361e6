"""The folder of a run."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from smartbkg_tf.errors import OutputError
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.base import validate
from smartbkg_tf.settings.plugins import plain
from smartbkg_tf.settings.training import TrainSettings
from smartbkg_tf.training.run_folder import (
    check_run_folder,
    make_run_directory,
    note_unfinished,
    training_lock,
    unfinished_run,
    write_yaml,
)


def composed(*overrides: str) -> TrainSettings:
    return compose_settings("train", TrainSettings, overrides)


def test_default_folders_are_unique_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = composed("model.inputs=decay")
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: make_run_directory(settings, "resnet"), range(12)))
    assert len({run.path for run in runs}) == 12
    assert all(run.path.parent == Path("runs") and run.path.is_dir() for run in runs)
    assert all("_resnet-decay" in run.path.name for run in runs)


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    settings = composed(f"run_dir={tmp_path / 'run'}")
    check_run_folder(settings)
    make_run_directory(settings, "resnet")
    (tmp_path / "run" / "model.keras").touch()
    for refuse in (check_run_folder, lambda s: make_run_directory(s, "resnet")):
        with pytest.raises(OutputError, match="overwrite=true"):
            refuse(settings)


def test_overwrite_removes_the_old_run_and_nothing_else(tmp_path: Path) -> None:
    for name in ("model.keras", "history.csv", "done.json", "letter.txt"):
        (tmp_path / name).touch()
    (tmp_path / "tensorboard" / "train").mkdir(parents=True)
    (tmp_path / "private").mkdir()
    run = make_run_directory(composed(f"run_dir={tmp_path}", "overwrite=true"), "resnet")
    assert {p.name for p in run.path.iterdir()} == {"letter.txt", "private"}


def test_overwrite_deletes_nothing_of_a_folder_that_is_no_run(tmp_path: Path) -> None:
    """A dataset, an evaluation or a user's folder may hold names that a run has, too."""
    (tmp_path / "plots").mkdir()
    for name in ("dataset.json", "metrics.json", "mine.npy", "plots/roc.png"):
        (tmp_path / name).touch()
    before = sorted(tmp_path.rglob("*"))
    settings = composed(f"run_dir={tmp_path}", "overwrite=true")
    for refuse in (check_run_folder, lambda s: make_run_directory(s, "resnet")):
        with pytest.raises(OutputError, match="is not a run directory"):
            refuse(settings)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(OutputError):
        make_run_directory(composed(f"run_dir={tmp_path / 'run'}", "overwrite=true"), "resnet")
    with pytest.raises(OutputError):
        make_run_directory(composed(f"run_dir={tmp_path / 'run' / 'below'}"), "resnet")
    for name in ("run/below", "n" * 300):
        with pytest.raises(OutputError):
            check_run_folder(composed(f"run_dir={tmp_path / name}"))


def test_what_a_run_reads_is_not_its_folder(tmp_path: Path) -> None:
    """With overwrite=true the run that gives the backbone would be gone."""
    for key in ("training.init_from", "data.path"):
        for folder in ("old", "old/below", "."):
            settings = composed(f"run_dir={tmp_path / folder}", f"{key}={tmp_path / 'old'}")
            with pytest.raises(OutputError, match="the input"):
                check_run_folder(settings)


def test_written_configuration_is_one_that_can_be_read(tmp_path: Path) -> None:
    settings = composed(
        "model.inputs=decay", "normalisation=original", "training.class_weights=balanced"
    )
    write_yaml(tmp_path / "config.yaml", plain(settings))
    values = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert values["model"]["_target_"] == "smartbkg_tf.models.network.BranchedNetwork"
    assert values["data"]["fractions"] == {"train": 0.7, "validation": 0.15, "test": 0.15}
    assert validate(TrainSettings, values) == settings
    changed = dataclasses.replace(settings, run_dir="elsewhere")
    assert validate(TrainSettings, values) != changed


def unfinished(folder: Path, *overrides: str) -> TrainSettings:
    settings = composed(f"run_dir={folder}", *overrides)
    run = make_run_directory(settings, "resnet")
    write_yaml(run.config, plain(settings))
    return settings


def test_an_unfinished_run_of_the_same_settings_is_continued(tmp_path: Path) -> None:
    settings = unfinished(tmp_path / "run", "training.epochs=3")
    for same in (
        settings,
        dataclasses.replace(settings, overwrite=True, debug=True),
        composed(
            f"run_dir={tmp_path / 'run'}",
            "training.epochs=3",
            "training.progress=false",
            "data.path=moved",
        ),
    ):
        check_run_folder(same)
        assert unfinished_run(same) is not None
    (tmp_path / "run").rename(tmp_path / "moved")
    moved = unfinished_run(dataclasses.replace(settings, run_dir=str(tmp_path / "moved")))
    assert moved is not None


def test_another_configuration_names_its_keys_or_replaces(tmp_path: Path) -> None:
    unfinished(tmp_path / "run", "training.epochs=3")
    other = composed(f"run_dir={tmp_path / 'run'}", "training.epochs=4", "training.seed=2")
    with pytest.raises(OutputError) as caught:
        check_run_folder(other)
    assert "(training.epochs: 3 -> 4; training.seed: 1 -> 2)" in str(caught.value)
    replaced = dataclasses.replace(other, overwrite=True)
    assert unfinished_run(replaced) is None
    assert list(make_run_directory(replaced, "resnet").path.iterdir()) == []


def test_an_unfinished_run_of_another_version_is_not_continued(tmp_path: Path) -> None:
    settings = unfinished(tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    values = yaml.safe_load(config.read_text())
    values["training"]["batch_parts"] = 1
    config.write_text(yaml.safe_dump(values))
    with pytest.raises(OutputError, match="another version of smartbkg_tf"):
        check_run_folder(settings)
    assert unfinished_run(dataclasses.replace(settings, overwrite=True)) is None


def test_a_finished_run_is_refused_unless_overwritten(tmp_path: Path) -> None:
    settings = unfinished(tmp_path / "run")
    (tmp_path / "run" / "done.json").write_text("{}")
    with pytest.raises(OutputError, match=r"finished run[\s\S]*overwrite=true"):
        check_run_folder(settings)
    assert unfinished_run(dataclasses.replace(settings, overwrite=True)) is None


def test_pieces_of_a_killed_beginning_are_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.partial-0123abcd.yaml").touch()
    settings = composed(f"run_dir={tmp_path / 'run'}")
    check_run_folder(settings)
    assert list(make_run_directory(settings, "resnet").path.iterdir()) == []


def test_what_a_killed_process_left_half_written_goes_when_its_run_is_continued(
    tmp_path: Path,
) -> None:
    run = make_run_directory(composed(f"run_dir={tmp_path / 'run'}"), "resnet")
    run.plots.mkdir()
    pieces = [run.path / ".last.partial-01234567.keras", run.plots / ".a.partial-01234567.png"]
    for file in (*pieces, run.config):
        file.touch()
    with training_lock(run):
        assert not any(piece.exists() for piece in pieces)
    assert run.config.exists()


def test_a_damaged_configuration_is_not_continued(tmp_path: Path) -> None:
    settings = unfinished(tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text("a: [")
    with pytest.raises(OutputError, match="cannot be read"):
        check_run_folder(settings)


def test_unfinished_runs_with_default_names_are_pointed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = composed("training.epochs=3")
    run = make_run_directory(settings, "resnet")
    write_yaml(run.config, plain(settings))
    make_run_directory(settings, "resnet")
    note_unfinished(settings)
    assert f"run_dir={run.path} continues it" in capsys.readouterr().out
    note_unfinished(composed("training.epochs=4"))
    assert capsys.readouterr().out == ""
