"""Fixtures that several rooms share."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import hypothesis
import pytest

from tests.shared import folder_of_all_workers

# How long an example takes says something about the machine, not about the code.
hypothesis.settings.register_profile("any_machine", deadline=None)
hypothesis.settings.load_profile("any_machine")

# Before TensorFlow is imported anywhere: tests are about results, not about its log.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# XLA compiles the same operations in half of the time.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# tf2onnx does not copy a graph before each of its steps, to go on when one fails: here it must not.
os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "FALSE")

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the flag of `tests/evaluation/test_report.py`."""
    parser.addoption("--update-images", action="store_true", help="draw the reference images anew")


def pytest_collection_finish() -> None:
    """Spare the garbage collector what lives to the end: libraries and thousands of tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the user's cache out of the tests, and the tests out of the user's cache."""
    os.environ["SMARTBKG_TF_CACHE"] = str(folder_of_all_workers(tmp_path_factory) / "cache")


@pytest.fixture(autouse=True)
def _captured_streams_stay_open() -> None:
    """Hydra sets up logging and closes older handlers; absl's would close what pytest captures."""
    absl = sys.modules.get("absl.logging")
    if absl is not None:
        absl.get_absl_handler().python_handler.stream = sys.__stderr__


@pytest.fixture(scope="session")
def mdst_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the real Belle II file where it is at hand, else its synthetic twin."""
    real = ROOT.parent / "shared" / "data" / "mdst-v06-00-00.root"
    if real.is_file():
        return real
    from tests.mdst_twin import write_mdst_twin

    path = tmp_path_factory.mktemp("mdst") / "twin.root"
    write_mdst_twin(path)
    return path
