"""Alembert can do what capabilities.txt lists: nothing goes, or comes, without a line of it."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict, Unpack

import pytest
import typer
from fastapi import FastAPI
from pydantic import BaseModel, Field
from whole.capabilities import LIST, collected
from whole.entries import differences, fields, keywords, methods, options, routes, said

REWRITE = (
    "Put back what is gone. Where the change is meant, "
    "`PYTHONPATH=tests python -m whole.capabilities` rewrites the list: commit it with the change."
)


def test_alembert_can_do_what_is_listed_and_nothing_else() -> None:
    found = differences(LIST.read_text(encoding="utf-8").splitlines(), collected())
    assert not found, "\n".join([*found, REWRITE])


def test_the_list_is_as_the_program_writes_it() -> None:
    text = LIST.read_text(encoding="utf-8")
    assert text == "".join(f"{entry}\n" for entry in sorted(set(text.splitlines())))


def test_what_is_gone_and_what_is_not_listed_yet_are_named() -> None:
    listed = ["metric of tokens: accuracy", "metric of tokens: span_f1", "verb tool"]
    assert differences(listed, ["verb tool", listed[0]]) == ["gone: metric of tokens: span_f1"]
    assert differences(listed, [*listed, "extra new"]) == ["not listed: extra new"]
    assert differences(listed, ["verb tool", "metric of tokens: span_f2", listed[0]]) == [
        "gone: metric of tokens: span_f1",
        "not listed: metric of tokens: span_f2",
    ]


def test_the_order_of_entries_and_their_number_make_no_difference() -> None:
    assert differences(["a", "b"], ["b", "a", "b"]) == []


def tool(*functions: Callable[..., None]) -> list[str]:
    app = typer.Typer(add_completion=False)
    app.callback()(lambda: None)
    for function in functions:
        app.command(name="cut")(function)
    return list(options(typer.main.get_command(app), "tool"))


def sized(
    paths: list[Path], size: Annotated[int, typer.Option("--size", min=1)] = 3, dry: bool = False
) -> None: ...


def unsized(paths: list[Path], dry: bool = False) -> None: ...


def test_a_verb_or_an_option_that_is_removed_is_named() -> None:
    assert differences(tool(sized), tool(unsized)) == [
        "gone: option tool cut --size: int >= 1, default 3"
    ]
    assert differences(tool(sized), tool()) == [
        "gone: option tool cut --dry/--no-dry: bool, default False",
        "gone: option tool cut --size: int >= 1, default 3",
        "gone: option tool cut paths: list[Path], required",
        "gone: verb tool cut",
    ]


class Question(BaseModel):
    text: str
    top: Annotated[int, Field(ge=1, le=9)] = 5


class Stricter(BaseModel):
    text: str
    top: Annotated[int, Field(ge=1, le=8)] = 5


def document(*paths: str) -> dict[str, Any]:
    app = FastAPI()

    async def answer(asked: Question) -> list[float]:
        return [len(asked.text)] * asked.top

    for path in paths:
        app.post(path)(answer)
    return app.openapi()


def test_a_route_that_is_dropped_is_named() -> None:
    gone = differences(routes(document("/near", "/far")), routes(document("/far")))
    assert len(gone) == 1
    assert gone[0].startswith("gone: route POST /near: 200 422; takes Question; gives application")


def test_a_field_that_changes_is_named_with_its_bounds_and_its_default() -> None:
    asked, stricter = Question.model_json_schema(), Stricter.model_json_schema()
    before, now = fields("field", asked), fields("field", stricter | {"title": "Question"})
    assert differences(before, now) == [
        "gone: field Question.top: integer >= 1 <= 9, default 5",
        "not listed: field Question.top: integer >= 1 <= 8, default 5",
    ]


def test_a_class_is_listed_with_its_public_methods() -> None:
    class Plain:
        def __init__(self, url: str = "here") -> None: ...

    class Asking(Plain):
        def __init__(self, *given: Any, **named: Any) -> None: ...

        def ask(self, text: str, top: int = 5) -> None: ...

    assert list(methods(Asking)) == [
        "python Asking(self, url='here')",
        "python Asking.ask(self, text, top=5)",
    ]


def test_what_a_class_has_from_another_package_is_not_listed() -> None:
    class Counting(logging.Handler):
        over = "texts"

        def emit(self, record: logging.LogRecord) -> None: ...

        def __call__(self, text: str) -> None: ...

    assert list(methods(Counting)) == [
        "python Counting.__call__(self, text)",
        "python Counting.emit(self, record)",
        "python Counting.over, an attribute",
    ]


class Asked(TypedDict, total=False):
    top: int


class AskedMore(Asked, total=False):
    first: int


def test_keywords_behind_options_are_listed() -> None:
    def ask(text: str, **options: Unpack[AskedMore]) -> None: ...

    assert list(keywords(ask)) == ["python ask, keyword top", "python ask, keyword first"]


def heard(folder: Path, **sources: str) -> set[str]:
    """What is said in a folder of these files."""
    for name, text in sources.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return set(said(folder))


def test_a_refusal_that_changes_is_named(tmp_path: Path) -> None:
    source = "def f(n):\n    raise UserError(f'--size {n:g}: must be 1 ' 'or more')"
    before = heard(tmp_path / "before", a=source)
    assert differences(before, heard(tmp_path / "after", a=source.replace("1", "2"))) == [
        "gone: refusal (UserError) --size {}: must be 1 or more",
        "not listed: refusal (UserError) --size {}: must be 2 or more",
    ]


def test_a_file_that_moves_changes_nothing(tmp_path: Path) -> None:
    one = "import os\nfrom b import WHY\ndef f(p):\n    raise UserError(f'{p}: {WHY}')"
    other = "WHY = 'is not there'\nNAME = 'facts.json'\nKEY = os.environ.get('KEY')"
    before = heard(tmp_path / "before", a=one, b=other)
    assert heard(tmp_path / "after", rooms__a=one, rooms__inner__c=other) == before
    assert before == {
        "environment variable KEY",
        "file facts.json",
        "refusal (in part) is not there",
    }


@pytest.mark.parametrize(
    ("source", "entry"),
    [
        (
            "def f():\n    raise DivergedError('the loss is gone')",
            "(DivergedError) the loss is gone",
        ),
        ("def f():\n    return RefusedError(429, 'come back')", "(RefusedError) come back"),
        ("def f():\n    log.warning('%s: made anew', 1)", "(warning) %s: made anew"),
        ("def f():\n    raise UserError(g())\ndef g():\n    return f'{1}: no file'", "no file"),
        ("def f(why):\n    raise UserError(why)\nf('leave it out')", "leave it out"),
        ("def f(why='leave it out'):\n    raise UserError(f'{1}: {why}')", "leave it out"),
        ("def f():\n    why = 'no row' if 1 else ''\n    raise UserError(f'{1}: {why}')", "no row"),
        (
            "def f():\n    rules = {'too many': 1}\n    for why in rules:\n"
            "        raise errors.UserError(why)",
            "too many",
        ),
    ],
)
def test_a_refusal_is_found_wherever_its_text_stands(
    tmp_path: Path, source: str, entry: str
) -> None:
    (found,) = heard(tmp_path, a=source)
    assert found.startswith("refusal (")
    assert found.endswith(entry)


@pytest.mark.parametrize(
    ("source", "entries"),
    [
        ("os.environ['A']", ["environment variable A"]),
        ("os.environ.get('A', '')", ["environment variable A"]),
        ("'A' not in os.environ", ["environment variable A"]),
        ("Option(envvar='A')", ["environment variable A"]),
        ("os.environ['A'] = 'set'", []),
        ("home / 'stages' / f'{n:02d}-{name}' / 'log.jsonl'", ["file log.jsonl", "file stages"]),
        ("files('alembert') / 'rooms'", []),
        ("half = total / 2", []),
    ],
)
def test_variables_that_are_read_and_names_of_files_are_found(
    tmp_path: Path, source: str, entries: list[str]
) -> None:
    assert sorted(heard(tmp_path, a=source)) == entries
