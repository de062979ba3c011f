"""An ONNX file in int8: by onnxruntime, activations as they come; by nncf, with calibration."""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alembert.export.onnx import quiet
from alembert.inference.engine import Ids, openvino

WORDS = "word_embeddings"  # of a graph's parts: the one that is no matrix product
MANY = 1000  # rows of a table that is worth eight bits


def parts(path: Path) -> list[str]:
    """The parts of an exported graph that int8 may spare, first to last: a module each.

    Within a layer attention, its output and each feed-forward matrix are parts of their own.
    """
    import onnx

    graph = onnx.load(str(path)).graph
    found = [_part(node.name) for node in _products(graph)]
    return list(dict.fromkeys([WORDS, *found]))


def dynamic_int8(
    source: Path, to: Path, spare: Sequence[str] = (), only: str | None = None
) -> None:
    """Matrix products in int8, QInt8 weights per channel; word embeddings in int8, row by row.

    spare: parts that stay in fp32. only: the one part that does not.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(str(source))
    _untied(model.graph)
    if WORDS not in spare and only in (None, WORDS):
        _rows_int8(model.graph)
    left = [
        node.name
        for node in _products(model.graph)
        if _part(node.name) in spare or (only is not None and _part(node.name) != only)
    ]
    with quiet():
        quantize_dynamic(
            model,
            to,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=_saturates(),
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*left, *(f"{name}_MatMul" for name in left)],  # what Gemm becomes
        )


def calibrated_int8(source: Path, to: Path, samples: Sequence[Ids], smooth: bool) -> None:
    """OpenVINO int8 (`to` is the .xml) with ranges seen on the samples; smooth: SmoothQuant."""
    import onnx

    runtime = openvino()  # before nncf, which then cannot report to its makers either
    with quiet():
        import nncf

        graph = onnx.load(str(source))
        _untied(graph.graph)
        model = runtime.Core().read_model(graph.SerializeToString())
        takes = [entry.any_name for entry in model.inputs]
        alphas = nncf.AdvancedSmoothQuantParameters(matmul=0.95 if smooth else -1)
        made = nncf.quantize(
            model,
            nncf.Dataset(list(samples), lambda row: {name: row[name] for name in takes}),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(samples),
            advanced_parameters=nncf.AdvancedQuantizationParameters(smooth_quant_alphas=alphas),
        )
        runtime.save_model(made, str(to), compress_to_fp16=False)


def _products(graph: Any) -> list[Any]:
    """The nodes that multiply by a matrix of the model."""
    constants = {entry.name for entry in graph.initializer}
    constants |= {out for node in graph.node if node.op_type == "Transpose"
                  and node.input[0] in constants for out in node.output}  # fmt: skip
    kinds = ("MatMul", "Gemm")
    return [node for node in graph.node if node.op_type in kinds and node.input[1] in constants]


def _part(name: str) -> str:
    """bert.encoder.layer.3.attention.self.query -> bert.encoder.layer.3.attention."""
    words = name.split(".")
    numbers = [i for i, word in enumerate(words) if word.isdigit()]
    return ".".join(words[: numbers[0] + 2]) if numbers else name


def _untied(graph: Any) -> None:
    """A transposed matrix (the words' embeddings as decoder) as a matrix of its own."""
    from onnx import numpy_helper

    stored = {entry.name: entry for entry in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "Transpose" and n.input[0] in stored]:
        value = numpy_helper.to_array(stored[node.input[0]])
        graph.initializer.append(numpy_helper.from_array(value.T.copy(), node.output[0]))
        graph.node.remove(node)


def _rows_int8(graph: Any) -> None:
    """Large tables as int8 rows with a scale each: a quarter of the size, read as fast."""
    from onnx import TensorProto, helper, numpy_helper

    stored = {entry.name: entry for entry in graph.initializer}
    for place, node in reversed(list(enumerate(graph.node))):
        table = stored.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or table.data_type != TensorProto.FLOAT or table.dims[0] < MANY:
            continue
        values, scales = _quantised(numpy_helper.to_array(table))
        name, out = table.name, node.output[0]
        graph.initializer.append(numpy_helper.from_array(values, f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scale"))
        steps = [
            helper.make_node("Gather", [f"{name}_int8", node.input[1]], [f"{out}_int8"]),
            helper.make_node("Cast", [f"{out}_int8"], [f"{out}_float"], to=TensorProto.FLOAT),
            helper.make_node("Gather", [f"{name}_scale", node.input[1]], [f"{out}_scale"]),
            helper.make_node("Mul", [f"{out}_float", f"{out}_scale"], [out]),
        ]
        graph.node.remove(node)
        for step in reversed(steps):
            graph.node.insert(place, step)
        if not any(name in other.input for other in graph.node):
            graph.initializer.remove(table)


def _quantised(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """int8 rows (V, H) and their scales (V, 1)."""
    scales = np.maximum(np.abs(table).max(1, keepdims=True) / 127, 1e-12).astype(np.float32)
    return np.round(table / scales).astype(np.int8), scales


def _saturates() -> bool:
    """Whether products of 8 by 8 bits may overflow 16 on this processor: x86 without VNNI."""
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text() if cpu.is_file() else ""
    return platform.machine().lower() in ("x86_64", "amd64", "i686") and "vnni" not in flags
