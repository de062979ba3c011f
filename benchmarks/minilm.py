"""Students of one size from three recipes' general distillation, then fine-tuned on tasks.

    python benchmarks/minilm.py DATA OUT --corpus FILE --words DIR --results results/minilm

3 layers x 384 from the built-in teacher (6 x 384), the same steps of 64 sequences of 128 tokens:
`distilbert` (the triple loss; the teacher DIR has a masked-word head), `tinybert` (hidden states
and attention scores) and `minilm` (relations of the last layer), all of them BERTs with token
types. "none": the start, every second layer of the teacher. Then each is fine-tuned on hard labels
alone, all alike, so that what differs comes from the corpus. DATA is what benchmarks/data.py wrote;
finished runs are not run again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from distilbert import SETTINGS, files_of

from alembert.cli.quickstart import builtin_teacher
from alembert.models.loading import load_config
from alembert.recipes import recipe_of
from alembert.recipes.finetune import finetune
from alembert.recipes.schema import Recipe, with_settings
from alembert.runs.job import Job
from alembert.runs.run import run

RECIPES = ("distilbert", "tinybert", "minilm", "none")
MADE_BY = {"distilbert": "distilbert-pairs"}  # a DistilBERT would have no token types
TASKS = ("sst2", "mrpc", "clinc150")
LAYERS = 3


def general(name: str, teacher: str, steps: int) -> Recipe:
    """The recipe's stages on the corpus, so many steps of 64 x 128 tokens."""
    config = load_config(teacher)
    wide = {} if name == "distilbert" else {"hidden_size": int(config.hidden_size)}
    recipe = recipe_of(MADE_BY.get(name, name), config, layers=LAYERS, **wide)
    stages = tuple(stage for stage in recipe.stages if stage.data == "corpus")
    fields = {"steps": steps, "batch_size": 64, "micro_batch_size": 64, "max_length": 128}
    changes = {f"stages.{stages[0].name}.{field}": str(value) for field, value in fields.items()}
    return with_settings(recipe.model_copy(update={"stages": stages}), changes)


def tuned(start: str | None, data: Path, out: Path, task: str, seed: int) -> dict[str, Any]:
    """A student fine-tuned on a task; none: one of the teacher's layers, as it starts."""
    recipe = finetune(load_config(start or builtin_teacher()))
    if start is None:
        made = recipe_of(MADE_BY["distilbert"], load_config(builtin_teacher()), layers=LAYERS)
        recipe = recipe.model_copy(update={"student": made.student, "init": made.init})
    if SETTINGS[task]:
        recipe = with_settings(recipe, SETTINGS[task])
    teacher = None if start else builtin_teacher()
    job = Job(recipe, out, teacher, student=start, files=files_of(data, task), seed=seed)
    return run(job)


def row(name: str, task: str, out: Path, metrics: dict[str, Any], taught: float) -> dict[str, Any]:
    facts = json.loads(next((out / "stages").glob("*-task/facts.json")).read_text())
    value = metrics["student"][metrics["metric"]]
    return {"recipe": name, "task": task, "held_out": facts["best"], "test": value,
            "teacher": taught, "kept": value / taught}  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """A line a recipe."""
    lines = ["| general distillation by | " + " | ".join(f"{task}, kept" for task in TASKS) + " |",
             "|---|" + "---|" * len(TASKS)]  # fmt: skip
    for name in RECIPES:
        cells = {
            r["task"]: f"{r['test']:.3f}, {r['kept']:.1%}" for r in rows if r["recipe"] == name
        }
        lines.append(f"| {name} | " + " | ".join(cells.get(task, "-") for task in TASKS) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path, help="holds TASK/teacher-0, as benchmarks/distilbert.py")
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--words", required=True, help="the teacher with a masked-word head")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--recipes", nargs="*", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--tasks", nargs="*", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    starts: dict[str, str | None] = {}
    for name in given.recipes:
        place = given.out / "corpus" / f"three-{name}"
        starts[name] = None if name == "none" else str(place / "student")
        if name != "none":
            job = Job(general(name, given.words, given.steps), place, given.words,
                      corpus=given.corpus, seed=given.seed)  # fmt: skip
            run(job)
    rows = []
    for task in given.tasks:
        told = json.loads((given.out / task / "teacher-0" / "metrics.json").read_text())
        taught = told["student"][told["metric"]]
        for name, start in starts.items():
            out = given.out / task / f"three-{name}-{given.seed}"
            rows.append(
                row(name, task, out, tuned(start, given.data, out, task, given.seed), taught)
            )
    if given.results:
        given.results.mkdir(parents=True, exist_ok=True)
        facts = {"steps": given.steps, "seed": given.seed, "rows": rows}
        (given.results / "results.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
