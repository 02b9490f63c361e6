"""What an exported ONNX file says about itself, and the seal that tells whether it is whole.

Each value is an entry of the file's ``metadata_props``, as JSON, where any ONNX viewer shows it.
The last entry is the SHA-256 of all bytes before it. Protobuf lets it stand at the end of the
file, so that the file is its content and, behind it, this seal of fixed length.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from smartbkg_tf.errors import InputError

#: The entry ``sha256`` as protobuf writes it (field 14 of the model), without the 64 digits.
_SEAL = b"\x72\x4a\x0a\x06sha256\x12\x40"
_LENGTH = len(_SEAL) + 64

AGAIN = "copy it again, or export again: python -m smartbkg_tf.export run=RUN output=DIR"


def seal_of(content: bytes) -> bytes:
    """Make what stands behind the content of a file."""
    return _SEAL + hashlib.sha256(content).hexdigest().encode()


def write_metadata(path: Path, values: dict[str, Any]) -> None:
    """Put values into an ONNX file, and seal it."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(
        model, {name: json.dumps(value, allow_nan=False) for name, value in values.items()}
    )
    content = model.SerializeToString(deterministic=True)
    path.write_bytes(content + seal_of(content))


def check_seal(path: Path) -> None:
    """Refuse what `write_metadata` did not write, or what was changed since."""
    whole = path.read_bytes()
    content, seal = whole[:-_LENGTH], whole[-_LENGTH:]
    if not seal.startswith(_SEAL):
        raise InputError(
            "is not a whole exported model: truncated, changed, or written by another program or "
            "by an earlier version of smartbkg_tf, whose models were two files",
            where=path,
            next_step=AGAIN,
        )
    if seal != seal_of(content):
        raise InputError(
            "was changed after it was exported (its SHA-256 differs)", where=path, next_step=AGAIN
        )


def read_metadata(session: Any, path: Path) -> dict[str, Any]:
    """Give the values that an ONNX Runtime session found in a file."""
    values: dict[str, Any] = {}
    for name, text in session.get_modelmeta().custom_metadata_map.items():
        try:
            values[name] = text if name == "sha256" else json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"is damaged: its entry '{name}' is not JSON", where=path, next_step=AGAIN
            ) from error
    return values
