"""The baselines of a run, made of its texts, and what metrics.json says of them."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from alembert.bench.interleaved import Answer
from alembert.bench.rows import Row
from alembert.data.encoded import Encoded
from alembert.data.questions.windows import Windows
from alembert.data.splits import Splits
from alembert.data.tasks import Task
from alembert.evaluation.baselines.fitting import Baseline, Examples, baselines_of
from alembert.evaluation.baselines.frozen import FrozenEncoder
from alembert.evaluation.metrics import Logits, metrics
from alembert.evaluation.spans import sentences
from alembert.evaluation.uncertainty.kept import MAJORITY
from alembert.io.errors import UserError
from alembert.models.loading import load_tokenizer
from alembert.runs.folder.origin import origin_of
from alembert.runs.job import Job
from alembert.runs.texts.ensemble import RunTexts

log = logging.getLogger(__name__)


def make(job: Job, texts: RunTexts) -> dict[str, Baseline]:
    """Return the baselines by name; none for a job that leaves them out.

    They learn from the labelled training rows that the student learns from, without variants, and
    are chosen on the same held-out rows. Frozen embeddings are those of the encoder that the
    teacher, or the fine-tuned model, was before a task trained it. Questions have other baselines,
    which answer by a sentence.
    """
    splits, tokenizer = texts.student.splits, texts.student.tokenizer
    if not job.baselines or splits is None or splits.test is None or splits.raw_test is None:
        return {}
    if isinstance(splits.test, Windows) and isinstance(splits.train, Windows):
        return sentences.baselines_of(splits.train, splits.test)
    model = job.teacher or job.student
    if job.teacher is None and job.recipe.init.start == "scratch":
        model = None
    test = Examples.of(splits.raw_test, splits.test, tokenizer)
    return _fitted(splits, tokenizer, test, _encoder(model, job.max_length))


def of_held_out(splits: Splits, teacher: str, max_length: int) -> dict[str, Baseline]:
    """Return the baselines by name with their logits on the held-out rows, that choose them too."""
    if isinstance(splits.valid, Windows) and isinstance(splits.train, Windows):
        return sentences.baselines_of(splits.train, splits.valid)
    return _fitted(splits, load_tokenizer(teacher), None, _encoder(teacher, max_length))


def _fitted(
    splits: Splits,
    tokenizer: PreTrainedTokenizerBase,
    test: Examples | None,
    encoder: FrozenEncoder | None,
) -> dict[str, Baseline]:
    """Return the baselines with their logits on `test`, or else on the held-out rows."""
    train = Examples.of(splits.raw_train, splits.labelled_train, tokenizer)
    valid = Examples.of(splits.raw_valid, splits.valid, tokenizer)
    return baselines_of(splits.task, train, valid, test or valid, encoder)


def _encoder(model: str | None, max_length: int) -> FrozenEncoder | None:
    """Return the encoder before training; None, and a line says why, where it is not known."""
    try:
        if model is None:
            raise UserError("there is no encoder before the training")
        return FrozenEncoder(origin_of(model), max_length)
    except UserError as error:
        log.info(f"baselines: frozen embeddings are left out: {error}")
        return None


def logits_of(baselines: Mapping[str, Baseline]) -> dict[str, Logits]:
    """Return the logits of those that read the texts, by their names beside the models'."""
    return {f"baselines.{name}": baselines[name].logits for name in baselines if name != MAJORITY}


def answers_of(baselines: Mapping[str, Baseline]) -> dict[str, Answer]:
    """Return what answers a text of those that read it."""
    return {name: baselines[name].answer for name in baselines if name != MAJORITY}


def told(
    task: Task, baselines: Mapping[str, Baseline], data: Encoded, rows: Sequence[Row]
) -> dict[str, dict[str, Any]]:
    """Return metrics, seconds, milliseconds a text and words of each baseline, by its name.

    rows are the times of all models, in which one that reads no text is not.
    """
    timed = {row.model: row.cpu_ms["median"] for row in rows}
    found: dict[str, dict[str, Any]] = {}
    for name, baseline in baselines.items():
        found[name] = {**metrics(task, baseline.logits, data)}
        found[name] |= {"seconds": round(baseline.seconds, 2), "model": baseline.model}
        if name in timed:
            found[name]["ms"] = timed[name]
    if found:
        values = [
            f"{name} {each[task.metric]:.4f} ({each['model']})" for name, each in found.items()
        ]
        log.info(f"baselines, {task.metric}: {', '.join(values)}")
    return found
