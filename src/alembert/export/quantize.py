"""Quantisation of an ONNX file to int8: dynamic by onnxruntime, calibrated by nncf."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alembert.export.onnx import quiet
from alembert.inference.engine import Ids, openvino
from alembert.io.environment import int8_overflows

EMBEDDINGS = "word_embeddings"  # the only part of a graph that is no matrix product
MIN_ROWS = 1000  # smaller tables stay in fp32


def parts(path: Path) -> list[str]:
    """Return the parts of an exported graph that can stay in fp32, first to last: a module each.

    Within a layer, attention, its output and each feed-forward matrix are separate parts.
    """
    import onnx

    graph = onnx.load(str(path)).graph
    return list(dict.fromkeys([EMBEDDINGS, *(_part(node.name) for node in _products(graph))]))


def dynamic_int8(
    source: Path, to: Path, keep_fp32: Sequence[str] = (), only: str | None = None
) -> None:
    """Write the graph with matrix products in int8, per channel, and embeddings in int8, per row.

    keep_fp32: parts that stay in fp32. only: the one part that does not.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(str(source))
    _untie(model.graph)
    if EMBEDDINGS not in keep_fp32 and only in (None, EMBEDDINGS):
        _quantize_tables(model.graph)
    excluded = [
        node.name
        for node in _products(model.graph)
        if _part(node.name) in keep_fp32 or (only is not None and _part(node.name) != only)
    ]
    with quiet():
        quantize_dynamic(
            model,
            to,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=int8_overflows(),
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*excluded, *(f"{name}_MatMul" for name in excluded)],  # from Gemm
        )


def calibrated_int8(source: Path, to: Path, samples: Sequence[Ids], smooth: bool) -> None:
    """Write OpenVINO int8 (`to` is the .xml), calibrated on samples; `smooth` adds SmoothQuant."""
    import onnx

    runtime = openvino()  # turns telemetry off, so it comes before nncf
    with quiet():
        import nncf

        graph = onnx.load(str(source))
        _untie(graph.graph)
        model = runtime.Core().read_model(graph.SerializeToString())
        names = [entry.any_name for entry in model.inputs]
        alphas = nncf.AdvancedSmoothQuantParameters(matmul=0.95 if smooth else -1)
        quantized = nncf.quantize(
            model,
            nncf.Dataset(list(samples), lambda row: {name: row[name] for name in names}),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(samples),
            advanced_parameters=nncf.AdvancedQuantizationParameters(smooth_quant_alphas=alphas),
        )
        runtime.save_model(quantized, str(to), compress_to_fp16=False)


def _products(graph: Any) -> list[Any]:
    """Return the nodes that multiply by a matrix of the model."""
    constants = {entry.name for entry in graph.initializer}
    constants |= {out for node in graph.node if node.op_type == "Transpose"
                  and node.input[0] in constants for out in node.output}  # fmt: skip
    kinds = ("MatMul", "Gemm")
    return [node for node in graph.node if node.op_type in kinds and node.input[1] in constants]


def _part(name: str) -> str:
    """bert.encoder.layer.3.attention.self.query -> bert.encoder.layer.3.attention."""
    modules = name.split(".")
    numbers = [i for i, module in enumerate(modules) if module.isdigit()]
    return ".".join(modules[: numbers[0] + 2]) if numbers else name


def _untie(graph: Any) -> None:
    """Store each transposed matrix (a decoder tied to the embeddings) as a separate matrix."""
    from onnx import numpy_helper

    stored = {entry.name: entry for entry in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "Transpose" and n.input[0] in stored]:
        value = numpy_helper.to_array(stored[node.input[0]])
        graph.initializer.append(numpy_helper.from_array(value.T.copy(), node.output[0]))
        graph.node.remove(node)


def _quantize_tables(graph: Any) -> None:
    """Store large tables as int8 rows with a scale each: a quarter of the size, equally fast."""
    from onnx import TensorProto, helper, numpy_helper

    stored = {entry.name: entry for entry in graph.initializer}
    for position, node in reversed(list(enumerate(graph.node))):
        table = stored.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or table.data_type != TensorProto.FLOAT or table.dims[0] < MIN_ROWS:
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
            graph.node.insert(position, step)
        if not any(name in other.input for other in graph.node):
            graph.initializer.remove(table)


def _quantised(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 rows (V, H) and their scales (V, 1)."""
    scales = np.maximum(np.abs(table).max(1, keepdims=True) / 127, 1e-12).astype(np.float32)
    return np.round(table / scales).astype(np.int8), scales
