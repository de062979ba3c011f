"""One optimiser step of each stage of a recipe: time and peak memory, on random weights.

    python -m benchmarks.speed.stages --teacher minilm --rounds 7 --out results/stages
    python -m benchmarks.speed.stages --teacher ibbert-large --rounds 1 --apart --out results/stages

Teachers: minilm (6 layers x 384) and ibbert-large, the paper's (24 layers, 293M parameters), whose
student is then the paper's MobileBERT. Each stage is a process of its own, started on the whole
student; they take turns, a step each, or with --apart one after the other. A stage's time is the
median, its memory the peak of its process; "joint" (all layers at once) stands beside for scale.
"""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator
from transformers import AutoModelForMaskedLM, BertConfig, PreTrainedConfig

from alembert.initialization.student import from_scratch
from alembert.models.ibbert import IBBertConfig
from alembert.recipes import recipe_of
from alembert.recipes.schema import Recipe, Stage
from alembert.training.distillation import Distillation
from alembert.training.loop import _optimizer, _step
from benchmarks.lab.results import Row, arguments, write
from benchmarks.lab.workers import Facts, Worker, answer_steps, in_turns

MINILM: dict[str, Any] = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
          "intermediate_size": 1536}  # fmt: skip
TEACHERS: dict[str, Callable[[], PreTrainedConfig]] = {
    "minilm": lambda: BertConfig(**MINILM),
    "ibbert-large": IBBertConfig,
}


def stages_of(teacher: PreTrainedConfig) -> dict[str, tuple[Recipe, Stage]]:
    """Progressive transfer, its joint counterpart, and pre-training distillation."""
    recipe, joint = recipe_of("mobilebert", teacher), recipe_of("mobilebert-joint", teacher)
    found = {s.name: (recipe, s) for s in recipe.stages if s.data == "corpus"}
    pretraining = found.pop("pretraining")
    return {**found, "joint": (joint, joint.stages[0]), "pretraining": pretraining}


def batch_of(stage: Stage, rows: int, tokens: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    ids = torch.randint(1000, 30000, (rows, tokens))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if stage.masking is not None:
        batch["labels"] = torch.where(torch.rand(rows, tokens) < 0.15, ids, -100)
    if stage.segments:
        batch["token_type_ids"] = torch.arange(tokens).expand(rows, -1) // (tokens // 2 + 1)
        batch["next_sentence"] = torch.arange(rows) % 2
    return batch


def step_of(name: str, stage_name: str, shape: str) -> Callable[[], Facts]:
    """A function that makes one optimiser step."""
    torch.manual_seed(0)
    config = TEACHERS[name]()
    recipe, stage = stages_of(config)[stage_name]
    head = "words" if stage.reads_logits else "encoder"
    maker = AutoModelForMaskedLM.from_config(config)
    teacher = (maker if head == "words" else maker.base_model).eval()
    student = from_scratch(recipe.student, head, (), 0).train()
    pair = Distillation(
        student, teacher, stage.objective, words=True, projections=recipe.projections
    )
    accelerator = Accelerator(mixed_precision="bf16", cpu=True)
    pair.ready(accelerator.device, True)
    optimizer = _optimizer(pair, stage)
    batch = batch_of(stage, *(int(part) for part in shape.split("x")))
    parameters = {
        "teacher": sum(p.numel() for p in maker.parameters()),
        "student": sum(p.numel() for p in student.parameters()),
    }

    def step() -> Facts:
        loss = float(_step(pair, stage, optimizer, batch, accelerator)["loss"])
        return {"loss": loss, **parameters}

    return step


def measure(teacher: str, shape: str, rounds: int, apart: bool) -> list[Row]:
    names = list(stages_of(TEACHERS[teacher]()))
    seen: dict[str, list[Facts]] = {}
    command = ["-m", "benchmarks.speed.stages", "--teacher", teacher, "--shape", shape, "--only"]
    for group in [[name] for name in names] if apart else [names]:
        seen |= in_turns({name: Worker([*command, name]) for name in group}, rounds)
    rows = []
    for name in names:
        timed = seen[name][1:]
        rows.append({
            "stage": name, "ms": [round(1000 * row["seconds"]) for row in timed],
            "median_ms": round(1000 * median(row["seconds"] for row in timed)),
            "cpu_ms": round(1000 * median(row["cpu_seconds"] for row in timed)),
            "peak_gib": round(timed[-1]["peak_gib"], 2), "loss": timed[0]["loss"],
            "teacher": int(timed[0]["teacher"]), "student": int(timed[0]["student"]),
        })  # fmt: skip
    return rows


def plot(rows: list[Row], path: Path) -> None:
    """Time of each transfer stage against its layer."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("svg")
    transfers = [row for row in rows if row["stage"].startswith("transfer")]
    depth = range(1, len(transfers) + 1)
    figure, axis = plt.subplots(figsize=(6, 3.5), layout="constrained")
    axis.plot(depth, [row["cpu_ms"] for row in transfers], marker="o", label="stage k")
    joint = next(row for row in rows if row["stage"] == "joint")
    axis.axhline(joint["cpu_ms"], linestyle="--", color="gray", label="all layers at once")
    axis.set(xlabel="layer k that the stage teaches", ylabel="ms of CPU a step", ylim=(0, None))
    axis.legend()
    figure.savefig(path)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--teacher", choices=TEACHERS, default="minilm")
    parser.add_argument("--shape", default="32x128")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--apart", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", help="a worker: its stage")
    given = parser.parse_args()
    if given.only:
        answer_steps(step_of(given.teacher, given.only, given.shape))
        return
    rows = measure(given.teacher, given.shape, given.rounds, given.apart)
    for row in rows:
        print(f"{row['stage']:12} {row['median_ms']:7} ms  CPU {row['cpu_ms']:7} ms  "
              f"peak {row['peak_gib']:.2f} GiB  loss {row['loss']:.3f}")  # fmt: skip
    if given.out:
        facts = {"teacher": given.teacher, "shape": given.shape, "stages": rows}
        write(given.out / f"{given.teacher}.json", facts)
        plot(rows, given.out / f"{given.teacher}.svg")


if __name__ == "__main__":
    main()
