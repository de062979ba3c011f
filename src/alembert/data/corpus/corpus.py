"""A corpus: sequences of token ids for MLM, prepared once and stored on disk."""

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from alembert.data.corpus.packing import SHORTEST, Frame
from alembert.data.corpus.paragraphs import open_source
from alembert.data.corpus.preparing import (
    COUNTS,
    FACTS,
    IDS,
    LENGTHS,
    STATE,
    CorpusRequest,
    prepare,
)
from alembert.io import checksums
from alembert.io.errors import UserError
from alembert.io.files import CACHE_FIX, FIX, cache, check_fields, naming, read_json

log = logging.getLogger(__name__)

AGAIN = "delete the folder and prepare it again"
FIELDS = {"tokenizer": str, "max_length": int, "dropped": dict, "dtype": str, "tokens": int}
_VERSION = "3"  # the version of the format; cached corpora of another version are not used


class Corpus(torch.utils.data.Dataset[dict[str, Any]]):
    """Sequences of token ids, special tokens included, read from disk one by one.

    `lengths` (N,) has the tokens of each sequence, at most `max_length`. `counts` (V,) has the
    occurrences of each token. `dropped` maps a reason to the number of sequences left out.
    The index takes 12 bytes of memory a sequence.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        facts = read_json(folder / FACTS)
        check_fields(folder / FACTS, facts, FIELDS)
        self.tokenizer: str = facts["tokenizer"]
        self.max_length: int = facts["max_length"]
        self.dropped: dict[str, int] = facts["dropped"]
        self.counts: NDArray[np.int64] = np.load(folder / COUNTS)
        self.lengths: NDArray[np.int32] = np.fromfile(folder / LENGTHS, np.int32)
        self._ends = np.cumsum(self.lengths, dtype=np.int64)
        self._ids, self._dtype = folder / IDS, _dtype(folder, facts["dtype"])
        size = facts["tokens"] * self._dtype.itemsize
        if self._ids.stat().st_size != size or self._ends[-1] != facts["tokens"]:
            raise UserError(f"{folder}: is damaged: delete it and prepare it again")

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """{"input_ids": list of token ids}."""
        length = int(self.lengths[index])  # raises the IndexError that ends an iteration
        start = int(self._ends[index]) - length
        # not memory-mapped: pages once read would count as this process's memory
        ids = np.fromfile(self._ids, self._dtype, length, offset=start * self._dtype.itemsize)
        if len(ids) < length:  # cut off since it was opened
            raise UserError(f"{self.folder}: is damaged: delete it and prepare it again")
        return {"input_ids": ids.tolist()}


def read_corpus(
    path: str | Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    folder: Path | None = None,
) -> Corpus:
    """The corpus of one or more texts, in sequences of at most `max_length` tokens.

    A text file has a paragraph a line and an empty line between documents; in any other data set
    every row of the text column is a document. Consecutive paragraphs of a document share a
    sequence while they fit, and a longer paragraph is cut. Sequences under 12 tokens, and those
    with half or more unknown tokens, are dropped (DistilBERT).
    A corpus is prepared once for the same texts, tokenizer and length, in `folder` (by default
    $XDG_CACHE_HOME/alembert); a folder that `write_corpus` made is read directly. Raises UserError
    that names a file or folder, and the fix.
    """
    if isinstance(path, str) and prepared(path):
        return _prepared(Path(path).expanduser(), tokenizer, max_length)
    request = _request([path] if isinstance(path, str) else path, tokenizer, max_length)
    parent = folder or cache("corpus")
    target = parent / request.key
    for name in checksums.damaged(target):
        log.warning(f"{target / name}: is damaged: the corpus is prepared again")
        shutil.rmtree(target, ignore_errors=True)
    if not (target / FACTS).is_file():
        with naming(parent, CACHE_FIX):
            parent.mkdir(parents=True, exist_ok=True)
        prepare(target, request, CACHE_FIX)
    return Corpus(target)


def write_corpus(
    paths: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int, out: Path
) -> Corpus:
    """Prepares a corpus in the folder `out`; an interrupted preparation is resumed there."""
    prepare(out, _request(paths, tokenizer, max_length), FIX)
    return Corpus(out)


def corpus_digest(path: str) -> str:
    """The sha256 of a corpus: of its text, or of the token ids of a prepared folder."""
    if prepared(path):
        folder, state = Path(path).expanduser(), hashlib.sha256()
        for name in (IDS, LENGTHS):
            if (folder / name).is_file():
                state.update(checksums.sha256_of(folder / name).encode())
        return state.hexdigest()
    return open_source(path).digest().hex()


def prepared(path: str) -> bool:
    """Whether a folder was made by `write_corpus`, finished or not."""
    return any((Path(path).expanduser() / name).is_file() for name in (FACTS, STATE))


def _prepared(folder: Path, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Corpus:
    """The corpus of a prepared folder.

    Raises UserError when it is unfinished or of another tokenizer or length.
    """
    if not (folder / FACTS).is_file():
        raise UserError(f"{folder}: is not finished: run its 'alembert corpus' command again")
    corpus = Corpus(folder)
    checksums.check_folder(folder, fix=AGAIN)
    again = f"'alembert corpus TEXT --tokenizer {tokenizer.name_or_path} --max-length {max_length}'"
    if corpus.tokenizer != _tokenizer_without_cuts(tokenizer)[1]:
        raise UserError(
            f"{folder}: was prepared with another tokenizer than the student's: prepare it with "
            f"{again}"
        )
    if corpus.max_length > max_length:
        raise UserError(
            f"{folder}: was prepared for {corpus.max_length} tokens a sequence and {max_length} "
            f"are requested: give --max-length {corpus.max_length}, or prepare it with {again}"
        )
    return corpus


def _request(
    paths: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> CorpusRequest:
    if max_length < SHORTEST:
        raise UserError(f"--max-length {max_length}: a corpus needs at least {SHORTEST}")
    sources = tuple(open_source(path) for path in paths)
    backend, words = _tokenizer_without_cuts(tokenizer)
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    if first is None or last is None:
        raise UserError("this tokenizer has no [CLS] and [SEP]; a corpus needs a BERT-like one")
    frame = Frame(int(first), int(last), tokenizer.unk_token_id)
    digest = hashlib.sha256(json.dumps([_VERSION, max_length, words]).encode())
    for source in sources:
        digest.update(source.digest())
    key = digest.hexdigest()[:32]
    return CorpusRequest(
        sources=sources,
        tokenizer=backend,
        frame=frame,
        vocabulary=len(tokenizer),
        max_length=max_length,
        tokenizer_hash=words,
        key=key,
    )


def _tokenizer_without_cuts(tokenizer: PreTrainedTokenizerBase) -> tuple[Tokenizer, str]:
    """A tokenizer without truncation or padding, and a hash of the parts that decide its ids."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError("this tokenizer has no fast version; use a model that has one")
    state = json.loads(backend.to_str())
    state |= {"truncation": None, "padding": None}  # left over from the last call
    parts = ("normalizer", "pre_tokenizer", "model", "added_tokens")
    special = [tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.unk_token_id]
    identity = json.dumps([special, *(state[part] for part in parts)], sort_keys=True)
    return Tokenizer.from_str(json.dumps(state)), hashlib.sha256(identity.encode()).hexdigest()[:32]


def _dtype(folder: Path, name: str) -> np.dtype[Any]:
    if name not in ("uint16", "uint32"):
        raise UserError(f"{folder}: is damaged: delete it and prepare it again")
    return np.dtype(name)
