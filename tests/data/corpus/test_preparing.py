"""A corpus is prepared from any text, as a stream, goes on where it stopped, and is taken whole."""

import json
import resource
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import BertTokenizerFast

from alembert.data.corpus import corpus as corpus_module
from alembert.data.corpus import paragraphs, preparing
from alembert.data.corpus.corpus import Corpus, read_corpus, write_corpus
from alembert.data.corpus.preparing import CorpusRequest
from alembert.io.errors import UserError

TEN = "a b c d e f g h i j"  # with [CLS] and [SEP] just long enough to be kept
DOCUMENTS = ["\n".join(f"{TEN} {'k l m n o p'[: 2 * (i % 7)]}" for i in range(9)), TEN, f"{TEN} k"]


def sequences(corpus: Corpus) -> list[list[int]]:
    return [corpus[i]["input_ids"] for i in range(len(corpus))]


def table(path: Path) -> str:
    """The documents in a file of the kind that its suffix says; where it lies."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"id": [1, 2, 3], "text": DOCUMENTS}), path, row_group_size=2)
        return str(path)
    text = "\n\n".join(DOCUMENTS) + "\n"
    if ".jsonl" in path.name:
        text = "".join(json.dumps({"text": document}) + "\n" for document in DOCUMENTS)
    if ".csv" in path.name:
        text = "id,text\n" + "".join(f'1,"{document}"\n' for document in DOCUMENTS)
    packing = {".zst": "zstd", ".gz": "gzip"}.get(path.suffix)
    with pa.CompressedOutputStream(str(path), packing) if packing else path.open("wb") as file:
        file.write(text.encode())
    return str(path)


KINDS = ("txt", "txt.zst", "txt.gz", "jsonl", "jsonl.zst", "csv", "csv.zst", "parquet")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same_sequences(
    tmp_path: Path, tokenizer: BertTokenizerFast, kind: str
) -> None:
    plain = write_corpus([table(tmp_path / "one.txt")], tokenizer, 32, tmp_path / "plain")
    assert plain.counts.sum() > 100
    corpus = write_corpus([table(tmp_path / f"two.{kind}")], tokenizer, 32, tmp_path / "corpus")
    assert sequences(corpus) == sequences(plain)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Stopper:
    """Tokenises a few blocks and then raises what it is given; counts the blocks."""

    def __init__(self, ids: Any, stop: BaseException | None = None, after: int = 0) -> None:
        self.ids, self.stop, self.after, self.calls = ids, stop, after, 0

    def __call__(self, wanted: CorpusRequest, texts: list[str]) -> Any:
        self.calls += 1
        if self.stop is not None and self.calls > self.after:
            raise self.stop
        return self.ids(wanted, texts)


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two files of 20 blocks or more each, a state saved after each block."""
    monkeypatch.setattr(paragraphs, "BLOCK", 500)
    monkeypatch.setattr(preparing, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(preparing, "WORKERS", 1)
    text = "\n".join(TEN + " k" * (i % 9) + "\n" * (i % 4 == 3) for i in range(450))
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": text}) + "\n")
    return [str(tmp_path / name) for name in ("a.txt", "b.jsonl")]


@pytest.mark.parametrize("after", [0, 3, 30])
def test_what_was_stopped_goes_on_and_ends_the_same(
    tmp_path: Path,
    tokenizer: BertTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
    many: list[str],
    after: int,
) -> None:
    ids = CorpusRequest.ids
    whole, stopped, rest = (
        Stopper(ids), Stopper(ids, KeyboardInterrupt(), after), Stopper(ids)
    )  # fmt: skip
    monkeypatch.setattr(CorpusRequest, "ids", lambda *given: whole(*given))
    at_once = write_corpus(many, tokenizer, 40, tmp_path / "whole")
    monkeypatch.setattr(CorpusRequest, "ids", lambda *given: stopped(*given))
    out = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        write_corpus(many, tokenizer, 40, out)
    assert not (out / "corpus.json").exists()
    for name in ("ids.bin", "lengths.bin"):  # a write that was cut short
        with (out / name).open("ab") as file:
            file.write(b"cut")
    monkeypatch.setattr(CorpusRequest, "ids", lambda *given: rest(*given))
    write_corpus(many, tokenizer, 40, out)
    assert content(out) == content(at_once.folder)
    assert whole.calls - after <= rest.calls <= whole.calls - after + 2  # those in the air
    with monkeypatch.context() as patch:
        patch.setattr(preparing, "_write", None)
        write_corpus(many, tokenizer, 40, out)  # finished: nothing is done


def test_the_order_of_sequences_is_that_of_the_text_however_many_work(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch, many: list[str]
) -> None:
    one = write_corpus(many, tokenizer, 40, tmp_path / "one")
    monkeypatch.setattr(preparing, "WORKERS", 4)
    four = write_corpus(many, tokenizer, 40, tmp_path / "four")
    assert content(one.folder) == content(four.folder)


def test_a_full_disk_is_said_and_the_work_is_kept(
    tmp_path: Path, tokenizer: BertTokenizerFast, many: list[str]
) -> None:
    out = tmp_path / "corpus"
    least, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, most))
    try:
        with pytest.raises(UserError, match=r"corpus: cannot be written .*: free some space or"):
            write_corpus(many, tokenizer, 40, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (least, most))
    assert json.loads((out / "state.json").read_text())["blocks"] > 0
    write_corpus(many, tokenizer, 40, out)
    again = write_corpus(many, tokenizer, 40, tmp_path / "again")
    assert content(out) == content(again.folder)


def test_one_process_at_a_time_prepares_a_folder(
    tmp_path: Path, tokenizer: BertTokenizerFast, many: list[str]
) -> None:
    out = tmp_path / "corpus"
    with ThreadPoolExecutor(1) as pool:
        with preparing._lock(out, ""):
            other = pool.submit(write_corpus, many, tokenizer, 40, out)
            with pytest.raises(TimeoutError):
                other.result(timeout=0.3)
            (out / "ids.bin").touch()  # begun
        assert len(other.result(timeout=10)) > 0
    names = {"corpus.json", "ids.bin", "lengths.bin", "counts.npy", "checksums.json"}
    assert set(content(out)) == names


def test_a_large_vocabulary_gets_wider_ids(tmp_path: Path, tokenizer: BertTokenizerFast) -> None:
    (tmp_path / "text.txt").write_text(TEN)
    narrow = corpus_module._request([str(tmp_path / "text.txt")], tokenizer, 16)
    for size, name in ((2**16, "uint16"), (2**16 + 1, "uint32")):
        preparing.prepare(tmp_path / name, replace(narrow, vocabulary=size))
        corpus = Corpus(tmp_path / name)
        assert sequences(corpus) == [[2, *range(5, 15), 3]]
        assert (tmp_path / name / "ids.bin").stat().st_size == 12 * np.dtype(name).itemsize
        assert corpus.counts.shape == (size,)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_text(
    tmp_path: Path, tokenizer: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paragraphs, "BLOCK", 50_000)
    monkeypatch.setattr(preparing, "WORKERS", 1)
    monkeypatch.setattr(preparing, "_STRETCH", 10_000)
    peaks = []
    for size in (10, 40):
        with pa.CompressedOutputStream(str(tmp_path / f"{size}.jsonl.zst"), "zstd") as file:
            for _ in range(size):
                file.write((json.dumps({"text": f"{TEN}\n" * 1000}) + "\n").encode() * 4)
        tracemalloc.start()
        write_corpus([str(tmp_path / f"{size}.jsonl.zst")], tokenizer, 64, tmp_path / f"{size}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 500_000 < 30 * 4 * 1000 * len(TEN)  # 2.3 MB more of text


def test_a_prepared_folder_is_a_corpus(tmp_path: Path, tokenizer: BertTokenizerFast) -> None:
    text = table(tmp_path / "text.txt")
    made = write_corpus([text], tokenizer, 32, tmp_path / "corpus")
    plain = read_corpus(text, tokenizer, 32, tmp_path / "plain")
    for length in (32, 64):
        found = read_corpus(str(tmp_path / "corpus"), tokenizer, length, tmp_path / "cache")
        assert sequences(found) == sequences(made) == sequences(plain)
    assert not (tmp_path / "cache").exists()


def test_a_prepared_folder_that_does_not_fit_is_refused_with_the_mend(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    text, out = table(tmp_path / "text.txt"), tmp_path / "corpus"
    write_corpus([text], tokenizer, 32, out)
    swapped = {word: (11 - i if i in (5, 6) else i) for word, i in tokenizer.get_vocab().items()}
    other = BertTokenizerFast(vocab=swapped, name_or_path="other")
    says = r"corpus: was prepared with another tokenizer than the student's: prepare it with "
    again = r"'alembert corpus TEXT --tokenizer other --max-length 32'$"
    with pytest.raises(UserError, match=says + again):
        read_corpus(str(out), other, 32)
    with pytest.raises(UserError, match="for 32 tokens a sequence and 16 are requested: give"):
        read_corpus(str(out), tokenizer, 16)
    for tokens, texts in ((16, [text]), (32, [text, text])):
        with pytest.raises(UserError, match="holds a corpus of other texts, tokenizer or --max-l"):
            write_corpus(texts, tokenizer, tokens, out)
    with (out / "ids.bin").open("r+b") as file:
        file.truncate(40)
    with pytest.raises(UserError, match="corpus: is damaged: delete it and prepare it again"):
        read_corpus(str(out), tokenizer, 32)
    (out / "corpus.json").rename(out / "state.json")
    with pytest.raises(UserError, match="corpus: is not finished: run its 'alembert corpus' comm"):
        read_corpus(str(out), tokenizer, 32)


@pytest.mark.parametrize("name", ["corpus.json", "ids.bin", "lengths.bin", "counts.npy"])
def test_a_flipped_byte_is_named_and_the_cached_corpus_is_prepared_again(
    name: str, tmp_path: Path, tokenizer: BertTokenizerFast, news: list[str]
) -> None:
    text, out = table(tmp_path / "text.txt"), tmp_path / "corpus"
    write_corpus([text], tokenizer, 32, out)
    cached = read_corpus(text, tokenizer, 32, tmp_path / "cache")
    whole = sequences(cached)
    for folder in (out, cached.folder):
        damaged = bytearray((folder / name).read_bytes())
        damaged[len(damaged) // 2] ^= 1
        (folder / name).write_bytes(damaged)
    with pytest.raises(UserError, match=rf"corpus(/{name})?: (is damaged|cannot be read)"):
        read_corpus(str(out), tokenizer, 32)
    assert sequences(read_corpus(text, tokenizer, 32, tmp_path / "cache")) == whole
    assert news[-1] == f"{cached.folder / name}: is damaged: the corpus is prepared again"


def test_a_folder_of_other_things_is_left_alone(
    tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    text, home = table(tmp_path / "text.txt"), tmp_path / "home"
    home.mkdir()
    (home / "letter.doc").touch()
    with pytest.raises(UserError, match=r"home: holds letter\.doc and no corpus: choose an empty"):
        write_corpus([text], tokenizer, 32, home)
    assert [path.name for path in home.iterdir()] == ["letter.doc"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "a.jsonl",
            '{"text": "a b"}\n{"words": "c"}\n',
            "line 2: key 'text' is missing",
        ),
        ("a.jsonl", '{"text": "a b"}\n{"text": 3}\n', r"a\.jsonl, line 2: 'text' is no string"),
        ("a.jsonl", '["a b"]\n', r"a\.jsonl, line 1: not an object of columns"),
        ("a.csv", "id,text\n1,a b,c\n", r"a\.csv, line 2: 3 fields where the header has 2"),
        ("a.txt.zst", "a b\n", r"a\.txt\.zst: .*(unpack the file or )?fetch it again"),
        ("a.parquet", "a b\n", r"a\.parquet: not readable as Parquet"),
    ],
)
def test_a_mistake_in_the_text_is_named_and_leaves_nothing(
    tmp_path: Path, tokenizer: BertTokenizerFast, name: str, text: str, says: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=says):
        write_corpus([str(tmp_path / name)], tokenizer, 32, tmp_path / "out")
    assert not (tmp_path / "out").exists()
