"""What a run was made with: software, code version, hardware, data; no host name."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import smartbkg_tf
from smartbkg_tf.errors import ConfigurationError

#: Names the commit of an installation, as an image does; ``+dirty`` after it: files were changed.
COMMIT_VARIABLE = "SMARTBKG_TF_COMMIT"


def code_version(folder: Path | None = None) -> dict[str, Any] | None:
    """Give the commit of the checkout that the package runs from, or of another folder.

    ``dirty``: tracked files were changed. For an installed package the commit is what the variable
    `COMMIT_VARIABLE` says. None without it, without git, or before the first commit.
    """
    folder = Path(smartbkg_tf.__file__).resolve().parent.parent if folder is None else folder
    if not (folder / ".git").exists():
        told, plus, _ = os.environ.get(COMMIT_VARIABLE, "").strip().partition("+")
        return {"commit": told, "dirty": bool(plus)} if told else None
    git = shutil.which("git")
    if git is None:
        return None

    def ask(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(
                [git, "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                timeout=20,
                # `git status` may otherwise write to the index of a repository in use.
                env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    commit = ask("rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    changes = ask("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def require_commit() -> None:
    """Refuse code that no commit names (``strict_repro=true``)."""
    code = code_version()
    if code is None:
        raise ConfigurationError(
            "strict_repro=true: the package is not in a git checkout, so no commit names it",
            where=Path(smartbkg_tf.__file__).parent,
            next_step="train from a checkout, in an image that was built with its commit "
            f"(make image), or with {COMMIT_VARIABLE} set; or leave strict_repro out",
        )
    if code["dirty"] is not False:
        raise ConfigurationError(
            f"strict_repro=true: files were changed since commit {code['commit'][:12]}",
            where=Path(smartbkg_tf.__file__).parent.parent,
            next_step="commit them (git status names them), or leave strict_repro out",
        )


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def usable_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1


def hardware() -> dict[str, Any]:
    """Give processor, usable cores, memory and GPUs (only if TensorFlow is loaded)."""
    gpus: list[str] = []
    if "tensorflow" in sys.modules:
        tf = sys.modules["tensorflow"]
        for device in tf.config.list_physical_devices("GPU"):
            details = tf.config.experimental.get_device_details(device)
            gpus.append(str(details.get("device_name", device.name)))
    return {
        "cpu": _processor(),
        "cores": usable_cores(),
        "memory_gib": _memory_gib(),
        "gpus": gpus,
    }


def now() -> str:
    """Give the time: UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
