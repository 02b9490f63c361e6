"""What a run was made with."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from smartbkg_tf.errors import ConfigurationError
from smartbkg_tf.runtime.versions import versions
from smartbkg_tf.training import provenance


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_commit_and_dirty_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(provenance.COMMIT_VARIABLE, raising=False)
    assert provenance.code_version(tmp_path) is None, "an installed package"
    git(tmp_path, "init", "-q")
    assert provenance.code_version(tmp_path) is None, "before the first commit"
    (tmp_path / "a.txt").write_text("one")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert provenance.code_version(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "output").mkdir()
    assert provenance.code_version(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "a.txt").write_text("two")
    assert provenance.code_version(tmp_path) == {"commit": commit, "dirty": True}


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("a" * 40, {"commit": "a" * 40, "dirty": False}),
        ("a" * 40 + "+dirty", {"commit": "a" * 40, "dirty": True}),
        ("", None),
        ("+dirty", None),
    ],
)
def test_an_image_says_its_commit(
    said: str, code: dict[str, object] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(provenance.COMMIT_VARIABLE, said)
    assert provenance.code_version(tmp_path) == code
    # What git says of a checkout counts more, also when it says nothing.
    (tmp_path / ".git").mkdir()
    assert provenance.code_version(tmp_path) is None


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    assert provenance.code_version(tmp_path) is None, "a damaged repository"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.code_version(tmp_path) is None


def test_software_and_hardware_without_host_name() -> None:
    software, hardware = versions(), provenance.hardware()
    assert software["python"] == platform.python_version()
    assert {"tensorflow", "keras", "numpy", "smartbkg_tf"} <= set(software)
    assert hardware["cores"] >= 1
    assert hardware["memory_gib"] is None or hardware["memory_gib"] > 0.1
    text = json.dumps([software, hardware])
    assert platform.node() not in text
    assert str(Path.home()) not in text


def test_time_is_utc() -> None:
    assert provenance.now().endswith("+00:00")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (None, "not in a git checkout"),
        ({"commit": "a" * 40, "dirty": True}, "files were changed since commit aaaaaaaaaaaa"),
        ({"commit": "a" * 40, "dirty": None}, "files were changed"),
        ({"commit": "a" * 40, "dirty": False}, None),
    ],
)
def test_strict_reproducibility_needs_a_commit(
    code: dict[str, object] | None, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "code_version", lambda: code)
    if words is None:
        provenance.require_commit()
        return
    with pytest.raises(ConfigurationError, match=words):
        provenance.require_commit()
