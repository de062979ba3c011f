"""Augmentation of a file: its rows, each followed by TinyBERT's variants of it, resumable."""

import csv
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Dataset
from tqdm import tqdm

from alembert import __version__
from alembert.augmentation.candidates import MaskedLM, candidates, vectors_of
from alembert.augmentation.variants import augmented, cut
from alembert.augmentation.word_vectors import Vectors, read_vectors
from alembert.data.formats import typed
from alembert.data.labels import find_columns
from alembert.data.sources import read
from alembert.data.tasks import texts_in
from alembert.io import checksums
from alembert.io.errors import UserError
from alembert.io.files import atomic, keep, write_text
from alembert.io.locks import locked
from alembert.models import checks
from alembert.models.loading import load_model, load_tokenizer
from alembert.models.precision import precision_of
from alembert.recipes.schema import Augment

log = logging.getLogger(__name__)

ROWS = 256  # of a part; an interrupted run loses one part at most


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
    data: Dataset | None = None,
) -> int:
    """Write every row of `source` followed by its variants to `out`; return the number of rows.

    Candidates for a word are the predictions of `mlm`; for words of several tokens, or without
    `mlm` for all, the nearest by the word vectors of a file; or by a model's input embeddings.
    Finished parts are reused. data: the rows of `source`, if they are read already. Raises
    UserError.
    """
    data = read(source) if data is None else data
    columns = find_columns(data, source, text, text_pair, labelled=False)
    names = [name for name in (columns.text, columns.text_pair) if name is not None]
    rows: pa.Table = data.with_format("arrow")[:]
    _check_texts(data, names, source)
    _check_out(rows, source, out)
    near, masked = _models(mlm, vectors, embeddings, precision)
    key = _digest(rows, near, masked, names, settings.model_dump(), seed, precision, __version__)
    propose = partial(candidates, settings=settings, vectors=near, mlm=masked)
    vary = partial(augmented, settings=settings, seed=seed)
    with _opened(out.with_name(f"{out.name}.unfinished"), out, key) as unfinished:
        parts = _parts(unfinished, rows, names, propose, vary)
        with atomic(out) as beside:
            tables = (pq.ParquetFile(part).read() for part in parts)
            WRITERS[out.suffix](beside, rows.schema, tables)
        count = sum(int(pq.read_metadata(part).num_rows) for part in parts)
        shutil.rmtree(unfinished)
    if count == len(rows):
        log.info("no row has a variant: no word of the texts can be replaced")
    return count


def _check_texts(data: Dataset, names: list[str], source: str) -> None:
    for name in names:
        feature = getattr(data.features[name], "feature", data.features[name])
        if getattr(feature, "dtype", "") not in ("string", "large_string"):
            raise UserError(f"{source}: {name!r} holds no text; name another column with --text")
        texts_in(data, name, source)


def _check_out(rows: pa.Table, source: str, out: Path) -> None:
    """Raise UserError for an existing file, and for a format that would change a column."""
    if out.suffix not in WRITERS:
        raise UserError(f"{out}: unknown kind of file; write one of {' '.join(WRITERS)}")
    if out.resolve() == Path(source).expanduser().resolve():
        raise UserError(f"--out {out}: is the file to augment itself; name another")
    _check_free(out)
    for name in rows.column_names if out.suffix != ".parquet" else ():
        last = name == rows.column_names[-1]
        keeps = _json_keeps if out.suffix == ".jsonl" else partial(_cells_keep, out.suffix, last)
        if not keeps([name, *rows[name].to_pylist()]):
            raise UserError(
                f"{out}: this kind of file cannot hold column {name!r} unchanged; "
                "write .jsonl or .parquet"
            )


def _json_keeps(values: list[Any]) -> bool:
    """Whether values are read from JSON as they are written, integers in 64 bits with a sign."""
    too_large = any(isinstance(value, int) and value >= 2**63 for value in values)
    return not too_large and repr(json.loads(json.dumps(values, default=str))) == repr(values)


def _cells_keep(suffix: str, last: bool, values: list[Any]) -> bool:
    """Whether a column, its name first, is read from .csv or .tsv as it is written."""
    cells = ["" if value is None else str(value) for value in values]
    # csv quotes no cell for a carriage return alone, and .tsv none at all
    broken = {".csv": r'[^,"\n]*\r[^,"\n]*', ".tsv": r".*[\t\n].*" + r"|.*\r" * last}[suffix]
    whole = not any(re.fullmatch(broken, cell, re.DOTALL) for cell in cells)
    return whole and repr(typed(cells[1:])) == repr(values[1:])


def _models(
    mlm: str | None,
    vectors: Path | None,
    embeddings: str | None,
    precision: str,
) -> tuple[Vectors | None, MaskedLM | None]:
    if embeddings is not None and (mlm or vectors):
        raise UserError("--embeddings cannot be combined with --mlm and --vectors; leave it out")
    if mlm is None:
        if vectors is None and embeddings is None:
            raise UserError("name a masked language model with --mlm, or --vectors or --embeddings")
        log.info(f"no --mlm: words are replaced by the nearest ones in {vectors or embeddings}")
    near = None if vectors is None else read_vectors(vectors)
    if embeddings is not None:
        near = vectors_of(_model(embeddings, fresh_head=True))  # its head is not used
    masked = None if mlm is None else _model(mlm)
    if masked is not None:
        if masked.tokenizer.mask_token_id is None:
            raise UserError(f"--mlm {mlm}: its tokenizer has no mask token; name another model")
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        half = precision_of(precision, device) == "bf16"
        model: torch.nn.Module = masked.model
        model.to(device, torch.bfloat16 if half else torch.float32)
    return near, masked


def _model(path: str, fresh_head: bool = False) -> MaskedLM:
    model, tokenizer = load_model(path, "words", fresh_head=fresh_head), load_tokenizer(path)
    checks.check_vocabulary(tokenizer, model.config, path)
    return MaskedLM(model, tokenizer)


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


def _check_free(out: Path) -> None:
    if out.exists():
        raise UserError(f"{out}: is there already; delete it or name another with --out")


@contextmanager
def _opened(parts: Path, out: Path, key: str) -> Iterator[Path]:
    """Lock and yield the folder of finished parts, emptied if its key is another job's."""
    mark = parts / "key"
    for name in sorted(os.listdir(parts)) if parts.is_dir() else ():
        if not re.fullmatch(r"(key|checksums\.json|\.lock|\d{9})(\.partial)?", name):
            raise UserError(f"{parts}: holds {name} and no augmentation: move it, or name an --out")
    with locked(parts):
        _check_free(out)
        if damaged := checksums.damaged(parts, []):
            log.warning(f"{parts / damaged[0]}: is damaged: the augmentation begins anew")
        if damaged or not mark.is_file() or mark.read_text() != key:
            for part in parts.glob("[ck0-9]*"):
                part.unlink()
        write_text(mark, key)
        yield parts


def _parts(
    folder: Path,
    rows: pa.Table,
    names: list[str],
    propose: Callable[..., Any],
    vary: Callable[..., Any],
) -> list[Path]:
    """Return the files of all parts in order, after writing those that are missing."""
    parts = []
    with tqdm(total=len(rows), unit=" rows", desc="augmenting", disable=None) as bar:
        for start in range(0, len(rows), ROWS):
            part = rows[start : start + ROWS]
            parts.append(folder / f"{start:09}")
            if damaged := checksums.damaged(folder, [parts[-1].name]):
                log.warning(f"{folder / damaged[0]}: is damaged: it is made again")
            if damaged or not parts[-1].is_file():
                varied = _varied(part, names, start, propose, vary)
                with atomic(parts[-1]) as beside:
                    pq.write_table(varied, beside)
                keep(folder, [parts[-1].name])
            bar.update(len(part))
    return parts


def _varied(
    rows: pa.Table,
    names: list[str],
    start: int,
    propose: Callable[..., Any],
    vary: Callable[..., Any],
) -> pa.Table:
    """Return the rows and their variants, with all other columns repeated."""
    columns = [[cut(value) for value in rows[name].to_pylist()] for name in names]
    texts = list(dict.fromkeys(text for column in columns for text in column))  # each text once
    by_text = dict(zip(texts, propose([(text.text, text.spans) for text in texts]), strict=True))
    augmented_rows = [
        vary(row, [by_text[text] for text in row], number=number)
        for number, row in enumerate(zip(*columns, strict=True), start)
    ]
    varied = rows.take([i for i, variants in enumerate(augmented_rows) for _ in variants])
    for k, name in enumerate(names):
        at = rows.schema.get_field_index(name)
        values = [variant[k] for variants in augmented_rows for variant in variants]
        field = rows.schema.field(at)
        varied = varied.set_column(at, field, pa.array(values, field.type))
    return varied


def _csv(path: Path, schema: pa.Schema, parts: Iterable[pa.Table], **kind: Any) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n", **kind)
        writer.writerow(schema.names)
        for part in parts:
            writer.writerows(zip(*part.to_pydict().values(), strict=True))


def _jsonl(path: Path, schema: pa.Schema, parts: Iterable[pa.Table]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for part in parts:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in part.to_pylist())


def _parquet(path: Path, schema: pa.Schema, parts: Iterable[pa.Table]) -> None:
    with pq.ParquetWriter(path, schema) as file:
        for part in parts:
            file.write_table(part)


WRITERS: dict[str, Callable[[Path, pa.Schema, Iterable[pa.Table]], None]] = {
    ".csv": _csv,
    ".tsv": partial(_csv, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None),
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
