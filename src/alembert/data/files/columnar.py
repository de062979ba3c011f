"""Parquet and Arrow files as tables, whose values may be packed to a small part of their size."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from alembert.data.files.unpacking import check_bytes, check_columns, check_rows, most_bytes
from alembert.io.errors import UserError

BATCH = 1000  # rows that are unpacked at a time
_LEAST = 8  # bytes that a value costs when it is read, though a bit may hold it here
_DICTIONARY, _ROWS = 2, 3  # the kinds of Arrow's messages that have buffers


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raises UserError for a file that is no Parquet or Arrow, or has a type that is not read."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, struct.error) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not readable as Parquet ({reason})") from None


def read_parquet(path: Path) -> pa.Table:
    """The table of a Parquet file. Raises UserError for one that unpacks beyond its bounds."""
    with readable(path), open_parquet(path) as file:
        schema, size = pq.read_schema(path), 0
        check_rows(path, file.metadata.num_rows)
        tables = []
        for batch in batches(file, path, file.schema_arrow.names):
            size += sum(map(size_of, batch.columns))
            check_bytes(path, size)
            tables.append(decoded(pa.Table.from_batches([batch]), schema))
        return pa.concat_tables(tables) if tables else schema.empty_table()


def open_parquet(path: Path, file: BinaryIO | None = None) -> pq.ParquetFile:
    """A Parquet file, which may be open, with texts read as a dictionary where they lie as one.

    Raises UserError for too many columns, or pages that unpack beyond the bounds.
    """
    facts = pq.read_metadata(path)
    check_columns(path, facts.num_columns)
    leaves = [facts.schema.column(number) for number in range(facts.num_columns)]
    coded, size = set[str](), 0
    for group in map(facts.row_group, range(facts.num_row_groups)):
        for number, leaf in enumerate(leaves):
            chunk, width = group.column(number), _LEAST
            if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY":
                width = max(leaf.length, width)
            size += max(chunk.total_uncompressed_size, chunk.num_values * width)
            if leaf.physical_type == "BYTE_ARRAY" and chunk.has_dictionary_page:
                coded.add(leaf.path)
    check_bytes(path, size)
    # with a buffer it reads in pages; without one it holds a whole row group
    return pq.ParquetFile(file or path, read_dictionary=list(coded), buffer_size=1 << 20)


def batches(file: pq.ParquetFile, path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows, fewer at a time where a row may be as large as the pages that hold it."""
    largest = 1
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        for chunk in map(group.column, range(group.num_columns)):
            if "DELTA_BYTE_ARRAY" in chunk.encodings:  # a text may be the one before, repeated
                largest = max(largest, chunk.total_uncompressed_size)
    count = min(max(most_bytes(path) // largest, 1), BATCH)
    yield from file.iter_batches(count, columns=columns)


def decoded(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the types of a schema, in place of dictionaries of texts."""
    wanted = [schema.field(name) for name in table.column_names]
    columns = [
        column if column.type == field.type else column.cast(field.type)
        for column, field in zip(table.columns, wanted, strict=True)
    ]
    return pa.table(columns, schema=pa.schema(wanted, metadata=schema.metadata))


def size_of(array: pa.Array) -> int:
    """The bytes of an array's values, with those of a dictionary as often as they come."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return size_of(array.storage)
    if pa.types.is_dictionary(kind) and _is_text(kind.value_type):
        lengths = pc.take(pc.binary_length(array.dictionary), array.indices)
        return _LEAST * len(array) + int(pc.sum(lengths).as_py() or 0)
    if pa.types.is_struct(kind):
        return _LEAST * len(array) + sum(map(size_of, array.flatten()))
    if pa.types.is_map(kind):
        return _LEAST * len(array) + size_of(array.keys) + size_of(array.items)
    if _is_list(kind):
        return _LEAST * len(array) + size_of(array.flatten())
    if _is_text(kind):
        return _LEAST * len(array) + int(pc.sum(pc.binary_length(array)).as_py() or 0)
    return max(int(array.nbytes), _LEAST * len(array))


def _is_text(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary,
             pa.types.is_large_binary)  # fmt: skip
    return any(test(kind) for test in tests)


def _is_list(kind: pa.DataType) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests)


def read_arrow(path: Path) -> pa.Table:
    """The table of an Arrow file, which `datasets` writes as a stream and others as a file."""
    with readable(path), pa.memory_map(str(path)) as file:
        _check_packed(file.read_buffer(), path)
        file.seek(0)
        try:
            table = pa.ipc.open_stream(file).read_all()
        except pa.ArrowInvalid:
            file.seek(0)
            table = pa.ipc.open_file(file).read_all()
        check_columns(path, table.num_columns)
        check_rows(path, table.num_rows)
        table.validate(full=True)  # or what follows reads anywhere in memory
        check_bytes(path, sum(size_of(chunk) for c in table.columns for chunk in c.chunks))
        return table


def _check_packed(content: pa.Buffer, path: Path) -> None:
    """Raises UserError before a message of an Arrow file is unpacked beyond the bounds."""
    start = 8 if content[:6].to_pybytes() == b"ARROW1" else 0
    size = 0
    reader = pa.ipc.MessageReader.open_stream(content[start:])
    for message in iter(lambda: _next(reader), None):
        size += _unpacked_size(message)
        check_bytes(path, size)


def _next(reader: pa.ipc.MessageReader) -> pa.ipc.Message | None:
    try:
        return reader.read_next_message()
    except (StopIteration, pa.ArrowInvalid):  # the end, or the footer of a file
        return None


def _unpacked_size(message: pa.ipc.Message) -> int:
    """The bytes that the compressed buffers of a message say that they unpack to.

    The message is a flatbuffer; see format/Message.fbs of Arrow.
    """
    facts = message.metadata.to_pybytes()
    root = struct.unpack_from("<I", facts)[0]
    kind, header = _field(facts, root, 1), _field(facts, root, 2)
    if not kind or not header or facts[kind] not in (_DICTIONARY, _ROWS):
        return 0
    batch = _pointed(facts, header)
    if facts[kind] == _DICTIONARY:
        batch = _pointed(facts, _field(facts, batch, 1))
    buffers = _field(facts, batch, 2)
    if not _field(facts, batch, 3) or not buffers:  # is not compressed
        return 0
    vector, size = _pointed(facts, buffers), 0
    for number in range(struct.unpack_from("<I", facts, vector)[0]):
        offset, length = struct.unpack_from("<qq", facts, vector + 4 + 16 * number)
        if length >= 8:
            size += max(struct.unpack("<q", message.body[offset : offset + 8])[0], 0)
    return size


def _field(facts: bytes, table: int, number: int) -> int:
    """The position of a field in a flatbuffer's table; 0 where it is left out."""
    names = table - struct.unpack_from("<i", facts, table)[0]
    place = 4 + 2 * number
    if place >= struct.unpack_from("<H", facts, names)[0]:
        return 0
    offset = int(struct.unpack_from("<H", facts, names + place)[0])
    return table + offset if offset else 0


def _pointed(facts: bytes, position: int) -> int:
    return position + int(struct.unpack_from("<I", facts, position)[0])
