"""One sentence on a run: which model to take for which purpose, and when not to distil."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from alembert.io.answers import QUESTIONS

Role = Literal["student", "teacher", "baseline", "majority"]

BASELINES = {
    "tfidf": "a linear model on TF-IDF",
    "embeddings": "a linear model on frozen embeddings",
    "first_sentence": "the first sentence of the context",
    "nearest_sentence": "the sentence nearest to the question by TF-IDF",
}
FREE = {"regression": "the mean score", QUESTIONS: "no answer to any question"}  # reads no text
NEAR = 1.25  # times that differ by less are called the same


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that could be deployed, with its measured quality and cost.

    name: the words that a sentence calls it by, such as "the teacher in int8".
    value: the task's metric, of which higher is better.
    behind: the interval (low, high) of the student's metric minus this model's, paired over the
    same texts; None of the student itself.
    ms: milliseconds a text, end to end at one thread. seconds: of making it; None if unknown.
    """

    name: str
    role: Role
    value: float
    behind: tuple[float, float] | None = None
    ms: float | None = None
    seconds: float | None = None

    @property
    def is_worse(self) -> bool:
        """Whether the interval shows that the student is better than this model."""
        return self.behind is not None and self.behind[0] > 0

    @property
    def is_better(self) -> bool:
        """Whether the interval shows that this model is better than the student."""
        return self.behind is not None and self.behind[1] < 0


def verdict(metric: str, candidates: Sequence[Candidate], texts: int) -> str:
    """Return the sentence; the candidates hold one student, or one teacher that was fine-tuned.

    "As good" and "better" follow the intervals, never the values alone. Raises StopIteration
    without a student.
    """
    own = next(each for each in candidates if each.role == "student")
    others = [each for each in candidates if each is not own]
    majority = next((each for each in others if each.role == "majority"), None)
    if majority is not None and not majority.is_worse:
        learnt = [each for each in others if each.role == "baseline" and each.is_better]
        advice = "look at the labels, or give more of them"
        if learnt:
            best = max(learnt, key=lambda each: each.value)
            advice = f"{best.name} has {best.value:.3f}, so take that, or train longer"
        return (
            f"Do not deploy {own.name}: on these {texts:,} texts its {metric} of {own.value:.3f} "
            f"is not shown to be above the {majority.value:.3f} of {majority.name}, which reads no "
            f"text; {advice}."
        )
    rivals = [each for each in others if each.role != "majority" and not each.is_worse]
    equals = [each for each in rivals if each.role == "baseline" and _is_no_slower(each, own)]
    if equals:
        best = max(equals, key=lambda each: each.value)
        verb = "train" if own.name.startswith("the fine-tuned") else "distil"
        return (
            f"Do not {verb}: {best.name} is {_compared(best, own, texts)} ({metric} "
            f"{best.value:.3f}, {own.name} {own.value:.3f}){_made(best, own)}{_timed(best, own)}."
        )
    quick = [each for each in rivals if each.role == "teacher" and _is_no_slower(each, own)]
    if quick:
        best = max(quick, key=lambda each: each.value)
        return (
            f"Do not distil to this size: {best.name} is {_compared(best, own, texts)} ({metric} "
            f"{best.value:.3f}, {own.name} {own.value:.3f}){_timed(best, own)}."
        )
    better = [each for each in rivals if each.is_better]
    if better:
        best = max(better, key=lambda each: each.value)
        return (
            f"Take {own.name} where speed counts and {best.name} where quality does: {metric} "
            f"{own.value:.3f} against {best.value:.3f}{_timed(own, best)}."
        )
    if rivals:
        best = max(rivals, key=lambda each: each.value)
        return (
            f"Take {own.name}: on these {texts:,} texts its {metric} of {own.value:.3f} is not "
            f"shown to differ from the {best.value:.3f} of {best.name}{_timed(own, best)}."
        )
    return f"Take {own.name}: its {metric} of {own.value:.3f} is shown to be above all others'."


def of_run(
    metrics: Mapping[str, Any], pair: bool, ms: Mapping[tuple[str, str], float], seconds: float
) -> str:
    """Return the sentence on a run.

    metrics is the content of metrics.json with its intervals and baselines. ms has the milliseconds
    a text by model and backend, and seconds is how long the training took.
    """
    metric, lead = metrics["metric"], metrics["intervals"].get("lead", {})
    tuned = "teacher" not in metrics
    name, backend = "the fine-tuned model" if tuned else "the student", "torch"
    values = metrics["student"]
    if "deployed" in metrics:
        values, backend = metrics["deployed"], metrics["deployed"]["backend"]
        name = f"{name} in {backend}"
    own = Candidate(
        name=name, role="student", value=values[metric], ms=ms.get(("student", backend)),
        seconds=seconds,
    )  # fmt: skip
    found = [own]

    def add(key: str, role: Role, name: str, value: float, **cost: float | None) -> None:
        if key in lead:
            low, high = lead[key]
            found.append(Candidate(name=name, role=role, value=value, behind=(low, high), **cost))

    if not tuned:
        quickest = ms.get(("teacher", "onnx"), ms.get(("teacher", "torch")))
        add("teacher", "teacher", "the teacher", metrics["teacher"][metric], ms=quickest)
    if "teacher_int8" in metrics:
        value, quickest = metrics["teacher_int8"][metric], ms.get(("teacher", "int8"))
        add("teacher_int8", "teacher", "the teacher in int8", value, ms=quickest)
    for key, each in metrics.get("baselines", {}).items():
        if key in BASELINES:
            model = BASELINES[key] + " of the two texts" * (pair and key == "embeddings")
            cost = {"ms": each.get("ms"), "seconds": each.get("seconds")}
            add(f"baselines.{key}", "baseline", model, each[metric], **cost)
    if "majority" in metrics.get("baselines", {}):
        free = FREE.get(metrics["task"], "the majority class")
        add("majority", "majority", free, metrics["baselines"]["majority"][metric])
    return verdict(metric, found, metrics["n"])


def _compared(model: Candidate, own: Candidate, texts: int) -> str:
    if model.is_better:
        return "better"
    as_good = "as good" if model.value >= own.value else "not shown to be worse"
    return f"{as_good} on these {texts:,} texts"


def _is_no_slower(model: Candidate, own: Candidate) -> bool:
    """Return whether it is measured to take no more time a text, within NEAR."""
    return model.ms is not None and own.ms is not None and model.ms <= NEAR * own.ms


def _made(model: Candidate, own: Candidate) -> str:
    """Return a phrase on the time of making it, where that is much less."""
    if not model.seconds or not own.seconds or own.seconds < 2 * model.seconds:
        return ""
    return f", made {own.seconds / model.seconds:.0f} times faster"


def _timed(model: Candidate, other: Candidate) -> str:
    """Return a phrase on the time a text of `model` beside that of `other`."""
    if not model.ms or not other.ms:
        return ""
    factor = other.ms / model.ms
    if 1 / NEAR < factor < NEAR:
        return ", and takes as long a text"
    word, factor = ("faster", factor) if factor > 1 else ("slower", 1 / factor)
    return f", {factor:.{0 if factor >= 10 else 1}f} times {word} a text"
