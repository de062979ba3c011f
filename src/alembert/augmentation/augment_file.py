"""Augmentation of rows: TinyBERT's variants of each, made part by part so that they resume."""

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from alembert import __version__
from alembert.augmentation.candidates import MaskedLM, candidates, vectors_of
from alembert.augmentation.partners import partners
from alembert.augmentation.variants import augmented, cut
from alembert.augmentation.word_vectors import Vectors, read_vectors
from alembert.augmentation.writing import WRITERS, check_free, check_out
from alembert.data.files import columnar
from alembert.data.labels import Columns, find_columns
from alembert.data.questions.answers import are_questions, holds_answers
from alembert.data.questions.offsets import places_of
from alembert.data.sources import read
from alembert.data.texts.raw import texts_in
from alembert.io import checksums
from alembert.io.answers import QUESTIONS
from alembert.io.errors import UserError
from alembert.io.files import atomic, keep, write_text
from alembert.io.locks import locked
from alembert.io.progress import Work, doing
from alembert.models import checks
from alembert.models.loading import load_model, load_tokenizer
from alembert.models.precision import precision_of
from alembert.recipes.schema import Augment

log = logging.getLogger(__name__)

ROWS = 256  # of a part; an interrupted run loses one part at most
TAKEN = 10_000  # variants whose rows are gathered at once: Arrow's texts end at 2 GB
TEXTS = ("text", "text_pair")  # the columns of a file of variants, beside "row"
FORMAT = 2  # of the parts


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How texts are augmented, with candidates from word vectors, an MLM or both.

    `answers` is the column of the answers of questions, whose words in the context stay.
    """

    settings: Augment
    seed: int
    precision: str
    vectors: Vectors | None
    mlm: MaskedLM | None
    answers: str | None = None


def augment_file(
    source: str,
    out: Path,
    *,
    mlm: str | None,
    vectors: Path | None,
    embeddings: str | None,
    settings: Augment,
    seed: int,
    text: str | None,
    text_pair: str | None,
    precision: str = "auto",
) -> int:
    """Write every row of `source` followed by its variants to `out`; return the number of rows.

    Candidates for a word are the predictions of `mlm`; for words of several tokens, or without
    `mlm` for all, the nearest by the word vectors of a file; or by a model's input embeddings.
    Finished parts are reused. Raises UserError.
    """
    data = read(source)
    if are_questions(data, (text, text_pair, None), None):
        raise UserError(f"{source}: {QUESTIONS} is augmented by distill alone, and not as a file")
    names = find_columns(data, source, text, text_pair, labelled=False).texts
    rows: pa.Table = data.with_format("arrow")[:]
    _check_texts(data, names, source)
    check_out(rows, source, out)
    if embeddings is not None and (mlm or vectors):
        raise UserError("--embeddings cannot be combined with --mlm and --vectors; leave it out")
    near = word_vectors(vectors, embeddings, mlm)
    masked = None if mlm is None else _masked(mlm, precision)
    how = Augmentation(settings=settings, seed=seed, precision=precision, vectors=near, mlm=masked)
    with _made(rows, names, out, how) as parts:
        with atomic(out) as beside:
            tables = (
                _with_variants(rows, names, start, pq.ParquetFile(part).read())
                for start, part in zip(range(0, len(rows), ROWS), parts, strict=True)
            )
            WRITERS[out.suffix](beside, rows.schema, tables)
        return len(rows) + sum(int(pq.read_metadata(part).num_rows) for part in parts)


def make_variants(
    data: Dataset, columns: Columns, source: str, out: Path, how: Augmentation
) -> pa.Table:
    """Return the variants of rows, and write them to `out`, a Parquet file, without those rows.

    The columns are `row`, the number of the row that it is a variant of, and its texts: `text` and,
    for pairs, `text_pair`. Words of the answers of questions stay in their contexts. Finished parts
    are reused. Raises UserError that names `source`.
    """
    rows: pa.Table = data.with_format("arrow")[:]
    _check_texts(data, columns.texts, source)
    how = replace(how, answers=columns.label if holds_answers(data, columns.label) else None)
    with _made(rows, columns.texts, out, how) as parts:
        tables = [pq.ParquetFile(part).read() for part in parts]
        if how.settings.partners and how.answers is None:
            tables.append(_partners(rows, columns.texts, how.settings.partners))
        table = pa.concat_tables(tables)
        with atomic(out) as beside:
            pq.write_table(table, beside)
    return table


def _partners(rows: pa.Table, names: Sequence[str], count: int) -> pa.Table:
    """Return a part of pairs whose texts are of two rows."""
    first, second = (rows[name].to_pylist() for name in names)
    with doing("pairing texts anew"):
        found = list(partners(first, second, count))
    columns = [[pair[k] for pair in found] for k in range(3)]
    kinds = (pa.int64(), *(rows.schema.field(name).type for name in names))
    return pa.table(
        {
            key: pa.array(column, kind)
            for key, column, kind in zip(("row", *TEXTS), columns, kinds, strict=True)
        }
    )


def read_variants(path: Path, pairs: bool) -> pa.Table:
    """The variants that make_variants wrote. Raises UserError for another or a damaged file."""
    table = columnar.read_parquet(path)
    if table.column_names != ["row", *TEXTS[: 1 + pairs]]:
        raise UserError(f"{path}: not a file of variants")
    return table


def rows_of_variants(rows: pa.Table, names: Sequence[str], variants: pa.Table) -> pa.Table:
    """Each variant as a row with all columns, those without text as in the row that it varies."""
    parts = [rows.schema.empty_table()]
    for start in range(0, len(variants), TAKEN):
        part = variants[start : start + TAKEN]
        varied = rows.take(part["row"])
        for name, column in zip(names, TEXTS, strict=False):
            at = rows.schema.get_field_index(name)
            varied = varied.set_column(at, rows.schema.field(at), part[column])
        parts.append(varied)
    return pa.concat_tables(parts)


def _with_variants(
    rows: pa.Table, names: Sequence[str], start: int, variants: pa.Table
) -> pa.Table:
    """The rows of the part from `start` on, each followed by its variants."""
    part = rows[start : start + ROWS]
    both = pa.concat_tables([part, rows_of_variants(rows, names, variants)])
    numbers = np.concatenate((np.arange(start, start + len(part)), variants["row"].to_numpy()))
    return both.take(np.argsort(numbers, kind="stable"))


@contextmanager
def _made(
    rows: pa.Table, names: Sequence[str], out: Path, how: Augmentation
) -> Iterator[list[Path]]:
    """Yield the files of all parts, which are removed at the end: `out` then has their content."""
    settings = how.settings.model_dump()
    key = _digest(
        rows, how.vectors, how.mlm, list(names), settings, how.seed, how.precision, FORMAT,
        __version__,
    )  # fmt: skip
    with _opened(out.with_name(f"{out.name}.unfinished"), out, key) as unfinished:
        parts = _parts(unfinished, rows, names, how)
        if not any(pq.read_metadata(part).num_rows for part in parts):
            log.info("no row has a variant: no word of the texts can be replaced")
        yield parts
        shutil.rmtree(unfinished)


def _check_texts(data: Dataset, names: Sequence[str], source: str) -> None:
    for name in names:
        feature = getattr(data.features[name], "feature", data.features[name])
        if getattr(feature, "dtype", "") not in ("string", "large_string"):
            raise UserError(f"{source}: {name!r} holds no text; name another column with --text")
        texts_in(data, name, source)


def word_vectors(vectors: Path | None, embeddings: str | None, mlm: str | None) -> Vectors | None:
    """The word vectors of a file or of a model's embeddings; None where `mlm` alone is named."""
    if mlm is None and vectors is not None:
        log.info(f"no --mlm: words are replaced by the nearest ones in {vectors}")
    if embeddings is not None:
        model = load_model(embeddings, "words", fresh_head=True)  # its head is not used
        return own_vectors(model, load_tokenizer(embeddings), embeddings)
    return None if vectors is None else read_vectors(vectors)


def own_vectors(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> Vectors:
    """A model's input embeddings of whole words. Raises UserError for too many tokens."""
    log.info(f"words are replaced by the nearest ones in the embeddings of {name}")
    return vectors_of(checked_mlm(model, tokenizer, name))


def _masked(mlm: str, precision: str) -> MaskedLM:
    return ready(checked_mlm(load_model(mlm, "words"), load_tokenizer(mlm), mlm), mlm, precision)


def checked_mlm(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> MaskedLM:
    """A model and its tokenizer. Raises UserError for a tokenizer with more tokens."""
    checks.check_vocabulary(tokenizer, model.config, name)
    return MaskedLM(model, tokenizer)


def ready(mlm: MaskedLM, name: str, precision: str) -> MaskedLM:
    """The MLM on its device in its precision. Raises UserError for one without a mask token."""
    if mlm.tokenizer.mask_token_id is None:
        raise UserError(f"--mlm {name}: its tokenizer has no mask token; name another model")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = precision_of(precision, device) == "bf16"
    model: torch.nn.Module = mlm.model
    model.to(device, torch.bfloat16 if half else torch.float32)
    return mlm


def _digest(rows: pa.Table, near: Vectors | None, masked: MaskedLM | None, *rest: Any) -> str:
    """Return a digest of all that the written rows depend on."""
    state = hashlib.sha256(repr((near and near.words, masked and masked.words, *rest)).encode())
    for batch in rows.to_batches():
        state.update(batch.serialize())
    tensors = [] if near is None else [near.matrix]
    tensors += [] if masked is None else masked.model.state_dict().values()
    for tensor in tensors:
        state.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return state.hexdigest()


@contextmanager
def _opened(parts: Path, out: Path, key: str) -> Iterator[Path]:
    """Lock and yield the folder of finished parts, emptied if its key is another job's."""
    mark = parts / "key"
    for name in sorted(os.listdir(parts)) if parts.is_dir() else ():
        if not re.fullmatch(r"(key|checksums\.json|\.lock|\d{9})(\.partial)?", name):
            raise UserError(f"{parts}: holds {name} and no augmentation: move it, or name an --out")
    with locked(parts):
        check_free(out)
        if damaged := checksums.damaged(parts, []):
            log.warning(f"{parts / damaged[0]}: is damaged: the augmentation begins anew")
        if damaged or not mark.is_file() or mark.read_text() != key:
            for part in parts.glob("[ck0-9]*"):
                part.unlink()
        write_text(mark, key)
        yield parts


def _parts(folder: Path, rows: pa.Table, names: Sequence[str], how: Augmentation) -> list[Path]:
    """Return the files of all parts in order, after writing those that are missing."""
    parts = []
    with Work("augmenting", len(rows), "rows") as work:
        for start in range(0, len(rows), ROWS):
            part = rows[start : start + ROWS]
            parts.append(folder / f"{start:09}")
            if damaged := checksums.damaged(folder, [parts[-1].name]):
                log.warning(f"{folder / damaged[0]}: is damaged: it is made again")
            if damaged or not parts[-1].is_file():
                variants = _variants(part, names, start, how)
                with atomic(parts[-1]) as beside:
                    pq.write_table(variants, beside)
                keep(folder, [parts[-1].name])
            work.update(len(part))
    return parts


def _variants(rows: pa.Table, names: Sequence[str], start: int, how: Augmentation) -> pa.Table:
    """Return the variants of a part whose first row has the number `start`."""
    columns = [[cut(value) for value in rows[name].to_pylist()] for name in names]
    if how.answers is not None:
        pairs = zip(rows[names[1]].to_pylist(), rows[how.answers].to_pylist(), strict=True)
        columns[1] = [cut(context, places_of(each["text"], context)) for context, each in pairs]
    texts = list(dict.fromkeys(text for column in columns for text in column))  # each text once
    spans = [(text.text, text.spans) for text in texts]
    found = candidates(spans, settings=how.settings, vectors=how.vectors, mlm=how.mlm)
    by_text = dict(zip(texts, found, strict=True))
    numbers, values = list[int](), list[list[str | list[str]]]()
    for number, row in enumerate(zip(*columns, strict=True), start):
        words = [by_text[text] for text in row]
        variants = augmented(row, words, how.settings, how.seed, number)[1:]  # after the row itself
        numbers += [number] * len(variants)
        values += variants
    varied = {"row": pa.array(numbers, pa.int64())}
    for k, name in enumerate(names):
        kind = rows.schema.field(name).type
        varied[TEXTS[k]] = pa.array([variant[k] for variant in values], kind)
    return pa.table(varied)
