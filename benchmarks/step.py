"""A step of general distillation against the straightforward one, interleaved, on random weights.

    python benchmarks/step.py --shapes 8x128,5x512 --rounds 5 --json results/step/step.json
    python benchmarks/step.py --recipe tinybert --shapes 8x128
    python benchmarks/step.py --recipe distilbert-task --shapes 32x32 --dropout 0

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

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
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
from alembert.objectives.objective import HardLabels, HiddenCosine, SoftLabels
from alembert.recipes import recipe_of
from alembert.recipes.distilbert import TRIPLE_LOSS, student_config
from alembert.recipes.tinybert import LAYERS
from alembert.recipes.tinybert import student_config as tinybert_config
from alembert.training.distillation import Distillation
from alembert.training.sparse_embedding import restrict

VARIANTS = ("plain fp32", "plain bf16", "alembert fp32", "alembert bf16", "cached fp32",
            "cached bf16")  # fmt: skip
TOP = 128  # words of a soft label that "cached" keeps
PIECES = range(1000, 6000)  # those of a task's texts
SIZES: dict[str, dict[str, int]] = {"minilm": {"layers": 6, "hidden_size": 384}}


def models(recipe: str, dropout: float, plain: bool) -> Distillation:
    """Student and teacher of a variant; the same weights in all of them."""
    torch.manual_seed(0)
    eager = {"attn_implementation": "eager"} if recipe != "distilbert" and plain else {}
    if recipe in ANSWERING:
        return answering(recipe.removesuffix("-task"), dropout, eager)
    teacher = BertForMaskedLM._from_config(BertConfig(), **eager).eval()
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
    config = tinybert_config(teacher.config, 4, 312)
    config |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    student = BertForMaskedLM._from_config(BertConfig(**config), **eager)
    return Distillation(student.train(), teacher, LAYERS, words=True, projections="layer")


def answering(name: str, dropout: float, eager: dict[str, str]) -> Distillation:
    """Two classes, and the recipe's last stage."""
    teacher = BertForSequenceClassification._from_config(BertConfig(), **eager).eval()
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


def plain_layers(pair: Distillation, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """TinyBERT's general step, term by term; all scores and hidden states of both, heads too."""
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
    scores: list[list[torch.Tensor]] = [[], []]
    handles = []

    def keep(into: list[torch.Tensor]) -> Any:
        def hook(module: Any, args: Any, kwargs: Any, _: Any) -> None:
            hidden = args[0] if args else kwargs["hidden_states"]
            shape = (*hidden.shape[:2], module.num_attention_heads, -1)
            q, k = (f(hidden).view(shape).transpose(1, 2) for f in (module.query, module.key))
            into.append(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5)

        return hook

    for model, into in ((pair.student, scores[0]), (pair.teacher, scores[1])):
        for layer in model.bert.encoder.layer:
            attention = layer.attention.self
            handles.append(attention.register_forward_hook(keep(into), with_kwargs=True))
    every = {"output_hidden_states": True, "output_attentions": True}
    with torch.no_grad():
        t = pair.teacher(**inputs, **every)
    s = pair.student(**inputs, **every)
    for handle in handles:
        handle.remove()
    loss = F.mse_loss(pair.projections["0"](s.hidden_states[0]), t.hidden_states[0])
    for mine in range(1, 5):
        projected = pair.projections[str(mine)](s.hidden_states[mine])
        loss = loss + F.mse_loss(projected, t.hidden_states[3 * mine])
        loss = loss + F.mse_loss(scores[0][mine - 1], scores[1][3 * mine - 1])
    return loss


def plain_triple(pair: Distillation, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The authors' Distiller.step, term by term."""
    student, teacher = pair.student, pair.teacher
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
    with torch.no_grad():
        t = teacher(**inputs, output_hidden_states=True)
    s = student(**inputs, output_hidden_states=True)
    mask = inputs["attention_mask"].unsqueeze(-1).expand_as(s.logits).bool()
    s_logits = torch.masked_select(s.logits, mask).view(-1, s.logits.size(-1))
    t_logits = torch.masked_select(t.logits, mask).view(-1, s.logits.size(-1))
    soft = F.kl_div(
        F.log_softmax(s_logits / 2, dim=-1), F.softmax(t_logits / 2, dim=-1), reduction="batchmean"
    )
    hard = F.cross_entropy(s.logits.view(-1, s.logits.size(-1)), batch["labels"].view(-1))
    width = s.hidden_states[-1].size(-1)
    wide = inputs["attention_mask"].unsqueeze(-1).expand_as(s.hidden_states[-1]).bool()
    mine = torch.masked_select(s.hidden_states[-1], wide).view(-1, width)
    theirs = torch.masked_select(t.hidden_states[-1], wide).view(-1, width)
    cosine = F.cosine_embedding_loss(mine, theirs, torch.ones(len(mine)))
    return 5 * soft * 4 + 2 * hard + cosine


def plain_relations(pair: Distillation, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """MiniLMv2's step: queries, keys and values of the last layers, every matrix whole."""
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
    found: list[list[torch.Tensor]] = []
    heads = pair.objective[0].heads
    for model in (pair.student, pair.teacher):
        parts = model.encoder.layer[-1].attention.self
        caught: list[torch.Tensor] = []
        handles = [
            part.register_forward_hook(lambda *given, into=caught: into.append(given[2]))
            for part in (parts.query, parts.key, parts.value)
        ]
        with torch.set_grad_enabled(model is pair.student):
            model(**inputs, output_hidden_states=True, output_attentions=True)
        for handle in handles:
            handle.remove()
        found.append([x.view(*x.shape[:2], heads, -1).transpose(1, 2) for x in caught])
    loss = torch.zeros(())
    for s, t in zip(*found, strict=True):
        mine, theirs = (x @ x.transpose(-1, -2) / x.shape[-1] ** 0.5 for x in (s, t))
        loss = loss + F.kl_div(
            mine.log_softmax(-1), theirs.softmax(-1), reduction="sum"
        ) / mine.shape[:-1].numel()  # fmt: skip
    return loss


def plain_transfer(pair: Distillation, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """A stage of MobileBERT's transfer, term by term, both models whole."""
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
    every = {"output_hidden_states": True, "output_attentions": True}
    ((mine, theirs),) = pair.objective[0].layers
    with torch.no_grad():
        t = pair.teacher(**inputs, **every)
    s = pair.student(**inputs, **every)
    here, there = pair.projections[str(mine)](s.hidden_states[mine]), t.hidden_states[theirs]
    maps = F.mse_loss(*(F.layer_norm(x, x.shape[-1:]) for x in (here, there)))
    s_seen, t_seen = s.attentions[mine - 1], t.attentions[theirs - 1]
    gap = (t_seen * (t_seen.clamp(min=1e-30).log() - s_seen.clamp(min=1e-30).log())).sum(-1)
    return 100 * maps + gap.mean()


def plain_answers(pair: Distillation, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """A recipe's last stage on a task, term by term, both models whole."""
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
    every = {"output_hidden_states": True, "output_attentions": True}
    with torch.no_grad():
        t = pair.teacher(**inputs, **every)
    s = pair.student(**inputs, **every)
    loss = torch.zeros(())
    for term, pairs in zip(pair.objective, pair.pairs, strict=True):
        if isinstance(term, SoftLabels):
            mine, theirs = (x.logits / term.temperature for x in (s, t))
            gap = F.kl_div(mine.log_softmax(-1), theirs.softmax(-1), reduction="batchmean")
            loss = loss + term.weight * term.temperature**2 * gap
        elif isinstance(term, HardLabels):
            loss = loss + term.weight * F.cross_entropy(s.logits, batch["labels"])
        elif isinstance(term, HiddenCosine):
            for here, there in pairs:
                states = (x.flatten(0, 1) for x in (s.hidden_states[here], t.hidden_states[there]))
                alike = F.cosine_similarity(*states, dim=-1).mean()
                loss = loss + term.weight * (1 - alike) / len(pairs)
        else:
            raise TypeError(f"{type(term).__name__} has no straightforward form here")
    return loss


TRANSFERS = tuple(f"mobilebert-{k}" for k in range(1, 13))
ANSWERING = tuple(f"{name}-task" for name in ("distilbert", "tinybert", "mobilebert", "minilm"))
PLAIN = {
    "distilbert": plain_triple, "tinybert": plain_layers, "minilm": plain_relations,
    **dict.fromkeys(TRANSFERS, plain_transfer), **dict.fromkeys(ANSWERING, plain_answers),
}  # fmt: skip


def left_by_teacher(pair: Distillation, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch with what is kept of its teacher, as --cache-teacher gives it; the teacher goes."""
    assert pair.teacher is not None
    what = recorded.trace_spec(pair.objective, pair.reads[1])
    with torch.no_grad():
        left = no_grad_trace(pair.teacher, batch, what.reads)
        rows = recorded.trace_to_rows(left, batch, what, TOP)
    pair.dismiss_teacher()
    as_kept = {
        recorded.WORDS: torch.int32,
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
        fused = {"fused": True} if kind != "plain" else {}
        self.optimizer = torch.optim.AdamW(pair.parameters(), lr=5e-4, **fused)

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


def peak_gib() -> float:
    """The most memory that this process has held."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**20


class Worker:
    """A process of its own that makes one step when told to."""

    def __init__(self, command: list[str], pages: bool) -> None:
        # what the command line sets for its user, the straightforward script does not have
        thp = {"THP_MEM_ALLOC_ENABLE": "1"} if pages else {}
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | thp,
        )  # fmt: skip

    def step(self) -> dict[str, float]:
        """The facts of the next step, seconds and peak_gib (of the process) among them."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        answer: dict[str, float] = json.loads(self.process.stdout.readline())
        return answer


def worker_of(recipe: str, name: str, shape: str, dropout: float) -> Worker:
    command = [__file__, "--only", name, "--shapes", shape, "--recipe", recipe,
               "--dropout", str(dropout)]  # fmt: skip
    return Worker(command, not name.startswith("plain"))


def work(recipe: str, name: str, shape: str, dropout: float) -> None:
    """The worker's side: a step a line on stdin, its facts on stdout."""
    rows, tokens = (int(part) for part in shape.split("x"))
    step, batch = Step(recipe, name, dropout), batch_of(recipe, rows, tokens)
    if recipe in ANSWERING and not name.startswith("plain"):
        with step.cast():
            said = no_grad_trace(step.pair.teacher, batch, Reads(logits=True))
        batch["teacher_logits"] = said.logits.float()
    elif name.startswith("cached"):
        with step.cast():
            batch = left_by_teacher(step.pair, batch)
    for _ in sys.stdin:
        began, used = time.perf_counter(), time.process_time()
        loss = step(batch)
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
        facts = {"loss": loss, "seconds": seconds, "cpu_seconds": cpu, "peak_gib": peak_gib()}
        print(json.dumps(facts), flush=True)


def compare(
    recipe: str, shape: str, rounds: int, dropout: float, variants: list[str]
) -> dict[str, Any]:
    rows, tokens = (int(part) for part in shape.split("x"))
    workers = {name: worker_of(recipe, name, shape, dropout) for name in variants}
    first = {name: worker.step() for name, worker in workers.items()}  # also warms up
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, worker in workers.items():
            seen[name].append(worker.step())
    for worker in workers.values():
        worker.process.kill()
    ceiling, work_done = matmul_ceiling(), flops(recipe, rows, tokens)
    found: dict[str, Any] = {"recipe": recipe, "shape": shape, "dropout": dropout,
                             "ceiling_gflops": ceiling / 1e9,
                             "step_gflop": work_done / 1e9, "variants": {}}  # fmt: skip
    times = {name: [row["seconds"] for row in seen[name]] for name in variants}
    cpu = {name: median(row["cpu_seconds"] for row in seen[name]) for name in variants}
    base = median(times[variants[0]])
    for name in variants:
        seconds = median(times[name])
        found["variants"][name] = {
            "first_loss": first[name]["loss"],
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", choices=PLAIN, default="distilbert")
    parser.add_argument("--shapes", default="8x128,5x512")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", help=argparse.SUPPRESS)
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
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
