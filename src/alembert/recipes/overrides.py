"""Single settings of a recipe that are changed: --set, and the options that stand for one."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from alembert.io.errors import UserError, near
from alembert.io.parsing import yaml_of
from alembert.recipes.schema import Recipe, validated

LENGTHS = ("steps", "epochs", "until")  # of a stage: exactly one


def with_settings(recipe: Recipe, settings: dict[str, str]) -> Recipe:
    """Return a validated copy changed by {"stages.NAME.FIELD" or "FIELD.FIELD": YAML value}.

    A NAME may have stars: stages.transfer-*.steps sets the steps of all stages that it matches. A
    term or a stage that is set to null is removed. Raises UserError; for a name that there is not,
    it ends with one that is near.
    """
    plain = recipe.model_dump(mode="json")
    for key, text in settings.items():
        *path, last = key.split(".")
        targets: list[Any] = [plain]
        for part in path:
            targets = _step_into(targets, part, key, plain)
        lists = [target for target in targets if isinstance(target, list)]
        if text == "null" and any(last in _named(target) for target in lists):
            for target in lists:
                target[:] = [entry for entry in target if last not in _named([entry])]
            continue
        for target in targets:
            _set(target, last, text, key, plain)
    return validated(plain, "--set")


def _set(target: Any, last: str, text: str, key: str, plain: dict[str, Any]) -> None:
    if not isinstance(target, dict) or (last not in target and target is not plain["student"]):
        known = ", ".join(target) if isinstance(target, dict) else "nothing below it"
        hint = _hint(last, plain)
        raise UserError(f"--set {key}: there is no field '{last}' here: {known}{hint}")
    try:
        target[last] = yaml_of(text)
    except ValueError as error:
        raise UserError(
            f"--set {key}: {text!r:.60} is not a value: write it as YAML ({error})"
        ) from error
    if last in LENGTHS and "batch_size" in target and target[last] is not None:
        target |= dict.fromkeys(set(LENGTHS) - {last})


def _named(entries: list[Any]) -> dict[Any, Any]:
    """Return stages by their names, or terms by their kinds; of module:Class, by the class."""
    named = {e.get("name", e.get("kind")): e for e in entries if isinstance(e, dict)}
    return {str(name).rpartition(":")[2]: entry for name, entry in named.items()}


def _step_into(targets: list[Any], part: str, key: str, plain: dict[str, Any]) -> list[Any]:
    """Return the values that a part of a key names in the targets; UserError for none."""
    values: list[Any] = []
    named: dict[Any, Any] = {}
    for target in targets:
        entries = _named(target) if isinstance(target, list) else {}
        named |= entries
        values += [entries[name] for name in entries if fnmatchcase(name, part)]
        if isinstance(target, dict) and part in target:
            values.append(target[part])
    if values:
        return values
    hint = _hint(part, plain)
    if named:
        choice = f"choose one of {', '.join(named)}"
        raise UserError(f"--set {key}: there is no '{part}': {choice}{hint}")
    raise UserError(f"--set {key}: there is no field '{part}' in the recipe{hint}")


def _hint(wrong: str, plain: dict[str, Any]) -> str:
    """Return a phrase with the recipe's name that is near a wrong one, if there is one."""
    known = set(_names_in(plain))
    return "" if wrong in known else near(wrong, known)


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
