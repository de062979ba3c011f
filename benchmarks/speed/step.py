"""A step of general distillation against the straightforward one, interleaved, on random weights.

    python -m benchmarks.speed.step --shapes 8x128,5x512 --rounds 5 --json results/step/step.json
    python -m benchmarks.speed.step --recipe tinybert --shapes 8x128
    python -m benchmarks.speed.step --recipe distilbert-task --shapes 32x32 --dropout 0

BERT-base teacher. distilbert: 6-layer student, the triple loss; tinybert: 4 layers x 312, hidden
states and attention scores; minilm: 6 x 384, relations; mobilebert-K: layer K of progressive
transfer to 12 thin layers; NAME-task: a recipe's last stage on a task of two classes, whose texts
hold 5,000 pieces. "plain" is the authors' step as anyone would write it: both models whole
(distilbert: and their logits; the others: and all their attentions, eager), fp32, AdamW. Same
batch, same start; with dropout at 0 both give the same loss. "cached" is the step with
--cache-teacher: the batch brings what the teacher said of it, which was read and rounded before; so
does that of a task in a run, which asks its teacher once for each text.
Time is the median over the rounds; peak memory comes from a process of its own for each. `cpu_ms`
is processor time of the process, which other work on the machine hardly changes.
"""

import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
)

from alembert.initialization.student import from_teacher
from alembert.models.building import config_of
from alembert.models.trace import Reads, no_grad_trace
from alembert.objectives import recorded
from alembert.recipes import recipe_of
from alembert.recipes.distilbert import TRIPLE_LOSS, student_config
from alembert.recipes.tinybert import LAYERS
from alembert.recipes.tinybert import student_config as tinybert_config
from alembert.training.distillation import Distillation
from alembert.training.sparse_embedding import restrict
from benchmarks.lab.results import arguments, write
from benchmarks.lab.workers import Worker, answer_steps, in_turns
from benchmarks.speed.plain import ANSWERING, PLAIN

VARIANTS = ("plain fp32", "plain bf16", "alembert fp32", "alembert bf16", "cached fp32",
            "cached bf16")  # fmt: skip
TOP = 128  # words of a soft label that "cached" keeps
PIECES = range(1000, 6000)  # those of a task's texts
TEACHER: dict[str, Any] = {}  # of a BertConfig; BERT-base
SIZES: dict[str, dict[str, int]] = {
    "tinybert": {"layers": 4, "hidden_size": 312},
    "minilm": {"layers": 6, "hidden_size": 384},
}


def models(recipe: str, dropout: float, plain: bool) -> Distillation:
    """Student and teacher of a variant; the same weights in all of them."""
    torch.manual_seed(0)
    eager = {"attn_implementation": "eager"} if recipe != "distilbert" and plain else {}
    if recipe in ANSWERING:
        return answering(recipe.removesuffix("-task"), dropout, eager)
    teacher = BertForMaskedLM._from_config(BertConfig(**TEACHER), **eager).eval()
    if recipe == "distilbert":
        config = student_config(teacher.config, 6)
        config |= {"dropout": dropout, "attention_dropout": dropout}
        student = from_teacher(config, "words", (), teacher, "spread", seed=0)
        return Distillation(student.train(), teacher, TRIPLE_LOSS, words=True)
    if recipe != "tinybert":
        name, _, layer = recipe.partition("-")
        made = recipe_of(name, teacher.config, **SIZES.get(name, {}))
        stage = made.stages[int(layer or 1) - 1]
        drops = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        student = AutoModel.from_config(config_of(made.student | drops), **eager)
        return Distillation(
            student.train(), teacher.bert, stage.objective,
            words=True, projections=made.projections,
        )  # fmt: skip
    config = tinybert_config(teacher.config, **SIZES["tinybert"])
    config |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    student = BertForMaskedLM._from_config(BertConfig(**config), **eager)
    return Distillation(student.train(), teacher, LAYERS, words=True, projections="layer")


def answering(name: str, dropout: float, eager: dict[str, str]) -> Distillation:
    """Two classes, and the recipe's last stage."""
    teacher = BertForSequenceClassification._from_config(BertConfig(**TEACHER), **eager).eval()
    made = recipe_of(name, teacher.config, **SIZES.get(name, {}))
    config = config_of(made.student)
    for field in ("dropout", "attention_dropout", "seq_classif_dropout", "hidden_dropout_prob",
                  "attention_probs_dropout_prob"):  # fmt: skip
        if hasattr(config, field):
            setattr(config, field, dropout)
    student = AutoModelForSequenceClassification.from_config(config, **eager)
    return Distillation(student.train(), teacher, made.stages[-1].objective, words=False)


def batch_of(recipe: str, rows: int, tokens: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    if recipe in ANSWERING:
        ids = torch.randint(PIECES.start, PIECES.stop, (rows, tokens))
        labels = torch.randint(0, 2, (rows,))
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    ids = torch.randint(1000, 30000, (rows, tokens))
    labels = torch.where(torch.rand(rows, tokens) < 0.15, ids, -100)
    ids = torch.where(labels != -100, 103, ids)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def left_by_teacher(pair: Distillation, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch with what is kept of its teacher, as --cache-teacher gives it; the teacher goes."""
    assert pair.teacher is not None
    what = recorded.trace_spec(pair.objective, pair.reads[1])
    with torch.no_grad():
        left = no_grad_trace(pair.teacher, batch, what.reads)
        rows = recorded.trace_to_rows(left, batch, what, TOP)
    pair.dismiss_teacher()
    as_kept = {
        recorded.TOP_IDS: torch.int32,
        recorded.GAPS: torch.float16,
        recorded.REST: torch.float32,
    }
    more = {
        name: torch.stack([row[name] for row in rows]).to(as_kept.get(name, torch.bfloat16))
        for name in rows[0]
    }
    return batch | more


class Step:
    """One variant: a student of its own and its optimiser."""

    def __init__(self, recipe: str, name: str, dropout: float) -> None:
        kind, precision = name.split()
        self.pair = pair = models(recipe, dropout, kind == "plain")
        if kind != "plain":
            pair.ready(torch.device("cpu"), precision == "bf16")
            if recipe in ANSWERING:
                restrict(pair.student, torch.tensor(PIECES))
        self.cast = (
            (lambda: torch.autocast("cpu", dtype=torch.bfloat16))
            if precision == "bf16"
            else nullcontext
        )
        self.loss = (
            (lambda batch: pair(batch)[0])
            if kind != "plain"
            else (lambda batch: PLAIN[recipe](pair, batch))
        )
        fused = True if kind != "plain" else None
        self.optimizer = torch.optim.AdamW(pair.parameters(), lr=5e-4, fused=fused)

    def __call__(self, batch: dict[str, torch.Tensor]) -> float:
        with self.cast():
            loss = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())


def matmul_ceiling() -> float:
    """bf16 FLOP/s of a 2048 x 2048 x 2048 product, the best of 20."""
    a = torch.randn(2048, 2048, dtype=torch.bfloat16)
    best = 1e9
    for _ in range(20):
        began = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - began)
    return 2 * 2048**3 / best


def flops(recipe: str, rows: int, tokens: int) -> int:
    """Operations of the matrix products of the plain step, counted by torch."""
    pair = models(recipe, 0.0, True)
    with FlopCounterMode(display=False) as counter:
        PLAIN[recipe](pair, batch_of(recipe, rows, tokens)).backward()
    return int(counter.get_total_flops())


def worker_of(recipe: str, name: str, shape: str, dropout: float) -> Worker:
    command = ["-m", "benchmarks.speed.step", "--only", name, "--shapes", shape, "--recipe", recipe,
               "--dropout", str(dropout)]  # fmt: skip
    return Worker(command, not name.startswith("plain"))


def work(recipe: str, name: str, shape: str, dropout: float) -> None:
    """The worker's side."""
    rows, tokens = (int(part) for part in shape.split("x"))
    step, batch = Step(recipe, name, dropout), batch_of(recipe, rows, tokens)
    if recipe in ANSWERING and not name.startswith("plain"):
        assert step.pair.teacher is not None
        with step.cast():
            logits = no_grad_trace(step.pair.teacher, batch, Reads(logits=True)).logits
        assert logits is not None
        batch["teacher_logits"] = logits.float()
    elif name.startswith("cached"):
        with step.cast():
            batch = left_by_teacher(step.pair, batch)
    answer_steps(lambda: {"loss": step(batch)})


def compare(
    recipe: str, shape: str, rounds: int, dropout: float, variants: list[str]
) -> dict[str, Any]:
    rows, tokens = (int(part) for part in shape.split("x"))
    workers = {name: worker_of(recipe, name, shape, dropout) for name in variants}
    seen = in_turns(workers, rounds)
    ceiling, work_done = matmul_ceiling(), flops(recipe, rows, tokens)
    found: dict[str, Any] = {"recipe": recipe, "shape": shape, "dropout": dropout,
                             "ceiling_gflops": ceiling / 1e9,
                             "step_gflop": work_done / 1e9, "variants": {}}  # fmt: skip
    times = {name: [row["seconds"] for row in seen[name][1:]] for name in variants}
    cpu = {name: median(row["cpu_seconds"] for row in seen[name][1:]) for name in variants}
    base = median(times[variants[0]])
    for name in variants:
        seconds = median(times[name])
        found["variants"][name] = {
            "first_loss": seen[name][0]["loss"],
            "ms": [round(1000 * t) for t in times[name]],
            "median_ms": round(1000 * seconds),
            "tokens_per_second": round(rows * tokens / seconds),
            "times_first": round(base / seconds, 2),
            "cpu_ms": round(1000 * cpu[name]),
            "times_first_cpu": round(cpu[variants[0]] / cpu[name], 2),
            "share_of_ceiling": round(work_done / seconds / ceiling, 3),
            "peak_gib": round(seen[name][-1]["peak_gib"], 2),
        }
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--recipe", choices=PLAIN, default="distilbert")
    parser.add_argument("--shapes", default="8x128,5x512")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", help="a worker: its variant")
    given = parser.parse_args()
    if given.only:
        work(given.recipe, given.only, given.shapes, given.dropout)
        return
    results = [
        compare(given.recipe, shape, given.rounds, given.dropout, given.variants)
        for shape in given.shapes.split(",")
    ]
    for found in results:
        print(f"{found['shape']}, dropout {found['dropout']}: {found['step_gflop']:.0f} GFLOP a "
              f"step, bf16 ceiling {found['ceiling_gflops']:.0f} GFLOP/s")  # fmt: skip
        for name, row in found["variants"].items():
            print(f"  {name:14} loss {row['first_loss']:.4f}  {row['median_ms']:6} ms  "
                  f"{row['times_first']:.2f}x  cpu {row['cpu_ms']:6} ms  "
                  f"{row['times_first_cpu']:.2f}x  {row['share_of_ceiling']:.0%} of ceiling  "
                  f"peak {row['peak_gib']:.2f} GiB")  # fmt: skip
    if given.json:
        write(given.json, results)


if __name__ == "__main__":
    main()
