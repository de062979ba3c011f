"""Rows in memory are read as a file of the same rows is, or refused in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets.table import InMemoryTable
from transformers import BertTokenizerFast

from alembert.data import sources
from alembert.data.sources import Source
from alembert.data.splits import Files, prepare
from alembert.data.tables import digest_of, kind_of_rows
from alembert.io.errors import UserError

ROWS = [{"text": f"film {i}", "label": "up" if i % 2 else "down", "number": i} for i in range(60)]


def csv_of(path: Path, rows: list[dict[str, Any]] = ROWS) -> str:
    pd.DataFrame(rows).to_csv(path, index=False)
    return str(path)


def refusal(given: Any, role: str = "train") -> str:
    with pytest.raises(UserError) as raised:
        _ = Source(given, role).rows
    assert "\n" not in str(raised.value)
    return str(raised.value)


def read_as(given: Any) -> list[dict[str, Any]]:
    return Source(given).rows.to_list()


def test_every_kind_of_rows_gives_the_rows_and_the_digest_of_a_file(tmp_path: Path) -> None:
    path = csv_of(tmp_path / "rows.csv")
    frame = pd.DataFrame(ROWS)
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=7)
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "folder")
    kinds = {
        "csv": path, "path": Path(path), "parquet": str(tmp_path / "rows.parquet"),
        "folder": str(tmp_path / "folder"), "list": ROWS, "frame": frame,
        "dataset": Dataset.from_list(ROWS), "tuple": tuple(ROWS),
        "reordered": Dataset.from_list(ROWS[::-1]).select(range(59, -1, -1)),
        "dict": DatasetDict({"train": Dataset.from_list(ROWS)}),
        "objects": frame.astype({"text": object, "label": object}),
        "wide": Dataset.from_list(ROWS).cast_column("text", Value("large_string")),
        "torch": Dataset.from_list(ROWS).with_format("torch"),
        "numpy": [{key: np.array(value)[()] for key, value in row.items()} for row in ROWS],
    }  # fmt: skip
    for kind, given in kinds.items():
        assert read_as(given) == ROWS, kind
        assert Source(given).digest == Source(path).digest, kind


@pytest.mark.parametrize(
    "changed",
    [
        [*ROWS[:-1], {**ROWS[-1], "label": "down"}],
        ROWS[:-1],
        [*ROWS[1:], ROWS[0]],
        [{**row, "text": row["text"].replace("film 1", "film1 ")} for row in ROWS],
        [{"texts" if key == "text" else key: value for key, value in row.items()} for row in ROWS],
        [{**row, "number": float(row["number"])} for row in ROWS],
        [{**ROWS[0], "text": None}, *ROWS[1:]],
    ],
    ids=["label", "fewer", "order", "space", "name", "type", "empty"],
)
def test_another_content_has_another_digest(changed: list[dict[str, Any]]) -> None:
    assert Source(changed).digest != Source(ROWS).digest


def test_a_digest_sees_lists_empty_cells_and_class_names_and_not_how_arrow_holds_them() -> None:
    values: list[Any] = [["a", "b"], [], None, ["", "c"]]
    whole = pa.table({"words": pa.array(values), "x": pa.array([1, None, 3, 0])})
    parts = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 2), whole.slice(3)])
    dirty = pa.Array.from_buffers(  # a value lies under the empty cell
        pa.int64(), 4, [pa.py_buffer(b"\x0d"), pa.py_buffer(np.array([1, 9, 3, 0]).tobytes())]
    )
    tables = [whole, parts, whole.set_column(1, "x", dirty)]
    assert len({digest_of(Dataset(InMemoryTable(table))) for table in tables}) == 1
    moved = pa.array([["a"], ["b"], None, ["", "c"]])
    assert digest_of(Dataset(InMemoryTable(whole.set_column(0, "words", moved)))) != digest_of(
        Dataset(InMemoryTable(whole))
    )
    named = [
        Dataset.from_dict({"label": [0, 1]}, Features({"label": ClassLabel(names=names)}))
        for names in (["a", "b"], ["b", "a"])
    ]
    assert digest_of(named[0]) != digest_of(named[1])


def test_an_index_that_numbers_rows_is_not_read_and_one_with_a_name_is_a_column() -> None:
    frame = pd.DataFrame(ROWS)
    filtered = frame[frame.number % 2 == 1]
    assert read_as(filtered) == ROWS[1::2]
    assert read_as(frame.set_index(pd.date_range("2020", periods=60))) == ROWS
    by_text = read_as(frame.set_index("text"))
    assert [row["text"] for row in by_text] == [row["text"] for row in ROWS]
    several = read_as(frame.set_index(["text", "number"]))
    assert [(row["text"], row["number"]) for row in several][:2] == [("film 0", 0), ("film 1", 1)]
    assert refusal(frame.set_index("text", drop=False)) == (
        "the DataFrame given as train: column 'text' is there twice; rename one"
    )


def test_categories_are_their_names_and_arrays_in_cells_are_lists() -> None:
    frame = pd.DataFrame(ROWS).astype({"label": "category", "number": "category"})
    assert read_as(frame) == ROWS
    words = [["a", "fine", "film"], ["bad"]]
    tags = [[0, 1, 2], [0]]
    expected = [{"tokens": w, "tags": t} for w, t in zip(words, tags, strict=True)]
    arrays = pd.DataFrame({"tokens": [np.array(w) for w in words], "tags": [*map(np.array, tags)]})
    assert read_as(arrays) == expected
    assert read_as(arrays.to_dict("records")) == expected
    assert read_as([{"tokens": tuple(w), "tags": np.array(t)} for w, t in zip(words, tags)]) == (  # noqa: B905
        expected
    )
    square = refusal(pd.DataFrame({"text": ["a"], "x": [np.zeros((2, 2))]}))
    assert square.startswith("the DataFrame given as train: column 'x' mixes types, or has one")


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT, float("nan")])
def test_a_missing_cell_is_refused_by_its_row_where_it_is_read(
    missing: Any, tokenizer: BertTokenizerFast
) -> None:
    rows = [*ROWS[:2], {**ROWS[2], "text": missing}, *ROWS[3:]]
    for given, kind in ((rows, "list"), (pd.DataFrame(rows), "DataFrame")):
        with pytest.raises(UserError) as raised:
            prepare(Files(train=given), tokenizer, 16, None, 0)
        assert str(raised.value) == (
            f"the {kind} given as train, row 3: 'text' is empty; fill it or drop the row"
        )
    scores = [{"text": row["text"], "score": row["number"] / 2} for row in ROWS]
    scores[4]["score"] = missing
    for given in (scores, pd.DataFrame(scores)):
        with pytest.raises(UserError, match="row 5: 'score' is None; give a number"):
            prepare(Files(train=given), tokenizer, 16, None, 0)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ([], "the list given as train: no rows; give at least one"),
        (pd.DataFrame({"text": []}), "the DataFrame given as train: no rows; give at least one"),
        (pd.DataFrame(index=[1]), "the DataFrame given as train: no columns; give those of the "),
        (Dataset.from_dict({"text": []}), "the Dataset given as train: no rows; give at least one"),
        (
            [{"text": "a", "label": 1}, {"text": "b"}],
            "the list given as train, row 2: key 'label' is missing; give all rows the same keys",
        ),
        (
            [{"text": "a"}, {"text": "b", "label": 1}],
            "the list given as train, row 2: key 'label' is not in the rows above; give all",
        ),
        ([{"text": "a"}, "b"], "the list given as train, row 2: 'b' is not a dict of columns"),
        ([{0: "a"}], "the list given as train, row 1: key 0 is no text; rename it"),
        (
            [{"text": "a", "label": 1}, {"text": "b", "label": "x"}],
            "the list given as train, row 2: 'label' is a string, above it is a number; give",
        ),
        (
            pd.DataFrame({"text": ["a", 1]}, dtype=object),
            "the DataFrame given as train: column 'text' mixes types, or has one that cannot be",
        ),
        (
            pd.DataFrame([["a", "b"]]),
            "the DataFrame given as train: column 0 has a name that is no text; rename it",
        ),
        (
            pd.DataFrame([["a", "b"]], columns=["text", "text"]),
            "the DataFrame given as train: column 'text' is there twice; rename one",
        ),
        (
            pd.DataFrame({"text": ["a"], "day": pd.period_range("2020", periods=1, freq="D")}),
            "the DataFrame given as train: column 'day' mixes types, or has one that cannot be",
        ),
        (
            DatasetDict({"test": Dataset.from_list(ROWS), "dev": Dataset.from_list(ROWS)}),
            "the DatasetDict given as train, split 'train': there is none; its splits are test,",
        ),
        (
            Dataset.from_list(ROWS).with_transform(lambda rows: rows),
            "the Dataset given as train: its set_transform is not read: apply it with map() before",
        ),
        (
            Dataset.from_list(ROWS).to_iterable_dataset(),
            "train: IterableDataset is a stream of rows: load it without streaming",
        ),
        ({"text": ["a"]}, "train: dict is no kind of rows: give a path, a Dataset, a DatasetDict,"),
        (pd.Series(["a"]), "train: Series is no kind of rows: give a path, a Dataset, a"),
        (None, "train: NoneType is no kind of rows: give a path, a Dataset, a DatasetDict,"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_a_line(given: Any, complaint: str) -> None:
    assert refusal(given).startswith(complaint)


def test_a_frame_of_another_library_is_not_taken_for_one_of_pandas() -> None:
    class Mine(pd.DataFrame):
        pass

    class DataFrame:
        pass

    assert kind_of_rows(Mine(ROWS), "train") == "DataFrame"
    with pytest.raises(UserError, match="train: DataFrame is no kind of rows"):
        kind_of_rows(DataFrame(), "train")


def test_rows_are_read_once_for_all_that_ask(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    real = sources.read_file

    def counted(path: Path, *how: Any) -> Dataset:
        reads.append(path.name)
        return real(path, *how)

    monkeypatch.setattr(sources, "read_file", counted)
    path = csv_of(tmp_path / "rows.csv")
    files = Files(train=path, valid=path, evaluation=path, unlabelled=csv_of(tmp_path / "more.csv"))
    for _ in range(2):
        prepare(files, tokenizer, 16, None, 0)
    assert {source.digest for source in files.sources.values()} == {Source(ROWS).digest}
    assert reads == ["rows.csv", "more.csv"]


def test_files_of_rows_in_memory_are_told_by_name_and_digest() -> None:
    files = Files(train="train.csv", valid=ROWS, text="text")
    told = files.arguments
    assert told["train"] == "train.csv"
    assert told["valid"] == f"the list given as valid (sha256 {Source(ROWS).digest[:16]})"
    assert (told["text"], told["evaluation"]) == ("text", None)
