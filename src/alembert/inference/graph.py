"""What an ONNX file claims, checked in its bytes before a runtime allocates anything for it.

The file is protobuf: fields of (number, kind) and a value, of which kind 2 has a length before it.
The numbers below are those of onnx.proto. https://protobuf.dev/programming-guides/encoding
"""

import math
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from alembert.io.errors import UserError
from alembert.io.files import inside

MOST = 10**9  # elements that a node may make of a shape that stands in the file
_GRAPH, _NODE, _INITIALIZER = 7, 1, 5  # of a model, of a graph
_INPUT, _OUTPUT, _OPERATION, _ATTRIBUTE = 1, 2, 4, 5  # of a node
_TENSOR, _SUBGRAPH, _TENSORS, _SUBGRAPHS = 5, 6, 10, 11  # of an attribute
_DIMS, _INT64S, _NAME, _RAW, _EXTERNAL = 1, 7, 8, 9, 13  # of a tensor
_MAKERS = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1}  # which input is the shape
_RANK = 64  # the most dimensions of a tensor
_LEVELS = 16  # of graphs within graphs
Span = tuple[int, int]
Field = tuple[int, int | Span]  # a number, or where a value with a length lies


class _Onnx:
    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self.path, self.content = path, content
        self.values: dict[str, list[int]] = {}  # of tensors of a few whole numbers, by name

    def graph(self, span: Span, level: int = 0) -> None:
        """Checks the tensors and nodes of a graph and of those within."""
        if level > _LEVELS:
            raise ValueError(f"graphs within graphs, over {_LEVELS} levels")
        fields = list(self.fields(span))
        for number, value in fields:
            if number == _INITIALIZER:
                self.tensor(_span(value))
        for number, value in fields:
            if number == _NODE:
                self.node(_span(value), level)

    def node(self, span: Span, level: int) -> None:
        names: dict[int, list[str]] = {_INPUT: [], _OUTPUT: [], _OPERATION: []}
        for number, value in self.fields(span):
            if number in names:
                names[number].append(self.text(_span(value)))
            elif number == _ATTRIBUTE:
                self.attribute(_span(value), names[_OUTPUT], level)
        operation = "".join(names[_OPERATION])
        place = _MAKERS.get(operation, len(names[_INPUT]))
        shape = self.values.get("".join(names[_INPUT][place : place + 1]), [])
        if math.prod(shape) > MOST or min(shape, default=0) < -1:
            raise ValueError(f"{operation} makes a tensor of shape {shape}")

    def attribute(self, span: Span, outputs: list[str], level: int) -> None:
        for number, value in self.fields(span):
            if number in (_TENSOR, _TENSORS):
                self.tensor(_span(value), "".join(outputs[:1]))
            elif number in (_SUBGRAPH, _SUBGRAPHS):
                self.graph(_span(value), level + 1)

    def tensor(self, span: Span, name: str = "") -> None:
        """Checks that a tensor has no more elements than the bytes that hold it."""
        dims: list[int] = []
        values: list[int] = []
        held = span[1] - span[0]
        for number, value in self.fields(span):
            if number == _DIMS:
                dims += self.numbers(value)
            elif number == _NAME:
                name = self.text(_span(value)) or name
            elif number == _INT64S:
                values += self.numbers(value)
            elif number == _RAW and 0 < _length(value) <= 8 * _RANK and _length(value) % 8 == 0:
                raw = self.content[slice(*_span(value))]
                values += struct.unpack(f"<{len(raw) // 8}q", raw)
            elif number == _EXTERNAL:
                held += self.external(_span(value))
        # two elements of four bits share a byte
        if len(dims) > _RANK or min(dims, default=0) < 0 or math.prod(dims) > 2 * held:
            raise ValueError(f"{name!r} claims the shape {dims[:_RANK]} in {held:,} bytes")
        if values and len(values) == math.prod(dims):
            self.values[name] = values

    def external(self, span: Span) -> int:
        """The bytes of the file that a tensor's data lie in; 0 for another entry."""
        entry = [self.text(_span(value)) for _, value in self.fields(span)]
        if len(entry) != 2 or entry[0] != "location":
            return 0
        file = inside(self.path.parent, entry[1])
        return file.stat().st_size if file.is_file() else 0

    def fields(self, span: Span) -> Iterator[Field]:
        """The fields of a message; ValueError for one that is cut off."""
        at, end = span
        while at < end:
            tag, at = self.number(at, end)
            number, kind = tag >> 3, tag & 7
            if not number:
                raise ValueError(f"no field of number 0 at byte {at}")
            if kind == 0:
                value, at = self.number(at, end)
                yield number, value
                continue
            if kind == 2:
                length, at = self.number(at, end)
            elif kind in (1, 5):
                length = 8 if kind == 1 else 4
            else:
                raise ValueError(f"no field of kind {kind} at byte {at}")
            if at + length > end:
                raise ValueError(f"is cut off at byte {at}")
            yield number, (at, at + length)
            at += length

    def number(self, at: int, end: int) -> tuple[int, int]:
        """A number of seven bits a byte, and the position after it."""
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                raise ValueError(f"is cut off at byte {at}")
            byte = self.content[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
        raise ValueError(f"a number without an end at byte {at}")

    def numbers(self, value: int | Span) -> list[int]:
        """The signed numbers of a field, which may hold several; no more than a shape has."""
        if isinstance(value, int):
            return [_signed(value)]
        at, end = value
        found = list[int]()
        while at < end and len(found) <= _RANK:
            each, at = self.number(at, end)
            found.append(_signed(each))
        return found

    def text(self, span: Span) -> str:
        return self.content[slice(*span)].decode("utf-8", "replace")


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _span(value: int | Span) -> Span:
    if isinstance(value, int):
        raise ValueError("a number where a message is expected")
    return value


def _length(value: int | Span) -> int:
    start, end = _span(value)
    return end - start


def check_onnx(path: Path) -> None:
    """Raises UserError for a graph that claims more than its bytes hold, or files elsewhere.

    So it does for a shape in the file of which a node would make more than MOST elements.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
            found = _Onnx(path, held)
            for number, value in found.fields((0, len(held))):
                if number == _GRAPH:
                    found.graph(_span(value))
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}): export the model again") from error
