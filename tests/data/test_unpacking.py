"""A packed file is read to a bound, beyond which it is refused."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from transformers import BertTokenizerFast

from alembert.data import tasks
from alembert.data.corpus.corpus import write_corpus
from alembert.data.files import unpacking
from alembert.data.sources import read
from alembert.data.splits import Files, prepare
from alembert.io.errors import UserError

ROW = b"good film,up\n"


def packed(path: Path, rows: int) -> str:
    content = b"text,label\n" + ROW * rows
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(content, 9))
    else:
        path.write_bytes(pa.compress(content, "zstd", asbytes=True))
    return str(path)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_packed_file_is_read_to_the_bound_and_refused_beyond(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed(tmp_path / f"bomb.csv{suffix}", 100_000)
    assert len(read(path)) == 100_000
    monkeypatch.setattr(unpacking, "FLOOR", 11 + 100_000 * len(ROW))
    assert len(read(path)) == 100_000
    monkeypatch.setattr(unpacking, "FLOOR", 10 + 100_000 * len(ROW))
    reason = r"bomb\.csv\.\w+: unpacks to over 1 MB, more than 10 times its size: unpack it"
    with pytest.raises(UserError, match=reason):
        read(path)


def test_a_file_of_the_usual_ratio_has_no_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed(tmp_path / "rows.csv.gz", 10)
    monkeypatch.setattr(unpacking, "FLOOR", 1)
    assert len(read(path)) == 10  # 141 bytes in 60


def test_a_bomb_is_no_corpus_either_and_leaves_nothing(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.txt.gz"
    path.write_bytes(gzip.compress(b"good film " * 1_000_000))
    monkeypatch.setattr(unpacking, "FLOOR", 1_000_000)
    with pytest.raises(UserError, match="unpacks to over 1 MB"):
        write_corpus([str(path)], tokenizer, 16, tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()


def test_short_cells_of_a_packed_file_have_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = packed(tmp_path / "rows.csv.gz", 10_000)  # two cells a row, and those of the header
    monkeypatch.setattr(unpacking, "CELLS", 20_002)
    assert len(read(path)) == 10_000
    monkeypatch.setattr(unpacking, "CELLS", 20_001)
    with pytest.raises(UserError, match="unpacks to over 20,001 lines and cells"):
        read(path)


def parquet(path: Path, table: pa.Table, **how: object) -> str:
    pq.write_table(table, path, **how)
    return str(path)


def test_equal_rows_of_parquet_have_a_bound(tmp_path: Path) -> None:
    many = pa.table({"text": pa.repeat("a", 4_000_000)})
    with pytest.raises(UserError, match=r"unpacks to over 50 MB|holds 4,000,000 rows"):
        read(parquet(tmp_path / "rows.parquet", many))


@pytest.mark.parametrize("kind", [pa.string(), pa.list_(pa.string())])
def test_long_equal_texts_of_parquet_have_a_bound(kind: pa.DataType, tmp_path: Path) -> None:
    long = pa.scalar("good film " * 100_000 if kind == pa.string() else ["film" * 250_000], kind)
    path = parquet(tmp_path / "rows.parquet", pa.table({"text": pa.repeat(long, 100)}))
    assert Path(path).stat().st_size < 1_200_000
    with pytest.raises(UserError, match="unpacks to over 50 MB"):
        read(path)


def test_texts_that_repeat_the_one_before_have_a_bound(tmp_path: Path) -> None:
    table = pa.table({"text": pa.repeat("good film " * 100_000, 100)})
    how = {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}
    with pytest.raises(UserError, match="unpacks to over 50 MB"):
        read(parquet(tmp_path / "rows.parquet", table, **how))


def test_dictionaries_of_texts_come_back_as_texts_with_their_features(tmp_path: Path) -> None:
    rows = {"text": ["a", "b", None] * 700, "tags": [["x", "y"], [], None] * 700, "n": [1] * 2100}
    Dataset.from_dict(rows).to_parquet(str(tmp_path / "rows.parquet"))
    found = read(str(tmp_path / "rows.parquet"))
    assert found.features == Dataset.from_dict(rows).features
    assert found[:] == rows


@pytest.mark.parametrize("packing", ["zstd", "lz4"])
@pytest.mark.parametrize("kind", ["file", "stream"])
def test_packed_buffers_of_arrow_have_a_bound(kind: str, packing: str, tmp_path: Path) -> None:
    for count, is_read in ((100, True), (100_000, False)):
        table = pa.table({"text": pa.repeat("good film " * 100, count)})
        path = tmp_path / "rows.arrow"
        make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        options = pa.ipc.IpcWriteOptions(compression=packing)
        with path.open("wb") as file, make(file, table.schema, options=options) as writer:
            writer.write_table(table)
        if is_read:
            assert len(read(str(path))) == count
            continue
        with pytest.raises(UserError, match="unpacks to over 50 MB"):
            read(str(path))


def test_a_table_of_too_many_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(",".join(map(str, range(20_001))) + "\n")
    with pytest.raises(UserError, match="has 20,001 columns, and 20,000 are the most"):
        read(str(path))


def test_objects_of_other_keys_in_each_row_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    lines = [f'{{"text": "a", "label": "b", "m": [{{"k{i}": 1}}]}}' for i in range(3000)]
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match="'m' holds objects of 3,000 different keys in 3,000 rows"):
        read(str(path))
    path.write_text("\n".join(lines[:100]))
    assert len(read(str(path))) == 100


def test_labels_as_many_as_rows_are_refused(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text("".join(f'{{"text": "a", "labels": ["{i // 2}"]}}\n' for i in range(200)))
    prepare(Files(train=str(path)), tokenizer, 16, None, 0)
    monkeypatch.setattr(tasks, "LOGITS", 10_000)
    with pytest.raises(UserError, match="100 different labels are too many for 190 rows"):
        prepare(Files(train=str(path)), tokenizer, 16, None, 0)
