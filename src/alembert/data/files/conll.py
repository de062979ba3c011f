"""Words and their tags in columns: CoNLL and its relatives, with comments and numbers."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from alembert.data.files.skipped import BadRow
from alembert.io.errors import UserError

SPAN = re.compile(r"O|[BIESLUMW][-_].+|.+[-_][BIESLUMW]")  # how a tag of a span may look
_NUMBER = re.compile(r"[0-9]+([-.][0-9]+)?")  # of a token; 1-2 and 1.1 are of CoNLL-U
_CHUNKS = {"NP", "VP", "PP", "ADJP", "ADVP", "SBAR"}
_CODE = re.compile(r"[a-z]{2,3}(-[a-z]+)*:")
_FEW_WORDS = 5  # fewer words may begin alike by chance
# (ORG*, *, *), (DATE) and (GPE)) of CoNLL-2012
_BRACKETS = re.compile(r"(\([^()*\s]+)*(\*\)*|\)+)|(\([^()*\s]+)+")
_OPENED = re.compile(r"\([^()*\s]+")
_WORD_NAMES = ("word", "words", "token", "tokens", "form")  # in a line that names the columns
_TAG_NAMES = ("tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags", "iob", "bio", "pos")
_UNIVERSAL = 10  # columns of CoNLL-U
_MARKED = 0.9  # the share of tags that look like tags of spans in a file of spans

log = logging.getLogger(__name__)
Line = tuple[int, list[str]]  # (number, cells)


@dataclass(frozen=True)
class Layout:
    """Which columns hold words and tags; `numbered` when the first one counts the tokens."""

    word: int
    tag: int
    numbered: bool = False


def sentences(
    numbered: Iterable[tuple[int, str]], path: Path, bad: BadRow
) -> Iterator[tuple[str, dict[str, Any]]]:
    """("line 9", words and tags) of each sentence, at the line after it.

    `bad` takes a sentence with a word that has no tag. Raises UserError for a tag that is no tag.
    """
    blocks = [(end, list(block)) for end, block in _blocks(numbered)]
    width, tags = _usual(chain.from_iterable(block for _, block in blocks))
    comments = 0
    kept = list[tuple[int, list[Line]]]()
    for end, block in blocks:
        start = 0
        while start < len(block) and _is_comment(block[start][1], width, tags):
            start += 1
        comments += start
        if start < len(block):
            kept.append((end, block[start:]))
    if comments:
        log.info(f"{path}: comment lines are left out: {comments:,}")
    layout = _layout([block for _, block in kept], width, path)
    if kept and _names_columns(kept[0][1][0][1], layout):
        line = kept[0][1].pop(0)[0]
        log.info(f"{path}: line {line} names the columns and is left out")
    tag_is_odd = _odd_tags([cells[layout.tag] for _, b in kept for _, cells in b
                            if len(cells) > layout.tag])  # fmt: skip
    strip = language_remover([cells[layout.word] for _, b in kept for _, cells in b
                              if len(cells) > layout.word], str(path))  # fmt: skip
    for end, block in kept:
        sentence = {"tokens": list[str](), "tags": list[str]()}
        where, why = f"line {end}", ""
        for line, cells in block:
            if layout.numbered and not cells[0].isdecimal() and _NUMBER.fullmatch(cells[0]):
                continue  # the words of 1-2 follow, and 1.1 is no word of the text
            word, tag = _cell(cells, layout.word), _cell(cells, layout.tag)
            if not word or not tag or len(cells) < 2:
                where, why = f"line {line}", "a word without a tag; write 'word TAG'"
                break
            if tag_is_odd(tag):
                where, why = f"line {line}", f"{tag!r} is no tag; fix the line"
                break
            sentence["tokens"].append(word if strip is None else strip(word))
            sentence["tags"].append(tag)
        if why:
            bad(path, where, why)
        elif sentence["tokens"]:
            yield where, sentence


def looks_tagged(sample: Sequence[tuple[int, str]]) -> bool:
    """Whether lines of plain text are words in columns, of which the last are tags of spans."""
    rows = [cells for _, block in _blocks(sample) for _, cells in block if cells[0] != "#"]
    widths = {len(cells) for cells in rows}
    tags = {cells[-1] for cells in rows}
    if len(widths) == 1 and min(widths) > 1 and _in_brackets(tags):
        return True
    spans = any(cell[:2] in ("B-", "I-") for cells in rows for cell in cells[1:])
    return len(widths) == 1 and min(widths) > 1 and spans and all(map(SPAN.fullmatch, tags))


def language_remover(words: Sequence[str], source: str) -> Callable[[str], str] | None:
    """Takes off the language, as in "en:Anna", that every word begins with; None without one."""
    if len(words) < _FEW_WORDS or _CODE.match(words[0]) is None:
        return None
    codes = set[str]()
    for word in words:
        code = _CODE.match(word)
        if code is None or word == code[0]:
            return None
        codes.add(code[0])
    shown = " or ".join(map(repr, sorted(codes)[:3]))
    log.info(f"{source}: every word begins with {shown}, as in WikiANN, which is taken off")
    return lambda word: _CODE.sub("", word, count=1)


def _names_columns(cells: Sequence[str], layout: Layout) -> bool:
    """Whether the first line has names of columns in place of a word and a tag."""
    names = [cell.strip().casefold() for cell in cells]
    word, tag = _cell(names, layout.word), _cell(names, layout.tag)
    return word in _WORD_NAMES and tag in _TAG_NAMES


def _in_brackets(cells: Iterable[str]) -> bool:
    """Whether cells are parts of spans in brackets, with one that has a name."""
    distinct = set(cells)
    named = any(map(_OPENED.match, distinct))
    return named and all(cell and _BRACKETS.fullmatch(cell) for cell in distinct)


def _cell(cells: Sequence[str], column: int) -> str:
    return cells[column] if -len(cells) <= column < len(cells) and cells[column].strip() else ""


def _blocks(numbered: Iterable[tuple[int, str]]) -> Iterator[tuple[int, list[Line]]]:
    """(number of the line after it, lines) of each block between blank lines."""
    block, last = list[Line](), 0
    for number, line in chain(numbered, [(0, "")]):
        if line.startswith("-DOCSTART-"):
            continue
        if line.strip():
            block.append((number, line.split("\t") if "\t" in line else line.split()))
        elif block:
            yield number, block
            block = []
        last = number
    if block:
        yield last, block


def _usual(lines: Iterable[Line]) -> tuple[int, set[str]]:
    """The usual number of cells of a line that begins with no "#", and the last cells of such."""
    widths, tags = Counter[int](), set[str]()
    for _, cells in lines:
        if not cells[0].startswith("#"):
            widths[len(cells)] += 1
            tags.add(cells[-1])
    return max(widths, key=widths.__getitem__, default=2), tags


def _is_comment(cells: Sequence[str], width: int, tags: set[str]) -> bool:
    """Whether a line above a sentence is a comment, and not a word "#" with its tag."""
    return cells[0].startswith("#") and (len(cells) != width or cells[-1] not in tags)


def _layout(blocks: Sequence[Sequence[Line]], width: int, path: Path) -> Layout:
    """The columns of words and tags in sentences with this usual number of cells."""
    rows = [cells for block in blocks for _, cells in block if len(cells) == width]
    if not rows or width < 2:
        return Layout(0, -1)
    columns = list(zip(*rows, strict=True))
    _check_brackets(columns, path)
    counts = width > 2 and all(map(_counts, blocks))
    if counts and width == _UNIVERSAL:
        tag = next((i for i in (3, 4) if set(columns[i]) != {"_"}), None)
        if tag is None:
            raise UserError(f"{path}: CoNLL-U without parts of speech: column 4 (UPOS) is empty")
        log.info(f"{path}: read as CoNLL-U, with column {tag + 1} as the tags")
        return Layout(1, tag, numbered=True)
    filled = [i for i in range(width) if not set(columns[i]) <= {"_", ""}] or [width - 1]
    word, tag = 1 if counts else 0, filled[-1]
    if counts and tag - 1 > word and _nested(columns[tag - 1], columns[tag]):
        tag -= 1
        log.info(
            f"{path}: columns {tag + 1} and {tag + 2} hold outer and inner tags, and the outer "
            "ones are read"
        )
    elif not counts and width == 2 and _is_marked(columns[0]) and not _is_marked(columns[1]):
        log.info(f"{path}: read with the tag before the word")
        return Layout(1, 0)
    if counts:
        log.info(f"{path}: read as token number, word ... tag: column {tag + 1} holds the tags")
    elif tag != width - 1:
        log.info(f"{path}: column {tag + 1} holds the tags, since the last has none")
    # with cells of blanks, lines may have more cells than usual: the last one is the tag
    return Layout(word, -1 if tag == width - 1 and not counts else tag, counts)


def _check_brackets(columns: Sequence[Sequence[str]], path: Path) -> None:
    """Raises UserError for columns with spans in brackets, as CoNLL-2012 has them."""
    for number, cells in reversed(list(enumerate(columns, start=1))):
        if _in_brackets(cells):
            opened = [cell for cell in cells if _OPENED.match(cell)]
            raise UserError(
                f"{path}: column {number} holds spans in brackets ({opened[0]!r}), as CoNLL-2012 "
                "(OntoNotes) has them, which are not read: write a word and a tag (B-, I- or O) a "
                "line"
            )


def _counts(block: Sequence[Line]) -> bool:
    """Whether the first cells number the tokens of a sentence one after the other."""
    firsts = [cells[0] for _, cells in block]
    if not all(_NUMBER.fullmatch(cell) for cell in firsts):
        return False
    numbers = [int(cell) for cell in firsts if cell.isdecimal()]
    return bool(numbers) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _nested(outer: Sequence[str], inner: Sequence[str]) -> bool:
    """Whether two columns are outer tags and inner ones within them, as in GermEval.

    Chunks, which other files have beside names, are no outer tags.
    """
    if not all(_is_marked(tags, whole=True) for tags in (outer, inner)):
        return False
    within = all(a != "O" for a, b in zip(outer, inner, strict=True) if b != "O")
    return within and not _CHUNKS & {tag[2:] for tag in outer}


def _is_marked(tags: Sequence[str], whole: bool = False) -> bool:
    """Whether these look like tags of spans: nearly all, or without exception when `whole`."""
    like = sum(SPAN.fullmatch(tag) is not None for tag in tags)
    spans = any(tag != "O" and SPAN.fullmatch(tag) for tag in set(tags))
    share = 1.0 if whole else _MARKED
    return like >= share * len(tags) and (spans or (whole and set(tags) == {"O"}))


def _odd_tags(tags: Sequence[str]) -> Callable[[str], bool]:
    """Tells what is no tag: an address, or a tag in a file of spans that is there once."""
    counts = Counter(tags)
    marked = _is_marked(tags)

    def odd(tag: str) -> bool:
        once = marked and counts[tag] == 1 and not SPAN.fullmatch(tag)
        return "://" in tag or (once and not tag.isalnum())

    return odd
