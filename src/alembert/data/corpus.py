"""Plain text -> sequences of token ids for masked-word prediction, cached as arrays on disk."""

import array
import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from alembert.data.paragraphs import Documents, open_documents, paragraphs
from alembert.errors import UserError
from alembert.writing import cache, named

SHORTEST = 12  # DistilBERT's: tokens of a sequence that is kept, special ones counted
_VERSION = "1"  # of what the cache holds; another number makes the cache anew


class Corpus(torch.utils.data.Dataset[dict[str, Any]]):
    """Sequences of token ids, special tokens included.

    `lengths` (N,): tokens per sequence. `counts` (V,): how often each token occurs.
    `dropped`: reason -> how many sequences were left out.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ids: NDArray[Any] = np.load(folder / "ids.npy", mmap_mode="r")
        self.offsets: NDArray[np.int64] = np.load(folder / "offsets.npy")
        self.counts: NDArray[np.int64] = np.load(folder / "counts.npy")
        self.dropped: dict[str, int] = json.loads((folder / "dropped.json").read_text())
        self.lengths: list[int] = np.diff(self.offsets).tolist()

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """{"input_ids": list of token ids}."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)}")
        index %= len(self)
        return {"input_ids": self.ids[self.offsets[index] : self.offsets[index + 1]].tolist()}


def read_corpus(
    path: str | Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    folder: Path | None = None,
    limit_tokens: int | None = None,
) -> Corpus:
    """The sequences of one or more texts, at most `max_length` tokens each.

    A text file holds a paragraph a line and an empty line between documents; of any other data
    set, every row of its text column is a document. Consecutive paragraphs of a document share
    a sequence while they fit, a longer paragraph is cut; sequences under 12 tokens and those
    half or more unknown are dropped (DistilBERT). `limit_tokens` stops early.
    Made once for the same text, tokenizer and lengths, in `folder` ($XDG_CACHE_HOME/alembert).
    """
    paths = [path] if isinstance(path, str) else list(path)
    if max_length < SHORTEST:
        raise UserError(f"--max-length {max_length}: a corpus needs at least {SHORTEST}")
    sources = [open_documents(one) for one in paths]
    home = folder or cache("corpus")
    done = home / _key(sources, tokenizer, max_length, limit_tokens)
    if not done.is_dir():
        with named(home, "free some space, or name another folder in XDG_CACHE_HOME"):
            home.mkdir(parents=True, exist_ok=True)
            unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=home))
            try:
                _write(unfinished, sources, tokenizer, max_length, limit_tokens)
                _rename(unfinished, done)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return Corpus(done)


def _rename(unfinished: Path, done: Path) -> None:
    try:
        unfinished.rename(done)
    except OSError:
        if not done.is_dir():  # otherwise another process was quicker with the same content
            raise


def _key(
    sources: list[Documents],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    limit_tokens: int | None,
) -> str:
    """The name of the cache: changes with anything that changes the sequences."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError("this tokenizer has no fast version; use a model that has one")
    state = json.loads(backend.to_str())
    for setting in ("truncation", "padding"):  # left behind by whoever called it last
        state.pop(setting, None)
    known = [_VERSION, max_length, limit_tokens, state]
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
    for source in sources:
        digest.update(source.digest())
    return digest.hexdigest()[:32]


def _tokenized(lines: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[list[int]]:
    """Token ids per paragraph, none for the end of a document; many at a time for speed."""
    batch: list[str] = []
    size = 0

    def ids() -> list[list[int]]:
        found: list[list[int]] = tokenizer(
            batch,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        return found

    for paragraph in lines:
        batch.append(paragraph)
        size += len(paragraph)
        if size > 500_000:
            yield from ids()
            batch, size = [], 0
    if batch:
        yield from ids()


def pack(paragraphs: Iterable[list[int]], room: int) -> Iterator[list[int]]:
    """Whole paragraphs together while they fit in `room` tokens; longer ones are cut.

    An empty paragraph ends a document; no sequence spans two documents.
    """
    held: list[int] = []
    for ids in paragraphs:
        if held and (not ids or len(held) + len(ids) > room):
            yield held
            held = []
        if held:
            held = held + ids
        else:
            whole = len(ids) - len(ids) % room
            yield from (ids[start : start + room] for start in range(0, whole, room))
            held = ids[whole:]
    if held:
        yield held


def _write(
    folder: Path,
    sources: list[Documents],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    limit_tokens: int | None,
) -> None:
    first, last, unknown = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.unk_token_id
    if first is None or last is None:
        raise UserError("this tokenizer has no [CLS] and [SEP]; a corpus needs a BERT-like one")
    dtype = np.dtype(np.uint16 if len(tokenizer) <= 2**16 else np.uint32)
    ends = array.array("q", [0])
    dropped: Counter[str] = Counter()
    total = sum(source.size() for source in sources)
    with (
        (folder / "ids.npy").open("wb") as file,
        tqdm(total=total, unit="B", unit_scale=True, desc="reading text", disable=None) as bar,
    ):
        _header(file, dtype, 0)
        lines = chain.from_iterable(paragraphs(source, bar) for source in sources)
        for inner in pack(_tokenized(lines, tokenizer), max_length - 2):
            sequence = [first, *inner, last]
            if len(sequence) < SHORTEST:
                dropped[f"under {SHORTEST} tokens"] += 1
            elif 2 * sequence.count(unknown) >= len(sequence):
                dropped["half or more unknown"] += 1
            else:
                file.write(np.array(sequence, dtype).tobytes())
                ends.append(ends[-1] + len(sequence))
            if limit_tokens is not None and ends[-1] >= limit_tokens:
                break
        _header(file, dtype, ends[-1])
    if len(ends) == 1:
        names = ", ".join(str(source.path) for source in sources)
        why = ", ".join(f"{n} {reason}" for reason, n in dropped.items()) or "no text"
        raise UserError(f"{names}: no sequence is left ({why}); give more text")
    np.save(folder / "offsets.npy", np.frombuffer(ends, np.int64))
    np.save(folder / "counts.npy", _counts(folder / "ids.npy", len(tokenizer)))
    (folder / "dropped.json").write_text(json.dumps(dropped))


def _header(file: BinaryIO, dtype: np.dtype[Any], count: int) -> None:
    """The .npy header, at the start; numpy pads it so that a larger count fits in later."""
    file.seek(0)
    shape = {"descr": dtype.str, "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(file, shape)


def _counts(ids: Path, vocabulary: int) -> NDArray[np.int64]:
    """(V,) occurrences of each token, counted a stretch at a time to save memory."""
    flat = np.load(ids, mmap_mode="r")
    counts = np.zeros(vocabulary, np.int64)
    for start in range(0, len(flat), 10_000_000):
        counts += np.bincount(flat[start : start + 10_000_000], minlength=vocabulary)
    return counts
