"""The files of a run folder, each written to a temporary name and then renamed."""

import platform
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from alembert.export import static
from alembert.io import checksums
from alembert.io.environment import versions
from alembert.io.errors import UserError
from alembert.io.files import (
    atomic,
    keep,
    keep_checksums,
    keep_json,
    keep_text,
    naming,
    write_json,
)
from alembert.models.architectures import layerless
from alembert.models.loading import quiet
from alembert.recipes.schema import to_yaml
from alembert.runs.folder import ENVIRONMENT, FACTS, LOG, OF_RUN, RECIPE, SKIPPED
from alembert.runs.folder.identity import digests_of_job
from alembert.runs.job import Job

PACKAGES = ("alembert", "torch", "transformers", "accelerate", "tokenizers", "datasets", "python")


def open_run(job: Job) -> None:
    """Write recipe.yaml and environment.json, once."""
    out = job.out
    if (out / RECIPE).is_file():
        return
    environment = {
        "arguments": job.arguments,
        "digests": digests_of_job(job),
        "command": sys.argv,
        "versions": versions(PACKAGES),
        "hardware": {
            "machine": platform.machine(),
            "cpu": torch.cpu.get_capabilities().get("cpu_name"),
            "threads": torch.get_num_threads(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
    }
    write_json(out / ENVIRONMENT, environment)
    keep(out, [ENVIRONMENT])
    keep_text(out / RECIPE, to_yaml(job.recipe))


def keep_skipped(job: Job) -> None:
    """Write the rows that --skip-bad-rows left out, if any, to skipped_rows.json."""
    if job.files is not None and job.files.skips.rows:
        open_run(job)
        write_json(job.out / SKIPPED, [asdict(row) for row in job.files.skips.rows])


def keep_stage(stage_folder: Path, facts: dict[str, Any]) -> None:
    """Write the facts of a stage that is trained, and the checksums of its log and its facts."""
    keep(stage_folder, [LOG])
    keep_json(stage_folder / FACTS, facts)


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, to: Path) -> None:
    """Save model and tokenizer in `to`, which appears complete or not at all, with checksums."""
    with atomic(to) as partial, quiet():
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        keep(partial, sorted(path.name for path in partial.iterdir() if path.is_file()))
        if layerless(model.config):
            static.describe(partial)


def copy_model(source: Path, to: Path) -> None:
    """Copy a saved model's files to `to`, config.json last, which marks the copy as complete.

    Checksums are those of the source, so that an error of the copying shows too.
    """
    apart = (checksums.FILE, "config.json")
    for name in sorted(path.name for path in source.iterdir() if path.name not in apart):
        copy_file(source / name, to / name)
    if known := checksums.recorded(source):
        keep_checksums(to, known)
    copy_file(source / "config.json", to / "config.json")


def export_model(model: Path, to: Path) -> None:
    """Copy a model with its tokenizer, card and exports into `to`, but nothing of its run."""
    if not model.is_dir():
        raise UserError(f"{model}: no such folder; check the path")
    if not (model / "config.json").is_file():
        raise UserError(f"{model}: holds no model; check the path")
    if to.is_dir() and any(to.iterdir()):
        raise UserError(f"{to}: is not empty: choose a new folder, or delete it")
    with naming(to):
        shutil.copytree(model, to, ignore=shutil.ignore_patterns(*OF_RUN), dirs_exist_ok=True)


def copy_file(source: Path, to: Path) -> None:
    """Copy a file, which appears complete or not at all."""
    with atomic(to) as partial:
        shutil.copyfile(source, partial)
