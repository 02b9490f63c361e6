from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from smartbkg_tf.errors import InputError, OutputError, UserError
from smartbkg_tf.events.cross_sections import cross_sections
from smartbkg_tf.events.readers import iterate_events
from smartbkg_tf.events.table import EVENT_TYPES
from smartbkg_tf.generation import production
from smartbkg_tf.generation.production import produce
from smartbkg_tf.generation.pythia_source import PythiaSource
from smartbkg_tf.generation.retention import retention, retention_table
from smartbkg_tf.runtime import pool
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.runtime.files import exclusive_lock, sha256
from smartbkg_tf.settings.generation import ProduceSettings

MDST = Path(__file__).resolve().parents[2] / "../shared/data/mdst-v06-00-00.root"
needs_mdst = pytest.mark.skipif(not MDST.exists(), reason="the real mDST file is not here")


def chosen(output, *overrides):
    return compose_settings(
        "produce",
        ProduceSettings,
        [f"output={output}", "n_events=250", "chunk_size=100", *overrides],
    )


def read(path):
    ((_, table),) = list(iterate_events([path]))
    return table


def hashes(folder):
    """Hash every file of an output folder but the record, which tells when and how."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != "production.json"]
    return {str(p.relative_to(folder)): sha256(p) for p in files}


def same(a, b):
    for group in ("particles", "keys", "labels", "observables"):
        one, other = getattr(a, group), getattr(b, group)
        assert set(one) == set(other)
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    np.testing.assert_array_equal(a.offsets, b.offsets)
    np.testing.assert_array_equal(a.event_type, b.event_type)
    np.testing.assert_array_equal(a.decay_strings, b.decay_strings)


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "tables"
    files = produce(chosen(folder, "event_type=[charged,mixed]"))
    return folder, files


@pytest.fixture
def copy(one_worker, tmp_path):
    shutil.copytree(one_worker[0], tmp_path / "tables")
    return tmp_path / "tables"


def made(folder):
    return {p.name: p.stat().st_mtime_ns for p in folder.glob("*.h5")}


def test_files_keys_labels_and_record(one_worker):
    folder, files = one_worker
    assert [f.name for f in files] == [
        f"{kind}_{chunk:05d}.h5" for kind in ("mixed", "charged") for chunk in range(3)
    ]
    table = read(files[4])
    assert len(table) == 100
    np.testing.assert_array_equal(table.keys["experiment"], 1003)
    np.testing.assert_array_equal(table.keys["run"], 2)
    np.testing.assert_array_equal(table.keys["event"], np.arange(1, 101))
    np.testing.assert_array_equal(table.keys["production"], 11)
    np.testing.assert_array_equal(table.event_type, 1)
    assert set(table.labels) == {"fei_hadronic_b0"}
    assert {"Mbc_fei_hadronic_b0", "R2", "thrust"} <= set(table.observables)
    assert table.decay_strings[0].startswith(" 300553 (--> 521 (-->")
    assert len(read(files[2])) == 50
    record = json.loads((folder / "production.json").read_text())
    assert record["retention"]["mixed"]["n_events"] == 250
    passing = sum(int(np.sum(read(f).labels["fei_hadronic_b0"])) for f in files[:3])
    assert record["retention"]["mixed"]["skims"]["fei_hadronic_b0"]["passing"] == passing
    assert record["chunks"]["mixed_00000.h5"]["lost_branching"]["511"] < 0.005
    assert record["chunks"]["mixed_00000.h5"]["unknown_codes"] == {}
    assert record["software"]["pythia8mc"].startswith("8.317")


def test_two_workers_make_the_same_tables(one_worker, tmp_path):
    two = produce(chosen(tmp_path / "two", "event_type=[charged,mixed]", "workers=2"))
    assert [f.name for f in two] == [f.name for f in one_worker[1]]
    one = hashes(one_worker[0])
    assert len(one) == 13  # six tables, their observables, and these joined
    assert hashes(tmp_path / "two") == one


def test_observables_are_written_by_event_key(one_worker):
    folder, files = one_worker
    parts = [pd.read_parquet(folder / "observables" / f"{file.stem}.parquet") for file in files]
    joined = pd.read_parquet(folder / "observables" / "all.parquet")
    pd.testing.assert_frame_equal(joined, pd.concat(parts, ignore_index=True))
    for file, part in zip(files, parts, strict=True):
        table = read(file)
        expected = {**table.keys, **table.observables}
        assert set(part.columns) == {*expected, "event_type"}
        assert set(part["event_type"]) == {file.name.split("_")[0]}
        for name, values in expected.items():
            np.testing.assert_array_equal(part[name].to_numpy(), values, err_msg=name)
    assert {"Mbc_fei_hadronic_b0", "deltaE_fei_hadronic_b0", "R2", "thrust", "nTracks"} <= set(
        joined
    )


def test_observables_that_are_lost_are_made_again(copy):
    lost, joined = (copy / "observables" / f"{n}.parquet" for n in ("mixed_00001", "all"))
    before = hashes(copy)
    lost.unlink()
    joined.unlink()
    produce(chosen(copy, "event_type=[mixed,charged]"))
    assert hashes(copy) == before


def test_a_second_run_makes_nothing_new(copy, capsys):
    before = made(copy)
    produce(chosen(copy, "event_type=[mixed,charged]"))
    assert made(copy) == before
    assert "6 of 6 tables already exist" in capsys.readouterr().out


def test_missing_damaged_and_half_written_tables_are_redone(copy, one_worker):
    before = made(copy)
    (copy / "mixed_00001.h5").unlink()
    with open(copy / "charged_00000.h5", "r+b") as stream:
        stream.truncate(1000)
    left_over = copy / ".mixed_00001.partial-0123abcd.h5"
    left_over.write_bytes(b"half")
    half_record = copy / ".production.partial-01234567.json"
    half_record.write_text("{")
    files = produce(chosen(copy, "event_type=[mixed,charged]"))
    after = made(copy)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"mixed_00001.h5", "charged_00000.h5"}
    assert not left_over.exists()
    assert not half_record.exists()
    for a, b in zip(one_worker[1], files, strict=True):
        same(read(a), read(b))


def test_a_run_that_was_stopped_goes_on(tmp_path, monkeypatch, one_worker):
    """Killed while the second chunk is made: the first stays, nothing half written."""
    real, calls = PythiaSource.make, []

    def dying(self, task, directory):
        calls.append(task.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, task, directory)

    folder = tmp_path / "tables"
    monkeypatch.setattr(PythiaSource, "make", dying)
    with pytest.raises(KeyboardInterrupt):
        produce(chosen(folder))
    assert sorted(hashes(folder)) == ["mixed_00000.h5", "observables/mixed_00000.parquet"]
    monkeypatch.setattr(PythiaSource, "make", lambda s, t, d: calls.append(t.name) or real(s, t, d))
    files = produce(chosen(folder))
    assert calls == [f"mixed_0000{i}.h5" for i in (0, 1, 1, 2)]
    same(read(files[1]), read(one_worker[1][1]))


def test_more_events_reuse_whole_chunks(copy):
    before = made(copy)
    files = produce(chosen(copy, "n_events=400"))
    after = made(copy)
    assert len(files) == 4
    # The last chunk had 50 events and has 100 now.
    assert {n for n in before if after[n] != before[n]} == {"mixed_00002.h5"}


@pytest.mark.parametrize(
    "override",
    [
        "seed=2",
        "detector.seed=5",
        "skim.fei_hadronic_b0.maximum_r2=0.3",
        "skim=all",
        "source.mixing_frequency=0.5",
        "chunk_size=125",
    ],
)
def test_other_settings_are_refused(copy, override):
    before = made(copy)
    with pytest.raises(OutputError, match="other settings") as caught:
        produce(chosen(copy, override))
    assert override.split("=")[0].split(".")[-1] in str(caught.value)
    assert made(copy) == before


def test_overwrite_replaces_them(copy):
    files = produce(chosen(copy, "seed=2", "n_events=100", "overwrite=true"))
    assert [p.name for p in sorted(copy.glob("*.h5"))] == ["mixed_00000.h5"]
    np.testing.assert_array_equal(read(files[0]).keys["production"], 20)


def test_two_runs_into_one_folder_at_the_same_time(copy):
    """The second one is refused and changes nothing, whatever its settings."""
    before = hashes(copy)
    record = (copy / "production.json").read_bytes()
    with exclusive_lock(copy, busy="held by the first"):
        for overrides in (["event_type=mixed"], ["seed=2", "overwrite=true"]):
            with pytest.raises(OutputError, match=r"another produce is writing[\s\S]*wait for it"):
                produce(chosen(copy, *overrides))
    assert hashes(copy) == before
    assert (copy / "production.json").read_bytes() == record


@pytest.mark.parametrize(
    ("place", "text"), [("file", "cannot be written"), ("file/below", "cannot be written")]
)
def test_an_output_that_cannot_be_made(tmp_path, place, text):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=text):
        produce(chosen(tmp_path / place))


def test_a_copied_folder_is_recognised_by_hashes(copy):
    """Other times, the same content: nothing is made; other content is made again."""
    before = {path.name: sha256(path) for path in copy.glob("*.h5")}
    for path in copy.rglob("*.*"):
        os.utime(path, (1, 1))
    produce(chosen(copy, "event_type=[mixed,charged]"))
    assert set(made(copy).values()) == {10**9}
    damaged = copy / "mixed_00001.h5"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 255
    damaged.write_bytes(content)
    produce(chosen(copy, "event_type=[mixed,charged]"))
    assert {path.name: sha256(path) for path in copy.glob("*.h5")} == before


def test_verify_looks_at_every_byte(copy, capsys):
    """A damage that leaves size and time alone is seen by verify=true only."""
    damaged = copy / "observables" / "mixed_00001.parquet"
    before, times = sha256(damaged), damaged.stat()
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 255
    damaged.write_bytes(content)
    os.utime(damaged, ns=(times.st_atime_ns, times.st_mtime_ns))
    produce(chosen(copy, "event_type=[mixed,charged]"))
    assert sha256(damaged) != before
    capsys.readouterr()
    produce(chosen(copy, "event_type=[mixed,charged]", "verify=true"))
    assert "5 of 6 tables already exist" in capsys.readouterr().out
    assert sha256(damaged) == before


OWN_SKIM = """
from smartbkg_tf.generation.observables import Cleaning
from smartbkg_tf.generation.skims.base import Skim, SkimResult
from smartbkg_tf.settings.base import settings
from own_cut import MINIMUM

@settings
class Own(Skim):
    \"\"\"Many tracks.\"\"\"

    def select(self, events):
        return SkimResult(events.summary(Cleaning()).n_tracks > MINIMUM)
"""


def test_edited_code_of_a_skim_is_noticed(tmp_path, monkeypatch):
    """No old label stays beside new code: neither of the skim's module nor of what it imports."""
    monkeypatch.syspath_prepend(str(tmp_path))
    skim, cut = tmp_path / "own_skim.py", tmp_path / "own_cut.py"
    skim.write_text(OWN_SKIM)
    cut.write_text("MINIMUM = 6\n")
    options = ["~skim.fei_hadronic_b0", "skim.own._target_=own_skim.Own", "n_events=50"]

    def labels(*overrides):
        for name in ("own_skim", "own_cut"):
            sys.modules.pop(name, None)
        return read(produce(chosen(tmp_path / "out", *options, *overrides))[0]).labels["own"]

    first = labels()
    # Neither comments, nor docstrings, nor line endings are code.
    skim.write_bytes(OWN_SKIM.replace("Many", "Several").replace("\n", "  # Why?\r\n").encode())
    np.testing.assert_array_equal(labels(), first)
    # Of another size: Python's compiled files know the time to a second only.
    cut.write_text("MINIMUM = 8  # tracks\n")
    with pytest.raises(OutputError, match=r"other code; changed since: own_cut\n[\s\S]*overwrite"):
        labels()
    assert labels("overwrite=true").sum() < first.sum()
    skim.write_text(OWN_SKIM.replace(">", ">="))
    with pytest.raises(OutputError, match=r"changed since: own_skim \(skim own\)"):
        labels()
    for name in ("own_skim", "own_cut"):
        sys.modules.pop(name, None)


def test_tables_of_an_earlier_version_are_refused(copy):
    record = json.loads((copy / "production.json").read_text())
    record["format_version"] = 2
    (copy / "production.json").write_text(json.dumps(record))
    with pytest.raises(OutputError, match=r"earlier version of smartbkg_tf[\s\S]*overwrite=true"):
        produce(chosen(copy))
    files = produce(chosen(copy, "n_events=100", "overwrite=true"))
    assert [path.name for path in copy.glob("*.h5")] == [file.name for file in files]


def test_records_of_a_killed_run_with_other_settings_are_replaced_too(copy, tmp_path):
    """Tables that only their own records know are removed with the others."""
    record = json.loads((copy / "production.json").read_text())
    chunk = record["chunks"].pop("charged_00002.h5")
    (copy / "records").mkdir()
    (copy / "records" / "charged_00002.h5.json").write_text(
        json.dumps({**chunk, "settings_hash": record["settings_hash"]})
    )
    (copy / "records" / "charged_00001.h5.json").write_text('{"name": 3}')
    (copy / "production.json").write_text(json.dumps(record))
    shutil.copytree(copy, tmp_path / "same")
    before = made(tmp_path / "same")
    produce(chosen(tmp_path / "same", "event_type=[mixed,charged]"))
    assert made(tmp_path / "same") == before
    produce(chosen(copy, "seed=2", "n_events=100", "overwrite=true"))
    assert [path.name for path in copy.glob("*.h5")] == ["mixed_00000.h5"]
    assert sorted(path.name for path in copy.iterdir()) == [
        "mixed_00000.h5", "observables", "production.json"
    ]  # fmt: skip


@pytest.mark.parametrize("value", [None, 5, [], {"files": 3}, {"files": {"a.h5": "x"}}])
def test_a_record_of_another_form_is_made_again(copy, value):
    record = json.loads((copy / "production.json").read_text())
    record["chunks"]["mixed_00002.h5"] = value
    (copy / "production.json").write_text(json.dumps(record))
    before = made(copy)
    produce(chosen(copy, "event_type=[mixed,charged]"))
    after = made(copy)
    assert {name for name in after if after[name] != before[name]} == {"mixed_00002.h5"}


def test_a_damaged_record_is_no_licence_to_replace(copy):
    (copy / "production.json").write_text("{")
    with pytest.raises(OutputError, match="damaged: how they were made is unknown"):
        produce(chosen(copy))
    files = produce(chosen(copy, "overwrite=true", "n_events=100"))
    assert [f.name for f in files] == ["mixed_00000.h5"]


def test_tables_of_unknown_origin_are_not_replaced(tmp_path):
    foreign = tmp_path / "mixed_00000.h5"
    foreign.write_text("mine")
    with pytest.raises(OutputError, match="unknown origin"):
        produce(chosen(tmp_path))
    assert foreign.read_text() == "mine"


def test_another_detector_seed_changes_labels_not_events(one_worker, tmp_path):
    files = produce(chosen(tmp_path, "detector.seed=77", "n_events=100"))
    a, b = read(one_worker[1][0]), read(files[0])
    for name in a.particles:
        np.testing.assert_array_equal(a.particles[name], b.particles[name])
    assert not np.array_equal(a.observables["visibleEnergyCMS"], b.observables["visibleEnergyCMS"])


def test_parquet_holds_the_same(one_worker, tmp_path):
    (file,) = produce(chosen(tmp_path, "format=parquet", "n_events=100"))
    assert file.name == "mixed_00000.parquet"
    same(read(file), read(one_worker[1][0]))


KILLER = """
import os, signal
from pathlib import Path
from smartbkg_tf.generation.observables import Cleaning
from smartbkg_tf.generation.skims.base import Skim, SkimResult
from smartbkg_tf.settings.base import settings

@settings
class Killer(Skim):
    flag: str
    always: bool = False

    def select(self, events):
        flag = Path(self.flag)
        if self.always or not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return SkimResult(events.summary(Cleaning()).n_tracks > 8)
"""


@pytest.fixture
def killer(tmp_path, monkeypatch):
    (tmp_path / "killer_skim.py").write_text(textwrap.dedent(KILLER))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield [
        "~skim.fei_hadronic_b0",
        "+skim.busy._target_=killer_skim.Killer",
        f"+skim.busy.flag={tmp_path}/flag",
        "n_events=30",
        "chunk_size=10",
        "workers=2",
    ]
    sys.modules.pop("killer_skim", None)


def test_a_killed_process_loses_nothing(tmp_path, killer, capsys):
    files = produce(chosen(tmp_path / "tables", *killer))
    assert (tmp_path / "flag").exists()
    assert "a process died" in capsys.readouterr().out
    assert [len(read(f)) for f in files] == [10] * 3
    assert sorted(p.name for p in (tmp_path / "tables").iterdir()) == sorted(
        [*(f.name for f in files), "observables", "production.json"]
    )


def test_workers_of_a_killed_run_end_and_the_next_run_goes_on(tmp_path):
    """SIGKILL for the whole command: no orphan works on, whole tables stay, the rest is made."""
    command = [
        sys.executable,
        "-m",
        "smartbkg_tf.produce",
        "n_events=3000",
        "chunk_size=250",
        "workers=2",
        "output=tables",
    ]
    run = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    records = tmp_path / "tables" / "records"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and run.poll() is None:
        if list(records.glob("[!.]*.json")):
            break
        time.sleep(0.02)
    assert run.poll() is None, "the run ended before it could be killed"
    run.kill()
    run.wait()
    while time.monotonic() < deadline and _alive(run.pid):
        time.sleep(0.05)
    assert _alive(run.pid) == []
    done = made(tmp_path / "tables")
    recorded = {path.stem for path in records.glob("[!.]*.json")}
    assert 0 < len(recorded) < 12
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    after = made(tmp_path / "tables")
    assert len(after) == 12
    assert {name for name in recorded if after[name] != done[name]} == set()
    assert not list((tmp_path / "tables").glob(".*"))
    assert not records.exists()


def _alive(session):
    """List the processes of a session, by its leader's number."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(entry.parent.name)
    return found


def test_processes_that_keep_dying_end_the_run(tmp_path, killer, monkeypatch):
    monkeypatch.setattr(pool, "_MOST_REVIVALS", 0)
    with pytest.raises(UserError, match=r"(?s)processes died.*same command goes on"):
        produce(chosen(tmp_path / "tables", *killer, "+skim.busy.always=true"))


def test_a_missing_package_is_told_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(production, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs pythia8mc and decaylanguage.*\n.*\[generate\]"):
        produce(chosen(tmp_path / "tables"))
    assert not (tmp_path / "tables").exists()
    assert importlib.util.find_spec("pythia8mc") is not None


def test_retention_has_the_binomial_error():
    chunks = [
        {"event_type": "mixed", "n_events": 300, "passing": {"a": 10}},
        {"event_type": "mixed", "n_events": 100, "passing": {"a": 6}},
        {"event_type": "taupair", "n_events": 50, "passing": {"a": 0}},
    ]
    values = retention(chunks)
    assert values["mixed"]["skims"]["a"] == {
        "passing": 16,
        "retention": 0.04,
        "error": pytest.approx(np.sqrt(0.04 * 0.96 / 400)),
    }
    assert retention_table(values).splitlines() == [
        "retention, %         mixed  taupair",
        "(events)               400       50",
        "a             4.00 +- 0.98  < 6.000",
    ]


# --- mDST ------------------------------------------------------------------------------


def from_mdst(output, *overrides):
    return chosen(output, "source=mdst", f"input={MDST}", "event_type=charged", *overrides)


@needs_mdst
def test_mdst_without_skim_files_has_unknown_labels(tmp_path):
    (file,) = produce(from_mdst(tmp_path / "tables"))
    assert file.name == "mdst-v06-00-00.h5"
    table = read(file)
    assert len(table) == 10
    np.testing.assert_array_equal(table.event_type, 1)
    assert all(np.all(labels == -1) for labels in table.labels.values())
    assert table.decay_strings[0].startswith(" 300553 (-->")


@needs_mdst
def test_mdst_labels_come_from_the_list_of_passing_events(tmp_path):
    keys = read(produce(from_mdst(tmp_path / "plain"))[0]).keys
    np.save(tmp_path / "pass.npy", np.stack([keys[k][[1, 4]] for k in keys], axis=1))
    flags = f"skim_files={tmp_path}/pass.npy"
    (file,) = produce(from_mdst(tmp_path / "a", flags, "source.skim_name=mine"))
    labels = read(file).labels
    assert set(labels) == {"mine"}
    np.testing.assert_array_equal(np.flatnonzero(labels["mine"]), [1, 4])
    (file,) = produce(from_mdst(tmp_path / "b", flags))
    assert set(read(file).labels) == {"fei_hadronic_b0"}
    with pytest.raises(UserError, match=r"stands for one skim.*\n.*source.skim_name"):
        produce(from_mdst(tmp_path / "c", flags, "skim=all"))


@needs_mdst
def test_files_of_equal_name_are_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(MDST, tmp_path / folder / "x.root")
    with pytest.raises(InputError, match="would overwrite one of"):
        produce(from_mdst(tmp_path / "tables", f"input='{tmp_path}/*/x.root'"))


def test_the_natural_mixture_shares_events_out_by_cross_section(tmp_path):
    assert set(cross_sections()) == set(EVENT_TYPES)
    settings = chosen(tmp_path, "event_type=all", "mixture=natural", "n_events=10001")
    made: dict[str, int] = {}
    for task in settings.source.plan(settings)[0]:
        assert 0 < task.n_events <= 100
        made[task.event_type] = made.get(task.event_type, 0) + task.n_events
    assert sum(made.values()) == 10_001
    # By hand: 1.61 of 5.719 nb.
    assert made["uubar"] == round(10_001 * 1.61 / 5.719)
