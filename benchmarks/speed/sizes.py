"""What a step of general distillation costs against length, vocabulary and depth: time and memory.

    python -m benchmarks.speed.sizes --out results/sizes

A teacher of MiniLM's width (384) with 6 layers, 30,522 words, 1,024 tokens a step in texts of 128;
one of these is changed at a time. Students are half as deep: `distilbert` as wide as its teacher,
the triple loss; `tinybert` half as wide, hidden states and attention scores. Random weights, bf16.
Every point is a process of its own; those of an axis take turns, a step each. Times are medians of
the CPU time, memory is the process's peak.
"""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from transformers import BertConfig, BertForMaskedLM

from alembert.initialization.student import from_scratch
from alembert.recipes.distilbert import TRIPLE_LOSS
from alembert.recipes.distilbert import student_config as distilbert_config
from alembert.recipes.tinybert import LAYERS
from alembert.recipes.tinybert import student_config as tinybert_config
from alembert.training.distillation import Distillation
from benchmarks.lab.results import Row, arguments, write
from benchmarks.lab.workers import Worker, answer_steps, in_turns

BASE = {"length": 128, "vocabulary": 30522, "layers": 6}
AXES = {
    "length": (64, 128, 256, 512),
    "vocabulary": (8000, 16000, 30522, 60000, 120000),
    "layers": (2, 4, 6, 12, 24),
}
TOKENS, WIDTH, HEADS = 1024, 384, 12
Point = dict[str, int]


def step_of(recipe: str, point: Point) -> Callable[[], None]:
    """A function that makes one optimiser step."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=point["vocabulary"], hidden_size=WIDTH, num_attention_heads=HEADS,
        num_hidden_layers=point["layers"], intermediate_size=4 * WIDTH,
    )  # fmt: skip
    teacher, half = BertForMaskedLM(config).eval(), point["layers"] // 2
    wide = recipe == "distilbert"
    fields = distilbert_config(config, half) if wide else tinybert_config(config, half, WIDTH // 2)
    student = from_scratch(fields, "words", (), seed=0).train()
    terms = TRIPLE_LOSS if wide else LAYERS
    pair = Distillation(
        student, teacher, terms, words=True, projections="none" if wide else "layer"
    )
    pair.ready(torch.device("cpu"), True)
    optimizer = torch.optim.AdamW(pair.parameters(), lr=5e-4, fused=True)
    shape = (TOKENS // point["length"], point["length"])
    ids = torch.randint(1000, point["vocabulary"], shape)
    labels = torch.where(torch.rand(shape) < 0.15, ids, -100)
    batch = {
        "input_ids": torch.where(labels != -100, 103, ids),
        "attention_mask": torch.ones_like(ids),
        "labels": labels,
    }

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = pair(batch)[0]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def measured(recipe: str, axis: str, rounds: int) -> list[Row]:
    """A row for each value of an axis."""
    points = {value: BASE | {axis: value} for value in AXES[axis]}
    command = ["-m", "benchmarks.speed.sizes", "--only"]
    workers = {
        str(value): Worker([*command, json.dumps([recipe, point])])
        for value, point in points.items()
    }
    seen = {int(value): rows[1:] for value, rows in in_turns(workers, rounds).items()}
    return [
        {
            "recipe": recipe, "axis": axis, "value": value,
            "cpu_ms": round(1000 * median(row["cpu_seconds"] for row in rows), 1),
            "all_cpu_ms": [round(1000 * row["cpu_seconds"], 1) for row in rows],
            "peak_gib": round(rows[-1]["peak_gib"], 3),
        }
        for value, rows in seen.items()
    ]  # fmt: skip


def growth(rows: list[Row], field: str) -> float:
    """The steepest k with which cost grows as size^k between neighbours; 1 is proportional."""
    sizes, costs = (np.log([row[name] for row in rows]) for name in ("value", field))
    return float((np.diff(costs) / np.diff(sizes)).max())


def plot(rows: list[Row], path: Path) -> None:
    """A column an axis: time above, memory below."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("svg")
    figure, axes = plt.subplots(2, len(AXES), figsize=(10, 5), layout="constrained", sharex="col")
    for column, axis in enumerate(AXES):
        for recipe in dict.fromkeys(row["recipe"] for row in rows):
            chosen = [row for row in rows if (row["recipe"], row["axis"]) == (recipe, axis)]
            for line, field in enumerate(("cpu_ms", "peak_gib")):
                sizes, costs = ([row[name] for row in chosen] for name in ("value", field))
                axes[line, column].plot(sizes, costs, marker="o", label=recipe)
        for panel in axes[:, column]:
            panel.set_ylim(0, 1.05 * panel.get_ylim()[1])
            panel.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45)
        axes[1, column].set_xlabel({"length": "tokens a text", "vocabulary": "words",
                                    "layers": "layers of the teacher"}[axis])  # fmt: skip
    axes[0, 0].set_ylabel("ms of CPU a step")
    axes[1, 0].set_ylabel("peak GiB")
    axes[0, 0].legend()
    figure.savefig(path)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--recipes", nargs="+", default=["distilbert", "tinybert"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", help="a worker: its recipe and point")
    given = parser.parse_args()
    if given.only:
        answer_steps(step_of(*json.loads(given.only)))
        return
    rows = []
    for recipe in given.recipes:
        for axis in AXES:
            found = measured(recipe, axis, given.rounds)
            rows += found
            for row in found:
                print(f"{recipe:11}{axis:11}{row['value']:7}  {row['cpu_ms']:8.1f} ms  "
                      f"{row['peak_gib']:.2f} GiB")  # fmt: skip
            print(f"{recipe:11}{axis:11} grows at most as its power {growth(found, 'cpu_ms'):.2f} "
                  f"(time), {growth(found, 'peak_gib'):.2f} (memory)", flush=True)  # fmt: skip
    if given.out:
        write(given.out / "results.json", rows)
        plot(rows, given.out / "sizes.svg")


if __name__ == "__main__":
    main()
