"""Import TensorFlow without its chatter. Nothing heavy is imported before that."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from typing import Any


def import_tensorflow() -> Any:
    """Import TensorFlow; its notes about the processor and missing GPUs are kept away.

    Whoever sets ``TF_CPP_MIN_LOG_LEVEL`` sees everything that this level shows. What is
    written to standard error during a failing import is shown in any case.

    Returns
    -------
    module
        ``tensorflow``.

    Raises
    ------
    ImportError
        When TensorFlow is not installed or damaged.
    """
    if "tensorflow" in sys.modules or "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return importlib.import_module("tensorflow")
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # The first lines are written by native code before it reads the level.
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        saved = os.dup(2)
        os.dup2(kept.fileno(), 2)
        failed = True
        try:
            module = importlib.import_module("tensorflow")
            failed = False
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            if failed:
                kept.seek(0)
                sys.stderr.write(kept.read().decode(errors="replace"))
    return module
