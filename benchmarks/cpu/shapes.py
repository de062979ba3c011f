"""Teachers and students of the papers' sizes, exported and timed by alembert bench.

    python -m benchmarks.cpu.shapes OUT --json results/cpu/bench.json --table results/cpu/table.md
    python -m benchmarks.cpu.shapes OUT --models bert-base tinybert4 --layers 1 --seconds 0.5

Random weights and made-up words: latency does not depend on them (accuracy does). What OUT already
holds is not made again. The table has, per model and backend, how many times as fast it is as
BERT-base in torch eager and in ONNX Runtime fp32, and the milliseconds of a text at one thread.
"""

import json
import random
import string
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertTokenizer,
    DistilBertConfig,
    MobileBertConfig,
    PreTrainedConfig,
)

from alembert.data.splits import Files
from alembert.export.export import backends_of, export
from alembert.inference import manifest
from benchmarks.lab.results import Row, arguments
from benchmarks.lab.tables import markdown
from benchmarks.lab.workers import environment

TINY: dict[str, Any] = {"num_hidden_layers": 4, "hidden_size": 312, "intermediate_size": 1200}
SMALLER: dict[str, Any] = {"num_feedforward_networks": 2, "use_bottleneck_attention": True}
CONFIGS: dict[str, PreTrainedConfig] = {
    "bert-base": BertConfig(),
    "distilbert": DistilBertConfig(),
    "tinybert4": BertConfig(**TINY),
    "tinybert6": BertConfig(num_hidden_layers=6),
    "mobilebert": MobileBertConfig(),
    "mobilebert-tiny": MobileBertConfig(**SMALLER),
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = 300


def words() -> list[str]:
    """30,522 entries of a vocabulary: special tokens, letters, words of three and four letters."""
    letters = string.ascii_lowercase
    made = ("".join(each) for size in (3, 4) for each in product(letters, repeat=size))
    found = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    return found + [next(made) for _ in range(BertConfig().vocab_size - len(found))]


def make(name: str, at: Path, layers: int | None) -> None:
    """A saved model of random weights with its tokenizer."""
    config = CONFIGS[name]
    if layers is not None:
        config.num_hidden_layers = layers
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(at)
    BertTokenizer(vocab={word: i for i, word in enumerate(words())}).save_pretrained(at)


def texts(at: Path) -> str:
    """A file of made-up texts, to calibrate int8 with."""
    dice, known = random.Random(0), words()[100:]
    lines = [" ".join(dice.choices(known, k=dice.randint(20, 120))) for _ in range(TEXTS)]
    at.write_text("text\n" + "\n".join(lines) + "\n")
    return str(at)


def table(rows: list[Row], threads: int) -> str:
    """Backends x models, in Markdown: times as fast as each of the two, and milliseconds."""
    chosen = [row for row in rows if row["threads"] == threads]
    models = list(dict.fromkeys(row["model"] for row in chosen))
    lines: dict[str, Row] = {}
    for row in chosen:
        name = row["backend"]
        lines.setdefault(name, {"backend": name} | dict.fromkeys(models, "-"))[row["model"]] = cell(
            row
        )
    columns = {"backend": "{backend}"} | {name: f"{{{name}}}" for name in models}
    return markdown(lines.values(), columns)


def cell(row: Row) -> str:
    """ "11.2x, 5.6x (21.7 ms)"; CPU time at one thread, as the ratios."""
    told = ["same" if each["same"] else f"{each['value']:.3g}x" for each in row["ratios"]]
    spent = row["cpu_ms" if row["threads"] == 1 else "latency_ms"]["median"]
    return f"{', '.join(told)} ({spent:.3g} ms)"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--layers", type=int, help="of every model; default: the paper's")
    parser.add_argument("--json", type=Path, help="default: OUT/bench.json")
    parser.add_argument("--table", type=Path, help="default: OUT/table.md")
    for name, usual in (("threads", "1,2"), ("length", "128"), ("batch", "1"), ("seconds", "10")):
        parser.add_argument(f"--{name}", default=usual, help=f"of alembert bench; {usual}")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    seen = texts(given.out / "texts.csv")
    for name in given.models:
        at = given.out / name
        if not (at / "config.json").is_file():
            make(name, at, given.layers)
        if not (at / manifest.FILE).is_file():
            print(name)
            backends = backends_of(True, True, False, True)
            export(str(at), backends, Files(train=seen), 128)
    json_ = (given.json or given.out / "bench.json").absolute()
    json_.parent.mkdir(parents=True, exist_ok=True)
    command = ["-m", "alembert", "bench", *given.models, "--json", str(json_)]
    for name in ("threads", "length", "batch", "seconds"):
        command += [f"--{name}", getattr(given, name)]
    subprocess.run([sys.executable, *command], cwd=given.out, env=environment(), check=True)
    rows = json.loads(json_.read_text())["rows"]
    told = "\n\n".join(
        f"{each} thread(s):\n\n{table(rows, int(each))}" for each in given.threads.split(",")
    )
    (given.table or given.out / "table.md").write_text(told + "\n")
    print(told)


if __name__ == "__main__":
    main()
