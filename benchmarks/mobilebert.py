"""MobileBERTs by three strategies of transfer with one budget of tokens, and what tasks keep.

    python benchmarks/mobilebert.py DATA OUT --corpus FILE --teacher DIR --tasks sst2 mrpc clinc150

DATA and OUT are those of benchmarks/distilbert.py, whose fine-tuned teachers are taken (or made).
--teacher: a model with a masked-word head, or an IB-BERT (then give --name ib-). Every strategy has
the same number of steps on the corpus; in all but "auxiliary" half of them are transfer, half
pre-training distillation. "start": the task stages alone, from layers fitted to the teacher's; with
--inside N for a student N wide inside. --alone RATES: the same network without any of it, on hard
labels only, at each of these learning rates. --mlm DIR: the task's texts vary by this masked-word
model. --task-steps N: of each stage on a task, in a folder that says so where it is not 750.
--whole: the recipe's own epochs there.
"""

import argparse
from pathlib import Path

from distilbert import alone, files_of, tune

from alembert.cli.quickstart import builtin_teacher
from alembert.models.loading import load_config
from alembert.recipes import recipe_of
from alembert.recipes.schema import Recipe, with_settings
from alembert.runs.job import Job
from alembert.runs.run import run
from alembert.runs.stage import recipe_named

STRATEGIES = {
    "progressive": "mobilebert",
    "joint": "mobilebert-joint",
    "auxiliary": "mobilebert-auxiliary",
}
TASKS = ("sst2", "mrpc", "clinc150")
STEPS = 750  # of each stage on a task, where no other number is asked for


def on_corpus(name: str, given: argparse.Namespace) -> Recipe:
    """A strategy's stages on the corpus, --steps in all."""
    recipe = recipe_of(STRATEGIES[name], load_config(given.teacher))
    kept = tuple(stage for stage in recipe.stages if stage.data == "corpus")
    transfers = [stage.name for stage in kept if stage.name.startswith("transfer")]
    half = given.steps // 2 if transfers else 0
    shares = dict.fromkeys(transfers, half // max(len(transfers), 1))
    shares["pretraining"] = given.steps - sum(shares.values())
    changes = {}
    for stage, share in shares.items():
        batch = {"batch_size": given.batch_size, "micro_batch_size": given.batch_size}
        fields = {"steps": share, "max_length": given.max_length} | batch
        changes |= {f"stages.{stage}.{field}": str(value) for field, value in fields.items()}
    return with_settings(recipe.model_copy(update={"stages": kept}), changes)


def on_task(teacher: str, student: str | None, given: argparse.Namespace) -> Recipe:
    recipe = recipe_named("mobilebert", load_config(teacher), student, None, None)
    recipe = recipe.model_copy(update={"stages": recipe.stages[-2:]})
    changes = {}
    if not given.whole:
        changes = {f"stages.{stage.name}.steps": str(given.task_steps) for stage in recipe.stages}
    if given.mlm:
        changes["augment"] = "{}"
    if given.inside and student is None:
        changes["student.intra_bottleneck_size"] = str(given.inside)
        changes["student.intermediate_size"] = str(4 * given.inside)
    return with_settings(recipe, changes)


def last_of(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"stages": recipe.stages[-1:]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--corpus", help="of the strategies; no name after --strategies leaves them out"
    )
    parser.add_argument("--teacher")
    parser.add_argument("--name", default="", help="put before the folders' names")
    parser.add_argument("--strategies", nargs="*", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch-size", type=int, default=64, help="sequences of a step there")
    parser.add_argument("--max-length", type=int, default=128, help="tokens of a sequence there")
    parser.add_argument("--tasks", nargs="*", choices=TASKS, default=list(TASKS))
    parser.add_argument("--alone", nargs="+", default=[], metavar="RATE")
    parser.add_argument("--start", action="store_true")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--task-steps", type=int, default=STEPS)
    parser.add_argument("--inside", type=int)
    parser.add_argument("--mlm")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.strategies and not (given.corpus and given.teacher):
        parser.error("strategies need --corpus and --teacher")
    for name in given.strategies:
        recipe = on_corpus(name, given)
        place = given.out / "corpus" / f"{given.name}{name}"
        run(Job(recipe, place, given.teacher, corpus=given.corpus, seed=given.seed))
    for task in given.tasks:
        teacher = tune(given.data, given.out, task, given.seed)
        files = files_of(given.data, task)
        out = given.out / task
        steps = f"-{given.task_steps}" if given.task_steps != STEPS else ""
        for rate in given.alone:
            recipe = alone(last_of(on_task(given.teacher or teacher, None, given)))
            recipe = with_settings(recipe, {"stages.task.learning_rate": rate})
            name = f"mobile-{given.name}alone-{rate}{steps}-{given.seed}"
            run(Job(recipe, out / name, builtin_teacher(), files=files, seed=given.seed))
        end = f"{'-whole' * given.whole}{steps}{'-variants' if given.mlm else ''}-{given.seed}"
        if given.start:
            recipe = on_task(teacher, None, given)
            name = "start" + (f"-{given.inside}" if given.inside else "")
            run(Job(recipe, out / f"mobile-{name}{end}", teacher, files=files, mlm=given.mlm,
                    seed=given.seed))  # fmt: skip
        for name in given.strategies:
            start = str(given.out / "corpus" / f"{given.name}{name}" / "student")
            recipe = on_task(teacher, start, given)
            run(Job(recipe, out / f"mobile-{given.name}{name}{end}", teacher, student=start,
                    files=files, mlm=given.mlm, seed=given.seed))  # fmt: skip


if __name__ == "__main__":
    main()
