"""Which events are trained on, and what is said when there are none."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from smartbkg_tf.dataset.dataset import open_dataset
from smartbkg_tf.errors import ConfigurationError, InputError, OutputError
from smartbkg_tf.runtime import code_digest, files
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.settings.training import DemoSettings, TrainSettings
from smartbkg_tf.training import data
from smartbkg_tf.training.data import cache_folder, demo_key, demo_settings, prepare_dataset


def composed(*overrides: str) -> TrainSettings:
    return compose_settings("train", TrainSettings, overrides)


def test_a_dataset_that_is_given(dataset_path: Path) -> None:
    assert prepare_dataset(composed(f"data.path='{dataset_path}'")) == dataset_path


def test_a_path_that_does_not_exist_names_its_neighbours(dataset_path: Path) -> None:
    wrong = dataset_path.with_name("datset")
    with pytest.raises(InputError, match=r"did you mean 'dataset'[\s\S]*smartbkg_tf.preprocess"):
        prepare_dataset(composed(f"data.path='{wrong}'"))


def test_a_folder_or_file_that_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset\.json is missing"):
        prepare_dataset(composed(f"data.path='{tmp_path}'"))
    (tmp_path / "file.h5").touch()
    with pytest.raises(InputError, match=r"dataset\.json is missing"):
        prepare_dataset(composed(f"data.path='{tmp_path / 'file.h5'}'"))


def test_where_samples_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SMARTBKG_TF_CACHE", "/one")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    monkeypatch.setenv("HOME", "/three")
    assert cache_folder(DemoSettings(cache="~/mine")) == Path("/three/mine")
    assert cache_folder(DemoSettings()) == Path("/one")
    monkeypatch.delenv("SMARTBKG_TF_CACHE")
    assert cache_folder(DemoSettings()) == Path("/two/smartbkg_tf")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder(DemoSettings()) == Path("/three/.cache/smartbkg_tf")


def test_the_name_of_a_sample_holds_what_decides_about_it() -> None:
    demo = DemoSettings(n_events=50)
    same = [dataclasses.replace(demo, **c) for c in ({"workers": 2}, {"cache": "/elsewhere"})]
    assert {demo_key(one) for one in (demo, *same)} == {demo_key(demo)}
    changes: list[dict[str, Any]] = [
        {"n_events": 51},
        {"seed": 2},
        {"event_types": ["charged"]},
        {"skim": "fei_hadronic_bplus"},
    ]
    keys = {demo_key(dataclasses.replace(demo, **change)) for change in changes}
    assert len(keys | {demo_key(demo)}) == 5


@pytest.mark.parametrize(
    "module",
    [
        "smartbkg_tf.generation.detector",
        "smartbkg_tf.generation.skims.fei_hadronic",
        "smartbkg_tf.dataset.shuffle",
        "smartbkg_tf.encoding.features",
    ],
)
def test_edited_code_is_another_sample(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    demo, read = DemoSettings(n_events=50), code_digest._source
    before = demo_key(demo)

    def edit(name: str, text: str) -> None:
        """Let the module's file hold a further line."""
        monkeypatch.setattr(
            code_digest,
            "_source",
            lambda spec: f"{read(spec)}\n{text}\n" if spec.name == name else read(spec),
        )

    edit(module, "ANOTHER = 1")
    assert demo_key(demo) != before
    edit(module, "# a comment")
    assert demo_key(demo) == before
    edit("smartbkg_tf.training.fit", "ANOTHER = 1")
    assert demo_key(demo) == before


def test_settings_of_the_two_steps(tmp_path: Path) -> None:
    folder = tmp_path / "a folder, with = and 'quotes'"
    demo = DemoSettings(n_events=50, seed=4, event_types=["mixed", "charged"], workers=2)
    produce, preprocess = demo_settings(demo, folder)
    assert produce.event_types == ("mixed", "charged")
    assert (produce.n_events, produce.seed, produce.workers) == (50, 4, 2)
    assert list(produce.skim) == ["fei_hadronic_b0"]
    assert produce.output == str(folder / "tables")
    assert preprocess.output == str(folder / "dataset")
    assert preprocess.normalisation.name == "physical"


def test_an_unknown_skim_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="fei_hadronic_b0"):
        demo_key(DemoSettings(skim="fei_hadronic_b"))


def place_sample(cache: Path, dataset: Path) -> tuple[TrainSettings, Path]:
    """Put a dataset where the demo of these settings would be kept."""
    settings = composed("data.demo.n_events=77", f"data.demo.cache='{cache}'")
    folder = cache / f"mixed-77-{demo_key(settings.data.demo)}"
    shutil.copytree(dataset, folder / "dataset")
    return settings, folder


def test_an_earlier_sample_is_used_again(
    dataset_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, folder = place_sample(tmp_path, dataset_path)
    before = sorted(tmp_path.rglob("*"))
    assert prepare_dataset(settings) == folder / "dataset"
    assert "using the sample of an earlier run" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_sample_is_made_again(
    dataset_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, folder = place_sample(tmp_path, dataset_path)

    def damage() -> None:
        file = folder / "dataset" / "particle_input.memmap"
        os.truncate(file, file.stat().st_size - 8)

    def contents() -> list[bytes]:
        return [p.read_bytes() for p in sorted((folder / "dataset").glob("*.memmap"))]

    damage()
    dataset = prepare_dataset(settings)
    told = capsys.readouterr().out
    assert "the kept dataset is damaged and is made again" in told
    assert "particle_input" in told
    assert "truncated" in told
    assert len(open_dataset(dataset)) == 77
    whole = contents()
    # Its tables are looked at, too: another byte, same size and time.
    (table,) = (folder / "tables").glob("*.h5")
    values, place = bytearray(table.read_bytes()), table.stat()
    values[len(values) // 2] ^= 0xFF
    table.write_bytes(values)
    os.utime(table, ns=(place.st_atime_ns, place.st_mtime_ns))
    damage()
    prepare_dataset(settings)
    assert contents() == whole


def _hold(folder: str, ready: Any, done: Any) -> None:
    demo = DemoSettings(cache=str(Path(folder).parent))
    with data._kept(demo, Path(folder).name):
        ready.set()
        done.wait(60)


def test_a_second_process_waits_for_the_first(
    dataset_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, folder = place_sample(tmp_path, dataset_path)
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(folder), ready, done))
    holder.start()
    told: list[str] = []

    def say(text: str) -> None:
        told.append(text)
        done.set()  # The other one ends when this one waits.

    monkeypatch.setattr(files, "say", say)
    try:
        assert ready.wait(60)
        prepare_dataset(settings)
    finally:
        done.set()
        holder.join()
    assert "another process is making this sample" in told[0]


def test_a_cache_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"data\.demo\.cache=FOLDER"):
        prepare_dataset(composed(f"data.demo.cache='{tmp_path / 'file'}'"))
