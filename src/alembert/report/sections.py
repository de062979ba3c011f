"""The sections of the page on one run, each with its figures, its table and a sentence."""

from pathlib import Path
from typing import Any

import numpy as np

from alembert.evaluation.predictions import Predictions
from alembert.evaluation.spans import listed
from alembert.io.errors import UserError
from alembert.io.parsing import COUNT, FLAG, NUMBER, TEXT
from alembert.report import analysis, plots
from alembert.report.attention import SENTENCE, Inspection, inspect_text, overlap
from alembert.report.errors import (
    Section,
    by_class,
    by_slice,
    disagreements,
    errors,
    of_questions,
    outcomes,
)
from alembert.runs.record import STAGE_COLUMNS, RunRecord, fields_of

SEARCH = "search.json"
TRAINED = {"name": TEXT, "held_out": NUMBER, "latency_ms": NUMBER}
SEARCH_FIELDS = {
    "metric": TEXT, "winner": {"name": TEXT}, "cost": {str: {"cpu_s": NUMBER}},
    "shapes": [{"name": TEXT, "latency_ms?": NUMBER, "fits": FLAG}],
    "rungs": [{"share": NUMBER, "values": {str: NUMBER}, "front": [TEXT]}],
    "full?": [TRAINED], "baselines?": [TRAINED], "front?": [TEXT], "candidates?": COUNT,
    "too_high?": NUMBER,
}  # fmt: skip


def sections(run: RunRecord, predictions: Predictions | None, why: str) -> list[Section]:
    """Return a run's sections; `why` is the reason for predictions that are missing."""
    answered = of_questions(listed.load(run.path))
    parts = [answered if predictions is None else outcomes(predictions)]
    parts += [search_result(run), losses(run)]
    if predictions is not None:
        parts += [errors(predictions), by_class(predictions)]
        parts += [by_slice(run), disagreements(predictions)]
    elif run.files and why:
        parts.append(
            Section(key="errors", title="Errors and disagreements", lead=f"Left out: {why}.")
        )
    parts += example(run, predictions)
    parts.append(reproduction(run))
    return [part for part in parts if part is not None]


def losses(run: RunRecord) -> Section | None:
    """Return the loss by term and stage, and the metric on held-out texts; None without a log."""
    figures: list[tuple[tuple[str, ...], str]] = []
    for stage in run.stages:
        series = {name: stage.series(name) for name in stage.terms}
        if not series:
            continue
        drawn = [plots.losses(stage.name, series)]
        for name in {name: None for row in stage.rows for name in row if name[:6] == "valid_"}:
            drawn.append(plots.validations(stage.name, name[6:], stage.series(name)))
        figures.append((tuple(drawn), _stage_caption(stage.facts)))
    if not figures:
        return None
    lead = "The terms are shown without their weights; the loss is their weighted sum."
    return Section(key="loss", title="Loss by term and stage", lead=lead, figures=tuple(figures))


def _stage_caption(facts: dict[str, Any]) -> str:
    if not facts:
        return "not finished"
    best = ""
    if facts.get("best") is not None and "best_step" in facts:
        best = f"; best on held-out texts {facts['best']:.4f} at step {facts['best_step']:,}"
    return f"{facts['step']:,} steps in {facts['seconds']:,.0f} s{best}"


def example(run: RunRecord, predictions: Predictions | None) -> list[Section]:
    """Return the attention and the soft labels on one example."""
    row = analysis.example_index(predictions) if predictions is not None else 0
    text = predictions.texts[row] if predictions is not None else _sentence(run)
    inspection = None
    try:
        inspection = inspect_text(run, text)
        parts = [_attention(inspection)]
    except UserError as error:
        parts = [Section(key="attention", title="Attention", lead=f"Left out: {error}.")]
    if predictions is not None and predictions.kind != "regression":
        parts.append(_soft(predictions, row))
    elif inspection is not None and inspection.guesses:
        mask = inspection.tokens[inspection.masked]
        note = f"Of the word at {mask}, which is masked for both."
        names, logits = inspection.vocabulary, inspection.guesses
        parts.append(_bars(note, inspection.text, names, logits, several=False))
    return parts


def _sentence(run: RunRecord) -> str:
    """Return a line of the corpus, if it is a text file that still exists, else SENTENCE."""
    path = Path(run.resolved(run.arguments.get("corpus") or ""))
    if path.suffix == ".txt" and path.is_file():
        with path.open(encoding="utf-8", errors="replace") as lines:
            line = next((line.strip() for line in lines if len(line) > 30), SENTENCE)
        return line[:300]
    return SENTENCE


def _attention(inspection: Inspection) -> Section:
    figures: list[tuple[tuple[str, ...], str]] = []
    for layers in inspection.layers:
        drawn = tuple(
            plots.attention(weights, inspection.tokens, role, number)
            for role, (number, weights) in layers.items()
        )
        caption = ""
        if len(layers) > 1:
            shared = overlap(layers["student"][1], layers["teacher"][1])
            caption = f"{shared:.0%} of the attention is shared"
        figures.append((drawn, caption))
    lead = (
        "A row is a token, and the stronger a column, the more of its attention goes there; heads "
        "averaged."
    )
    if len(figures[0][0]) > 1:
        lead += " Student layers are beside the teacher's at the same relative depth."
    return Section(
        key="attention", title="Attention", lead=lead, figures=tuple(figures), quote=inspection.text
    )


def _soft(predictions: Predictions, row: int) -> Section:
    """Return the soft labels of one text; of tags, at the teacher's least probable answer."""
    logits = {role: rows[row] for role, rows in predictions.logits.items()}
    note, guide = "", predictions.guide
    if predictions.kind == "tokens":
        word = int(analysis.softened(logits[guide]).max(1).argmin())
        logits = {role: rows[word] for role, rows in logits.items()}
        note = f"Of the word '{predictions.words[row][word]}', of which the {guide} is least sure."
    several = predictions.kind == "multilabel"
    return _bars(note, predictions.texts[row], predictions.labels, logits, several)


def _bars(
    note: str,
    quote: str,
    names: Any,
    logits: dict[str, plots.Floats],
    several: bool,
    most: int = 6,
) -> Section:
    order = np.argsort(-next(iter(logits.values())), kind="stable")[:most]
    shown = [names[i] for i in order]
    drawn = []
    for t in analysis.TEMPERATURES:
        shares = {role: analysis.softened(logits[role], t, several)[order] for role in logits}
        drawn.append(plots.soft(shown, shares, t))
    lead = (
        "A higher temperature T shows more of the probabilities of the other labels, which a "
        f"student learns from. {note}"
    )
    title = "Soft labels at several temperatures"
    return Section(key="soft", title=title, lead=lead, figures=((tuple(drawn), ""),), quote=quote)


def reproduction(run: RunRecord) -> Section:
    """Return all that reproduces a run: command, stages, deviations, versions, hardware."""
    versions = run.environment.get("versions", {})
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    cpu = run.environment.get("hardware", {}).get("cpu") or "CPU"
    lead = f"Recipe {run.recipe.get('name', '')}: {run.recipe.get('paper', '')}. "
    lead += f"Seed {run.seed}. " + (f"{packages}; {cpu}." if packages else "")
    if told := run.arguments.get("callbacks"):
        lead += f" Callbacks: {', '.join(told)}."
    return Section(
        key="made",
        title="How it was made",
        lead=lead,
        head=STAGE_COLUMNS,
        rows=tuple(run.stage_rows),
        points=tuple(run.deviations),
        verbatim=run.command,
    )


def search_result(run: RunRecord) -> Section | None:
    """Return a search's shapes and times, the trained ones' metrics, each rung's Pareto front."""
    done = fields_of(run.path / SEARCH, SEARCH_FIELDS)
    if not done:
        return None
    rungs, metric, winner = done["rungs"], done["metric"], done["winner"]["name"]
    ms = {row["name"]: row.get("latency_ms") for row in done["shapes"]}
    if lost := [name for rung in rungs for name in rung["values"] if not ms.get(name)]:
        raise UserError(
            f"{run.path / SEARCH}: cannot be read ({lost[0]!r} has no time in it): delete it"
        )
    whole = [*done.get("full", []), *done.get("baselines", [])]
    values = {each["name"]: each["held_out"] for each in whole}
    trained = {"values": values, "front": done.get("front", [])}
    figures = tuple(
        ((_front(rung, ms, metric),), f"after {rung['share']:.1%} of their training")
        for rung in rungs
    )
    if len(values) > 1:
        times = {each["name"]: each["latency_ms"] for each in whole}
        figures += (((_front(trained, times, metric),), "trained to the end, and baselines"),)
    head = ("candidate", "ms a text", *(f"after {rung['share']:.1%}" for rung in rungs),
            "trained", "outcome")  # fmt: skip
    after = [{name: f"{x:.4f}" for name, x in rung["values"].items()} for rung in rungs]
    timed = [row for row in done["shapes"] if row.get("latency_ms")]
    listed = [*timed, *({**each, "fits": True} for each in done.get("baselines", []))]
    rows = [
        (
            row["name"], f"{row['latency_ms']:.3g}",
            *(each.get(row["name"], "") for each in after),
            f"{values[row['name']]:.4f}" if row["name"] in values else "",
            _outcome(row, trained["front"], winner),
        )
        for row in sorted(listed, key=lambda row: float(row["latency_ms"]))
    ]  # fmt: skip
    spent = sum(cost["cpu_s"] for cost in done["cost"].values())
    lead = (
        f"{len(timed)} of {len(done['shapes'])} shapes, timed with random weights in int8 "
        f"(held-out texts, one thread, CPU time); some were trained briefly and compared by "
        f"{metric} on the held-out texts, a third of each rung going on; {winner} was trained to "
        f"the end. All of it took {spent:,.0f} s of CPU time."
    )
    if done.get("candidates", 1) > 1 and "too_high" in done:
        lead += (
            f" As the best of {done['candidates']}, it looks {done['too_high']:.4f} better on the "
            "held-out texts than it is."
        )
    return Section(
        key="search",
        title="How it was found",
        lead=lead,
        figures=figures,
        head=head,
        rows=tuple(rows),
    )


def _front(rung: dict[str, Any], ms: dict[str, float], metric: str) -> str:
    points = [(name, "student", ms[name], value) for name, value in rung["values"].items()]
    front = {i for i, point in enumerate(points) if point[0] in rung["front"]}
    return plots.against_latency(points, front, f"held-out {metric}", "CPU ms a text")


def _outcome(row: dict[str, Any], front: list[str], winner: str) -> str:
    if row["name"] == winner:
        return "found"
    if not row["fits"]:
        return "over the budget"
    return "on the front" if row["name"] in front else ""
