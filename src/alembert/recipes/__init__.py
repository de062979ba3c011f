"""Recipes: a whole distillation as a frozen value, and one declarative file a paper.

Read `schema` first: `Recipe`, `Stage` and their fields, YAML in and out. `house` is the one that is
taken where none is named. Then read a paper: `distilbert`, `tinybert`, `mobilebert` with `ibbert`,
`minilm`, or `static`; each is a function of the teacher's shape. `finetune` trains a teacher;
`stages` has the stages that papers share. `choose` finds the recipe that a user names, and
`overrides` changes single settings of it. A new recipe is a file here and a line in `RECIPES`.

For other rooms: RECIPES, check_name, recipe_of, schema, finetune, choose, overrides.
"""

from collections.abc import Callable
from typing import Any

from transformers import PreTrainedConfig

from alembert.io.errors import UserError, near
from alembert.recipes.distilbert import distilbert, distilbert_pairs
from alembert.recipes.house import house
from alembert.recipes.ibbert import ibbert
from alembert.recipes.minilm import minilm
from alembert.recipes.mobilebert import (
    mobilebert,
    mobilebert_auxiliary,
    mobilebert_joint,
    mobilebert_tiny,
)
from alembert.recipes.schema import Recipe
from alembert.recipes.static import static, static_pairs
from alembert.recipes.tinybert import tinybert, tinybert6

RECIPES: dict[str, Callable[..., Recipe]] = {
    "house": house,
    "distilbert": distilbert,
    "distilbert-pairs": distilbert_pairs,
    "tinybert": tinybert,
    "tinybert6": tinybert6,
    "mobilebert": mobilebert,
    "mobilebert-tiny": mobilebert_tiny,
    "mobilebert-joint": mobilebert_joint,
    "mobilebert-auxiliary": mobilebert_auxiliary,
    "ibbert": ibbert,
    "minilm": minilm,
    "static": static,
    "static-pairs": static_pairs,
}


def check_name(name: str) -> None:
    """Raise UserError for a name that no shipped recipe has, with one that is near it."""
    if name not in RECIPES:
        raise UserError(
            f"there is no recipe '{name}': name a YAML file or one of {', '.join(RECIPES)}"
            f"{near(name, RECIPES)}"
        )


def recipe_of(name: str, teacher: PreTrainedConfig, **sizes: Any) -> Recipe:
    """Return a shipped recipe for a teacher of this shape; `sizes` may set layers, hidden_size.

    Raises UserError for an unknown name, and for sizes that the recipe cannot have.
    """
    check_name(name)
    return RECIPES[name](teacher, **{size: n for size, n in sizes.items() if n is not None})
