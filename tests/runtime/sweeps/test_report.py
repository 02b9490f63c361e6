"""The page about a sweep."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from smartbkg_tf.errors import InputError
from smartbkg_tf.runtime.sweeps.report import Parameter, importance, write_report
from tests.runtime.sweeps.sweeping import SEARCH, sweep

pytest.importorskip("optuna")


def images(page: str) -> list[str]:
    found = re.findall(r'alt="([^"]+)" src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert all(base64.b64decode(data).lstrip().startswith(b"<?xml") for _, data in found)
    return [name for name, _ in found]


def test_a_search(tmp_path: Path) -> None:
    assert sweep(tmp_path, search={**SEARCH, "trials": 8}) == 0
    path = write_report(tmp_path)
    page = path.read_text()
    names = ["history", "parallel coordinates", "importance of the parameters"]
    assert images(page) == names
    assert page.count("<tr") == 9
    assert page.count("class=best") == 1
    assert "pruned after epoch" in page
    assert not re.search(r"(?:src|href)=.?https?:", page), "the page needs no other file"
    storage = tmp_path / "search.db"
    for content, reason in ((b"no database" * 1000, "cannot be used"), (b"", "holds no search")):
        storage.write_bytes(content)
        with pytest.raises(InputError, match=rf"search\.db: {reason}"):
            write_report(tmp_path)


def test_a_grid_with_a_failed_job(tmp_path: Path) -> None:
    assert sweep(tmp_path, ["rate=0.1"], ["rate=0.3"], ["fail=1"]) == 1
    page = write_report(tmp_path).read_text()
    assert images(page) == ["history", "parallel coordinates"]
    assert "2 done, 1 failed; best: 1_rate=0.3 (validation AUC 0.9000)" in page
    assert "Too few finished jobs" in page
    assert "failed: x: is broken" in page


def test_there_is_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"made by: python -m smartbkg_tf\.sweep"):
        write_report(tmp_path)


def test_importance_finds_what_decides() -> None:
    first = [x / 10 for x in range(12)] * 2
    second = [("a", "b")[i % 2] for i in range(24)]
    parameters = [Parameter("second", list(second)), Parameter("first", list(first))]
    shares = importance(parameters, [x**2 for x in first])
    assert list(shares) == ["first", "second"]
    assert shares["first"] > 0.9


def test_axes() -> None:
    logarithmic = Parameter("a", [1e-4, 1e-3, 1e-2])
    assert logarithmic.positions() == pytest.approx([0, 0.5, 1])
    names = Parameter("b", ["x", None, "x"])
    assert names.positions() == [0, 1, 0]
    assert names.ends() == [(0.0, "x"), (1.0, "not given")]
    assert Parameter("c", [2.0, 3.0]).ends() == [(0.0, "2"), (1.0, "3")]
