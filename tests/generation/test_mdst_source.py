"""A campaign of mDST files and the lists of events that passed, on synthetic twins."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from smartbkg_tf.errors import ConfigurationError, InputError
from smartbkg_tf.events import root_files
from smartbkg_tf.events.readers import iterate_events
from smartbkg_tf.generation.mdst_source import MdstSource
from smartbkg_tf.generation.production import produce
from tests.generation.test_production import chosen, hashes
from tests.mdst_twin import write_mdst_twin

PER_FILE = 25


def keys_of(file, n=PER_FILE, first=1):
    """Equal event numbers in every file: only run tells the events apart."""
    number = np.arange(first, first + n)
    return {
        "experiment": 0 * number + 1003,
        "run": 0 * number + file,
        "event": number,
        "production": 0 * number + 5,
    }


def rows(file, events):
    return np.array([[1003, file, event, 5] for event in events], dtype=np.int64)


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """Four parents; the skim's own output for two, and a flag file for the others."""
    folder = tmp_path_factory.mktemp("campaign")
    for file in range(4):
        write_mdst_twin(folder / f"mdst_{file}.root", PER_FILE, file, keys=keys_of(file))
    for file, first in ((0, 3), (1, 11)):
        # What a skim writes has the same EventMetaData.
        write_mdst_twin(folder / f"udst_{file}.root", 4, 9, keys=keys_of(file, 4, first))
    np.save(folder / "flags_2.npy", rows(2, [1, 25, 25]))
    (folder / "flags_3.csv").write_text("experiment,run,event,production\n")
    return folder


PASSING = {0: range(3, 7), 1: range(11, 15), 2: (1, 25), 3: ()}


def converted(campaign, output, *overrides, parents="mdst_*.root", lists=None):
    lists = lists or f"{campaign}/udst_*.root,{campaign}/flags_*"
    return chosen(
        output,
        "source=mdst",
        f"input='{campaign}/{parents}'",
        f"skim_files='{lists}'",
        "event_type=ccbar",
        *overrides,
    )


def read(path):
    ((_, table),) = iterate_events([path])
    return table


def test_labels_are_joined_on_the_whole_key(campaign, tmp_path, capsys):
    files = produce(converted(campaign, tmp_path / "out"))
    for file, path in enumerate(files):
        table = read(path)
        passing = table.keys["event"][table.labels["fei_hadronic_b0"] == 1]
        assert passing.tolist() == list(PASSING[file])
        np.testing.assert_array_equal(table.keys["run"], file)
        np.testing.assert_array_equal(table.event_type, 5)
    said = capsys.readouterr().out
    assert "4 files, 0 left out, 100 events, 0 of them with the key of an earlier one" in said
    assert "11 passing events listed; fei_hadronic_b0: 10 of 100 events pass (10.00 %)" in said
    assert "1 keys occur more than once" in said
    record = json.loads((tmp_path / "out" / "production.json").read_text())
    assert record["input"] == {
        "files": 4, "left_out": [], "events": 100, "duplicates": 0, "skim": "fei_hadronic_b0",
        "listed": 11, "listed_again": 1, "passing": 10, "without_parent": 0,
    }  # fmt: skip
    assert record["retention"]["ccbar"]["skims"]["fei_hadronic_b0"]["passing"] == 10


def test_parts_hold_the_same_as_the_whole(campaign, tmp_path):
    whole = read(produce(converted(campaign, tmp_path / "a", parents="mdst_0.root",
                                   lists=f"{campaign}/udst_0.root"))[0])  # fmt: skip
    parts = produce(converted(campaign, tmp_path / "b", "source.chunk_events=7",
                              parents="mdst_0.root", lists=f"{campaign}/udst_0.root"))  # fmt: skip
    assert [p.name for p in parts] == [f"mdst_0{n}.h5" for n in ("", "_00001", "_00002", "_00003")]
    tables = [read(part) for part in parts]
    assert [len(table) for table in tables] == [7, 7, 7, 4]
    for name, values in whole.particles.items():
        np.testing.assert_array_equal(np.concatenate([t.particles[name] for t in tables]), values)
    for name, values in {**whole.keys, **whole.labels}.items():
        together = np.concatenate([{**t.keys, **t.labels}[name] for t in tables])
        np.testing.assert_array_equal(together, values)
    assert (
        np.concatenate([t.decay_strings for t in tables]).tolist() == whole.decay_strings.tolist()
    )


def test_duplicates_are_counted(campaign, tmp_path, capsys):
    shutil.copytree(campaign, tmp_path / "in")
    shutil.copy(campaign / "mdst_0.root", tmp_path / "in" / "mdst_again.root")
    files = produce(converted(tmp_path / "in", tmp_path / "out"))
    said = capsys.readouterr().out
    assert "125 events, 25 of them with the key of an earlier one" in said
    assert "4 keys match more than one event" in said
    assert read(files[4]).labels["fei_hadronic_b0"].sum() == 4


def test_passing_events_without_parent(campaign, tmp_path, capsys):
    three = {"parents": "mdst_[012].root"}
    np.save(tmp_path / "lost.npy", rows(3, [2, 3, 4]))
    lists = {"lists": f"{campaign}/udst_*.root,{tmp_path}/lost.npy"}
    with pytest.raises(
        InputError, match=r"3 of 11 passing events stand in none.*\(1003, 3, 2, 5\)"
    ):
        produce(converted(campaign, tmp_path / "out", **three, **lists))
    assert not (tmp_path / "out").exists()
    produce(converted(campaign, tmp_path / "out", "source.allow_unmatched=true", **three, **lists))
    record = json.loads((tmp_path / "out" / "production.json").read_text())
    assert record["input"]["without_parent"] == 3


def test_bad_parents_may_be_left_out_but_bad_lists_never(campaign, tmp_path, capsys):
    shutil.copytree(campaign, tmp_path / "in")
    (tmp_path / "in" / "mdst_8.root").write_bytes((campaign / "mdst_0.root").read_bytes()[:3000])
    write_mdst_twin(tmp_path / "in" / "mdst_9.root", 5, without=("MCParticles",))
    with pytest.raises(InputError, match="2 problems") as caught:
        produce(converted(tmp_path / "in", tmp_path / "out"))
    assert all(name in str(caught.value) for name in ("mdst_8.root", "mdst_9.root", "MCParticles"))
    options = ("source.on_bad_file=skip",)
    assert len(produce(converted(tmp_path / "in", tmp_path / "out", *options))) == 4
    record = json.loads((tmp_path / "out" / "production.json").read_text())
    assert record["input"]["left_out"] == ["mdst_8.root", "mdst_9.root"]
    # A list that is left out would turn passing events into failing ones.
    (tmp_path / "in" / "udst_1.root").write_bytes(b"root, but no more")
    np.save(tmp_path / "in" / "flags_4.npy", np.arange(5))
    with pytest.raises(InputError, match="skim files cannot be used: 2 problems") as caught:
        produce(converted(tmp_path / "in", tmp_path / "other", *options))
    assert "udst_1.root" in str(caught.value)
    assert "flags_4.npy" in str(caught.value)
    assert not (tmp_path / "other").exists()


def test_bare_event_numbers_of_one_run_are_filled(campaign, tmp_path):
    np.save(tmp_path / "bare.npy", np.array([2, 4]))
    one = {"parents": "mdst_1.root", "lists": f"{tmp_path}/bare.npy"}
    with pytest.raises(InputError, match=r"(?s)bare event numbers.*source\.fill="):
        produce(converted(campaign, tmp_path / "out", **one))
    fill = "source.fill={experiment: 1003, run: 1, production: 5}"
    table = read(produce(converted(campaign, tmp_path / "out", fill, **one))[0])
    assert table.keys["event"][table.labels["fei_hadronic_b0"] == 1].tolist() == [2, 4]
    with pytest.raises(ConfigurationError, match="fill"):
        converted(campaign, tmp_path / "out", "source.fill={runs: 1}", **one)


def test_only_unfinished_parts_are_made_again(campaign, tmp_path, monkeypatch):
    """Killed in the middle of a file; and a list that changes for one file changes only that."""
    real, calls = MdstSource.make, []

    def dying(self, task, directory):
        calls.append(task.name)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(self, task, directory)

    settings = converted(campaign, tmp_path / "out", "source.chunk_events=10")
    monkeypatch.setattr(MdstSource, "make", dying)
    with pytest.raises(KeyboardInterrupt):
        produce(settings)
    assert calls[-1] == "mdst_1_00001.h5"
    assert len(hashes(tmp_path / "out")) == 4
    produce(settings)
    assert calls[5] == "mdst_1_00001.h5"
    assert len(calls) == 5 + 8
    more = f"{campaign}/udst_*.root,{campaign}/flags_*,{tmp_path}/more.npy"
    np.save(tmp_path / "more.npy", rows(3, [17]))
    produce(converted(campaign, tmp_path / "out", "source.chunk_events=10", lists=more))
    assert calls[13:] == ["mdst_3_00001.h5"]
    assert read(tmp_path / "out" / "mdst_3_00001.h5").labels["fei_hadronic_b0"].sum() == 1


def test_another_file_of_the_same_name_is_converted_anew(campaign, tmp_path):
    shutil.copy(campaign / "mdst_0.root", tmp_path / "x.root")
    one = {"parents": "x.root", "lists": f"{campaign}/udst_0.root"}
    produce(converted(tmp_path, tmp_path / "out", **one))
    before = (tmp_path / "out" / "x.h5").stat().st_mtime_ns
    produce(converted(tmp_path, tmp_path / "out", **one))
    assert (tmp_path / "out" / "x.h5").stat().st_mtime_ns == before
    os.utime(tmp_path / "x.root", ns=(1, 1))
    produce(converted(tmp_path, tmp_path / "out", **one))
    assert (tmp_path / "out" / "x.h5").stat().st_mtime_ns != before


def test_parts_and_files_of_equal_name_are_refused(campaign, tmp_path):
    shutil.copy(campaign / "mdst_0.root", tmp_path / "x.root")
    shutil.copy(campaign / "mdst_1.root", tmp_path / "x_00001.root")
    settings = chosen(
        tmp_path / "out", "source=mdst", f"input={tmp_path}/*.root", "source.chunk_events=20"
    )
    with pytest.raises(InputError, match=r"x_00001\.h5 would overwrite one of .*x\.root"):
        produce(settings)


def test_no_more_than_a_part_is_unpacked_at_a_time(tmp_path, monkeypatch):
    """Peak memory on a long file is measured by benchmarks/production.py."""
    write_mdst_twin(tmp_path / "long.root", 200, 3, basket=20)
    borders, unpacked = root_files._basket_borders, []

    def recorded(*arguments):
        low, high = borders(*arguments)
        unpacked.append(high - low)
        return low, high

    settings = chosen(
        tmp_path / "out", "source=mdst", f"input={tmp_path}/long.root", "source.chunk_events=40"
    )
    tasks, _ = settings.source.plan(settings)
    monkeypatch.setattr(root_files, "_basket_borders", recorded)
    for task in tasks:
        assert settings.source.make(task, tmp_path / "out").n_events == 40
    assert len(tasks) == 5
    assert set(unpacked) == {40}
