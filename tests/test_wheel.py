"""A wheel carries its configuration and works from any folder, without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.conftest import ROOT


def test_wheel_works_from_any_folder(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(tmp_path)]
    subprocess.run(
        [*build, str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert "smartbkg_tf/conf/train.yaml" in names
    assert "smartbkg_tf/evaluation/templates/report.html.jinja" in names
    assert "smartbkg_tf/conf/experiment/quickstart.yaml" in names
    assert not any(name.startswith(("tests/", "conf/")) for name in names)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = (
        "import smartbkg_tf, sys; assert 'site' in smartbkg_tf.__file__, smartbkg_tf.__file__;"
        "sys.argv = ['config', 'validate', 'train', '+experiment=quickstart'];"
        "from smartbkg_tf.config import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "is valid" in done.stdout
