"""deploy.json of other types, or one that leads out of its folder, is refused in a line."""

import json
from pathlib import Path
from typing import Any

import pytest

from alembert.inference.manifest import Manifest, Variant, read_manifest, write_manifest
from alembert.io.errors import UserError

RIGHT = Manifest(
    kind="classification", labels=("a", "b"), max_length=64, inputs=("input_ids",), parameters=12,
    chosen="onnx", vocabulary=99, width=16,
    variants=(
        Variant(
            backend="onnx", file="onnx/model.onnx", runtime="onnxruntime", precision="fp32",
            size_mb=0.1, fidelity={"max_error": 0.0},
        ),
    ),
)  # fmt: skip


def changed(folder: Path, changes: dict[str, Any], of_variant: dict[str, Any]) -> None:
    write_manifest(folder, RIGHT)
    content = json.loads((folder / "deploy.json").read_text())
    content["variants"][0] |= of_variant
    (folder / "deploy.json").write_text(json.dumps(content | changes))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_manifest(tmp_path, RIGHT)
    assert read_manifest(tmp_path) == RIGHT


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": [1, 2]}, {"labels": "ab"}, {"labels": None}, {"labels": [["a"]]},
        {"max_length": 0}, {"max_length": 10**9}, {"max_length": 10**30}, {"max_length": True},
        {"max_length": 6.5}, {"kind": "other"}, {"kind": ["words"]}, {"inputs": {}},
        {"variants": None}, {"variants": [5]}, {"variants": [{}]}, {"variants": [[]]},
        {"versions": ["1"]}, {"versions": {"torch": 2}}, {"parameters": -1}, {"pooling": 5},
        {"width": "16"}, {"unknown": 1}, {"chosen": None},
    ],
)  # fmt: skip
def test_a_field_of_another_type_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    changed(tmp_path, changes, {})
    with pytest.raises(UserError, match=r"deploy\.json: cannot be read \(.+\): export the model"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"file": 5}, {"file": None}, {"size_mb": "1"}, {"size_mb": float("nan")}, {"bits": 0.5},
        {"fidelity": []}, {"fidelity": {"max_error": "0"}}, {"kept_fp32": "a"}, {"more": 1},
    ],
)  # fmt: skip
def test_a_field_of_a_variant_of_another_type_is_refused(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    changed(tmp_path, {}, changes)
    with pytest.raises(UserError, match=r"deploy\.json: cannot be read \(.+\): export the model"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "content", ["[" * 10_000, "[]", "null", "5", "{}", '{"format": 2}', '{"format": 1}', "{"]
)
def test_a_deploy_json_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "deploy.json").write_text(content)
    with pytest.raises(UserError, match=r"deploy\.json: .*export the model again"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "link.onnx", "a/../../b", "a\0"])
def test_a_graph_outside_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.onnx").symlink_to("/etc/passwd")
    changed(folder, {}, {"file": name})
    with pytest.raises(UserError, match=r"model: names a file outside the folder, '.+': fix"):
        read_manifest(folder)
