"""TinyBERT students of real tasks, and what each part of the recipe is worth.

    python benchmarks/tinybert.py DATA OUT --general DIR --mlm DIR --tasks clinc150 --seeds 0

DATA and OUT are those of benchmarks/distilbert.py, whose teachers are taken (or made). The student
has 4 layers and is 192 wide. DIR of --general: a student of general distillation; of --mlm: a
masked-word model. Every arm has the same number of steps, "long" four times as many. "plain": the
same network, started from the pretrained (not fine-tuned) teacher as the others are, trained on
hard labels only; "drawn": the same, but drawn at random.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distilbert import files_of, tune

from alembert.cli.quickstart import builtin_teacher
from alembert.models.loading import load_config
from alembert.objectives.objective import HardLabels
from alembert.recipes import recipe_of
from alembert.recipes.schema import Recipe, with_settings
from alembert.runs.job import Job
from alembert.runs.run import run

TASKS = ("sst2", "mrpc", "stsb", "clinc150")
STEPS = {"intermediate": 1000, "prediction": 1500}


def recipe_for(teacher: str, max_length: int) -> Recipe:
    """The shipped recipe at a fixed number of steps."""
    recipe = recipe_of("tinybert", load_config(teacher), layers=4, hidden_size=192)
    changes = {f"stages.{name}.steps": str(steps) for name, steps in STEPS.items()}
    changes |= {f"stages.{name}.max_length": str(max_length) for name in STEPS}
    return with_settings(recipe, changes)


def without(recipe: Recipe, stage: str) -> Recipe:
    """Without a stage; the next one has its steps."""
    kept = tuple(s for s in recipe.stages if s.name != stage)
    total = str(sum(STEPS.values()))
    return with_settings(
        recipe.model_copy(update={"stages": kept}), {"stages.prediction.steps": total}
    )


def plain(recipe: Recipe) -> Recipe:
    """Hard labels only."""
    recipe = without(recipe, "intermediate")
    stages = tuple(s.model_copy(update={"objective": (HardLabels(),)}) for s in recipe.stages)
    return recipe.model_copy(update={"name": "plain", "stages": stages, "augment": None})


def longer(recipe: Recipe) -> Recipe:
    return with_settings(recipe, {f"stages.{k}.steps": str(4 * v) for k, v in STEPS.items()})


def bare(recipe: Recipe) -> Recipe:
    """No augmentation."""
    return recipe.model_copy(update={"augment": None})


def scratch(recipe: Recipe) -> Recipe:
    return with_settings(bare(recipe), {"init.start": "scratch"})


def units(recipe: Recipe) -> Recipe:
    return with_settings(bare(recipe), {"init.basis": "units"})


# arm: what is changed, whether it starts from the general student
ARMS: dict[str, tuple[Callable[[Recipe], Recipe], bool]] = {
    "everything": (lambda recipe: recipe, True),
    "no-augmentation": (bare, True),
    "no-intermediate": (lambda recipe: without(recipe, "intermediate"), True),
    "no-general": (lambda recipe: recipe, False),
    "plain": (plain, False),
    "neither": (bare, False),  # no general stage, no augmentation
    "scratch": (scratch, False),
    "units": (units, False),
    "long": (longer, True),
    "drawn": (lambda recipe: plain(scratch(recipe)), False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--general")
    parser.add_argument("--mlm")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS)[:5])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--teacher-seed", type=int, help="one teacher for all seeds, of this one")
    given = parser.parse_args()
    for seed in given.seeds:
        for task in given.tasks:
            of = seed if given.teacher_seed is None else given.teacher_seed
            teacher = tune(given.data, given.out, task, of)
            recipe = recipe_for(teacher, 128 if task in ("mrpc", "stsb") else 64)
            for arm in given.arms:
                change, general = ARMS[arm]
                chosen = change(recipe)
                more: dict[str, Any] = {"mlm": given.mlm} if chosen.augment else {}
                run(
                    Job(
                        chosen, given.out / task / f"4x192-{arm}-{seed}",
                        builtin_teacher() if arm in ("plain", "drawn") else teacher,
                        student=given.general if general else None,
                        files=files_of(given.data, task), seed=seed, **more,
                    )
                )  # fmt: skip


if __name__ == "__main__":
    main()
