"""Files under 10 MB that unpack, expand or pretend to much more, and the memory that they take."""

import gzip
import io
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pyarrow as pa
import pyarrow.parquet as pq
from openpyxl import Workbook
from support.runs import saved, task_file
from transformers import PreTrainedTokenizerBase

MOST = 2 << 30  # bytes of resident memory
LEAVES = 6  # gigabytes of addresses: past them a bomb ends before it takes the machine
MB = 1_000_000
SRC = Path(__file__).parents[2] / "src"


@dataclass(frozen=True)
class Bomb:
    """A file, the arguments that read it, and what is then said; "" for a file that is read."""

    file: str
    content: Callable[[], bytes]
    words: str
    says: str


def aliases() -> bytes:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    return "\n".join(lines).encode()


def parquet(values: pa.Array, times: int = 1) -> bytes:
    """A table of one text column, these values as often, each time a group of rows."""
    held, table = io.BytesIO(), pa.table({"text": values})
    with pq.ParquetWriter(held, table.schema, compression="zstd") as writer:
        for _ in range(times):
            writer.write_table(table)
    return held.getvalue()


def arrow(values: pa.Array) -> bytes:
    held, table = io.BytesIO(), pa.table({"text": values})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(held, table.schema, options=options) as writer:
        writer.write_table(table)
    return held.getvalue()


def sheet(part: str, content: bytes) -> bytes:
    """A spreadsheet in which a part has this content."""
    right, held = io.BytesIO(), io.BytesIO()
    book = Workbook()
    book.active.append(["text", "label"])
    book.save(right)
    with ZipFile(right) as parts, ZipFile(held, "w", ZIP_DEFLATED) as packed:
        for name in parts.namelist():
            packed.writestr(name, content if name == part else parts.read(name))
    return held.getvalue()


def honest(megabytes: int) -> bytes:
    """A table of texts of made-up words, which gzip packs to a fifth."""
    dice = random.Random(0)
    words = ["".join(dice.choices("abcdefghijklmnop", k=dice.randint(2, 9))) for _ in range(40)]
    texts = [" ".join(dice.choices(words, k=12)) for _ in range(20_000)]
    lines, size = ["text,label"], 0
    while size < megabytes * MB:
        lines.append(f"{dice.choice(texts)} {dice.choice(words)},{dice.choice(('up', 'down'))}")
        size += len(lines[-1]) + 1
    return ("\n".join(lines) + "\n").encode()


SHEET = "xl/worksheets/sheet1.xml"
HEAD = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
CLOSE = b"</sheetData></worksheet>"
TEXT = b'<row><c t="inlineStr"><is><t>%s</t></is></c></row>'
ROW = b"<row><c><v>1</v></c></row>"
CHECK = "check --train "

BOMBS: dict[str, Bomb] = {
    "aliases": Bomb(
        "bad.yaml", aliases, "distill bad.yaml --teacher model --train t.csv", "aliases"
    ),
    "line": Bomb(
        "line.txt", lambda: b"good film " * 300_000, "corpus line.txt --tokenizer model", ""
    ),
    "cell": Bomb(
        "cell.jsonl",
        lambda: b'{"text": "' + b"good film " * 300_000 + b'"}\n',
        "corpus cell.jsonl --tokenizer model",
        "",
    ),
    "packed line": Bomb(
        "line.txt.gz",
        lambda: gzip.compress(b"\0" * 60 * MB),
        "corpus line.txt.gz --tokenizer model",
        "unpacks to over 50 MB",
    ),
    "packed rows": Bomb(
        "rows.csv.gz",
        lambda: gzip.compress(
            b"text,label\n" + b"a b c d e f g h i j k l m n o p q r s t u v w x y z,cd\n" * MB
        ),
        "finetune model --train rows.csv.gz",
        "unpacks to over 50 MB",
    ),
    "deep": Bomb("deep.json", lambda: b"[" * 9 * MB, "finetune model --train deep.json", "nested"),
    "vocabulary": Bomb(
        "model/config.json",
        lambda: json.dumps({"model_type": "bert", "vocab_size": 9_999_999}).encode(),
        "finetune model --train t.csv",
        "describes",
    ),
    "width": Bomb(
        "model/config.json",
        lambda: json.dumps({"model_type": "bert", "hidden_size": 120_000}).encode(),
        "finetune model --train t.csv",
        "describes",
    ),
    "packed short cells": Bomb(
        "f.csv.gz",
        lambda: gzip.compress(
            b"text,label\n" + b"".join(b"%06x,u%d\n" % (i, i % 2) for i in range(4 * MB)), 6
        )[:9_900_000],
        CHECK + "f.csv.gz",
        "lines and cells, too many for its size",
    ),
    "short cells": Bomb(
        "f.csv", lambda: b"text,label\n" + b"a,u\nb,d\n" * 1_200_000, CHECK + "f.csv", ""
    ),
    "an honest table": Bomb("f.csv", lambda: honest(9), CHECK + "f.csv", ""),
    "an honest packed table": Bomb(
        "f.csv.gz", lambda: gzip.compress(honest(45)), CHECK + "f.csv.gz", ""
    ),
    "columns": Bomb(
        "f.csv",
        lambda: b",".join(b"%x" % i for i in range(1_300_000)) + b"\n" + b"1," * 600_000,
        CHECK + "f.csv",
        "has 1,300,000 columns",
    ),
    "labels": Bomb(
        "f.jsonl",
        lambda: b"".join(b'{"text":"a","labels":["%x"]}\n' % (i // 2) for i in range(100_000)),
        "finetune model --train f.jsonl",
        "different labels are too many",
    ),
    "keys": Bomb(
        "f.jsonl",
        lambda: b"".join(
            b'{"text":"a","label":"%d","m":{"k%x":1}}\n' % (i % 2, i) for i in range(220_000)
        ),
        CHECK + "f.jsonl",
        "objects of 220,000 different keys",
    ),
    "empty texts": Bomb(
        "f.json",
        lambda: b'{"text":["' + b'","' * 3_200_000 + b'"]}',
        CHECK + "f.json",
        "no column of labels",
    ),
    "arrays": Bomb(
        "f.json", lambda: b"[" + b"[]," * 3_200_000 + b"[]]", CHECK + "f.json", "rows are lists"
    ),
    "one sentence": Bomb(
        "f.conll", lambda: b"a O\n" * 2_000_000 + b"\nb B-x\n", CHECK + "f.conll", ""
    ),
    "Parquet, equal rows": Bomb(
        "f.parquet",
        lambda: parquet(pa.repeat("a", MB), 100),
        CHECK + "f.parquet",
        "unpacks to over 50 MB",
    ),
    "Parquet, long equal texts": Bomb(
        "f.parquet",
        lambda: parquet(pa.repeat("good film " * 100_000, 2000)),
        CHECK + "f.parquet",
        "unpacks to over 50 MB",
    ),
    "Parquet, lists of zeros": Bomb(
        "f.parquet",
        lambda: parquet(pa.repeat(pa.scalar([0] * MB), 100)),
        CHECK + "f.parquet",
        "unpacks to over 50 MB",
    ),
    "Arrow, packed buffers": Bomb(
        "f.arrow",
        lambda: arrow(pa.repeat("good film " * 100, MB)),
        CHECK + "f.arrow",
        "more than 10 times its size",
    ),
    "xlsx, rows": Bomb(
        "f.xlsx",
        lambda: sheet(SHEET, HEAD + ROW * 5 * MB + CLOSE),
        CHECK + "f.xlsx",
        "its sheets are over",
    ),
    "xlsx, a long text": Bomb(
        "f.xlsx",
        lambda: sheet(SHEET, HEAD + TEXT % (b"good film " * 6 * MB) + CLOSE),
        CHECK + "f.xlsx",
        "its sheets are over",
    ),
    "xlsx, a cell far away": Bomb(
        "f.xlsx",
        lambda: sheet(SHEET, HEAD + b'<row r="999999999"><c><v>1</v></c></row>' + CLOSE),
        CHECK + "f.xlsx",
        "is too large",
    ),
}
CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) << 30,) * 2)
sys.argv = ["alembert", *sys.argv[2:]]
from alembert.cli.main import main
try:
    main()
finally:
    from alembert.io.environment import peak_mb
    print("peak", peak_mb(), file=sys.stderr)
"""


def lay_out(home: Path, tokenizer: PreTrainedTokenizerBase, bomb: Bomb) -> None:
    """A folder with a tiny model, a file of a task, and the bomb."""
    saved(home / "model", tokenizer, "classification")
    task_file(home / "t.csv")
    (home / bomb.file).write_bytes(bomb.content())
    assert (home / bomb.file).stat().st_size < 10 * MB


def thrown(home: Path, words: Sequence[str]) -> tuple[int, str, float]:
    """(exit code, what is said, peak of resident memory in bytes) of a command in a process."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(LEAVES), *words],
        cwd=home,
        env=os.environ | {"PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    peak = re.search(r"^peak (.*)", done.stderr, re.MULTILINE)
    return done.returncode, done.stderr, float(peak[1]) * MB if peak else float("inf")
