"""The model card: README.md beside a run's model, in the hub's format, with its figures."""

import html
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData, try_to_load_from_cache

from alembert.io.answers import QUESTIONS
from alembert.io.files import atomic
from alembert.io.parsing import yaml_of
from alembert.report.closing import describe_deployed
from alembert.report.comparison import FOOTNOTE, LEGEND, Entry, entries
from alembert.report.tables import table
from alembert.runs.record import STAGE_COLUMNS, RunRecord

log = logging.getLogger(__name__)

MARKER = "<!-- made by alembert: delete this line, and the card stays as you wrote it -->"
TAGS = {  # kind of task: the hub's pipeline tag
    "tokens": "token-classification",
    QUESTIONS: "question-answering",
    "words": "fill-mask",
    "encoder": "feature-extraction",
}
HUB_METRICS = {  # our metric's name: the hub's
    "matthews": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "macro_f1": "f1",
    "micro_f1": "f1",
    "span_f1": "f1",
    "span_precision": "precision",
    "span_recall": "recall",
}


def write(path: Path) -> Path | None:
    """Write a run's card and return its path.

    Returns None where the model is not made yet, or a card without MARKER is in its place.
    """
    run = RunRecord(path)
    if run.student is None:
        return None
    card_path = run.student / "README.md"
    existing = card_path.read_text("utf-8", "replace") if card_path.is_file() else MARKER
    if MARKER not in existing:
        log.info(f"{card_path}: not written by alembert, left as it is")
        return None
    if not os.access(run.student, os.W_OK):
        log.info(f"{card_path}: cannot be written: no model card")
        return None
    rows = entries(run, run.name)
    card = ModelCard(f"---\n{_header(run).to_yaml()}\n---\n\n{MARKER}\n\n{_body(run, rows)}")
    with atomic(card_path) as partial:
        card.save(partial)
    return card_path


def _header(run: RunRecord) -> ModelCardData:
    """Return the YAML header; unknown fields are left out."""
    kind = run.metrics.get("task") or ("words" if _trains_mlm_head(run) else "encoder")
    pipeline = TAGS.get(kind, "text-classification")
    distilled = run.teacher is not None
    metrics = run.metrics.get("student", {})
    parent, files = run.arguments.get("teacher") or run.arguments.get("student"), run.files
    source = files.get("task") or files.get("evaluation") or "eval"
    results = [
        EvalResult(
            task_type=pipeline, dataset_type="custom",
            dataset_name=Path(source).stem, metric_type=HUB_METRICS.get(name, name),
            metric_name=name, metric_value=round(value, 4),
        )
        for name, value in metrics.items()
    ]  # fmt: skip
    tags = ["alembert", *(["knowledge-distillation"] if distilled else []), run.recipe["name"]]
    return ModelCardData(
        language=_language(run), library_name="transformers", tags=list(dict.fromkeys(tags)),
        base_model=_hub_id(run, parent), pipeline_tag=pipeline,
        metrics=list(dict.fromkeys(HUB_METRICS.get(name, name) for name in metrics)) or None,
        model_name=run.name if results else None, eval_results=results or None,
    )  # fmt: skip


def _trains_mlm_head(run: RunRecord) -> bool:
    """Return whether a stage on a corpus trained the MLM head."""
    stages = [stage for stage in run.recipe["stages"] if stage["data"] == "corpus"]
    kinds = {term["kind"] for stage in stages for term in stage["objective"]}
    return bool(kinds & {"HardLabels", "SoftLabels", "LogitsMSE"})


def _hub_id(run: RunRecord, name: str | None) -> str | None:
    """Return the name if it is a hub id, which the hub's cache then holds, else None."""
    if name is None or Path(run.resolved(name)).exists():
        return None
    try:
        return name if isinstance(try_to_load_from_cache(name, "config.json"), str) else None
    except ValueError:  # no valid id
        return None


def _language(run: RunRecord) -> Any:
    """Return the language that the card of the teacher or of the base model names."""
    source = run.teacher or run.resolved(run.arguments.get("student") or "")
    card = Path(source) / "README.md"
    if not source or not card.is_file():
        return None
    header = re.match(r"\s*---\n(.*?)\n---", card.read_text("utf-8", "replace"), re.S)
    try:
        fields = yaml_of(header[1]) if header else None
    except ValueError:  # a card written by hand
        return None
    return fields.get("language") if isinstance(fields, dict) else None


def _body(run: RunRecord, rows: list[Entry]) -> str:
    student = next(entry for entry in rows if entry.role == "student")
    teacher = next((entry for entry in rows if entry.role == "teacher"), None)
    recipe = run.recipe
    origin = "Fine-tuned"
    if teacher:
        origin = f"Distilled from {escaped(teacher.name)}"
        origin += f" ({escaped(teacher.shape)})" * bool(teacher.shape)
        if others := run.arguments.get("more_teachers"):
            origin += ", averaged with " + ", ".join(escaped(Path(other).name) for other in others)
    parts = [f"# {escaped(run.name)}", f"{origin} by Alembert: {escaped(student.shape)}."]
    if run.metrics:
        source = run.files.get("task") or run.files.get("evaluation") or ""
        parts += [f"## Measured on {escaped(Path(source).name)}", _figures(run, rows)]
    told = run.arguments.get("callbacks")
    folder = "path/to/this/folder"
    parts += [
        "## Use",
        f"```bash\nalembert predict {folder} 'a text'\n```",
        f"Or with transformers: `pipeline(model='{folder}')`.",
        "## How it was made",
        f"Recipe {_code(recipe['name'])}: {escaped(recipe.get('paper', ''))}. Seed "
        f"{escaped(run.seed)}."
        + (f" Callbacks: {escaped(', '.join(map(str, told)))}." if told else ""),
        _table(STAGE_COLUMNS, run.stage_rows),
    ]
    if run.command:
        fence = _fence(run.command, 3)
        parts.append(f"{fence}bash\n{run.command}\n{fence}")
    if run.deviations:
        lines = "\n".join(f"- {escaped(line)}" for line in run.deviations)
        parts.append(f"What differs from the paper:\n\n{lines}")
    versions = run.environment.get("versions", {})
    parts.append(", ".join(escaped(f"{name} {version}") for name, version in versions.items()))
    return "\n\n".join([*filter(None, parts), "## Intended use and limits", _limits(run, student)])


def _figures(run: RunRecord, rows: list[Entry]) -> str:
    metric = run.metrics["metric"]
    columns, cells = table(rows, metric)
    labelled = [(entry.label, *row) for entry, row in zip(rows, cells, strict=True)]
    others = [
        f"{escaped(k)} {v:.4f}" for k, v in run.metrics.get("student", {}).items() if k != metric
    ]
    more = f"\n\nThe student's other metrics: {', '.join(others)}." if others else ""
    note = f"\n\n{LEGEND}" * any(entry.faster for entry in rows)
    note += f"\n\n{FOOTNOTE.replace('* M', '(*) M')}" * any(entry.starred for entry in rows)
    told = describe_deployed(run, rows)
    first = f"{escaped(told[0].upper() + told[1:])}.\n\n" if told else ""
    first += f"{escaped(run.metrics['verdict'])}\n\n" if run.metrics.get("verdict") else ""
    return first + _table(("model", *columns), labelled) + note + more


def _limits(run: RunRecord, student: Entry) -> str:
    task = run.metrics.get("task")
    use = {
        "classification": "For texts like those it was trained on, one label a text.",
        "multilabel": "For texts like those it was trained on, any number of labels a text.",
        "regression": "For scoring texts like those it was trained on.",
        "tokens": "For tagging the words of texts like those it was trained on.",
    }.get(str(task), "A general model: fine-tune it for a task before use.")
    longer = ", and longer ones in windows of so many" * bool(run.files.get("windows"))
    limits = [f"It was trained on texts of at most {run.max_length} tokens{longer}."]
    if run.teacher:
        limits.append("It imitates its teacher, with its mistakes and biases.")
    if student.metric is None:
        limits.append("It was not evaluated on held-out data: measure it before you rely on it.")
    else:
        limits.append("The figures hold for that file alone; other texts have to be measured.")
    return f"{use}\n\n" + "\n".join(f"- {limit}" for limit in limits) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[escaped(cell) for cell in row] for row in (head, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def escaped(text: object) -> str:
    """Markdown that shows a text from a file as it is: on one line, no HTML, no link, no code."""
    return re.sub(r"([\\`\[\]|])", r"\\\1", html.escape(" ".join(str(text).split()), quote=False))


def _code(text: object) -> str:
    """A text as inline code."""
    shown = " ".join(str(text).split())
    fence = _fence(shown, 1)
    pad = " " * (shown[:1] == "`" or shown[-1:] == "`")
    return f"{fence}{pad}{shown}{pad}{fence}"


def _fence(text: str, least: int) -> str:
    """More backticks than stand in a row in the text."""
    return "`" * max(least, 1 + max(map(len, re.findall("`+", text)), default=0))
