"""What is heavy is imported late: help and configuration errors must be quick."""

from __future__ import annotations

import subprocess
import sys

import pytest

from smartbkg_tf.__main__ import COMMANDS

HEAVY = ("tensorflow", "keras", "matplotlib", "numba", "pythia8mc", "uproot", "pandas")


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_package_import_is_light() -> None:
    loaded = modules_after("import smartbkg_tf")
    assert not loaded & {*HEAVY, "numpy", "hydra"}


def test_no_command_module_imports_anything_heavy() -> None:
    code = "; ".join(f"import smartbkg_tf.{name}" for name in COMMANDS)
    assert not modules_after(code) & set(HEAVY)


@pytest.mark.parametrize("arguments", [["model.inputz=decay"], ["--help"]])
def test_help_and_configuration_errors_do_not_import_tensorflow(arguments: list[str]) -> None:
    code = (
        f"import sys; sys.argv[1:] = {arguments!r}\n"
        "import smartbkg_tf.train\n"
        "try:\n    smartbkg_tf.train.main()\nexcept SystemExit:\n    pass\n"
    )
    assert not modules_after(code) & {"tensorflow", "keras"}
