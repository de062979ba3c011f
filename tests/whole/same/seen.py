"""What a probe left in its folder, as texts whose lines can be compared."""

import hashlib
import html
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PLAIN = {".yaml", ".yml", ".md", ".txt", ".csv", ".tsv", ".conll"}
Stamp = tuple[int, int]  # bytes, and when a file was last changed


def stamps(folder: Path) -> dict[str, Stamp]:
    """Every file and empty folder below a folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() or (path.is_dir() and not any(path.iterdir()))
    }


def files_of(folder: Path, before: dict[str, Stamp]) -> dict[str, str]:
    """Text by path of what is new or changed; "files" is the list of all paths of these."""
    now = stamps(folder)
    gone = [f"{name} (gone)" for name in before if name not in now]
    new = [name for name, stamp in now.items() if before.get(name) != stamp]
    return {"files": "\n".join(sorted(new + gone))} | {
        name: text_of(folder / name) for name in new if (folder / name).is_file()
    }


def text_of(path: Path) -> str:
    """The content of a file; of a binary one a digest of each of its parts."""
    try:
        if path.suffix in PLAIN:
            return path.read_text(encoding="utf-8")
        read = READERS.get(path.suffix)
        return "\n".join(read(path)) if read else _digest(path.read_bytes())
    except Exception as error:  # whatever a broken file does to its reader
        return f"{_digest(path.read_bytes())}, cannot be read: {error}"


def flat(value: Any, at: str = "") -> Iterator[str]:
    """A line `path.to.key = value` for each value of JSON; numbers to their last digit."""
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in items:
            yield from flat(each, f"{at}.{key}" if at else str(key))
    else:
        yield f"{at} = {json.dumps(value, ensure_ascii=False)}"


def flat_lines(text: str) -> str:
    """Lines of JSON, each flat; a line that is no JSON as it is."""

    def each(line: str) -> str:
        try:
            return "\n".join(flat(json.loads(line)))
        except ValueError:
            return line

    return "\n".join(map(each, text.splitlines()))


def page_of(text: str) -> str:
    """What a page of HTML says; of each drawing its label and a digest of its lines."""

    def drawn(found: re.Match[str]) -> str:
        label = re.search(r'aria-label="([^"]*)"', found[0])
        shapes = re.sub(r"<metadata>.*?</metadata>", "", found[0], flags=re.S)
        shapes = re.sub(r'\b(id|href|clip-path)="[^"]*"', "", shapes)
        return f"\n[drawing: {label[1] if label else ''}: {_digest(shapes.encode())}]\n"

    text = re.sub(r"<(style|script)\b.*?</\1>", _hidden, text, flags=re.S)
    text = re.sub(r"<svg\b.*?</svg>", drawn, text, flags=re.S)
    text = html.unescape(re.sub(r"<[^>]*>", "\n", text))
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def _hidden(found: re.Match[str]) -> str:
    return f"\n[{found[1]}: {_digest(found[0].encode())}]\n"


def _digest(content: bytes) -> str:
    return f"{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()[:16]}"


def _json(path: Path) -> Iterator[str]:
    yield from flat(json.loads(path.read_text(encoding="utf-8")))


def _rows(path: Path) -> Iterator[str]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        yield from flat(json.loads(line), f"row {number}")


def _html(path: Path) -> Iterator[str]:
    yield page_of(path.read_text(encoding="utf-8"))


def _parquet(path: Path) -> Iterator[str]:
    import pyarrow.parquet as parquet

    table = parquet.read_table(path)
    yield from (f"column {field.name}: {field.type}" for field in table.schema)
    for number, row in enumerate(table.to_pylist(), 1):
        yield from flat(json.loads(json.dumps(row, default=str)), f"row {number}")


def _tensors(path: Path) -> Iterator[str]:
    import torch
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        for key, value in sorted((file.metadata() or {}).items()):
            yield from flat(json.loads(value) if value.startswith("{") else value, key)
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name)
            raw = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
            yield f"{name} = {tensor.dtype} {list(tensor.shape)}, {_digest(raw)}"


def _graph(path: Path) -> Iterator[str]:
    """The operations and constants of an ONNX graph; names of values are numbers, in order."""
    import onnx

    graph = onnx.load(path).graph
    numbers: dict[str, str] = {each.name: each.name for each in (*graph.input, *graph.output)}
    for constant in graph.initializer:
        array = onnx.numpy_helper.to_array(constant)
        numbers[constant.name] = f"c{len(numbers)}"
        what = f"{array.dtype} {list(array.shape)}, {_digest(array.tobytes())}"
        yield f"{numbers[constant.name]} = {what}"
    for node in graph.node:
        for name in node.output:
            numbers.setdefault(name, f"v{len(numbers)}")
        settings = [
            f"{each.name} {_digest(each.SerializeToString())}"
            for each in sorted(node.attribute, key=lambda each: each.name)
        ]
        read = ", ".join(numbers.get(name, name) for name in node.input)
        made = ", ".join(numbers[name] for name in node.output)
        yield f"{made} = {node.op_type}({read}) {'; '.join(settings)}".rstrip()


READERS: dict[str, Callable[[Path], Iterator[str]]] = {
    ".json": _json,
    ".jsonl": _rows,
    ".html": _html,
    ".svg": _html,
    ".parquet": _parquet,
    ".safetensors": _tensors,
    ".onnx": _graph,
}
