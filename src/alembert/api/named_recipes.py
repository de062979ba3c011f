"""The recipes that are built in: their names, and each of them as a value."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembert.api.given import plain
from alembert.io.errors import UserError, near

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


def changed(recipe: "Recipe", settings: dict[str, str]) -> "Recipe":
    """Return the recipe with other settings; UserError that ends with a name near a wrong one."""
    from alembert.recipes.overrides import with_settings

    try:
        return with_settings(recipe, settings)
    except UserError as error:
        known = set(_names_in(recipe.model_dump(mode="json")))
        wrong = [key for key in settings if str(error).startswith(f"--set {key}: there is no")]
        parts = [part for key in wrong for part in key.split(".") if part not in known]
        raise UserError(f"{error}{near(parts[0], known) if parts else ''}") from error


def _names_in(tree: Any) -> Iterator[str]:
    """Yield the names of fields, stages and terms; of module:Class, the class."""
    if isinstance(tree, dict):
        yield from tree
        yield from (tree[key].rpartition(":")[2] for key in ("name", "kind") if key in tree)
        for each in tree.values():
            yield from _names_in(each)
    elif isinstance(tree, list):
        for each in tree:
            yield from _names_in(each)
