"""Hostile files and recipes, drawn by hypothesis: whatever they hold, a UserError or success.

An attack is a name, a strategy and what is done with what it draws. A draw is bytes at random, a
right file with bytes of it changed, or a file whose parts are odd: cells, keys, types, tags.
"""

import gzip
import io
import json
import logging
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hypothesis import strategies as st
from openpyxl import Workbook
from transformers import AutoConfig, BertTokenizerFast

from alembert.augmentation.word_vectors import read_vectors
from alembert.data import sources
from alembert.data.corpus.corpus import write_corpus
from alembert.data.splits import Files, prepare, prepare_file
from alembert.io.errors import UserError
from alembert.models.building import config_of
from alembert.recipes import RECIPES, recipe_of
from alembert.recipes.overrides import with_settings
from alembert.recipes.schema import from_yaml, to_yaml

NAMES = [
    "text",
    "label",
    "sentence1",
    "sentence2",
    "tokens",
    "tags",
    "score",
    "labels",
    "",
    " Text ",
]
ODD = ["", " ", "a", "good film", "nan", "inf", "1", "0.5", "-1", "1e999", "00", "true", "null",
       '"', "'", ",", "\t", "\r", "\n", "\x00", "\x0c", "\u2028", "\ufeff", "é", "😀", "#", "up",
       "down", "LABEL_0", "9" * 30, "0x1F", "1:30", "*a", "&a 1",
       "2020-01-02", "\ud83d", "-DOCSTART-", "B-x", "I-x", "O"]  # fmt: skip
ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # in a sheet
HOUR = re.compile(rb"20[0-9-]{8}T[0-9:]{8}Z")
CELLS = st.one_of(st.sampled_from(ODD), st.text(max_size=8), st.integers().map(str))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.sampled_from(ODD)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=12,
)
RIGHT = {
    "csv": 'text,label\ngood film,up\n"bad, ""very""",down\nthe table,up\nbook,down\n',
    "tsv": "sentence1\tsentence2\tlabel\ngood\tbad\t1\nfilm\tbook\t0\na\tb\t1\nc\td\t0\n",
    "json": '[{"text": "a", "score": 1.5}, {"text": "b", "score": 2}, {"text": "c", "score": 0}]',
    "jsonl": '{"text": "good", "labels": ["up"]}\n{"text": "bad", "labels": []}\n' * 3,
    "txt": "good film and book\n\nbad film\n" * 9,
    "conll": "-DOCSTART- O\n\ngood O\nfilm B-x\n\nbad O\nbook I-x\n" * 3,
}
TYPES: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.string(), st.text(max_size=6)),
    (pa.large_string(), st.text(max_size=6)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint8(), st.integers(0, 255)),
    (pa.float64(), st.floats()),
    (pa.float16(), st.sampled_from([0.5, 1.0])),
    (pa.bool_(), st.booleans()),
    (pa.binary(), st.binary(max_size=4)),
    (pa.null(), st.none()),
    (pa.list_(pa.string()), st.lists(st.text(max_size=3), max_size=3)),
    (pa.list_(pa.int64()), st.lists(st.integers(0, 9), max_size=3)),
    (pa.large_list(pa.string()), st.lists(st.text(max_size=3), max_size=3)),
    (pa.list_(pa.list_(pa.string())), st.lists(st.lists(st.text(max_size=2), max_size=2))),
    (pa.list_(pa.float32(), 2), st.lists(st.floats(width=32), min_size=2, max_size=2)),
    (pa.struct([("a", pa.int32())]), st.fixed_dictionaries({"a": st.integers(0, 9)})),
    (pa.map_(pa.string(), pa.int32()), st.just([("a", 1)])),
    (pa.timestamp("us"), st.integers(0, 2**40)),
    (pa.date32(), st.integers(0, 9999)),
    (pa.time64("us"), st.integers(0, 10**10)),
    (pa.duration("us"), st.integers(0, 10**10)),
    (pa.decimal128(10, 2), st.sampled_from([0, 1])),
    (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["up", "down"])),
]  # fmt: skip


@dataclass(frozen=True)
class Attack:
    """draws: what is thrown; at: what it is thrown at, which raises UserError or nothing."""

    draws: st.SearchStrategy[Any]
    at: Callable[[Any, BertTokenizerFast, Path], None]


@st.composite
def changed(draw: st.DrawFn, right: bytes) -> bytes:
    """A few of its bytes gone, doubled, flipped or replaced by something odd."""
    found = bytearray(right)
    for _ in range(draw(st.integers(1, 6))):
        first = draw(st.integers(0, len(found)))
        last = min(first + draw(st.integers(0, 12)), len(found))
        new = draw(
            st.one_of(
                st.just(b""),
                st.binary(max_size=6),
                st.sampled_from(ODD).map(lambda odd: odd.encode("utf-8", "surrogatepass")),
                st.just(bytes(found[first:last] * 2)),
                st.just(bytes(byte ^ 0x80 for byte in found[first:last])),
            )
        )
        found[first:last] = new
    return bytes(found[: draw(st.integers(0, len(found)))] if draw(st.booleans()) else found)


def rows(apart: str) -> st.SearchStrategy[bytes]:
    """Lines of odd cells below a header of likely names."""
    header = st.lists(st.sampled_from(NAMES) | st.text(max_size=3), min_size=1, max_size=4)
    body = st.lists(st.lists(CELLS, min_size=1, max_size=4).map(apart.join), max_size=9)
    text = st.tuples(header.map(apart.join), body, st.sampled_from(["\n", "\r\n", "\r"]))
    return text.map(lambda t: t[2].join((t[0], *t[1])).encode("utf-8", "surrogatepass"))


def same_keys() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Objects of the same keys, most values of a key of one kind: these come far."""
    kinds = [
        st.text(max_size=6), st.integers(), st.floats(), st.booleans(), st.none(), JSON,
        st.sampled_from(["up", "down"]), st.lists(st.sampled_from(["B-x", "O"]), max_size=3),
        st.lists(SCALARS, max_size=3),
    ]  # fmt: skip
    columns = st.dictionaries(
        st.sampled_from(NAMES), st.sampled_from(kinds), min_size=1, max_size=3
    )
    return columns.flatmap(lambda c: st.lists(st.fixed_dictionaries(c), min_size=1, max_size=12))


def table(kind: str) -> st.SearchStrategy[bytes]:
    """A Parquet or an Arrow file whose columns are of any type, nulls among them."""

    @st.composite
    def drawn(draw: st.DrawFn) -> bytes:
        count = draw(st.integers(0, 9))
        names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
        columns = {}
        for name in names:
            column, values = draw(st.sampled_from(TYPES))
            cells = st.lists(st.none() | values, min_size=count, max_size=count)
            columns[name] = pa.array(draw(cells), column)
        held, whole = io.BytesIO(), pa.table(columns)
        if kind == "parquet":
            pq.write_table(whole, held, use_dictionary=draw(st.booleans()))
            return held.getvalue()
        packing = pa.ipc.IpcWriteOptions(compression=draw(st.sampled_from([None, "lz4", "zstd"])))
        opened = draw(st.sampled_from([pa.ipc.new_file, pa.ipc.new_stream]))
        with opened(held, whole.schema, options=packing) as writer:
            writer.write_table(whole)
        return held.getvalue()

    return drawn()


@st.composite
def sheet(draw: st.DrawFn) -> bytes:
    """A spreadsheet of odd cells, of whose parts one may have odd bytes."""
    book = Workbook()
    kinds = st.one_of(CELLS, st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.none())
    for row in [["text", "label"], *draw(st.lists(st.lists(kinds, max_size=3), max_size=6))]:
        book.active.append([c if not isinstance(c, str) else ILLEGAL.sub("", c) for c in row])
    held, again = io.BytesIO(), io.BytesIO()
    book.save(held)
    with ZipFile(held) as parts, ZipFile(again, "w") as packed:
        odd = draw(st.sampled_from([*parts.namelist(), ""]))
        for name in parts.namelist():
            content = HOUR.sub(b"2000-01-01T00:00:00Z", parts.read(name))
            content = draw(changed(content)) if name == odd else content
            packed.writestr(ZipInfo(name), content, ZIP_DEFLATED)  # with no hour of its own
    return again.getvalue()


def of(kind: str) -> st.SearchStrategy[bytes]:
    """The content of a file of this kind."""
    if kind in ("parquet", "arrow"):
        right = table(kind)
        return st.one_of(right, right.flatmap(changed), st.binary(max_size=60))
    if kind == "xlsx":
        return st.one_of(sheet(), sheet().flatmap(changed), st.binary(max_size=60))
    plain = RIGHT[kind].encode()
    odd: st.SearchStrategy[bytes]
    if kind in ("json", "jsonl"):
        odd = st.one_of(JSON, same_keys(), st.lists(JSON, max_size=5)).map(
            lambda found: (
                "\n".join(map(json.dumps, found))
                if kind == "jsonl" and isinstance(found, list)
                else json.dumps(found)
            ).encode()
        )
    else:
        odd = rows({"csv": ",", "tsv": "\t", "txt": " ", "conll": " "}[kind])
    return st.one_of(changed(plain), odd, st.binary(max_size=60))


OPTION = st.none() | st.sampled_from(NAMES[1:])
ASKED = st.fixed_dictionaries({"text": OPTION, "text_pair": OPTION, "label": OPTION})
KNOWN = st.sampled_from([None, None, ["up", "down"], ["LABEL_0", "LABEL_1"], ["score"]])


def reader(kind: str) -> Attack:
    """A file to learn from, to judge by, and as a corpus; sometimes packed."""

    def at(drawn: Any, tokenizer: BertTokenizerFast, home: Path) -> None:
        content, asked, known, packed = drawn
        path = home / f"f.{kind}{packed}"
        content = gzip.compress(content, 1) if packed == ".gz" and len(content) % 3 else content
        path.write_bytes(content)
        for use in (
            lambda: prepare(Files(train=str(path), **asked), tokenizer, 16, known, 0),
            lambda: prepare_file(Files(train=str(path), **asked), tokenizer, 16, known),
            lambda: write_corpus([str(path)], tokenizer, 16, home / "corpus"),
        ):
            tried(use)

    packed = kind in ("parquet", "arrow", "xlsx")
    packing = st.just("") if packed else st.sampled_from(["", "", "", ".gz", ".zst"])
    plain = st.fixed_dictionaries(dict.fromkeys(("text", "text_pair", "label"), st.none()))
    return Attack(st.tuples(of(kind), plain | ASKED, KNOWN, packing), at)


def tried(use: Callable[[], Any]) -> None:
    """A refusal has to be one line that says something."""
    try:
        use()
    except UserError as error:
        line = str(error)
        assert line.strip(), "an empty refusal"
        assert "\n" not in line, f"a refusal of several lines: {line!r}"


def glue(drawn: Any, tokenizer: BertTokenizerFast, home: Path) -> None:
    task, train, dev = drawn
    matched = "_matched" if task == "mnli" else ""
    (home / "train.tsv").write_bytes(train)
    (home / f"dev{matched}.tsv").write_bytes(dev)
    tried(lambda: prepare(Files(train=str(home), task=task), tokenizer, 16, None, 0))


@st.composite
def glue_files(draw: st.DrawFn) -> tuple[str, bytes, bytes]:
    """Rows as wide as the task's, of odd cells and likely labels, then perhaps changed."""
    task = draw(st.sampled_from(list(sources.GLUE)))
    wanted = sources.GLUE[task]
    width = max(*wanted.columns, wanted.label, 11 if task == "mnli" else 0) + 1
    files = []
    for _ in range(2):
        lines = []
        for _ in range(draw(st.integers(0, 6))):
            cells = draw(st.lists(CELLS, min_size=width, max_size=width))
            cells[wanted.label] = draw(st.sampled_from([*wanted.labels, "0", "1", "2.5"]) | CELLS)
            lines.append("\t".join(cells))
        content = "\n".join(lines).encode("utf-8", "surrogatepass")
        files.append(draw(changed(content)) if draw(st.booleans()) else content)
    return task, files[0], files[1]


SHOWN = {name: to_yaml(recipe_of(name, AutoConfig.for_model("bert"))) for name in RECIPES}
VALUES = st.one_of(SCALARS, JSON, st.sampled_from(["BIG", {}, [], [[1, 9]], 10**400, -0.0, 1e308]))


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """A shipped recipe with fields at any depth given other values, or gone, or new ones there."""
    plain = yaml.safe_load(SHOWN[draw(st.sampled_from(list(SHOWN)))])
    for _ in range(draw(st.integers(1, 3))):
        at: Any = plain
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(at[key], dict | list) and draw(st.integers(0, 3)):
                at = at[key]
                continue
            if draw(st.integers(0, 4)) == 0:
                del at[key]
            else:
                at[key] = draw(VALUES)
            break
    return yaml.safe_dump(plain).encode()


def recipe(content: bytes, tokenizer: BertTokenizerFast, home: Path) -> None:
    path = home / "r.yaml"
    path.write_bytes(content)

    def use() -> None:
        found = from_yaml(path)
        assert from_yaml_text(to_yaml(found), path) == found, "YAML goes out and comes back"
        config_of(found.student)

    tried(use)


def from_yaml_text(text: str, path: Path) -> Any:
    path.write_text(text, encoding="utf-8")
    return from_yaml(path)


@st.composite
def settings_of(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    parts = ["stages", "student", "task", "general", "*", "transfer-*", "objective", "SoftLabels",
             "layers", "epochs", "steps", "augment", "init", "masking", "rates", ""]  # fmt: skip
    keys = st.lists(st.sampled_from(parts) | st.text(max_size=3), min_size=1, max_size=5)
    text = st.one_of(
        CELLS, JSON.map(json.dumps), st.sampled_from(["[1", "!!python/name:os", "1:2"])
    )
    given = draw(st.dictionaries(keys.map(".".join), text, min_size=1, max_size=2))
    return draw(st.sampled_from(list(SHOWN))), given


def settings(drawn: Any, tokenizer: BertTokenizerFast, home: Path) -> None:
    name, given = drawn
    whole = recipe_of(name, AutoConfig.for_model("bert"))
    tried(lambda: with_settings(whole, given))


def vectors(content: bytes, tokenizer: BertTokenizerFast, home: Path) -> None:
    (home / "v.txt").write_bytes(content)
    tried(lambda: read_vectors(home / "v.txt"))


YAML = b"name: r\nstudent: {model_type: bert}\nstages:\n- {name: s, data: task, objective: [{kind: HardLabels}], epochs: 1, learning_rate: 0.001}\n"  # noqa: E501
ATTACKS = {
    **{kind: reader(kind) for kind in (*RIGHT, "parquet", "arrow", "xlsx")},
    "glue": Attack(glue_files(), glue),
    "recipe": Attack(st.one_of(bent(), changed(YAML), st.binary(max_size=60)), recipe),
    "settings": Attack(settings_of(), settings),
    "vectors": Attack(
        st.one_of(changed(b"2 3\nthe 0.1 0.2 0.3\ngood 1 2 3\n"), rows(" ")), vectors
    ),
}


def thrown(attack: Attack, drawn: Any, tokenizer: BertTokenizerFast) -> None:
    """One draw, in a folder of its own; raises what is no UserError."""
    logging.disable(logging.WARNING)  # left out rows of GLUE are said, a line each
    try:
        with tempfile.TemporaryDirectory() as home:
            attack.at(drawn, tokenizer, Path(home))
    finally:
        logging.disable(logging.NOTSET)
