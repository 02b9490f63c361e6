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


#: An installation without the extra `train`.
LEAN = """
import sys
class Lean:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras", "tf2onnx", "onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Lean())
"""


def test_without_tensorflow_training_says_what_installs_it() -> None:
    code = f"{LEAN}sys.argv[1:] = ['model=resnet']\nfrom smartbkg_tf.train import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "needs the package tensorflow" in done.stderr
    assert "pip install 'smartbkg_tf[train]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_tensorflow_events_are_filtered_and_scores_evaluated() -> None:
    modules = ("evaluation.evaluate", "filtering.apply", "filtering.event_filter")
    code = "".join(f"import smartbkg_tf.{name}\n" for name in modules)
    assert {f"smartbkg_tf.{name}" for name in modules} <= modules_after(LEAN + code)
