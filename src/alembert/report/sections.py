"""The parts of the page about one run, each with its pictures, its table and what they mean."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alembert.evaluation.predictions import Predictions
from alembert.io.errors import UserError
from alembert.report import analysis, plots
from alembert.report.attention import SENTENCE, Insides, alike, insides
from alembert.report.errors import Section, by_class, disagreements, errors
from alembert.runs.record import COURSE, RunRecord, fields_of

SEARCH = "search.json"
SEARCH_FIELDS = {"metric": str, "shapes": list, "rungs": list, "winner": dict, "cost": dict}


def sections(run: RunRecord, found: Predictions | None, why: str) -> list[Section]:
    """What a run has to show; `why` says what keeps its predictions from being there."""
    parts = [searched(run), losses(run)]
    if found is not None:
        parts += [errors(found), by_class(found), disagreements(found)]
    elif run.files:
        parts.append(Section("errors", "Errors and disagreements", f"Left out: {why}."))
    parts += looked_into(run, found)
    parts.append(made(run))
    return [part for part in parts if part is not None]


def losses(run: RunRecord) -> Section | None:
    """Loss by term and stage, and the metric on held-out texts."""
    figures: list[tuple[tuple[str, ...], str]] = []
    for stage in run.stages:
        series = {name: stage.series(name) for name in stage.terms}
        if not series:
            continue
        drawn = [plots.losses(stage.name, series)]
        for name in {name: None for row in stage.rows for name in row if name[:6] == "valid_"}:
            drawn.append(plots.watched(stage.name, name[6:], stage.series(name)))
        figures.append((tuple(drawn), _told(stage.facts)))
    if not figures:
        return None
    lead = "Each term as it is before its weight; the loss is their weighted sum."
    return Section("loss", "Loss by term and stage", lead, tuple(figures))


def _told(facts: dict[str, Any]) -> str:
    if not facts:
        return "not finished"
    best = ""
    if facts.get("best") is not None:
        best = f"; best on held-out texts {facts['best']:.4f} at step {facts['best_step']:,}"
    return f"{facts['step']:,} steps in {facts['seconds']:,.0f} s{best}"


def looked_into(run: RunRecord, found: Predictions | None) -> list[Section]:
    """Attention patterns, and soft labels, on one example."""
    place = analysis.typical(found) if found is not None else 0
    text = found.texts[place] if found is not None else _sentence(run)
    try:
        seen = insides(run, text)
    except UserError as error:
        seen, lead = None, f"Left out: {error}."
    parts = [Section("attention", "Attention", lead)] if seen is None else []
    if seen is not None:
        parts = [_attention(seen)]
    if found is not None and found.kind != "regression":
        parts.append(_soft(found, place))
    elif seen is not None and seen.guesses:
        what = f"Of the word at {seen.tokens[seen.hidden]}, which is hidden from both."
        parts.append(_bars(what, seen.text, seen.vocabulary, seen.guesses, several=False))
    return parts


def _sentence(run: RunRecord) -> str:
    """A line of the corpus, if it is a text file that is still there."""
    path = Path(run.found(run.arguments.get("corpus") or ""))
    if path.suffix == ".txt" and path.is_file():
        with path.open(encoding="utf-8", errors="replace") as lines:
            line = next((line.strip() for line in lines if len(line) > 30), SENTENCE)
        return line[:300]
    return SENTENCE


def _attention(seen: Insides) -> Section:
    figures: list[tuple[tuple[str, ...], str]] = []
    for student, weights, teacher, others in seen.layers:
        who = "model" if teacher is None else "student"
        drawn = [plots.attention(weights, seen.tokens, who, student)]
        caption = ""
        if teacher is not None and others is not None:
            drawn.insert(0, plots.attention(others, seen.tokens, "teacher", teacher))
            caption = f"{alike(weights, others):.0%} of the attention is placed alike"
        figures.append((tuple(drawn), caption))
    lead = (
        "A row is a token, and the stronger a column, the more of its attention goes there; heads "
        "averaged."
    )
    if len(figures[0][0]) > 1:
        lead += " Student layers stand beside the teacher's at the same relative height."
    return Section("attention", "Attention", lead, tuple(figures), quote=seen.text)


def _soft(found: Predictions, place: int) -> Section:
    """Soft labels of one text; of tags, at the word that the teacher is least sure of."""
    logits = {who: rows[place] for who, rows in found.logits.items()}
    what = ""
    if found.kind == "tokens":
        sure = analysis.softened(logits[found.guide]).max(1)
        word = int(sure.argmin())
        logits = {who: rows[word] for who, rows in logits.items()}
        what = (
            f"Of the word '{found.words[place][word]}', of which the {found.guide} is least sure."
        )
    return _bars(what, found.texts[place], found.labels, logits, found.kind == "multilabel")


def _bars(
    what: str, quote: str, names: Any, logits: dict[str, NDArray[Any]], several: bool, most: int = 6
) -> Section:
    order = np.argsort(-next(iter(logits.values())), kind="stable")[:most]
    shown = [names[i] for i in order]
    drawn = []
    for t in analysis.TEMPERATURES:
        shares = {who: analysis.softened(logits[who], t, several)[order] for who in logits}
        drawn.append(plots.soft(shown, shares, t))
    lead = (
        "The higher the temperature T, the more the softened answer shows of what a model thinks "
        f"of the other answers: that is what a student learns from. {what}"
    )
    title = "Soft labels at several temperatures"
    return Section("soft", title, lead, ((tuple(drawn), ""),), quote=quote)


def made(run: RunRecord) -> Section:
    """How to make it again: command, stages, deviations from the paper, versions, hardware."""
    versions = run.environment.get("versions", {})
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    cpu = run.environment.get("hardware", {}).get("cpu") or "CPU"
    lead = f"Recipe {run.recipe.get('name', '')}: {run.recipe.get('paper', '')}. "
    lead += f"Seed {run.arguments.get('seed', 0)}. " + (f"{told}; {cpu}." if told else "")
    return Section(
        "made", "How it was made", lead, head=COURSE, rows=tuple(run.course),
        points=tuple(run.recipe.get("deviations", ())), verbatim=run.command,
    )  # fmt: skip


def searched(run: RunRecord) -> Section | None:
    """Every shape that was timed, what the trained ones reached, the Pareto front of each rung."""
    done = fields_of(run.path / SEARCH, SEARCH_FIELDS)
    if not done:
        return None
    rungs, metric, found = done["rungs"], done["metric"], done["winner"]["name"]
    ms = {row["name"]: row["latency_ms"] for row in done["shapes"]}
    figures = tuple(
        ((_front(rung, ms, metric),), f"after {rung['share']:.1%} of their training")
        for rung in rungs
    )
    head = ("candidate", "ms a text", *(f"after {rung['share']:.1%}" for rung in rungs), "")
    rows = [
        (
            row["name"], f"{row['latency_ms']:.3g}" if row["latency_ms"] else "not timed",
            *(_value(rung, row["name"]) for rung in rungs), _fate(row, rungs, found),
        )
        for row in sorted(done["shapes"], key=lambda row: row["latency_ms"] or float("inf"))
    ]  # fmt: skip
    spent = sum(cost["cpu_s"] for cost in done["cost"].values())
    lead = (
        f"{len(rows)} shapes, timed with random weights in int8, one thread, CPU time; some were "
        f"trained briefly and judged by {metric} on the held-out texts, each rung keeping a third; "
        f"{found} was trained to the end. All of it took {spent:,.0f} s of CPU time."
    )
    return Section("search", "How it was found", lead, figures, head, tuple(rows))


def _front(rung: dict[str, Any], ms: dict[str, float], metric: str) -> str:
    points = [(name, "student", ms[name], value) for name, value in rung["values"].items()]
    front = {i for i, point in enumerate(points) if point[0] in rung["front"]}
    return plots.against_latency(points, front, f"held-out {metric}", "CPU ms a text")


def _value(rung: dict[str, Any], name: str) -> str:
    value = rung["values"].get(name)
    return "" if value is None else f"{value:.4f}"


def _fate(row: dict[str, Any], rungs: list[dict[str, Any]], found: str) -> str:
    if row["name"] == found:
        return "found"
    if row["latency_ms"] is None:
        return "a shallower one is over the budget"
    if not row["fits"]:
        return "over the budget"
    if rungs and row["name"] in rungs[0]["front"]:
        return "on the front"
    return ""
