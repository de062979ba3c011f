"""A graph that claims more than its file holds, or other files, is refused before it is opened."""

import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from alembert.inference.engine import open_engine
from alembert.inference.graph import check_onnx
from alembert.inference.manifest import Manifest, Variant
from alembert.io.errors import UserError

HUGE = [10**6, 10**6]


def claiming(dims: list[int], raw_data: bytes | None = None) -> TensorProto:
    return TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=raw_data)


def outside(location: str) -> TensorProto:
    tensor = claiming([4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def saved(path: Path, nodes: list[onnx.NodeProto], tensors: list[TensorProto]) -> Path:
    shape = ["B", "T"]
    takes = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape)]
    gives = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", takes, gives, tensors)
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def shape_of(values: list[int]) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), "s")


def made(operation: str, *inputs: str) -> onnx.NodeProto:
    return helper.make_node(operation, list(inputs), ["logits"])


USED = [made("Identity", "w")]
WITHIN = helper.make_graph([made("ConstantOfShape", "s")], "inner", [], [], [shape_of(HUGE)])
ATTACKS: dict[str, tuple[list[onnx.NodeProto], list[TensorProto], str]] = {
    "no data": (USED, [claiming(HUGE)], "claims the shape"),
    "little data": (USED, [claiming(HUGE, raw_data=bytes(8))], "claims the shape"),
    "negative": (USED, [claiming([-1, -(10**12)], raw_data=bytes(8))], "claims the shape"),
    "filled": ([made("ConstantOfShape", "s")], [shape_of(HUGE)], "makes a tensor of shape"),
    "numbers": (
        [made("ConstantOfShape", "s")],
        [helper.make_tensor("s", TensorProto.INT64, [2], HUGE)],
        "makes a tensor of shape",
    ),
    "expanded": (
        [made("Expand", "w", "s")],
        [claiming([1], raw_data=bytes(4)), shape_of([*HUGE, 1])],
        "Expand makes a tensor of shape",
    ),
    "a constant": (
        [
            helper.make_node("Constant", [], ["s"], value=shape_of(HUGE)),
            made("ConstantOfShape", "s"),
        ],
        [],
        "makes a tensor of shape",
    ),
    "within": (
        [helper.make_node("If", ["input_ids"], ["logits"], then_branch=WITHIN)],
        [],
        "makes a tensor of shape",
    ),
    "absolute": (USED, [outside("/etc/passwd")], "outside the folder"),
    "above": (USED, [outside("../secret")], "outside the folder"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_graph_that_claims_too_much_is_refused_in_a_line(name: str, tmp_path: Path) -> None:
    nodes, tensors, reason = ATTACKS[name]
    (tmp_path / "m").mkdir()
    saved(tmp_path / "m/model.onnx", nodes, tensors)
    variant = Variant(
        backend="onnx", file="model.onnx", runtime="onnxruntime", precision="fp32", size_mb=0
    )
    facts = Manifest(
        kind="classification", labels=("a", "b"), max_length=8, inputs=("input_ids",),
        parameters=1, chosen="onnx", variants=(variant,),
    )  # fmt: skip
    with pytest.raises(UserError, match=reason):
        open_engine(tmp_path / "m", facts)


def test_data_in_a_file_beside_the_graph_are_counted(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(16))
    check_onnx(saved(tmp_path / "model.onnx", USED, [outside("w.bin")]))
    (tmp_path / "w.bin").unlink()
    tensor = outside("w.bin")
    tensor.dims[0] = 10**6
    with pytest.raises(UserError, match="claims the shape"):
        check_onnx(saved(tmp_path / "model.onnx", USED, [tensor]))


@pytest.mark.parametrize("cut", [0, 1, 30, 60])
def test_a_file_that_is_cut_off_is_refused(cut: int, tmp_path: Path) -> None:
    path = saved(tmp_path / "model.onnx", USED, [claiming([64], raw_data=bytes(256))])
    check_onnx(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match="cannot be read"):
        check_onnx(path)


@pytest.mark.clock
def test_a_file_of_zeros_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes(50_000_000))
    began = time.monotonic()
    with pytest.raises(UserError, match="no field of number 0"):
        check_onnx(path)
    assert time.monotonic() - began < 1
