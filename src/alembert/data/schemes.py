"""The schemes in which tags mark spans, and their one conversion to B-, I-, E-, S- and O."""

import logging
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, List, Value

from alembert.data import several
from alembert.data.files import conll
from alembert.data.labels import TAGS, is_list, list_names
from alembert.io.answers import is_bio
from alembert.io.parsing import yaml_of

log = logging.getLogger(__name__)

# of a tag's position in the span, by the letters that a file has: BILOU and BMEWO beside BIOES
_LETTERS = {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S", "M": "I", "W": "S"}
_SCHEMES = (
    re.compile(r"(?P<letter>[BIESLUMW])-(?P<name>.+)"),
    re.compile(r"(?P<letter>[BIESLUMW])_(?P<name>.+)"),
    re.compile(r"(?P<name>.+)-(?P<letter>[BIESLUMW])"),
    re.compile(r"(?P<name>.+)_(?P<letter>[BIESLUMW])"),
    re.compile(r"(?P<letter>[bieslumw])-(?P<name>.+)"),
)
_README = 200_000  # characters of a README that are read for names


def converter(tags: Sequence[str]) -> Callable[[str], str] | None:
    """Turns a tag of the scheme that these tags are of into one of B-, I-, E-, S- and O.

    None for tags that mark no spans, and for those that are in this form already.
    """
    spans = {tag for tag in tags if tag.upper() != "O"}
    if not spans or is_bio(tags):
        return None
    for pattern in _SCHEMES if "o" not in tags else _SCHEMES[-1:]:
        matches = [match for tag in spans if (match := pattern.fullmatch(tag)) is not None]
        letters = {match["letter"].upper() for match in matches}
        two_schemes = letters & {"L", "U"} and letters & {"E", "S"}
        # without a tag that begins a span, the letters may be parts of names
        if len(matches) == len(spans) and letters & {"B", "U", "S", "W"} and not two_schemes:
            return partial(_converted, pattern)
    return None


def _converted(pattern: re.Pattern[str], tag: str) -> str:
    match = pattern.fullmatch(tag)
    return "O" if match is None else f"{_LETTERS[match['letter'].upper()]}-{match['name']}"


def describe(tags: Sequence[str], source: str, column: str) -> None:
    """Reports tags that were converted, and tags whose spans are not measured."""
    convert = converter(tags)
    if convert is not None:
        shown = [f"{tag} is {convert(tag)}" for tag in sorted(tags) if convert(tag) != tag]
        log.info(f"{source}: the tags of {column!r} are read as spans: {', '.join(shown[:4])}")
    elif all(tag.isdecimal() for tag in tags):
        log.info(
            f"{source}: {column!r} holds integers without names: tags are measured word by word "
            "and not as spans; give their names in Parquet (ClassLabel), or write B-, I- and O"
        )
    elif {"O", "o"} & set(tags) and not is_bio(tags):
        log.info(
            f"{source}: the tags of {column!r} have no B- or I-: they are measured word by word "
            "and not as spans"
        )


def report_choice(rows: Dataset, column: str, source: str) -> None:
    """Reports which column of tags is read, where there are others beside it."""
    others = [
        name
        for name in rows.column_names
        if name != column and (name in TAGS or name.endswith("_tags")) and is_list(rows, name)
    ]
    if others:
        log.info(
            f"{source}: {column!r} holds the tags that are read; {list_names(others)} are there "
            "too: --label names one of them"
        )


def with_spans(
    rows: Dataset, column: str, source: str, known: Sequence[str] | None
) -> tuple[Dataset, Sequence[str] | None]:
    """The rows with tags of B-, I-, E-, S- and O where theirs mark spans in another scheme.

    The labels of a teacher (`known`) are converted too, and stay in their order.
    """
    feature = rows.features[column].feature
    names: Sequence[str] = getattr(feature, "names", ())
    integers = "int" in str(getattr(feature, "dtype", "")) and not names
    if integers and known is None:
        names = names_beside(Path(source).expanduser(), column)
        if names:
            rows = several.with_names(rows, column, rows[column][:], names)
            log.info(f"{source}: README.md names the tags, {list_names(names)}")
    rows = _without_blanks(rows, column, source)
    values = rows[column][:]
    tags = names or sorted({str(tag) for row in values for tag in row or () if tag is not None})
    if known is None or not integers:
        describe(tags, source, column)
    if convert := converter(tags):
        if names:
            rows = several.with_names(rows, column, values, [convert(name) for name in names])
        else:
            lists = [row and [tag and convert(tag) for tag in row] for row in values]
            rows = several.replaced(rows, column, lists, List(Value("string")))
    if known is not None and (convert := converter(known)):
        known = [convert(tag) for tag in known]
    return _with_begins(rows, column, source, known), known


def _without_blanks(rows: Dataset, column: str, source: str) -> Dataset:
    """The rows with tags that are texts without blanks at their ends."""
    lists = rows[column][:]
    tags = {tag for row in lists for tag in row or () if isinstance(tag, str)}
    odd = sorted(tag for tag in tags if tag != several.bare(tag))
    if not odd:
        return rows
    log.info(f"{source}: tags are read without blanks at their ends ({odd[0]!r})")
    texts = [row and [tag if tag is None else several.bare(tag) for tag in row] for row in lists]
    return several.replaced(rows, column, texts, List(Value("string")))


def without_languages(rows: Dataset, column: str, source: str) -> Dataset:
    """The rows with words that do not begin with their language, as all of WikiANN's do."""
    lists = rows[column][:]
    flat = [word for row in lists for word in row or ()]
    if not all(isinstance(word, str) for word in flat):  # numbers, or a word that is missing
        return rows
    strip = conll.language_remover(flat, source)
    if strip is None:
        return rows
    words = [row and [strip(word) for word in row] for row in lists]
    return several.replaced(rows, column, words, List(Value("string")))


def _with_begins(rows: Dataset, column: str, source: str, known: Sequence[str] | None) -> Dataset:
    """The rows with B- at the first word of each span, where IOB1 has I- unless spans touch.

    Tags that a teacher's labels (`known`) lack stay as they are.
    """
    names = list[str](getattr(rows.features[column].feature, "names", ()))
    lists = rows[column][:]
    if names:
        lists = [
            row and [names[tag] if tag is not None and tag >= 0 else None for tag in row]
            for row in lists
        ]
    tags = set(names) | {tag for row in lists for tag in row or () if isinstance(tag, str)}
    if not is_bio(tuple(tags)) or any(tag[:2] in ("E-", "S-") for tag in tags):
        return rows
    begun = [row and _begun(row, known) for row in lists]
    count = sum(a != b for old, new in zip(lists, begun, strict=True) if old
                for a, b in zip(old, new, strict=True))  # fmt: skip
    if not count:
        return rows
    log.info(f"{source}: tags I- that begin a span (IOB1) are read as B-: {count:,}")
    if not names:
        return several.replaced(rows, column, begun, List(Value("string")))
    names += sorted({tag for row in begun for tag in row or () if tag} - set(names))
    ids = {name: i for i, name in enumerate(names)} | {None: None}
    return several.with_names(rows, column, [row and [ids[t] for t in row] for row in begun], names)


def _begun(row: Sequence[str | None], known: Sequence[str] | None) -> list[str | None]:
    """The tags of a text, with B- in place of an I- after another type of span, or after none."""
    begun, before = list[str | None](), ""
    for tag in row:
        kind = tag[2:] if tag is not None and tag[:2] in ("B-", "I-") else ""
        first = f"B-{kind}"
        starts = tag == f"I-{kind}" and kind != before and (known is None or first in known)
        begun.append(first if kind and starts else tag)
        before = kind
    return begun


def names_beside(path: Path, column: str) -> tuple[str, ...]:
    """The names of integer tags in the README.md of a data set, beside a file or one above.

    The card of a data set lists them as class_label of the column; () without such a card.
    """
    for folder in (path.parent, path.parent.parent):
        readme = folder / "README.md"
        if not path.is_file() or not readme.is_file():
            continue
        text = readme.read_text(encoding="utf-8", errors="replace")[:_README]
        head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
        found = _class_names(_card(head[1]) if head else None, column)
        if found:
            return found
    return ()


def _card(text: str) -> Any:
    """The fields of a card; None for one that is no YAML, or has aliases, which could be huge."""
    try:
        return yaml_of(text)
    except ValueError:
        return None


def _class_names(card: Any, column: str) -> tuple[str, ...]:
    infos = card.get("dataset_info") if isinstance(card, dict) else None
    for info in infos if isinstance(infos, list) else [infos]:
        features = info.get("features") if isinstance(info, dict) else None
        for feature in features if isinstance(features, list) else ():
            if isinstance(feature, dict) and feature.get("name") == column:
                kind = feature.get("sequence", feature.get("list", feature.get("dtype")))
                names = kind.get("class_label", {}).get("names") if isinstance(kind, dict) else None
                if isinstance(names, dict):
                    return tuple(map(str, names.values()))
    return ()
