"""The variants of train's texts that a run's recipe asks for, made once and kept in its folder."""

import hashlib
import shutil
from pathlib import Path

import pyarrow as pa
from datasets import Dataset, Value
from transformers import PreTrainedTokenizerBase

from alembert.augmentation.augment_file import augment_file
from alembert.augmentation.word_vectors import read_vectors
from alembert.data import sources
from alembert.data.splits import Splits, with_rows
from alembert.io.errors import Say, UserError
from alembert.io.files import in_place
from alembert.models.loading import has_head, load_model
from alembert.recipes.schema import Stage
from alembert.runs import folder
from alembert.runs.job import Job, judged, longest


def varied(
    job: Job,
    stages: list[Stage],
    splits: Splits | None,
    tokenizer: PreTrainedTokenizerBase,
    say: Say,
) -> Splits | None:
    """The splits with variants beside the labelled rows of train; what is left out is said."""
    settings = job.recipe.augment
    if splits is None or job.files is None or settings is None:
        return splits
    mlm = job.mlm
    if mlm is None and job.general_teacher and has_head(job.general_teacher, "words"):
        mlm = job.general_teacher
    if not judged(stages) or (mlm is None and job.vectors is None):
        why = "a masked-word model, or word vectors: --mlm DIR" if judged(stages) else "a teacher"
        say(f"augmentation is left out: it needs {why}")
        return splits
    rows = _as_texts(splits)
    made = job.out / f"augmented-{_digest(rows)}.parquet"
    source = job.out / "train.parquet"
    variants = _there(made, say)
    if variants is None:
        if mlm is not None:  # a name that is wrong is refused before the folder is this run's
            load_model(mlm, "words")
        if job.vectors is not None:
            read_vectors(Path(job.vectors))
        folder.open_run(job.out, job.recipe, job.arguments)
        with in_place(source) as partial:
            rows.to_parquet(partial)
        augment_file(
            str(source), made, mlm=mlm, vectors=Path(job.vectors) if job.vectors else None,
            embeddings=None, settings=settings, seed=job.seed, text=splits.columns.text,
            text_pair=splits.columns.text_pair, say=say, precision=job.precision,
            shown=job.files.train,
        )  # fmt: skip
        variants = sources.read(str(made))
    _tidy(job.out, made)
    say(f"augmentation: {len(rows):,} rows became {len(variants):,}")
    return with_rows(splits, variants, tokenizer, longest(stages), job.files.train)


def _there(made: Path, say: Say) -> Dataset | None:
    """The variants that were made before; what cannot be read is said, and made anew."""
    if not made.is_file():
        return None
    try:
        return sources.read(str(made))
    except UserError as error:
        say(f"{error}: made anew")
        made.unlink()
        return None


def _as_texts(splits: Splits) -> Dataset:
    """The labelled rows with numbers in the place of texts written out, as they are read."""
    rows = splits.rows
    for name in filter(None, (splits.columns.text, splits.columns.text_pair)):
        feature = rows.features[name]
        if isinstance(feature, Value) and feature.dtype not in ("string", "large_string"):
            rows = rows.cast_column(name, Value("string"))
    return rows


def _digest(rows: Dataset) -> str:
    """Changes with the rows: the file named may have changed since the run began."""
    table: pa.Table = rows.with_format("arrow")[:]
    state = hashlib.sha256()
    for batch in table.to_batches():
        state.update(batch.serialize())
    return state.hexdigest()[:12]


def _tidy(out: Path, made: Path) -> None:
    """Drop what an interrupted run, or one on other rows, left behind."""
    (out / "train.parquet").unlink(missing_ok=True)
    for place in out.glob("augmented-*"):
        if place.is_dir():
            shutil.rmtree(place)
        elif place != made:
            place.unlink()
