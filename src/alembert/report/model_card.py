"""The model card: README.md beside a run's model, in the hub's format, with what was measured."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData, try_to_load_from_cache

from alembert.io.files import atomic
from alembert.report.comparison import FOOTNOTE, Entry, entries, table
from alembert.runs.record import COURSE, RunRecord

log = logging.getLogger(__name__)

OURS = "<!-- made by alembert: delete this line, and the card stays as you wrote it -->"
TAGS = {  # kind of task: the hub's name for what the model does
    "tokens": "token-classification",
    "words": "fill-mask",
    "encoder": "feature-extraction",
}
HUB_METRICS = {  # ours: the hub's
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
    """The card of a run, or None where its model is not made yet or the card is another's."""
    run = RunRecord(path)
    if run.student is None:
        return None
    place = run.student / "README.md"
    if place.is_file() and OURS not in place.read_text(encoding="utf-8", errors="replace"):
        log.info(f"{place}: not ours, left as it is")
        return None
    if not os.access(run.student, os.W_OK):
        log.info(f"{place}: cannot be written: no model card")
        return None
    found = entries(run, run.name)
    card = ModelCard(f"---\n{_header(run).to_yaml()}\n---\n\n{OURS}\n\n{_body(run, found)}")
    with atomic(place) as partial:
        card.save(partial)
    return place


def _header(run: RunRecord) -> ModelCardData:
    """The YAML head; what is not known is left out of it."""
    kind = run.metrics.get("task") or ("words" if _masked(run) else "encoder")
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


def _masked(run: RunRecord) -> bool:
    """Whether a run on a corpus taught a masked-word head."""
    stages = [stage for stage in run.recipe["stages"] if stage["data"] == "corpus"]
    kinds = {term["kind"] for stage in stages for term in stage["objective"]}
    return bool(kinds & {"HardLabels", "SoftLabels", "LogitsMSE"})


def _hub_id(run: RunRecord, name: str | None) -> str | None:
    """The name, when it is a model that came from the hub, and so lies in its cache."""
    if name is None or Path(run.found(name)).exists():
        return None
    try:
        return name if isinstance(try_to_load_from_cache(name, "config.json"), str) else None
    except ValueError:  # not the shape of an id
        return None


def _language(run: RunRecord) -> Any:
    """As the card of the model that it comes from says."""
    source = run.teacher or run.found(run.arguments.get("student") or "")
    card = Path(source) / "README.md"
    if not source or not card.is_file():
        return None
    try:
        return ModelCard.load(card).data.language
    except (ValueError, yaml.YAMLError):  # somebody wrote it by hand
        return None


def _body(run: RunRecord, found: list[Entry]) -> str:
    student = next(entry for entry in found if entry.who == "student")
    teacher = next((entry for entry in found if entry.who == "teacher"), None)
    recipe = run.recipe
    origin = "Fine-tuned"
    if teacher:
        origin = f"Distilled from {teacher.name}" + f" ({teacher.shape})" * bool(teacher.shape)
        if others := run.arguments.get("more_teachers"):
            origin += ", averaged with " + ", ".join(Path(other).name for other in others)
    parts = [f"# {run.name}", f"{origin} by Alembert: {student.shape}."]
    if run.metrics:
        source = run.files.get("task") or run.files.get("evaluation") or ""
        parts += [f"## Measured on {Path(source).name}", _figures(run, found)]
    folder = "path/to/this/folder"
    parts += [
        "## Use",
        f"```bash\nalembert predict {folder} 'a text'\n```",
        f"Or with transformers: `pipeline(model='{folder}')`.",
        "## How it was made",
        f"Recipe `{recipe['name']}`: {recipe.get('paper', '')}. Seed "
        f"{run.arguments.get('seed', 0)}.",
        _table(COURSE, run.course),
    ]
    if run.command:
        parts.append(f"```bash\n{run.command}\n```")
    if recipe.get("deviations"):
        lines = "\n".join(f"- {line}" for line in recipe["deviations"])
        parts.append(f"What differs from the paper:\n\n{lines}")
    versions = run.environment.get("versions", {})
    parts.append(", ".join(f"{name} {version}" for name, version in versions.items()))
    return "\n\n".join([*filter(None, parts), "## Intended use and limits", _limits(run, student)])


def _figures(run: RunRecord, found: list[Entry]) -> str:
    metric = run.metrics["metric"]
    columns, cells = table(found, metric)
    rows = [(entry.label, *row) for entry, row in zip(found, cells, strict=True)]
    others = [f"{k} {v:.4f}" for k, v in run.metrics.get("student", {}).items() if k != metric]
    more = f"\n\nThe student's other metrics: {', '.join(others)}." if others else ""
    note = f"\n\n{FOOTNOTE.replace('* As', '(*) As')}" * any(entry.starred for entry in found)
    return _table(("model", *columns), rows) + note + more


def _limits(run: RunRecord, student: Entry) -> str:
    task = run.metrics.get("task")
    use = {
        "classification": "For texts like those it was trained on, one label a text.",
        "multilabel": "For texts like those it was trained on, any number of labels a text.",
        "regression": "For scoring texts like those it was trained on.",
        "tokens": "For tagging the words of texts like those it was trained on.",
    }.get(str(task), "A general model: fine-tune it for a task before use.")
    limits = [f"It was trained on texts of at most {run.max_length} tokens."]
    if run.teacher:
        limits.append("It imitates its teacher, with its mistakes and biases.")
    if student.metric is None:
        limits.append("It was not judged on held-out data: measure it before you rely on it.")
    else:
        limits.append("The figures hold for that file alone; other texts have to be measured.")
    return f"{use}\n\n" + "\n".join(f"- {limit}" for limit in limits) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])
