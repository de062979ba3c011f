"""No small file takes much memory, whatever it unpacks, expands or pretends to."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.runs import saved, task_file
from transformers import BertTokenizerFast

MOST = 2 << 30  # bytes of resident memory
LEAVES = 12  # gigabytes of addresses: past them a bomb ends before it takes the machine
MB = 1_000_000
SRC = Path(__file__).parents[2] / "src"


def aliases() -> bytes:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    return "\n".join(lines).encode()


# a file under 10 MB, the arguments that read it, and what is then said
BOMBS: dict[str, tuple[str, Callable[[], bytes], str, str]] = {
    "aliases": ("bad.yaml", aliases, "distill bad.yaml --teacher model --train t.csv", "aliases"),
    "line": ("line.txt", lambda: b"good film " * 300_000, "corpus line.txt --tokenizer model", ""),
    "cell": (
        "cell.jsonl",
        lambda: b'{"text": "' + b"good film " * 300_000 + b'"}\n',
        "corpus cell.jsonl --tokenizer model",
        "",
    ),
    "packed line": (
        "line.txt.gz",
        lambda: gzip.compress(b"\0" * 60 * MB),
        "corpus line.txt.gz --tokenizer model",
        "unpacks to over 50 MB",
    ),
    "packed rows": (
        "rows.csv.gz",
        lambda: gzip.compress(
            b"text,label\n" + b"a b c d e f g h i j k l m n o p q r s t u v w x y z,cd\n" * MB
        ),
        "finetune model --train rows.csv.gz",
        "unpacks to over 50 MB",
    ),
    "deep": ("deep.json", lambda: b"[" * 9 * MB, "finetune model --train deep.json", "nested"),
    "vocabulary": (
        "model/config.json",
        lambda: json.dumps({"model_type": "bert", "vocab_size": 9_999_999}).encode(),
        "finetune model --train t.csv",
        "describes",
    ),
    "width": (
        "model/config.json",
        lambda: json.dumps({"model_type": "bert", "hidden_size": 120_000}).encode(),
        "finetune model --train t.csv",
        "describes",
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
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_never_takes_two_gigabytes(
    name: str, tmp_path: Path, tokenizer: BertTokenizerFast
) -> None:
    file, content, words, says = BOMBS[name]
    saved(tmp_path / "model", tokenizer, "classification")
    task_file(tmp_path / "t.csv")
    (tmp_path / file).write_bytes(content())
    assert (tmp_path / file).stat().st_size < 10 * MB
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(LEAVES), *words.split(), "--out", "made"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (2 if says else 0), done.stderr
    assert says in done.stderr
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stderr.split("peak ")[1]) * unit < MOST
