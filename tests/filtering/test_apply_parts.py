"""Parts of `apply`: any number of workers, killed workers, and what an earlier run left."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.scaling import Opens
from smartbkg_tf.errors import InputError, OutputError, UserError
from smartbkg_tf.events.hdf5 import write_hdf5
from smartbkg_tf.events.parquet import write_parquet
from smartbkg_tf.filtering import apply_parts, event_source
from smartbkg_tf.filtering.apply import apply
from smartbkg_tf.filtering.predictions import read_predictions
from smartbkg_tf.runtime import files as runtime_files
from smartbkg_tf.runtime import pool
from smartbkg_tf.runtime.command import compose_settings
from smartbkg_tf.runtime.files import exclusive_lock
from smartbkg_tf.settings.filtering import ApplySettings
from tests.filtering.conftest import Trained
from tests.test_scaling import write_tables

#: A reader as a user writes it, which kills its process at the third of four parts.
_DEADLY = """
import os, signal
from pathlib import Path

from smartbkg_tf.events.hdf5 import HDF5Reader
from smartbkg_tf.settings.base import settings


@settings
class Deadly(HDF5Reader):
    flag: str
    always: bool = False

    def iterate(self, path, *, chunk_events, key, begin=0, end=None):
        if begin == 300 and (self.always or not Path(self.flag).exists()):
            Path(self.flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().iterate(path, chunk_events=chunk_events, key=key, begin=begin, end=end)
"""

Run = Callable[..., dict[str, bytes]]


@pytest.fixture
def run(onnx_model: Path, fitted: Trained, tmp_path: Path) -> Run:
    """Give a function that applies the exported model in four parts; it gives both outputs."""

    def call(*overrides: str, name: str = "p") -> dict[str, bytes]:
        outputs = (tmp_path / f"{name}.parquet", tmp_path / f"{name}.csv")
        given = [f"run={onnx_model}", f"input={fitted.tables}", "chunk_events=150"]
        given += [f"output={outputs[0]}", f"events_output={outputs[1]}"]
        settings = compose_settings("apply", ApplySettings, [*given, *overrides])
        apply(settings)
        return {path.suffix: path.read_bytes() for path in outputs}

    return call


@pytest.fixture
def stopped(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stop a run after two of its four parts; give the folder of the parts."""
    make, made = apply_parts.make_part, []

    def interrupted(*arguments: Any, **options: Any) -> int:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(make(*arguments, **options))
        return made[-1]

    with monkeypatch.context() as patch:
        patch.setattr(apply_parts, "make_part", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run()
    folder = tmp_path / "p.parquet.parts"
    assert len(list(folder.iterdir())) == 2
    return folder


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the events of the parts that are scored."""
    make, noted = apply_parts.make_part, []

    def noting(task: Any, **options: Any) -> int:
        noted.append(task[0].begin)
        return make(task, **options)

    monkeypatch.setattr(apply_parts, "make_part", noting)
    return noted


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Give the overrides that choose the deadly reader, and two workers."""
    (tmp_path / "deadly_reader.py").write_text(_DEADLY)
    monkeypatch.syspath_prepend(tmp_path)
    yield ["reader._target_=deadly_reader.Deadly", f"reader.flag={tmp_path}/flag", "workers=2"]
    sys.modules.pop("deadly_reader", None)


def test_a_killed_worker_is_named_and_the_same_command_resumes_to_the_same_bits(
    run: Run,
    deadly: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(pool, "_MOST_REVIVALS", 0)
    with pytest.raises(UserError, match=r"events 300 to 450\).*\n.*same command") as error:
        run(*deadly)
    assert "p.parquet.parts: processes died 1 times" in str(error.value)
    parts = tmp_path / "p.parquet.parts"
    finished = {file.name: file.stat().st_mtime_ns for file in parts.glob("[!.]*.parquet")}
    assert 1 <= len(finished) <= 3
    assert "the same command goes on from there" in capsys.readouterr().out
    two = run(*deadly)
    assert f"{len(finished)} of 4 parts are finished already" in capsys.readouterr().out
    assert not parts.exists()
    assert run(name="q") == two  # one process, another reader of the same events


def test_what_a_stopped_run_finished_is_not_scored_again(
    run: Run, stopped: Path, scored: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    again = run()
    assert scored == [300, 450]
    assert "2 of 4 parts are finished already" in capsys.readouterr().out
    assert not stopped.exists()
    assert run(name="q") == again


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=9", "seed: 0 then, 9 now"),
        ("batch_size=7", "batch_size: 16 then, 7 now"),
        ("sampling={a: 0.5, b: 1.0}", "rules.fei_hadronic_b0.a: "),
        ("method=score", "method: sampling then, score now"),
        ("chunk_events=200", "chunk_events: 150 then, 200 now"),
    ],
)
def test_parts_of_other_settings_are_not_used(
    run: Run, stopped: Path, override: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(override)
    said = capsys.readouterr().out
    assert "2 finished parts are not used" in said
    assert words in said
    assert not stopped.exists()
    assert run(override, name="q") == found


def test_parts_of_other_events_are_not_used(
    run: Run, stopped: Path, fitted: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Path(shutil.copyfile(fitted.tables, tmp_path / "copy.h5"))
    run(f"input={table}")
    assert "(their inputs changed or are no longer listed)" in capsys.readouterr().out


def test_more_inputs_reuse_the_parts_of_those_before(
    run: Run, stopped: Path, fitted: Trained, scored: list[int], tmp_path: Path
) -> None:
    more = fitted.events.take(np.arange(10))
    write_hdf5(tmp_path / "more.h5", replace(more, keys={**more.keys, "run": more.keys["run"] + 1}))
    run(f"input=[{tmp_path}/more.h5,{fitted.tables}]")
    assert scored == [0, 300, 450]  # more.h5, and what was missing


def test_a_damaged_part_is_done_again(
    run: Run, stopped: Path, scored: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = sorted(stopped.iterdir())
    first.write_bytes(first.read_bytes()[:-50])
    content = bytearray(second.read_bytes())
    content[len(content) // 4] ^= 8  # in the values, not in the footer
    second.write_bytes(content)
    with pytest.raises(InputError, match=r"part is damaged, and was removed(.*\n)+.*only this"):
        run()
    assert "is damaged, this part is done again" in capsys.readouterr().out
    assert len(scored) == 3
    assert run() == run(name="q")
    assert len(scored) == 3 + 1 + 4


def test_a_full_disk_loses_no_part(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scored: list[int]
) -> None:
    rename = os.replace

    def full(source: Path, target: Path) -> None:
        if len(scored) == 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(source))
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(runtime_files.os, "replace", full)
        with pytest.raises(OutputError, match="disk is full"):
            run()
    assert [file.name for file in tmp_path.iterdir()] == ["p.parquet.parts"]
    assert len(list((tmp_path / "p.parquet.parts").iterdir())) == 2
    scored.clear()
    run()
    assert scored == [300, 450]


def test_what_changes_while_it_is_read_is_noticed(
    run: Run, fitted: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Path(shutil.copyfile(fitted.tables, tmp_path / "copy.h5"))
    read = apply_parts.scored_events

    def touching(*arguments: Any) -> Iterator[Any]:
        yield from read(*arguments)
        os.utime(table, (1, 1))

    monkeypatch.setattr(apply_parts, "scored_events", touching)
    with pytest.raises(InputError, match=r"copy\.h5: changed while it was read"):
        run(f"input={table}")
    assert [file.name for file in tmp_path.iterdir()] == ["copy.h5"]


def test_one_process_at_a_time_and_nobody_elses_files(
    run: Run, stopped: Path, tmp_path: Path
) -> None:
    with (
        exclusive_lock(stopped, busy=""),
        pytest.raises(OutputError, match="another apply is writing this output"),
    ):
        run()
    (stopped / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"apply did not write \(notes\.txt\)"):
        run()
    assert len(list(stopped.iterdir())) == 3
    (tmp_path / "q.parquet.parts").write_text("mine")
    with pytest.raises(OutputError, match="apply did not write"):
        run(name="q")
    assert (tmp_path / "q.parquet.parts").read_text() == "mine"


def test_all_kinds_of_input_are_divided(run: Run, fitted: Trained, tmp_path: Path) -> None:
    """The parts of a file hold the events of the whole file, in their order."""
    write_parquet(tmp_path / "e.parquet", fitted.events)
    for source in (tmp_path / "e.parquet", fitted.dataset.path):
        run(f"input={source}", "split=all", "overwrite=true")
        whole = read_predictions(tmp_path / "p.parquet")
        run(f"input={source}", "chunk_events=1000", name="q")
        other = read_predictions(tmp_path / "q.parquet")
        assert len(whole) == 600
        for name in whole.keys:
            np.testing.assert_array_equal(whole.keys[name], other.keys[name])
        for skim, found in whole.skims.items():
            np.testing.assert_allclose(found.score, other.skims[skim].score, atol=1e-6)
            np.testing.assert_array_equal(found.kept, other.skims[skim].kept)
        (tmp_path / "q.parquet").unlink()
        (tmp_path / "q.csv").unlink()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_part_that_kills_every_dask_worker_is_named(run: Run, deadly: list[str]) -> None:
    with pytest.raises(UserError, match=r"several workers died at .* \(events 300 to 450\)"):
        run(*deadly, "reader.always=true", "workers=1", "cluster=local")
    run(*deadly)  # after that nobody dies


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_dask_workers_give_the_same_bits(run: Run) -> None:
    assert run("cluster=local", "workers=2") == run(name="q")


def test_apply_opens_every_table_equally_often(
    fitted: Trained, onnx_model: Path, tmp_path: Path
) -> None:
    found = {}
    for n in (10, 40):
        tables = tmp_path / f"tables_{n}"
        write_tables(tables, fitted.events, n)
        output = tmp_path / f"{n}.parquet"
        words = [f"run={onnx_model}", f"input={tables}/*.h5", f"output={output}"]
        with Opens(tables, output.with_name(f"{output.name}.parts")) as opens:
            apply(compose_settings("apply", ApplySettings, words))
        found[n] = opens.total()
    # Tables that happen to have the size of another one are opened once more, for their probes.
    assert found[40] == pytest.approx(4 * found[10], rel=0.15)
    assert found[40] <= 16 * 40, "one more opening of each table is one more question to a server"


def test_tables_of_equal_size_are_told_apart_without_reading_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = [tmp_path / name for name in ("a", "b", "c")]
    content = bytearray(1 << 20)
    for i, file in enumerate(files):
        content[1 << 19] = i
        file.write_bytes(content)

    def read(path: Path) -> str:
        raise AssertionError(f"{path} is read as a whole")

    with monkeypatch.context() as patch:
        patch.setattr(event_source, "sha256", read)
        event_source._refuse_copies(files)
    shutil.copy(files[0], tmp_path / "d")
    with pytest.raises(InputError, match=r"is a copy of .*a:"):
        event_source._refuse_copies([*files, tmp_path / "d"])
