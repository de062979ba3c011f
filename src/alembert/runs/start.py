"""The student at the beginning of a stage: what came before, what was named, or a new one."""

from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from alembert.data.batches import Rows
from alembert.data.collate import pad
from alembert.data.splits import Files, are_pairs
from alembert.initialization.student import from_scratch, from_teacher
from alembert.io.errors import Say, UserError
from alembert.models.building import drawn
from alembert.models.loading import label_fields, load_config, load_model
from alembert.models.trace import Batch
from alembert.recipes import recipe_of
from alembert.recipes.schema import Init, Recipe, from_yaml
from alembert.runs.job import Job

TOKENS = 16_384  # by which a narrow student's view of its teacher is found


def chosen_for(
    recipe: str,
    teacher: str,
    student: str | None,
    layers: int | None,
    hidden_size: int | None,
    files: Files | None = None,
    say: Say = print,
) -> Recipe:
    """The recipe that was asked for, by a name or as a YAML file, for the teacher at a path."""
    config = load_config(teacher)
    if not recipe.endswith((".yaml", ".yml")):
        return named(recipe, config, student, layers, hidden_size, files, say)
    if layers is not None or hidden_size is not None:
        raise UserError("--layers and --hidden-size shape named recipes: edit the YAML instead")
    return from_yaml(Path(recipe))


def named(
    name: str,
    teacher: PreTrainedConfig,
    student: str | None,
    layers: int | None,
    hidden_size: int | None,
    files: Files | None = None,
    say: Say = print,
) -> Recipe:
    """A shipped recipe for a teacher, and for the student that is named: it has its own shape."""
    if student is None:
        typed = getattr(teacher, "type_vocab_size", 0) > 1
        if name == "distilbert" and typed and files is not None and are_pairs(files):
            name = "distilbert-pairs"
            say("pairs of texts: the student keeps the teacher's token types (distilbert-pairs)")
        return recipe_of(name, teacher, layers=layers, hidden_size=hidden_size)
    config = load_config(student)
    for option, given, own in (
        ("--layers", layers, int(config.num_hidden_layers)),
        ("--hidden-size", hidden_size, int(config.hidden_size)),
    ):
        if given is not None and given != own:
            raise UserError(
                f"{option} {given}: the student {student} has {own}; leave the option out"
            )
    recipe = recipe_of(name, teacher, layers=config.num_hidden_layers)
    if config.hidden_size != teacher.hidden_size and name.startswith("tinybert"):
        recipe = recipe_of(
            name, teacher, layers=config.num_hidden_layers, hidden_size=config.hidden_size
        )
    width = int(config.hidden_size)
    shape = {"hidden_size": width, "dim": width}
    changes = {
        "student": {name: shape.get(name, value) for name, value in recipe.student.items()},
        "init": Init(start="checkpoint"),
        "projections": "none" if width == teacher.hidden_size else "layer",
    }
    return recipe.model_copy(update=changes)


def sample_of(rows: Rows, pad_token_id: int) -> Batch:
    """Texts from all over the rows as one batch, without labels; cut at twice the mean length."""
    mean = max(int(np.mean(rows.lengths)), 1)
    places = np.linspace(0, len(rows) - 1, min(max(TOKENS // mean, 1), len(rows))).astype(int)
    chosen = [rows[int(i)] for i in places]
    seen = [{k: v[: 2 * mean] for k, v in row.items() if k != "labels"} for row in chosen]
    return pad(seen, pad_token_id)


def student_for(
    job: Job,
    head: str,
    labels: tuple[str, ...],
    last: Path | None,
    teacher: PreTrainedModel | None,
    sample: Batch,
) -> PreTrainedModel:
    """The student with a head for these labels. last: the model of the stage before."""
    recipe = job.recipe
    source = str(last) if last is not None else job.student
    if source is not None:
        torch.manual_seed(job.seed)  # a head that the checkpoint lacks is drawn at random
        config = load_config(source)
        own = {
            name: value
            for name, value in recipe.student.items()
            if "dropout" in name and hasattr(config, name)
        }
        if last is None and job.teacher is None and recipe.init.start == "scratch":
            config.update(label_fields(head, labels) | own)
            return drawn(config, head, job.seed)  # fine-tuning: the model's shape, and no weights
        return load_model(source, head, labels=labels, fresh_head=True, changes=own)
    if recipe.init.start == "scratch":
        return from_scratch(recipe.student, head, labels, job.seed)
    if teacher is None and job.teacher is not None:  # its layers, and none of its answers
        teacher = load_model(job.teacher, head, labels=labels, fresh_head=True)
    if recipe.init.start == "checkpoint" or teacher is None:
        raise UserError(
            f"recipe '{recipe.name}' starts from a saved model: name one with --student"
        )
    init = recipe.init
    return from_teacher(
        recipe.student, head, labels, teacher, init.layers, job.seed, sample, init.basis
    )
