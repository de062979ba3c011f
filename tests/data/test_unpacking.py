"""A packed file is read to a bound, beyond which it is refused."""

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from transformers import BertTokenizerFast

from alembert.data.corpus.corpus import write_corpus
from alembert.data.files import unpacking
from alembert.data.sources import read
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
    reason = r"bomb\.csv\.\w+: unpacks to over 1 MB, more than 20 times its size: unpack it"
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
