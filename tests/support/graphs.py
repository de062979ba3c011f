"""ONNX graphs of tests: a model that one test has exported is not traced again for another."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from shutil import copyfile
from typing import Any


@contextmanager
def exported_once(home: Path) -> Iterator[None]:
    """Within the block a graph of the same config, weights and arguments is copied from `home`."""
    from alembert.export import onnx

    export = onnx.export

    def once(model: Any, kind: str, path: Path, *more: Any) -> None:
        parts = [model.config.to_json_string(), kind, *more, onnx.MAX_BYTES]
        digest = sha256(repr(parts).encode())
        for name, weights in model.state_dict().items():
            digest.update(name.encode() + weights.numpy().tobytes())
        made = home / f"{digest.hexdigest()}.onnx"
        if not made.is_file():
            export(model, kind, path, *more)
            partial = home / f"{made.name}.{path.stat().st_ino}"
            copyfile(path, partial)
            partial.replace(made)  # whole, for tests of other processes
        copyfile(made, path)

    onnx.export = once
    try:
        yield
    finally:
        onnx.export = export
