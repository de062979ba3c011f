"""Metrics of finished models, teacher and student, on data that had no part in training."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from alembert.bench import show
from alembert.bench.rows import Row
from alembert.data.collate import Masking, masking_for
from alembert.data.corpus.corpus import read_corpus
from alembert.data.encoded import Encoded, describe_cut
from alembert.data.questions.windows import Windows
from alembert.data.splits import Files, prepare_file
from alembert.evaluation import predict, verdict
from alembert.evaluation.metrics import Logits
from alembert.evaluation.metrics import metrics as metrics_of
from alembert.evaluation.predictions import FILE, predictions_of, save
from alembert.evaluation.spans import listed
from alembert.evaluation.spans.scores import (
    THRESHOLD,
    has_unanswerable,
    threshold_of,
    with_threshold,
)
from alembert.evaluation.uncertainty import kept, slices
from alembert.evaluation.uncertainty.compared import Judged
from alembert.export import deployed, fidelity
from alembert.export.deployed import Exported
from alembert.inference.engine import open_engine
from alembert.inference.manifest import read_manifest
from alembert.io.answers import QUESTIONS
from alembert.io.environment import LENGTH, recorded_digest, recorded_files, recorded_length
from alembert.io.errors import UserError
from alembert.io.files import keep, keep_json, read_json
from alembert.models import checks
from alembert.models.loading import (
    label_names_of,
    load_config,
    load_model,
    load_tokenizer,
    model_path,
)
from alembert.runs import baselines
from alembert.runs.folder import UNDISTILLED
from alembert.runs.job import Job
from alembert.runs.texts import ensemble
from alembert.runs.texts.apart import SHOWN
from alembert.runs.texts.encoded_task import EncodedTask
from alembert.runs.texts.ensemble import RunTexts
from alembert.runs.texts.slices import columns_of
from alembert.runs.texts.slices import of_run as of_slices

log = logging.getLogger(__name__)


def evaluate_run(job: Job, texts: RunTexts) -> dict[str, Any]:
    """Measure teacher, student and their exports on --eval; write metrics.json, return its content.

    Predictions and the time of a few texts are written beside the metrics.
    """
    out, splits = job.out, texts.student.splits
    if splits is None or splits.test is None:
        if splits is not None:
            log.info("no --eval file: the result is not evaluated")
        keep_json(out / "metrics.json", {})
        return {}
    metrics: dict[str, Any] = {
        "task": splits.task.kind, "metric": splits.task.metric, "parameters": {}
    }  # fmt: skip
    logits: dict[str, Logits] = {}
    models, data = {}, dict[str, Encoded]()
    compared = baselines.make(job, texts)
    texts.teachers.release_others(job.task_teacher)
    for role, path, task in (
        ("teacher", job.task_teacher, texts.full_teacher),
        ("student", str(job.result), texts.student),
    ):
        if path is not None and task.splits is not None and task.splits.test is not None:
            kind, data[role] = splits.task.kind, task.splits.test
            of_teacher = role == "teacher"
            model = texts.teachers[path].model(kind) if of_teacher else load_model(path, kind)
            models[role] = model, path
            logits[role] = predict.predict(model, data[role], task.pad, title=f"{role}, test texts")
            data[role] = _with_threshold(data[role], model, task)
            metrics[role] = metrics_of(splits.task, logits[role], data[role])
            metrics["parameters"][role] = sum(p.numel() for p in model.parameters())
    sure, read = dict(logits), dict(data)  # what intervals are computed of
    if texts.others and "teacher" in logits:
        average, more = ensemble.evaluate_ensemble(logits["teacher"], splits.task, texts.others)
        sure["ensemble"], read["ensemble"] = average, data["teacher"]
        metrics["ensemble"] = metrics_of(splits.task, average, data["teacher"])
        metrics["parameters"]["ensemble"] = metrics["parameters"]["teacher"] + more
    exports = _exports(job, texts, splits.task.kind)
    of_exports = _measure_exports(exports, texts, data, metrics)
    if (int8 := of_exports.pop("teacher_int8", None)) is not None:
        sure["teacher_int8"], read["teacher_int8"] = int8, data["teacher"]
    others = of_exports | _measure_undistilled(job, texts.student, metrics, read)
    others |= baselines.logits_of(compared)
    metrics |= kept.of_run(splits.task, sure | others, read, splits.train, metrics)
    metrics["slices"] = of_slices(job, texts, logits, data)
    tokenizer = texts.student.tokenizer
    if splits.task.kind == QUESTIONS:
        exported = {who: others[who] for who in ("deployed",) if who in others}
        listed.save(out, listed.answered(data, logits | exported))
    else:
        told = predictions_of(
            splits.task, splits.texts, data, logits, tokenizer, others, columns_of(job, texts)
        )
        save(out, told)
    rows, answers = list[Row](), baselines.answers_of(compared)
    if (len(models) > 1 or answers) and splits.raw_test is not None:
        asked = splits.raw_test.sample()
        rows = deployed.time_run(
            models, exports, asked, job.max_length, answers, "window" if splits.windows else "cut"
        )
        settings = {"batch": 1, "length": job.max_length, "texts": len(asked)}
        show.write(rows, settings, out / "bench.json")
    keep(out, [name for name in (FILE, "bench.json") if (out / name).is_file()])
    if compared:
        metrics["baselines"] = baselines.told(splits.task, compared, splits.test, rows)
    ms = _times(rows, metrics.get("deployed", {}).get("backend", "torch"))
    seconds = sum(read_json(file)["seconds"] for file in out.glob("stages/*/facts.json"))
    metrics["verdict"] = verdict.of_run(metrics, splits.task.pair, ms, seconds)
    keep_json(out / "metrics.json", metrics)
    return metrics


def _with_threshold(data: Encoded, model: PreTrainedModel, task: EncodedTask) -> Encoded:
    """Return questions with a model's own threshold of "no answer", or that of held-out ones."""
    assert task.splits is not None
    valid = task.splits.valid
    if not isinstance(data, Windows) or not isinstance(valid, Windows):
        return data
    config = model.config.to_dict()
    if config.get(THRESHOLD) is not None or not has_unanswerable(valid):
        return with_threshold(data, config)
    logits = predict.predict(model, valid, task.pad, title="held-out texts")
    return replace(data, threshold=threshold_of(logits, valid))


def _measure_undistilled(
    job: Job, task: EncodedTask, metrics: dict[str, Any], read: dict[str, Encoded]
) -> dict[str, Logits]:
    """Add the metrics of the student that had no teacher, if there is one; return its logits.

    `read` gets its rows.
    """
    if not job.undistilled or task.splits is None or task.splits.test is None:
        return {}
    kind, test = task.splits.task, task.splits.test
    model = load_model(str(job.out / UNDISTILLED), kind.kind)
    logits = predict.predict(model, test, task.pad, title="student without its teacher")
    read[UNDISTILLED] = test = _with_threshold(test, model, task)
    metrics[UNDISTILLED] = metrics_of(kind, logits, test)
    return {UNDISTILLED: logits}


def _exports(job: Job, texts: RunTexts, kind: str) -> dict[str, Exported]:
    """Return the exports of student and teacher; none for a job that leaves them out."""
    student = deployed.found(job.result) if job.export else None
    if student is None:
        return {}
    if (path := job.task_teacher) is None:
        return {"student": student}
    loaded = texts.teachers[path].model(kind), texts.teachers[path].tokenizer
    teacher = deployed.exported_teacher(path, loaded)
    return {"student": student} | ({"teacher": teacher} if teacher else {})


def _measure_exports(
    exports: Mapping[str, Exported],
    texts: RunTexts,
    data: Mapping[str, Encoded],
    metrics: dict[str, Any],
) -> dict[str, Logits]:
    """Add the exports' metrics on --eval, which data has, to `metrics`; return their logits."""
    logits: dict[str, Logits] = {}
    for role, task in (("student", texts.student), ("teacher", texts.full_teacher)):
        if role not in exports or task.splits is None or role not in data:
            continue
        backend = exports[role].manifest.chosen
        rows = exports[role].logits(data[role], task.pad)
        measured = metrics_of(task.splits.task, rows, data[role])
        if role == "student":
            logits["deployed"] = rows
            metrics["deployed"] = {"backend": backend, **measured}
        elif backend == "int8":  # else its outputs changed too much in int8
            logits["teacher_int8"] = rows
            metrics["teacher_int8"] = measured
    return logits


def judge(
    path: str,
    files: Files,
    max_length: int | None,
    backend: str = "torch",
    metric: str | None = None,
    sliced: Sequence[str] = (),
) -> Judged:
    """Return a saved model's logits on a labelled file, in torch or an exported backend.

    max_length is the most tokens of a text, by default as many as the run of the model read; one
    that has learnt long texts in windows reads them so.
    `metric` comes first of its metrics, and may be one's own, as module:function. sliced names the
    columns to slice by.
    """
    config, tokenizer = load_config(path), load_tokenizer(path)
    window = checks.window_length(config, path)
    max_length = max_length or window or recorded_length(path) or LENGTH
    _warn_of_trained(path, files)
    checks.check_length(max_length, config, path)
    checks.check_vocabulary(tokenizer, config, path)
    labels = label_names_of(config)
    slices.check(sliced, files.train.with_role("eval").rows.column_names, files.train.name)
    files = replace(files.as_trained(path), windows=files.windows or window is not None)
    data, task = prepare_file(files, tokenizer, max_length, labels, metric)
    if cut := describe_cut(data):
        log.info(cut)
    pad_token_id = int(tokenizer.pad_token_id or 0)
    model = _model(path, backend, task.kind, files.train.name)
    data = with_threshold(data, config.to_dict())
    logits, columns = predict.predict(model, data, pad_token_id), dict[str, list[str]]()
    if sliced:
        rows = files.labelled(files.train.with_role("eval"), labels).rows
        columns = {
            **slices.values_of(rows, sliced, files.train.name),
            slices.LENGTH: slices.lengths_of(data),
        }
    return Judged(task=task, logits=logits, data=data, columns=columns)


def _times(rows: Sequence[Row], own: str) -> dict[tuple[str, str], float]:
    """Return milliseconds a text by model and backend.

    Others' are the student's in the backend `own`, times the ratio of rounds in turns, so that they
    give the factors of the report.
    """
    ms = {(row.model, row.backend): float(row.cpu_ms["median"]) for row in rows}
    student = next((row for row in rows if (row.model, row.backend) == ("student", own)), None)
    for each in () if student is None else student.ratios:
        model, _, backend = each.to.rpartition(":")
        ms[model, backend] = ms["student", own] * each.value
    return ms


def _warn_of_trained(path: str, files: Files) -> None:
    """Warn where the texts are those that the run of a model learnt from."""
    digest, trained = files.train.digest, Path(recorded_files(path).get("train", "."))
    if digest == recorded_digest(path) or trained.parent.name.startswith(digest[:SHOWN]):
        log.warning(
            f"{files.train.name}: {path} has learnt from these texts, so that its figures on them "
            "say little about others"
        )


def _model(path: str, backend: str, kind: str, source: str) -> Any:
    """Return a saved model of torch, or an exported one as a function of a padded batch.

    The function of an MLM takes the masked positions (B, T) too.
    """
    if backend == "torch":
        return load_model(path, kind)
    folder = Path(model_path(path))
    manifest = read_manifest(folder)
    if manifest.kind != kind:
        raise UserError(f"{source}: is for {kind}, and {path} is exported for {manifest.kind}")
    engine = open_engine(folder, manifest, backend, None)

    def forward(batch: dict[str, Tensor], places: Tensor | None = None) -> NDArray[np.float32]:
        if places is not None:
            batch = {**batch, "places": places.flatten().nonzero()[:, 0]}
        return engine(fidelity.graph_inputs(batch, manifest.inputs))

    return forward


def evaluate_mlm(
    path: str, corpus: str, max_length: int, sequences: int, backend: str = "torch"
) -> dict[str, float]:
    """Return a saved model's MLM perplexity and top-1 accuracy (uniform masks, seed 0)."""
    if sequences < 1:
        raise UserError(f"--sequences {sequences}: must be 1 or more")
    config, tokenizer = load_config(path), load_tokenizer(path)
    checks.check_length(max_length, config, path)
    checks.check_vocabulary(tokenizer, config, path)
    model = _model(path, backend, "words", corpus)
    rows = read_corpus(corpus, tokenizer, max_length)
    masking = masking_for(tokenizer, Masking.share, 0.0, rows.counts)
    pad_token_id = int(tokenizer.pad_token_id or 0)
    return predict.evaluate_masked_words(model, rows, masking, pad_token_id, sequences)
