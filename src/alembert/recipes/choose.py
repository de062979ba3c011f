"""The recipe that a user names, for a teacher, a saved student and the texts of a task."""

import logging
from pathlib import Path

from transformers import PreTrainedConfig

from alembert.data.splits import Files, are_pairs
from alembert.io.errors import UserError
from alembert.models.loading import load_config
from alembert.recipes import recipe_of
from alembert.recipes.schema import Init, Recipe, from_yaml, replaced

log = logging.getLogger(__name__)


def choose_recipe(
    name: str | Recipe,
    teacher: PreTrainedConfig,
    student: str | None = None,
    layers: int | None = None,
    hidden_size: int | None = None,
    files: Files | None = None,
) -> Recipe:
    """Return the recipe of a name or a YAML file, for a teacher of this shape, or the given one.

    A shipped recipe has the shape of the saved student if there is one.
    """
    if isinstance(name, Recipe) or name.endswith((".yaml", ".yml")):
        if layers is not None or hidden_size is not None:
            raise UserError("--layers and --hidden-size shape named recipes: edit the YAML instead")
        return name if isinstance(name, Recipe) else from_yaml(Path(name))
    if student is None:
        has_types = getattr(teacher, "type_vocab_size", 0) > 1
        if name == "static" and files is not None and are_pairs(files):
            name = "static-pairs"
            log.info("pairs of texts: the student's head reads the vectors of both (static-pairs)")
        if name == "distilbert" and has_types and files is not None and are_pairs(files):
            name = "distilbert-pairs"
            log.info(
                "pairs of texts: the student keeps the teacher's token types (distilbert-pairs)"
            )
        return recipe_of(name, teacher, layers=layers, hidden_size=hidden_size)
    config = load_config(student)
    for option, size, actual in (
        ("--layers", layers, int(config.num_hidden_layers)),
        ("--hidden-size", hidden_size, int(config.hidden_size)),
    ):
        if size is not None and size != actual:
            raise UserError(
                f"{option} {size}: the student {student} has {actual}; leave the option out"
            )
    width = int(config.hidden_size)
    narrower = width != teacher.hidden_size and name.startswith("tinybert")
    sizes = {"layers": config.num_hidden_layers, "hidden_size": width if narrower else None}
    recipe = recipe_of(name, teacher, **sizes)
    shape = {"hidden_size": width, "dim": width}
    changes = {
        "student": {name: shape.get(name, value) for name, value in recipe.student.items()},
        "init": Init(start="checkpoint"),
        "projections": "none" if width == teacher.hidden_size else "layer",
    }
    return replaced(recipe, **changes)
