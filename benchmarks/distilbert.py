"""DistilBERT students of real tasks: teacher, student by distillation, the same student without.

    python benchmarks/distilbert.py DATA OUT --tasks sst2 mrpc --seeds 0 1 2
    python benchmarks/distilbert.py DATA OUT --tasks sst2 --grid

DATA is what benchmarks/data.py wrote, OUT holds the run folders (finished ones are not run again).
The student has 3 of the teacher's 6 layers. "alone" is the same network, started from the same
layers of the pretrained (not fine-tuned) teacher, trained on hard labels only. --grid: 3, 2 and 1
layers, with all, 10 % and 1 % of the labels; the distilled student gets the rest unlabelled.
"""

import argparse
import csv
import random
from dataclasses import replace
from pathlib import Path

from alembert.cli.quickstart import builtin_teacher
from alembert.data.splits import Files
from alembert.models.loading import load_config
from alembert.objectives.objective import HardLabels
from alembert.recipes.finetune import finetune
from alembert.recipes.schema import Recipe, with_settings
from alembert.runs.job import Job
from alembert.runs.run import run
from alembert.runs.stage import recipe_named

# where the recipes' own epochs would take hours on two cores; max_length 64 cuts almost nothing
SETTINGS = {
    "sst2": {"stages.task.epochs": "1", "stages.task.min_steps": "0"},
    "snips": {"stages.task.epochs": "2"},
    "clinc150": {"stages.task.epochs": "4"},
    "mrpc": {},
    "stsb": {},
}
PARTS = (1.0, 0.1, 0.01)


def files_of(data: Path, task: str) -> Files:
    suffix = "conll" if task == "snips" else "csv"
    return Files(*(str(data / task / f"{name}.{suffix}") for name in ("train", "valid", "test")))


def student(teacher: str, files: Files, task: str, layers: int) -> Recipe:
    recipe = recipe_named("distilbert", load_config(teacher), None, layers, None, files)
    return with_settings(recipe, SETTINGS[task]) if SETTINGS[task] else recipe


def alone(recipe: Recipe) -> Recipe:
    """The same student and schedule, hard labels only."""
    stages = tuple(s.model_copy(update={"objective": (HardLabels(),)}) for s in recipe.stages)
    return recipe.model_copy(update={"name": "alone", "stages": stages})


def tune(data: Path, out: Path, task: str, seed: int) -> str:
    """Fine-tune the teacher; its folder."""
    folder = out / task / f"teacher-{seed}"
    recipe = finetune(load_config(builtin_teacher()))
    recipe = with_settings(recipe, SETTINGS[task]) if SETTINGS[task] else recipe
    run(Job(recipe, folder, student=builtin_teacher(), files=files_of(data, task), seed=seed,
            model_at="."))  # fmt: skip
    return str(folder)


def pair(data: Path, out: Path, task: str, seed: int, layers: int, share: float) -> None:
    """One distilled student and one alone."""
    teacher = str(out / task / f"teacher-{seed}")
    files = files_of(data, task)
    name = f"{layers}-layers" + (f"-{share:.0%}" if share < 1 else "")
    rest = files
    if share < 1:
        train, others = split(Path(files.train), out / task / "parts", share)
        files = replace(files, train=train)
        rest = replace(files, unlabelled=others)
    recipe = student(teacher, files, task, layers)
    run(
        Job(recipe, out / task / f"{name}-distilled-{seed}", teacher=teacher, files=rest, seed=seed)
    )
    single = alone(recipe)
    if share < 1:  # its few labels are read often enough
        single = with_settings(single, {"stages.task.epochs": "3", "stages.task.min_steps": "800"})
    run(Job(single, out / task / f"{name}-alone-{seed}", teacher=builtin_teacher(), files=files,
            seed=seed))  # fmt: skip


def split(train: Path, folder: Path, share: float) -> tuple[str, str]:
    """A seeded share of the labelled rows, and the texts of the rest."""
    folder.mkdir(parents=True, exist_ok=True)
    with train.open(newline="") as file:
        rows = list(csv.DictReader(file))
    random.Random(0).shuffle(rows)
    cut = round(share * len(rows))
    names = [name for name in rows[0] if name != "label"]
    labelled, texts = folder / f"{share:.0%}.csv", folder / f"{share:.0%}-rest.csv"
    for path, part, columns in ((labelled, rows[:cut], list(rows[0])), (texts, rows[cut:], names)):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(part)
    return str(labelled), str(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tasks", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--grid", action="store_true")
    given = parser.parse_args()
    for seed in given.seeds:
        for task in given.tasks:
            tune(given.data, given.out, task, seed)
            if not given.grid:
                pair(given.data, given.out, task, seed, 3, 1.0)
                continue
            for share in PARTS:
                for layers in (3, 2, 1):
                    pair(given.data, given.out, task, seed, layers, share)


if __name__ == "__main__":
    main()
