"""The files of a run folder, each written to a temporary name and then renamed."""

import json
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from alembert.io.environment import versions
from alembert.io.errors import UserError
from alembert.io.files import atomic, read_json, write_json, write_text
from alembert.models.loading import quiet
from alembert.recipes.schema import Recipe, from_yaml, to_yaml

PROSE = {"paper", "deviations"}  # a recipe with other prose is the same run
PACKAGES = ("alembert", "torch", "transformers", "accelerate", "tokenizers", "datasets", "python")


def check(out: Path, recipe: Recipe, arguments: dict[str, Any]) -> None:
    """Raise UserError for a folder of another recipe, other arguments or other files."""
    at = out / "recipe.yaml"
    if not at.is_file():
        opening = (".lock", "environment.json")  # left by a run that was killed in open_run
        others = sorted(
            p.name for p in out.iterdir() if p.name not in opening and p.suffix != ".partial"
        )
        if others:
            raise UserError(f"{out}: holds {others[0]} and no run: choose an empty or new folder")
        return
    there, here = (_flat(r.model_dump(mode="json", exclude=PROSE)) for r in (from_yaml(at), recipe))
    there |= _flat(read_json(out / "environment.json")["arguments"], "arguments")
    here |= _flat(json.loads(json.dumps(arguments)), "arguments")
    for key in here | there:
        if here.get(key) != there.get(key):
            raise UserError(
                f"{out}: holds another run: {key} is {there.get(key)!r} there and {here.get(key)!r}"
                " here: choose another --out, or delete the folder"
            )


def open_run(out: Path, recipe: Recipe, arguments: dict[str, Any]) -> None:
    """Write recipe.yaml and environment.json, once."""
    if (out / "recipe.yaml").is_file():
        return
    environment = {
        "arguments": arguments,
        "command": sys.argv,
        "versions": versions(PACKAGES),
        "hardware": {
            "machine": platform.machine(),
            "cpu": torch.cpu.get_capabilities().get("cpu_name"),
            "threads": torch.get_num_threads(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
    }
    write_json(out / "environment.json", environment)
    write_text(out / "recipe.yaml", to_yaml(recipe))


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, to: Path) -> None:
    """Save model and tokenizer in `to`, which appears complete or not at all."""
    with atomic(to) as partial, quiet():
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)


def copy_model(source: Path, to: Path) -> None:
    """Copy a saved model's files to `to`, config.json last, which marks the copy as complete."""
    names = sorted((p.name for p in source.iterdir()), key=lambda name: name == "config.json")
    for name in names:
        with atomic(to / name) as partial:
            shutil.copyfile(source / name, partial)


def _flat(tree: Any, at: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        items: Any = tree.items()
    elif isinstance(tree, list):
        items = enumerate(tree)
    else:
        return {at: tree}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat |= _flat(value, f"{at}.{key}" if at else str(key))
    return flat
