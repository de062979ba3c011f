"""What lies in a run folder, and how it is written: to a temporary name, then renamed."""

import fcntl
import json
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from alembert.errors import UserError
from alembert.recipe import Recipe, from_yaml, to_yaml

PACKAGES = ("alembert", "torch", "transformers", "accelerate", "tokenizers", "datasets")


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """The folder, made if need be and held by this process alone."""
    new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / ".lock").open("w")
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written ({error.strerror}): choose another --out"
        ) from error
    try:
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"{out}: another process is running in this folder") from error
            yield
    finally:
        left = {path.name for path in out.iterdir()} if out.is_dir() else set()
        if new and left <= {".lock"}:  # refused before anything was begun
            shutil.rmtree(out, ignore_errors=True)


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
    there = _flat(from_yaml(at).model_dump(mode="json"))
    here = _flat(recipe.model_dump(mode="json"))
    there |= _flat(json.loads((out / "environment.json").read_text())["arguments"], "arguments")
    here |= _flat(json.loads(json.dumps(arguments)), "arguments")
    for key in here.keys() | there.keys():
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


def read_json(path: Path) -> Any:
    """A JSON file's content."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Put a JSON file in place at once."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, content: str) -> None:
    """Put a text file in place at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(content, encoding="utf-8")
    partial.replace(path)


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, to: Path) -> None:
    """save_pretrained of model and tokenizer, in place at once."""
    partial = to.with_name(to.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    _put(partial, to)


def copy_model(source: Path, to: Path) -> None:
    """The files of a saved model at a second place; beside other files, config.json comes last."""
    names = sorted((p.name for p in source.iterdir()), key=lambda name: name == "config.json")
    to.mkdir(parents=True, exist_ok=True)
    for name in names:
        partial = to / (name + ".partial")
        shutil.copyfile(source / name, partial)
        partial.replace(to / name)


def _put(partial: Path, to: Path) -> None:
    if to.exists():
        shutil.rmtree(to)
    partial.replace(to)


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
