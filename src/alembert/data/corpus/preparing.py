"""Text -> a folder of token ids, in parallel; what was stopped goes on near where it stopped."""

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
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tqdm import tqdm

from alembert.data.corpus.packing import Frame, Ids, pack
from alembert.data.corpus.paragraphs import Source
from alembert.io.errors import UserError
from alembert.io.files import FIX, atomic, naming
from alembert.io.locks import waited_for

FACTS, IDS, LENGTHS, COUNTS = "corpus.json", "ids.bin", "lengths.bin", "counts.npy"
STATE, LOCK = "state.json", ".lock"
SAVE_SECONDS = 10.0
WORKERS = 3  # calls of tokenizers at once: each takes all cores, and one fills another's gaps
_STRETCH = 4_000_000  # tokens that are counted together


@dataclass(frozen=True)
class Wanted:
    """What is asked for: texts, tokenizer and tokens of a sequence; `key` changes with them."""

    sources: tuple[Source, ...]
    tokenizer: Tokenizer
    frame: Frame
    vocabulary: int
    max_length: int
    words: str  # says which tokenizer it is
    key: str

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint16 if self.vocabulary <= 2**16 else np.uint32)

    def ids(self, texts: list[str]) -> tuple[Ids, list[int]]:
        """Token ids of the texts, one after another, and how many each has."""
        found = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        rows = [row.ids for row in found]
        lengths = [len(row) for row in rows]
        return np.fromiter(chain.from_iterable(rows), self.dtype, sum(lengths)), lengths


@dataclass
class State:
    """How far a preparation is. held: a sequence that is begun and not full."""

    key: str
    blocks: int = 0
    bytes: int = 0
    tokens: int = 0
    sequences: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    held: list[int] = field(default_factory=list)


def prepare(folder: Path, wanted: Wanted, fix: str = FIX) -> None:
    """Make a corpus in a folder, unless it is there. Raises UserError.

    Stopped, by a full disk too, it goes on in the same folder. A mistake in the text leaves
    nothing behind.
    """
    with _held(folder, fix):
        state = _state(folder, wanted.key)
        if state is None:
            return
        try:
            _write(folder, wanted, state, fix)
        except UserError as error:
            if not isinstance(error.__cause__, OSError):  # a full disk can be freed
                for name in (IDS, LENGTHS, COUNTS, STATE):
                    (folder / name).unlink(missing_ok=True)
            raise


@contextmanager
def _held(folder: Path, fix: str) -> Iterator[None]:
    """The folder, made if need be and held by this process alone; gone if nothing is in it."""
    with naming(folder, fix):
        folder.mkdir(parents=True, exist_ok=True)
        strange = {path.name for path in folder.iterdir()} - {
            *(FACTS, IDS, LENGTHS, COUNTS, STATE, LOCK),
            *(name + ".partial" for name in (FACTS, STATE)),
        }
        if strange:
            raise UserError(
                f"{folder}: holds {min(strange)} and no corpus: choose an empty or new folder"
            )
    with waited_for(folder / LOCK, f"{folder}: another process prepares it: waiting", fix):
        try:
            yield
        finally:
            if (folder / FACTS).is_file() or not (folder / IDS).is_file():  # else others may wait
                (folder / LOCK).unlink(missing_ok=True)
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _state(folder: Path, key: str) -> State | None:
    """Where to go on; None when all is done."""
    for name in (FACTS, STATE):
        if (folder / name).is_file():
            found = json.loads((folder / name).read_text())
            if found["key"] != key:
                raise UserError(
                    f"{folder}: holds a corpus of other texts, tokenizer or --max-length: choose a "
                    "new folder, or delete this one"
                )
            return (
                None if name == FACTS else State(**found | {"dropped": Counter(found["dropped"])})
            )
    return State(key)


def _write(folder: Path, wanted: Wanted, state: State, fix: str) -> None:
    size = wanted.dtype.itemsize
    for name, count in ((IDS, state.tokens * size), (LENGTHS, state.sequences * 4)):
        with naming(folder, fix), (folder / name).open("ab") as file:
            file.truncate(count)
    left = islice(_blocks(wanted.sources), state.blocks, None)
    total, saved = sum(source.size() for source in wanted.sources), time.monotonic()
    began, before = saved, state.tokens
    with tqdm(
        total=total, initial=state.bytes, unit="B", unit_scale=True, desc="preparing text",
        disable=None,
    ) as bar:  # fmt: skip
        for ids, lengths, position in _tokenized(left, wanted):
            with naming(folder, fix):
                _add(folder, wanted, state, ids, lengths)
            state.blocks, state.bytes = state.blocks + 1, position
            now = time.monotonic()
            rate = (state.tokens - before) / (now - began)
            bar.set_postfix_str(f"{rate:,.0f} tokens/s", refresh=False)
            bar.update(position - bar.n)
            if now - saved > SAVE_SECONDS:
                with naming(folder, fix):
                    _save(folder, state)
                saved = now
    if not state.sequences:
        names = ", ".join(str(source.path) for source in wanted.sources)
        why = ", ".join(f"{n} {reason}" for reason, n in state.dropped.items()) or "no text"
        raise UserError(f"{names}: no sequence is left ({why}); give more text")
    with naming(folder, fix):
        np.save(folder / COUNTS, _counts(folder / IDS, wanted.dtype, wanted.vocabulary))
        _finish(folder, wanted, state)


def _blocks(sources: Iterable[Source]) -> Iterator[tuple[list[str], int]]:
    before = 0
    for source in sources:
        for texts, position in source.blocks():
            yield texts, before + position
        before += source.size()


def _tokenized(
    blocks: Iterable[tuple[list[str], int]], wanted: Wanted
) -> Iterator[tuple[Ids, list[int], int]]:
    """Ids, lengths and position of each block, in order, those that come next made meanwhile."""
    coming: deque[tuple[Future[tuple[Ids, list[int]]], int]] = deque()
    with ThreadPoolExecutor(WORKERS) as pool:
        for texts, position in blocks:
            coming.append((pool.submit(wanted.ids, texts), position))
            if len(coming) > WORKERS:
                made, position = coming.popleft()
                yield *made.result(), position
        for made, position in coming:
            yield *made.result(), position


def _add(folder: Path, wanted: Wanted, state: State, ids: Ids, lengths: list[int]) -> None:
    """The sequences that a block fills, behind those that are there."""
    packed, left = pack(lengths, wanted.max_length - 2, len(state.held))
    ids = np.concatenate((np.array(state.held, wanted.dtype), ids))
    end = len(ids) - left
    framed, sizes, dropped = wanted.frame.around(ids[:end], packed)
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
            os.fsync(file.fileno())  # what the state speaks of is there before it
    with atomic(folder / STATE) as partial:
        partial.write_text(json.dumps(vars(state)))


def _finish(folder: Path, wanted: Wanted, state: State) -> None:
    with atomic(folder / FACTS) as partial:
        facts = {
            "key": state.key,
            "tokenizer": wanted.words,
            "max_length": wanted.max_length,
            "dtype": wanted.dtype.name,
            "sequences": state.sequences,
            "tokens": state.tokens,
            "dropped": state.dropped,
            "texts": [str(source.path) for source in wanted.sources],
        }
        partial.write_text(json.dumps(facts, indent=1) + "\n")
    (folder / STATE).unlink(missing_ok=True)


def _counts(path: Path, dtype: np.dtype[Any], vocabulary: int) -> NDArray[np.int64]:
    """(V,) how often each token occurs."""
    counts = np.zeros(vocabulary, np.int64)
    with path.open("rb") as file:
        while len(ids := np.fromfile(file, dtype, _STRETCH)):
            counts += np.bincount(ids, minlength=vocabulary)
    return counts
