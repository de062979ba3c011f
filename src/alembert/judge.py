"""What a finished model is worth: metrics of teacher and student on data that chose nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from alembert import evaluate, fit, folder
from alembert.data.collate import Masking, masking_for
from alembert.data.corpus import read_corpus
from alembert.data.encoded import said_cut
from alembert.data.splits import Files, Splits, prepare_one
from alembert.errors import UserError
from alembert.models.load import load_config, load_model, load_tokenizer, names_of


def judge_run(
    out: Path,
    student: Path,
    teacher: str | None,
    splits: Splits | None,
    tokenizer: PreTrainedTokenizerBase,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure teacher and student on --eval; write metrics.json and return its content."""
    if splits is None or splits.test is None:
        if splits is not None:
            say("no --eval file: the result is not judged")
        folder.write_json(out / "metrics.json", {})
        return {}
    name = splits.task.metric
    metrics: dict[str, Any] = {"task": splits.task.kind, "metric": name, "parameters": {}}
    for who, path in (("teacher", teacher), ("student", str(student))):
        if path is not None:
            model = load_model(path, splits.task.kind)
            logits = evaluate.predict(model, splits.test, int(tokenizer.pad_token_id or 0))
            metrics[who] = evaluate.metrics(splits.task, logits, splits.test)
            metrics["parameters"][who] = sum(p.numel() for p in model.parameters())
    if "teacher" in metrics and metrics["teacher"][name]:
        metrics["retention"] = metrics["student"][name] / metrics["teacher"][name]
    folder.write_json(out / "metrics.json", metrics)
    return metrics


def judge(path: str, files: Files, max_length: int, say: Callable[[str], None]) -> dict[str, float]:
    """Metrics of a saved model on one labelled file."""
    config, tokenizer = load_config(path), load_tokenizer(path)
    fit.check_length(max_length, config, path)
    fit.check_words(tokenizer, config, path)
    labels = names_of(config)
    data, task = prepare_one(files, tokenizer, max_length, labels)
    if cut := said_cut(data):
        say(cut)
    model = load_model(path, task.kind)
    logits = evaluate.predict(model, data, int(tokenizer.pad_token_id or 0))
    return evaluate.metrics(task, logits, data)


def judge_words(path: str, corpus: str, max_length: int, sequences: int) -> dict[str, float]:
    """Perplexity and top-1 of a saved model on masked words of a text (uniform masks, seed 0)."""
    if sequences < 1:
        raise UserError(f"--sequences {sequences}: must be 1 or more")
    tokenizer = load_tokenizer(path)
    model = load_model(path, "words")
    fit.check_length(max_length, model.config, path)
    fit.check_words(tokenizer, model.config, path)
    rows = read_corpus(corpus, tokenizer, max_length)
    masking = masking_for(tokenizer, Masking.share, 0.0, rows.counts)
    return evaluate.masked_words(model, rows, masking, int(tokenizer.pad_token_id or 0), sequences)
