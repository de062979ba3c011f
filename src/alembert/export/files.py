"""The files of an export: the path of each variant, its runtime, its precision."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from alembert.inference.manifest import FILE
from alembert.io.environment import versions
from alembert.io.errors import UserError

FILES = {  # backend: file, runtime, precision
    "onnx": ("onnx/model.onnx", "onnxruntime", "fp32"),
    "int8": ("onnx/model_int8.onnx", "onnxruntime", "int8"),
    "openvino": ("onnx/model.onnx", "openvino", "fp32"),
    "openvino-bf16": ("onnx/model.onnx", "openvino", "bf16"),
    "openvino-int8": ("openvino/model_int8.xml", "openvino", "int8"),
    "attentions": ("onnx/model_attentions.onnx", "onnxruntime", "fp32"),
}
PACKAGES = {"onnxruntime": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino", "nncf")}


def check_installed(backends: Sequence[str]) -> None:
    """Raise UserError for a backend whose packages are not installed."""
    for runtime in sorted({FILES[backend][1] for backend in backends}):
        for name in PACKAGES[runtime]:
            if importlib.util.find_spec(name) is None:
                raise UserError(f"{name} is not installed: pip install 'alembert[deploy]'")


def check_ours(folder: Path, backends: Sequence[str]) -> None:
    """Raise UserError where another program's export would be overwritten."""
    if (folder / FILE).is_file():
        return
    for file in (FILES[backend][0] for backend in backends):
        if (folder / file).exists():
            raise UserError(
                f"{folder / file}: is there already, and no {FILE} says that it is an "
                "export of this model: move it away"
            )


def files_of(file: str) -> list[str]:
    """Return a variant's files: OpenVINO has the weights in a second one."""
    return [file, file.removesuffix(".xml") + ".bin"] if file.endswith(".xml") else [file]


def megabytes(at: Path, file: str) -> float:
    """Return a variant's size in megabytes."""
    return sum((at / each).stat().st_size for each in files_of(file)) / 1e6


def exporter_versions(backends: Sequence[str]) -> dict[str, str]:
    """Return the versions of the packages that make an export."""
    names = ["alembert", "torch", "transformers", *PACKAGES["onnxruntime"]]
    if any(FILES[backend][1] == "openvino" for backend in backends):
        names += PACKAGES["openvino"]
    return versions(names)
