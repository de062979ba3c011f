"""Long lines are read in pieces, and the words and documents are the same."""

import io
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alembert.data.corpus import paragraphs


def documents(lines: list[str]) -> list[list[str]]:
    """The words of each document."""
    groups = groupby(lines, key=bool)
    return [" ".join(group).split() for filled, group in groups if filled]


@given(text=st.text("ab \n\t\u2003", max_size=80))
def test_lines_in_pieces_have_the_words_and_documents_of_whole_ones(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paragraphs, "PIECE", 100)
        whole = list(paragraphs._lines(io.StringIO(text)))
        assert documents(whole) == documents([line.strip() for line in text.split("\n")])
        patch.setattr(paragraphs, "PIECE", 9)
        pieces = list(paragraphs._lines(io.StringIO(text)))
    assert max(map(len, pieces), default=0) <= 9
    if max(map(len, text.split()), default=0) <= 9:  # no word is cut
        assert documents(pieces) == documents(whole)
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_a_word_longer_than_a_piece_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paragraphs, "PIECE", 4)
    assert list(paragraphs._lines(io.StringIO("abcdefghij k\n\nl"))) == [
        "abcd", "efgh", "ij k", "", "l"
    ]  # fmt: skip


def test_a_long_line_of_blanks_still_ends_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paragraphs, "PIECE", 4)
    assert list(paragraphs._lines(io.StringIO("a\n" + " " * 30 + "\nb"))) == ["a", "", "b"]


def test_a_long_cell_is_cut_as_a_long_line_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paragraphs, "PIECE", 5)
    assert list(paragraphs._of_cells(["a b c d e f", None, "g"])) == [
        "a b c",
        "d e",
        "f",
        "",
        "g",
        "",
    ]
