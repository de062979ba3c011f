"""The recipes that are built in: their names, and each of them as a value."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from alembert.api.given import plain

if TYPE_CHECKING:
    from alembert.recipes.schema import Recipe


def recipes() -> dict[str, str]:
    """Return the names of the recipes, each with the sentence that describes it."""
    from alembert.recipes import RECIPES

    return {
        name: (sys.modules[make.__module__].__doc__ or "").strip() for name, make in RECIPES.items()
    }


@plain
def recipe(
    name: str,
    teacher: str | None = None,
    *,
    layers: int | None = None,
    hidden_size: int | None = None,
) -> "Recipe":
    """Return a recipe for this teacher, or for BERT-base. Raises UserError."""
    from transformers import BertConfig

    from alembert.models.loading import load_config
    from alembert.recipes import recipe_of

    check_name(name)
    config = BertConfig() if teacher is None else load_config(teacher)
    return recipe_of(name, config, layers=layers, hidden_size=hidden_size)


def check_name(name: "str | Recipe") -> None:
    """Raise UserError for a name that no recipe has, and for a YAML file that is none."""
    from alembert.recipes import RECIPES
    from alembert.recipes import check_name as check_shipped
    from alembert.recipes.schema import Recipe, from_yaml

    if isinstance(name, Recipe):
        return
    if name not in RECIPES and name.endswith((".yaml", ".yml")):
        from_yaml(Path(name))
    else:
        check_shipped(name)
