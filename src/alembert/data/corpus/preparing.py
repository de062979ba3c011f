"""Prepares a folder of token ids from text, in parallel; an interrupted preparation resumes."""

import json
import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from alembert.data.corpus.packing import Frame, Ids, pack
from alembert.data.corpus.paragraphs import Source
from alembert.io import checksums
from alembert.io.errors import UserError
from alembert.io.files import FIX, check_fields, keep, keep_text, naming, read_json, write_text
from alembert.io.locks import waited_for
from alembert.io.progress import BYTES, Work

FACTS, IDS, LENGTHS, COUNTS = "corpus.json", "ids.bin", "lengths.bin", "counts.npy"
STATE, LOCK = "state.json", ".lock"
SAVE_SECONDS = 10.0
WORKERS = 3  # concurrent calls of the tokenizer: each uses all cores, but leaves gaps
_STRETCH = 4_000_000  # tokens that are counted at a time
IdType = np.dtype[np.uint16 | np.uint32]


@dataclass(frozen=True, kw_only=True)
class CorpusRequest:
    """The texts, the tokenizer and the length of a corpus; `key` is a hash of all three."""

    sources: tuple[Source, ...]
    tokenizer: Tokenizer
    frame: Frame
    vocabulary: int
    max_length: int
    tokenizer_hash: str
    key: str

    @property
    def dtype(self) -> IdType:
        return np.dtype(np.uint16 if self.vocabulary <= 2**16 else np.uint32)

    def ids(self, texts: list[str]) -> tuple[Ids, list[int]]:
        """The token ids of texts, one after another, and the number of each text."""
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        rows = [row.ids for row in encodings]
        lengths = [len(row) for row in rows]
        return np.fromiter(chain.from_iterable(rows), self.dtype, sum(lengths)), lengths


@dataclass(kw_only=True)
class State:
    """The progress of a preparation; held has the tokens of an unfinished sequence."""

    key: str
    blocks: int = 0
    bytes: int = 0
    tokens: int = 0
    sequences: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    held: list[int] = field(default_factory=list)


def prepare(folder: Path, request: CorpusRequest, fix: str = FIX) -> None:
    """Prepares a corpus in a folder, unless it is there already.

    When interrupted, even by a full disk, the next call resumes. An error in the text raises
    UserError and leaves nothing behind.
    """
    with _lock(folder, fix):
        state = _state(folder, request.key)
        if state is None:
            return
        try:
            _write(folder, request, state, fix)
        except UserError as error:
            if not isinstance(error.__cause__, OSError):  # a full disk can be freed
                for name in (IDS, LENGTHS, COUNTS, STATE):
                    (folder / name).unlink(missing_ok=True)
            raise


@contextmanager
def _lock(folder: Path, fix: str) -> Iterator[None]:
    """Makes and locks the folder for this process; removes it at the end if it is empty."""
    with naming(folder, fix):
        folder.mkdir(parents=True, exist_ok=True)
        strange = {path.name for path in folder.iterdir()} - {
            *(FACTS, IDS, LENGTHS, COUNTS, STATE, LOCK, checksums.FILE),
            *(name + ".partial" for name in (FACTS, STATE, checksums.FILE)),
        }
        if strange:
            raise UserError(
                f"{folder}: holds {min(strange)} and no corpus: choose an empty or new folder"
            )
    with waited_for(folder / LOCK, f"{folder}: another process prepares it: waiting", fix):
        try:
            yield
        finally:
            # in an unfinished folder another process may wait for the lock
            if (folder / FACTS).is_file() or not (folder / IDS).is_file():
                (folder / LOCK).unlink(missing_ok=True)
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _state(folder: Path, key: str) -> State | None:
    """The state to resume from; None when the corpus is finished."""
    for name in (FACTS, STATE):
        if (folder / name).is_file():
            saved = read_json(folder / name)
            check_fields(folder / name, saved, {"key": str, "dropped": dict})
            if saved["key"] != key:
                raise UserError(
                    f"{folder}: holds a corpus of other texts, tokenizer or --max-length: choose a "
                    "new folder, or delete this one"
                )
            return (
                None if name == FACTS else State(**saved | {"dropped": Counter(saved["dropped"])})
            )
    return State(key=key)


def _write(folder: Path, request: CorpusRequest, state: State, fix: str) -> None:
    size = request.dtype.itemsize
    for name, count in ((IDS, state.tokens * size), (LENGTHS, state.sequences * 4)):
        with naming(folder, fix), (folder / name).open("ab") as file:
            file.truncate(count)
    blocks = islice(_blocks(request.sources), state.blocks, None)
    total, saved = sum(source.size() for source in request.sources), time.monotonic()
    start, tokens_before = saved, state.tokens
    with Work("preparing text", total, BYTES, done=state.bytes, kept=True) as work:
        for ids, lengths, position in _tokenized(blocks, request):
            with naming(folder, fix):
                _add(folder, request, state, ids, lengths)
            state.blocks, state.bytes = state.blocks + 1, position
            now = time.monotonic()
            rate = (state.tokens - tokens_before) / (now - start)
            work.tell(rate=f"{rate:,.0f} tokens/s")
            work.n = position
            if now - saved > SAVE_SECONDS:
                with naming(folder, fix):
                    _save(folder, state)
                saved = now
    if not state.sequences:
        names = ", ".join(str(source.path) for source in request.sources)
        why = ", ".join(f"{n} {reason}" for reason, n in state.dropped.items()) or "no text"
        raise UserError(f"{names}: no sequence is left ({why}); give more text")
    with naming(folder, fix):
        np.save(folder / COUNTS, _counts(folder / IDS, request.dtype, request.vocabulary))
        _finish(folder, request, state)


def _blocks(sources: Iterable[Source]) -> Iterator[tuple[list[str], int]]:
    before = 0
    for source in sources:
        for texts, position in source.blocks():
            yield texts, before + position
        before += source.size()


def _tokenized(
    blocks: Iterable[tuple[list[str], int]], request: CorpusRequest
) -> Iterator[tuple[Ids, list[int], int]]:
    """The ids, lengths and position of each block, in order, tokenised ahead by WORKERS."""
    pending: deque[tuple[Future[tuple[Ids, list[int]]], int]] = deque()
    with ThreadPoolExecutor(WORKERS) as pool:
        for texts, position in blocks:
            pending.append((pool.submit(request.ids, texts), position))
            if len(pending) > WORKERS:
                result, position = pending.popleft()
                yield *result.result(), position
        for result, position in pending:
            yield *result.result(), position


def _add(folder: Path, request: CorpusRequest, state: State, ids: Ids, lengths: list[int]) -> None:
    """Appends the sequences that a block fills."""
    packed, left = pack(lengths, request.max_length - 2, len(state.held))
    ids = np.concatenate((np.array(state.held, request.dtype), ids))
    end = len(ids) - left
    framed, sizes, dropped = request.frame.around(ids[:end], packed)
    for name, array in ((IDS, framed), (LENGTHS, sizes)):
        with (folder / name).open("ab") as file:
            file.write(array.tobytes())
    state.tokens += len(framed)
    state.sequences += len(sizes)
    state.dropped.update(dropped)
    state.held = ids[end:].tolist()


def _save(folder: Path, state: State) -> None:
    for name in (IDS, LENGTHS):
        with (folder / name).open("ab") as file:
            os.fsync(file.fileno())  # data must reach the disk before the state
    write_text(folder / STATE, json.dumps(vars(state)))


def _finish(folder: Path, request: CorpusRequest, state: State) -> None:
    facts = {
        "key": state.key,
        "tokenizer": request.tokenizer_hash,
        "max_length": request.max_length,
        "dtype": request.dtype.name,
        "sequences": state.sequences,
        "tokens": state.tokens,
        "dropped": state.dropped,
        "texts": [str(source.path) for source in request.sources],
    }
    keep(folder, [IDS, LENGTHS, COUNTS])
    keep_text(folder / FACTS, json.dumps(facts, indent=1) + "\n")
    (folder / STATE).unlink(missing_ok=True)


def _counts(path: Path, dtype: IdType, vocabulary: int) -> NDArray[np.int64]:
    """The occurrences of each token, (V,)."""
    counts = np.zeros(vocabulary, np.int64)
    with path.open("rb") as file:
        while len(ids := np.fromfile(file, dtype, _STRETCH)):
            counts += np.bincount(ids, minlength=vocabulary)
    return counts
