"""Vocabulary trimming: a saved model with the tokens that texts need, and its tokenizer."""

import copy
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from alembert.data.corpus.paragraphs import open_source
from alembert.data.labels import find_columns
from alembert.data.sources import read
from alembert.data.texts.raw import texts_in
from alembert.io.errors import UserError
from alembert.io.files import atomic, read_json
from alembert.io.progress import BYTES, Work
from alembert.models import checks, tokenizer_pruning
from alembert.models.architectures import layerless, offset
from alembert.models.heads import kind_of
from alembert.models.loading import load_config, load_tokenizer, model_path, quiet
from alembert.training.teacher import Teacher

log = logging.getLogger(__name__)

Text = str | list[str]  # a text, or its words
TEXTS = 1000  # tokenised in one call
POOLING = ("modules.json", "1_Pooling/config.json")  # of a sentence encoder, copied beside it


def trim_model(
    path: str,
    out: Path,
    *,
    data: Sequence[str],
    corpus: str | None,
    keep: int | None,
    coverage: float,
    text: str | None,
    text_pair: str | None,
) -> tuple[int, int]:
    """Save in `out` the model with the tokens that texts need; return the counts before and after.

    Raises UserError for a model that cannot be trimmed; `out` then does not exist.
    """
    if keep is not None and keep < 1:
        raise UserError(f"--keep {keep}: must be 1 or more")
    if not 0 < coverage <= 1:
        raise UserError(f"--coverage {coverage:g}: a share, over 0 and at most 1")
    if keep is not None and coverage < 1:
        raise UserError("--keep and --coverage both set the size of the vocabulary: give one")
    if not data and corpus is None:
        raise UserError("no texts to choose the tokens by: give some with --data or --corpus")
    if out.exists():
        raise UserError(f"{out}: is there already; delete it or name another with --out")
    config, tokenizer = load_config(path), load_tokenizer(path)
    checks.check_vocabulary(tokenizer, config, path)
    if layerless(config):
        raise UserError(
            f"{path}: a static student's pairs of tokens have numbers of their own: distil it anew "
            "with --vocabulary task"
        )
    state = tokenizer_pruning.state_of(tokenizer, path)
    texts, more = list(_labelled(data, text, text_pair)), list(_paragraphs(corpus))
    counts = [_counts(each, tokenizer, config.vocab_size) for each in (texts, more)]
    ids = tokenizer_pruning.choose_ids(state, required_ids(state, config), keep, coverage, *counts)
    texts += more
    with atomic(out) as partial:
        write(Teacher(path), ids, partial)
        alike = _count_unchanged(path, texts, tokenizer, load_tokenizer(str(partial)), ids)
    log.info(
        f"{alike:,} of {len(texts):,} texts are tokenised as before, the others into shorter tokens"
    )
    return config.vocab_size, len(ids)


def required_ids(state: tokenizer_pruning.State, config: PreTrainedConfig) -> set[int]:
    """Return the ids that are needed for any texts."""
    ids = tokenizer_pruning.required_ids(state) | set(_named_ids(config).values())
    return ids | set(range(offset(config)))  # positions may count from the padding's id


def write(teacher: Teacher, ids: Sequence[int], to: Path) -> None:
    """Save in `to` the model with the tokens of these ids alone, and its tokenizer."""
    path, kind = teacher.path, kind_of(teacher.config, teacher.path)
    if kind == "words" and not teacher.has_head(kind):  # an ELECTRA discriminator
        kind = "encoder"
    with quiet():
        with_rows(teacher.model(kind), ids).save_pretrained(to)
        tokenizer = load_tokenizer(path)  # the teacher's own has a length by now
        tokenizer.save_pretrained(to)
    teacher.release()
    state = tokenizer_pruning.prune(tokenizer_pruning.state_of(tokenizer, path), ids)
    (to / "tokenizer.json").write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")
    settings = read_json(to / "tokenizer_config.json")
    new = {str(old): str(number) for number, old in enumerate(ids)}
    if added := settings.get("added_tokens_decoder"):
        settings["added_tokens_decoder"] = {new[old]: token for old, token in added.items()}
        text = json.dumps(settings, indent=2, ensure_ascii=False)
        (to / "tokenizer_config.json").write_text(text, encoding="utf-8")
    for name in POOLING:
        if (source := Path(model_path(path)) / name).is_file():
            (to / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source, to / name)


def with_rows(model: PreTrainedModel, ids: Sequence[int]) -> PreTrainedModel:
    """Return a copy of the model with the rows (or columns) `ids` of its vocabulary."""
    config = copy.deepcopy(model.config)
    new = {old: number for number, old in enumerate(ids)}
    for name, old in _named_ids(config).items():
        setattr(config, name, new[old])
    config.vocab_size = len(ids)
    small: PreTrainedModel = type(model)(config)
    weights, rows = model.state_dict(), torch.tensor(ids)
    with torch.no_grad():
        for name, tensor in small.state_dict().items():
            source = weights[name]
            for dim, (before, after) in enumerate(zip(source.shape, tensor.shape, strict=True)):
                if before != after:  # only the vocabulary's dimension changes
                    source = source.index_select(dim, rows)
            tensor.copy_(source)
    small.eval()
    return small


def _named_ids(config: PreTrainedConfig) -> dict[str, int]:
    """Return the config's fields that hold the id of a token: pad_token_id, and so on."""
    fields = config.to_dict().items()
    return {
        name: value
        for name, value in fields
        if name.endswith("_token_id") and isinstance(value, int) and 0 <= value < config.vocab_size
    }


def _labelled(data: Sequence[str], text: str | None, text_pair: str | None) -> Iterator[Text]:
    """Yield the texts of all files, those of a pair one by one."""
    for source in data:
        rows = read(source)
        for name in find_columns(rows, source, text, text_pair, labelled=False).texts:
            yield from texts_in(rows, name, source)


def _paragraphs(corpus: str | None) -> Iterator[str]:
    if corpus is None:
        return
    source = open_source(corpus)
    with Work("reading text", source.size(), BYTES) as work:
        for texts, position in source.blocks():
            yield from filter(None, texts)
            work.n = position


def _counts(texts: Sequence[Text], tokenizer: PreTrainedTokenizerBase, size: int) -> list[int]:
    """Return the number of times that each id occurs, (V,)."""
    counts = np.zeros(size, np.int64)
    for ids in _token_ids(texts, tokenizer, "counting"):
        np.add.at(counts, ids, 1)
    return [int(count) for count in counts]


def _token_ids(
    texts: Sequence[Text], tokenizer: PreTrainedTokenizerBase, doing: str
) -> Iterator[list[int]]:
    """Yield each text's ids, special tokens included, without a length limit."""
    with Work(doing, len(texts), "texts") as work:
        for words, group in groupby(texts, lambda text: isinstance(text, list)):
            same = list(group)
            for start in range(0, len(same), TEXTS):
                batch: Any = same[start : start + TEXTS]
                yield from tokenizer(batch, is_split_into_words=words, verbose=False)["input_ids"]
                work.update(len(batch))


def _count_unchanged(
    path: str,
    texts: Sequence[Text],
    before: PreTrainedTokenizerBase,
    after: PreTrainedTokenizerBase,
    ids: Sequence[int],
) -> int:
    """Count the texts whose tokens stay the same; UserError where one differs without need."""
    new: NDArray[np.int64] = np.full(len(before), -1)
    new[[old for old in ids if old < len(new)]] = np.arange(len(ids))
    pairs = zip(
        _token_ids(texts, before, "comparing"),
        _token_ids(texts, after, "comparing"),
        texts,
        strict=True,
    )
    unchanged = 0
    for old, actual, text in pairs:
        expected = new[old].tolist()
        unchanged += expected == actual
        if expected != actual and -1 not in expected and before.unk_token_id not in old:
            shown = " ".join(text) if isinstance(text, list) else text
            raise UserError(
                f"{path}: a {type(before).__name__} cannot be trimmed: with fewer tokens it reads "
                f"{shown[:60]!r} differently"
            )
    return unchanged
