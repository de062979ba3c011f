"""One process of a launcher's: recipes in short runs, beside each other's folders.

    torchrun --nproc-per-node 2 tests/support/distributed_worker.py HOME OUT STEPS RECIPE ...

HOME holds teacher/ (a task head), words/ (a masked-word head), train.csv, valid.csv, corpus.txt.
OUT gets copies/, runs whose student every process has whole, and shards/, where they share it.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from alembert.cli import news
from alembert.data.splits import Files
from alembert.models.loading import load_config
from alembert.recipes import recipe_of
from alembert.recipes.overrides import with_settings
from alembert.recipes.schema import Recipe
from alembert.runs.job import Job
from alembert.runs.run import run

STILL = {  # dropout is drawn for each process anew
    "distilbert": ("dropout", "attention_dropout", "seq_classif_dropout"),
    "bert": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "mobilebert": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "ibbert": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "static": ("dropout",),
}


def short(name: str, teacher: str, steps: int) -> Recipe:
    narrow = 8 if name in ("tinybert", "tinybert6", "minilm") else None
    recipe = recipe_of(name, load_config(teacher), hidden_size=narrow)
    fields = {"steps": steps, "batch_size": 8, "micro_batch_size": 3, "max_length": 32}
    changes = {f"stages.*.{field}": str(value) for field, value in fields.items()}
    if name == "distilbert":  # it ends early, and its classes weigh unalike
        changes |= {
            "stages.task.patience": "1",
            "stages.task.objective.HardLabels.class_weights": "{down: 0.2, flat: 1, up: 3}",
        }
    still = {f"student.{field}": "0.0" for field in STILL[recipe.student["model_type"]]}
    return with_settings(recipe, changes | still | {"run.precision": "fp32"})


def main(home: Path, out: Path, steps: int, names: Sequence[str]) -> None:
    train, valid = str(home / "train.csv"), str(home / "valid.csv")
    files = Files(train=train, valid=valid, evaluation=valid)
    teacher, words = str(home / "teacher"), str(home / "words")
    for name in names:
        recipe = short(name, teacher, steps)
        task, general = (
            any(stage.data == data for stage in recipe.stages) for data in ("task", "corpus")
        )
        job = Job(
            recipe=recipe,
            out=out / name,
            teacher=teacher,
            general_teacher=words,
            corpus=str(home / "corpus.txt") if general else None,
            files=files if task else None,
        )
        run(job)


if __name__ == "__main__":
    news.start(err=False)  # as the command line does, of which one process alone prints
    for way in ("copies", "shards"):
        os.environ["ACCELERATE_USE_FSDP"] = str(way == "shards").lower()
        main(Path(sys.argv[1]), Path(sys.argv[2]) / way, int(sys.argv[3]), sys.argv[4:])
