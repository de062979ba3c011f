"""What lies in a run folder, and how it is written: to a temporary name, then renamed."""

import json
import platform
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from alembert.io.errors import UserError
from alembert.io.files import atomic, read_json, write_json, write_text
from alembert.recipes.schema import Recipe, from_yaml, to_yaml

PROSE = {"paper", "deviations"}  # of a recipe: reworded, it is the same run
PACKAGES = ("alembert", "torch", "transformers", "accelerate", "tokenizers", "datasets")


def check(out: Path, recipe: Recipe, arguments: dict[str, Any]) -> None:
    """Refuse a folder that holds something else: another recipe, other arguments, other files."""
    at = out / "recipe.yaml"
    if not at.is_file():
        ours = (".lock", "environment.json")  # a run that was killed while it opened its folder
        strangers = sorted(
            p.name for p in out.iterdir() if p.name not in ours and p.suffix != ".partial"
        )
        if strangers:
            raise UserError(
                f"{out}: holds {strangers[0]} and no run: choose an empty or new folder"
            )
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
        "versions": {name: version(name) for name in PACKAGES} | {"python": sys.version.split()[0]},
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
    """save_pretrained of model and tokenizer, in place at once."""
    with atomic(to) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)


def copy_model(source: Path, to: Path) -> None:
    """The files of a saved model at a second place; beside other files, config.json comes last."""
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
    found: dict[str, Any] = {}
    for key, value in items:
        found |= _flat(value, f"{at}.{key}" if at else str(key))
    return found
