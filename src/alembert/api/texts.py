"""Texts and vocabularies before a training: augment, corpus and trim."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alembert.api.given import plain
from alembert.api.model import Model
from alembert.io.errors import UserError

if TYPE_CHECKING:
    from alembert.data.corpus.corpus import Corpus

log = logging.getLogger(__name__)


@plain
def augment(
    train: str,
    out: str | Path,
    *,
    mlm: str | None = None,
    vectors: str | Path | None = None,
    embeddings: str | None = None,
    copies: int = 20,
    share: float = 0.4,
    candidates: int = 15,
    text: str | None = None,
    text_pair: str | None = None,
    seed: int = 0,
) -> int:
    """Write texts and variants with replaced words (TinyBERT); return the number of rows.

    Words are replaced by the predictions of `mlm`, or by the nearest in `vectors` (GloVe) or in
    the input embeddings of a model. The same call resumes. Raises UserError.
    """
    if mlm is None and vectors is None and embeddings is None:
        raise UserError("name a masked language model with --mlm, or --vectors or --embeddings")
    from alembert.augmentation.augment_file import augment_file
    from alembert.recipes.schema import Augment

    return augment_file(
        train, Path(out), mlm=mlm, vectors=Path(vectors) if vectors else None,
        embeddings=embeddings,
        settings=Augment(copies=copies, share=share, candidates=candidates), seed=seed, text=text,
        text_pair=text_pair,
    )  # fmt: skip


@plain
def corpus(
    texts: Sequence[str], tokenizer: str, out: str | Path, *, max_length: int = 128
) -> "Corpus":
    """Tokenise texts once, into the folder `out`, which `corpus=` of other functions takes.

    The same call resumes an interrupted one. Raises UserError.
    """
    from alembert.data.corpus.corpus import write_corpus
    from alembert.models.loading import load_tokenizer

    return write_corpus(texts, load_tokenizer(tokenizer), max_length, Path(out))


@plain
def trim(
    model: str | Path,
    out: str | Path,
    *,
    data: Sequence[str] = (),
    corpus: str | None = None,
    keep: int | None = None,
    coverage: float = 1.0,
    text: str | None = None,
    text_pair: str | None = None,
) -> Model:
    """Save in `out` a model whose vocabulary has the tokens of texts like these alone.

    keep is the most tokens, coverage the least share of all occurrences. Raises UserError.
    """
    from alembert.runs.trim import trim_model

    before, after = trim_model(
        str(model), Path(out), data=data, corpus=corpus, keep=keep, coverage=coverage, text=text,
        text_pair=text_pair,
    )  # fmt: skip
    log.info(f"{out}: made, {after:,} of {before:,} tokens")
    return Model(out)
