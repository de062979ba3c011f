"""RUN/answers.json: what each model of a run answers to the evaluated questions."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from alembert.data.encoded import Encoded
from alembert.data.questions.windows import Windows
from alembert.evaluation.spans.best import Given
from alembert.evaluation.spans.official import scores
from alembert.evaluation.spans.scores import answers_of
from alembert.io.errors import UserError
from alembert.io.files import keep_json, read_json
from alembert.io.parsing import NUMBER, TEXT, misfit

FILE = "answers.json"
MOST = 20_000  # questions; of more, evenly spaced ones
_ROW = {"id": TEXT, "question": TEXT, "right": [TEXT], "given": {str: TEXT}, "f1": {str: NUMBER}}
_AGAIN = "delete it, and evaluate the run again"


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A question with its right answers, and the answer and its F1 of each model.

    No right answers, and "" as an answer, stand for a question that its context does not answer.
    """

    id: str
    question: str
    right: tuple[str, ...]
    given: Mapping[str, str]
    f1: Mapping[str, float]


def answered(data: Mapping[str, Encoded], logits: Mapping[str, Given]) -> list[Answered]:
    """What models answer to the questions whose answers are told, by their names.

    data has the questions as teacher and student read them, with their thresholds; other models
    read them as the student does.
    """
    own = data["student"]
    assert isinstance(own, Windows)
    given, questions = dict[str, list[str]](), own.questions
    for who, rows in logits.items():
        read = data.get(who, own)
        assert isinstance(read, Windows)
        given[who] = answers_of(rows, read)
    told = [n for n, question in enumerate(questions) if question.answers is not None]
    return [
        Answered(
            id=questions[n].id,
            question=questions[n].text,
            right=questions[n].answers or (),
            given={who: answers[n] for who, answers in given.items()},
            f1={
                who: scores(answers[n], questions[n].answers or ())[1]
                for who, answers in given.items()
            },
        )
        for n in told[:: -(-len(told) // MOST) or 1]
    ]


def save(run: Path, rows: list[Answered]) -> None:
    """Writes RUN/answers.json."""
    keep_json(run / FILE, [asdict(row) for row in rows])


def load(run: Path) -> list[Answered]:
    """Reads RUN/answers.json; nothing without a file. Raises UserError for a broken one."""
    path = run / FILE
    if not path.is_file():
        return []
    content = read_json(path, _AGAIN)
    if reason := misfit(content, [_ROW]):
        raise UserError(f"{path}: {reason}: {_AGAIN}")
    rows = [Answered(**{**row, "right": tuple(row["right"])}) for row in content]
    roles = {tuple(each) for row in rows for each in (row.given, row.f1)}
    if len(roles) > 1 or roles == {()}:
        raise UserError(f"{path}: its rows are not of the same models: {_AGAIN}")
    return rows
