"""Answers of several models to the same real texts, timed in turns in this process."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alembert.bench.rows import Round, Row, Subject, row
from alembert.inference.session import Session
from alembert.io.answers import QUESTIONS, Text
from alembert.io.progress import Work

log = logging.getLogger(__name__)

Answer = Callable[[Text], object]
TURN = 8  # texts of a model before the next one's turn; turns of one would time cold caches
MOST = 120  # texts that each model answers
FEWEST = 3  # turns of each model, however long they take
SECONDS = 10.0  # that all models take together


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A model that answers one text: it tokenises, runs its graph and makes the answer."""

    subject: Subject
    answer: Answer

    @property
    def name(self) -> str:
        """The name of its row as ratios have it, MODEL:BACKEND."""
        return f"{self.subject.model}:{self.subject.backend}"


def answer_of(session: Session) -> Answer:
    """Return the method of a session that answers one text: by its tags, a span or a prediction."""
    if session.kind == "tokens":  # a list of words would be taken for several texts
        return lambda words: session.tag([words])
    if session.kind == QUESTIONS:
        return session.answer
    return session.predict


def further(answers: Mapping[str, Answer], backend: str = "scikit-learn") -> list[Timed]:
    """Return what else answers a text on one thread, by name; it has no size of its own."""
    return [
        Timed(
            subject=Subject(model=name, backend=backend, threads=1, size_mb=0.0, parameters=0),
            answer=answer,
        )
        for name, answer in answers.items()
    ]


def time_in_turns(
    models: Sequence[Timed],
    texts: Sequence[Text],
    tokens: Sequence[int],
    references: Sequence[str],
    seconds: float = SECONDS,
) -> list[Row]:
    """Return a row for each model: end to end, one text at a time, on the texts of all the others.

    A round is a turn of a few texts, which every model answers before the next round begins.
    tokens are those of each text. references are the names of rows to compare with. `seconds`
    bounds the time of all models together, with fewer texts where a model is slow.
    Peak memory is left out, as it would be that of the whole process.
    """
    turn = _turn(models, texts, seconds)
    rounds: dict[str, list[Round]] = {each.name: [] for each in models}
    began = time.perf_counter()
    most = max(MOST // turn, FEWEST)
    with Work("timing the models", most, "rounds", at_most=True) as work:
        for number in range(most):
            chosen = [(number * turn + i) % len(texts) for i in range(turn)]
            asked, length = [texts[i] for i in chosen], sum(tokens[i] for i in chosen)
            for each in models:
                rounds[each.name].append(_round(each.answer, asked, length))
            work.update()
            if number + 1 >= FEWEST and time.perf_counter() - began > seconds:
                break
    count = len(rounds[models[0].name]) * turn
    if count < MOST - turn:
        log.info(f"timed on {count} texts and not on {MOST}: more would take over {seconds:.0f} s")
    compared = [name for name in references if name in rounds]
    return [
        row(
            each.subject,
            1,
            rounds[each.name],
            [(name, rounds[name]) for name in compared if name != each.name],
        )
        for each in models
    ]


def _turn(models: Sequence[Timed], texts: Sequence[Text], seconds: float) -> int:
    """Warm up on two texts and return the texts of a turn, so that FEWEST turns fit in the time."""
    for each in models:
        each.answer(texts[0])
    began = time.perf_counter()
    for each in models:
        each.answer(texts[-1])
    one_text = time.perf_counter() - began
    return int(np.clip(seconds / (FEWEST * one_text) - 1, 1, min(TURN, len(texts))))


def _round(answer: Answer, texts: Sequence[Text], tokens: int) -> Round:
    """Time one turn; the last text warms up, as the other models used the caches in between."""
    answer(texts[-1])
    wall, cpu = [], []
    for text in texts:
        start, used = time.perf_counter(), time.process_time()
        answer(text)
        cpu.append(time.process_time() - used)
        wall.append(time.perf_counter() - start)
    return Round(wall=wall, cpu=cpu, tokenize=[], texts=len(texts), tokens=tokens)
