"""What the command line tells of itself: help in groups, mistakes together, completion."""

import re
from collections.abc import Iterator

import pytest
import typer
from support.command_line import command
from typer.testing import CliRunner

from alembert.cli import help, main


def verbs() -> Iterator[tuple[list[str], typer.core.TyperCommand]]:
    """Each command that does something, with the words that call it."""
    for name, verb in typer.main.get_command(main.app).commands.items():
        inner = getattr(verb, "commands", {})
        yield from (([name, each], one) for each, one in inner.items())
        if not inner:
            yield [name], verb


@pytest.mark.parametrize(
    ("words", "verb"), [pytest.param(*each, id=" ".join(each[0])) for each in verbs()]
)
def test_help_shows_each_option_of_a_verb_once(
    words: list[str], verb: typer.core.TyperCommand
) -> None:
    done = CliRunner().invoke(main.app, [*words, "-h"])
    assert done.exit_code == 0
    assert done.output == CliRunner().invoke(main.app, [*words, "--help"]).output
    shown = re.findall(r"^  (?:-[a-z], )?(--[a-z0-9-]+)", done.output, re.M)
    options = [each.opts[0] for each in verb.params if each.opts[0].startswith("-")]
    assert sorted(shown) == sorted([*options, "--help"])
    assert ("\nOther options:" in done.output) == (len(shown) > help.GROUPED)


def test_an_option_is_in_one_group_and_a_verb_has() -> None:
    named = " ".join(help.OPTION_GROUPS.values()).split()
    assert len(named) == len(set(named))
    known = {each for _, verb in verbs() for option in verb.params for each in option.opts}
    assert set(named) <= known


def test_every_verb_is_in_a_group_of_the_command() -> None:
    output = CliRunner().invoke(main.app, ["-h"]).output
    assert "Commands:" not in output
    assert sorted(" ".join(help.VERB_GROUPS.values()).split()) == sorted(
        typer.main.get_command(main.app).commands
    )
    assert "without training." in " ".join(output.split())  # a sentence is not cut


def test_all_arguments_that_are_wrong_are_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("distill distilbert --epochs many --seed one", monkeypatch) == 2
    told = re.findall(r"^Error: (.*)$", capsys.readouterr().err, re.M)
    assert [re.search("--[a-z]+", line)[0] for line in told] == [
        "--epochs", "--seed", "--teacher", "--out",
    ]  # fmt: skip


def test_one_wrong_argument_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("bench teacher --batch many", monkeypatch) == 2
    told = re.findall(r"^Error: (.*)$", capsys.readouterr().err, re.M)
    assert len(told) == 1
    assert "'--batch'" in told[0]


@pytest.mark.parametrize(
    ("words", "found"),
    [("alembert dis", ["distill"]), ("alembert distill --te", ["--teacher", "--text"])],
)
def test_a_shell_completes_verbs_and_options(words: str, found: list[str]) -> None:
    asked = {
        "_ALEMBERT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    done = CliRunner().invoke(main.app, [], prog_name="alembert", env=asked)
    assert done.output.split()[: len(found)] == found
