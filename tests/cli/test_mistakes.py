"""What a user can get wrong, and the one line that each mistake prints: mistakes/<verb>.yaml.

A row names the mistake, the files that are written first, the arguments and the line: a regular
expression. In files "{recipe}" stands for DistilBERT's recipe, and a name that ends in a slash is
an empty folder; files under latin_1 are written in Latin-1. "{deep}" stands for 10,000 brackets and
"{nines}" for a number of 5,000 digits. In arguments $name stands for one of
the file's commands. Every row's folder has the models and files of the fixture `house`.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import pytest
import yaml
from support.command_line import command
from transformers import AutoConfig

from alembert.recipes import recipe_of
from alembert.recipes.schema import to_yaml

NINES = "9" * 5000
TABLES = sorted(Path(__file__).with_name("mistakes").glob("*.yaml"))


@dataclass(frozen=True, kw_only=True)
class Mistake:
    name: str
    argv: str
    line: str
    files: dict[str, str] = field(default_factory=dict)
    latin_1: dict[str, str] = field(default_factory=dict)


def mistakes(table: Path) -> Iterator[Mistake]:
    content = yaml.safe_load(table.read_text(encoding="utf-8"))
    for row in content["mistakes"]:
        argv = Template(row["argv"].replace("{nines}", NINES)).substitute(
            content.get("commands", {})
        )
        assert argv.split()[0] == table.stem, f"{table}: {row['name']} is a mistake of another verb"
        yield Mistake(**(row | {"argv": argv}))


def write(mistake: Mistake) -> None:
    for name, content in mistake.files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir()
            continue
        recipe = recipe_of("distilbert", AutoConfig.from_pretrained("teacher"))
        content = content.replace("{deep}", "[" * 10_000).replace("{nines}", NINES)
        path.write_bytes(content.replace("{recipe}", to_yaml(recipe)).encode())
    for name, content in mistake.latin_1.items():
        Path(name).write_bytes(content.encode("latin-1"))


def tree() -> dict[str, bytes | None]:
    """Every file and folder of the working folder with its content; links are not followed."""
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for folder, folders, files in os.walk(".")
        for path in (Path(folder, name) for name in (*folders, *files))
    }


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param(mistake, id=mistake.name.replace(" ", "_"))
        for table in TABLES
        for mistake in mistakes(table)
    ],
)
def test_a_mistake_gets_one_line_and_leaves_nothing_behind(
    mistake: Mistake,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(mistake)
    before = tree()
    capsys.readouterr()
    code = command(mistake.argv, monkeypatch)
    printed = capsys.readouterr().err
    assert code == 2, printed
    assert re.fullmatch(r"alembert: [^\n]+\n", printed), printed
    assert re.search(mistake.line, printed), printed
    assert tree() == before
