"""A model's answers as columns: a prediction a row, its score, and more where there is more."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from alembert.data.rowwise.reading import Table
from alembert.io.answers import QUESTIONS, Answer, Labels, Prediction, Score, Tags
from alembert.io.errors import UserError

# by kind of model, the columns of its answers; `score LABEL` follows for each label
NAMES = {
    "classification": ("prediction", "score"),
    "multilabel": ("prediction",),
    "regression": ("prediction",),
    "tokens": ("prediction", "spans"),
    QUESTIONS: ("prediction", "start", "end", "score"),
    "words": ("masks",),
    "encoder": ("vector",),
}


@dataclass(frozen=True)
class Columns:
    """The names of a model's columns, and of its labels those whose scores have one."""

    names: tuple[str, ...]
    scored: tuple[str, ...]

    @classmethod
    def of(cls, kind: str, labels: Sequence[str], all_scores: bool) -> "Columns":
        """Return the columns of a kind of model; all_scores adds one for each class.

        Models of several labels a text always have those. Raises UserError for a model without
        classes.
        """
        if all_scores and kind not in ("classification", "multilabel"):
            raise UserError("--scores: is for a model with classes: leave it out")
        scored = tuple(labels) if all_scores or kind == "multilabel" else ()
        return cls(NAMES[kind], scored)

    @property
    def all(self) -> list[str]:
        """Every name, in order."""
        return [*self.names, *(f"score {label}" for label in self.scored)]

    def check(self, there: Iterable[str], source: str) -> None:
        """Raise UserError for a column of the file that has the name of an answer's."""
        if taken := [name for name in there if name in self.all]:
            raise UserError(
                f"{source}: has a column {taken[0]!r}, which the answers need: rename it"
            )

    def cells(self, answers: Iterable[Any]) -> Table:
        """Return the columns of answers; None, of a row without a text, has empty cells."""
        rows = [self._row(answer) for answer in answers]
        return {name: [row[n] for row in rows] for n, name in enumerate(self.all)}

    def _row(self, answer: Any) -> Sequence[Any]:
        match answer:
            case None:
                return [None] * len(self.all)
            case Prediction(label, score, scores):
                return [label, score, *(scores[each] for each in self.scored)]
            case Labels(labels, scores):
                return [list(labels), *(scores[each] for each in self.scored)]
            case Score(value):
                return [value]
            case Answer(text=text, start=start, end=end, score=score):
                return [text, start, end, score]
            case Tags(words, spans):
                return [[word.label for word in words], [asdict(span) for span in spans]]
            case list():
                return [[[asdict(guess) for guess in each] for each in answer]]
        return [answer.tolist()]
