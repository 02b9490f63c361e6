"""Import TensorFlow without the messages that precede any log level."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile

from smartbkg_tf.errors import missing_package


def load_tensorflow() -> None:
    """Import TensorFlow; its start-up chatter is dropped, an error is not.

    The chatter comes from C++ code that writes to file descriptor 2 before it reads
    ``TF_CPP_MIN_LOG_LEVEL``, so the descriptor itself is turned away for the import. With
    ``TF_CPP_MIN_LOG_LEVEL=0`` in the environment nothing is dropped. `ConfigurationError` where it
    is not installed.
    """
    try:
        _import_quietly()
    except ModuleNotFoundError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        raise missing from error


def _import_quietly() -> None:
    if "tensorflow" in sys.modules or os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        importlib.import_module("tensorflow")
    else:
        sys.stderr.flush()
        saved = os.dup(2)
        with tempfile.TemporaryFile() as sink:
            os.dup2(sink.fileno(), 2)
            try:
                importlib.import_module("tensorflow")
            except BaseException:
                os.dup2(saved, 2)
                sink.seek(0)
                os.write(2, sink.read())
                raise
            finally:
                os.dup2(saved, 2)
                os.close(saved)
