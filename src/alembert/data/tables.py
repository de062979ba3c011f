"""Rows in memory as a Dataset, and the digest of a Dataset's content."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict
from datasets.features.features import generate_from_arrow_type
from datasets.table import InMemoryTable

from alembert.data.formats import Rows, columns_of, dataset
from alembert.io.errors import UserError

MISSING = ("NAType", "NaTType")  # pandas's marks of a missing cell beside NaN


class DataFrame(Protocol):
    """The parts of a pandas DataFrame that are read; pandas itself is never imported."""

    @property
    def index(self) -> Any: ...
    @property
    def iloc(self) -> Any: ...
    @property
    def shape(self) -> tuple[int, int]: ...


InMemory: TypeAlias = Dataset | DatasetDict | DataFrame | Sequence[Mapping[str, Any]]


def kind_of_rows(given: object, role: str) -> str:
    """The word by which messages name rows in memory. Raises UserError for any other value."""
    for kind in (Dataset, DatasetDict):
        if isinstance(given, kind):
            return str(kind.__name__)
    if _is_frame(given):
        return "DataFrame"
    if isinstance(given, list | tuple):
        return "list"
    found = type(given).__name__
    if isinstance(given, IterableDataset | IterableDatasetDict):
        raise UserError(f"{role}: {found} is a stream of rows: load it without streaming")
    raise UserError(
        f"{role}: {found} is no kind of rows: give a path, a Dataset, a DatasetDict, a pandas "
        "DataFrame or a list of dicts"
    )


def from_memory(given: InMemory, name: str, split: str) -> Dataset:
    """The rows of a value in memory; `split` chooses among those of a DatasetDict.

    Categories become their names, arrays lists, and NaN an empty cell. The named levels of a
    DataFrame's index become columns; an index without a name numbers the rows and is not read.
    Raises UserError that names the row or column.
    """
    if isinstance(given, DatasetDict):
        if split not in given:
            raise UserError(f"{name}: there is none; its splits are {', '.join(given)}")
        data = _unformatted(given[split], name)
    elif isinstance(given, Dataset):
        data = _unformatted(given, name)
    elif isinstance(given, Sequence):
        data = _from_dicts(given, name)
    else:
        data = _from_frame(given, name)
    if len(data) == 0:
        raise UserError(f"{name}: no rows; give at least one")
    return data


def _unformatted(data: Dataset, name: str) -> Dataset:
    """The rows in Python's own types, whatever format was set for reading them."""
    if data.format["type"] == "custom":
        raise UserError(f"{name}: its set_transform is not read: apply it with map() before")
    return data.with_format(None)


def _is_frame(given: object) -> bool:
    """Whether a value is a pandas DataFrame."""
    return any(
        kind.__name__ == "DataFrame" and kind.__module__.split(".")[0] == "pandas"
        for kind in type(given).__mro__
    )


def _from_frame(frame: DataFrame, name: str) -> Dataset:
    levels = [number for number, level in enumerate(frame.index.names) if level is not None]
    series = [frame.index.get_level_values(number).to_series() for number in levels]
    series += [frame.iloc[:, number] for number in range(frame.shape[1])]
    columns: dict[str, pa.Array] = {}
    for one in series:
        if not isinstance(one.name, str):
            raise UserError(f"{name}: column {one.name!r} has a name that is no text; rename it")
        if one.name in columns:
            raise UserError(f"{name}: column {one.name!r} is there twice; rename one")
        columns[one.name] = _array(one, f"{name}: column {one.name!r}")
    if not columns:
        raise UserError(f"{name}: no columns; give those of the texts and labels")
    return Dataset(InMemoryTable(pa.table(columns)))


def _array(values: Any, where: str) -> pa.Array:
    """A column of pandas in Arrow, with categories as their names."""
    try:
        array = pa.array(values, from_pandas=True)
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        generate_from_arrow_type(array.type)  # raises ValueError for a type that datasets lacks
        return array
    except (pa.ArrowException, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{where} mixes types, or has one that cannot be read ({reason}); make it texts or "
            "numbers"
        ) from None


def _from_dicts(rows: Sequence[Any], name: str) -> Dataset:
    def plain() -> Rows:
        for number, row in enumerate(rows, start=1):
            where = f"row {number}"
            if not isinstance(row, Mapping) or not row:
                raise UserError(f"{name}, {where}: {row!r:.40} is not a dict of columns")
            if odd := [key for key in row if not isinstance(key, str)]:
                raise UserError(f"{name}, {where}: key {odd[0]!r} is no text; rename it")
            yield where, {key: _plain(value) for key, value in row.items()}

    return dataset(columns_of(plain(), name), name)


def _plain(value: Any) -> Any:
    """A cell in Python's own types; None for pandas's marks of a missing one."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, tuple):
        value = list(value)
    missing = type(value).__name__ in MISSING or (isinstance(value, float) and value != value)
    return None if missing else value


def digest_of(data: Dataset) -> str:
    """The sha256 of a data set's content: names, values and class names of its columns.

    It is the same for a file, a DataFrame and a Dataset with the same cells, in whichever chunks
    and widths of offsets Arrow holds them, and for every version of Arrow.
    """
    state = hashlib.sha256()
    table: pa.Table = data.with_format("arrow")[:]
    for name in data.column_names:
        feature = getattr(data.features[name], "feature", data.features[name])
        state.update(repr((name, tuple(getattr(feature, "names", ())))).encode())
        chunks = table[name].cast(_wide(table[name].type)).combine_chunks()
        _add(state, chunks)
    return state.hexdigest()


def _wide(kind: pa.DataType) -> pa.DataType:
    """The type of the same values with offsets of 64 bits."""
    if pa.types.is_string(kind):
        return pa.large_string()
    if pa.types.is_binary(kind):
        return pa.large_binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.large_list(_wide(kind.value_type))
    return kind


def _add(state: "hashlib._Hash", array: pa.Array) -> None:
    """Adds an array's type, empty cells and values to a digest, whatever lies in empty cells."""
    kind, there = array.type, array.drop_null()
    state.update(f"{kind} {len(array)} ".encode())
    state.update(np.packbits(array.is_null().to_numpy(zero_copy_only=False)).tobytes())
    if pa.types.is_large_list(kind):
        state.update(pc.list_value_length(there).to_numpy().tobytes())
        _add(state, there.flatten())
    elif pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        lengths = pc.binary_length(there).to_numpy()
        state.update(lengths.tobytes())
        if lengths.sum():
            _, offsets, values = there.buffers()
            first = int(np.frombuffer(offsets, np.int64)[there.offset])
            state.update(memoryview(values)[first : first + int(lengths.sum())])
    elif pa.types.is_primitive(kind):
        state.update(np.ascontiguousarray(there.to_numpy(zero_copy_only=False)).tobytes())
    else:
        state.update(repr(there.to_pylist()).encode())
