"""The inputs that a run or a search was started with, by content, compared with a command's."""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alembert.data.corpus.corpus import corpus_digest
from alembert.data.splits import Files
from alembert.io import checksums
from alembert.io.errors import UserError
from alembert.io.files import cache, read_json
from alembert.io.named import code_digest, module_file
from alembert.models.loading import digest_of
from alembert.recipes.schema import Recipe, from_yaml, with_run
from alembert.runs.folder import ANOTHER, ENVIRONMENT, RECIPE, STAGES, TEACHER
from alembert.runs.job import Job

log = logging.getLogger(__name__)

PROSE = {"paper", "deviations"}  # a recipe with other prose is the same run
ROWS, TEXT = "its rows are not those", "its text is not the text"
CODE = "its code is not the code"
WEIGHTS = "its weights, config or tokenizer are not those"


@dataclass(frozen=True)
class Identity:
    """Fields and arguments by name, and the sha256 of the content of each input among them.

    An input may be moved: its path counts only where it has no digest. `digests` is None where an
    earlier version wrote the folder.
    """

    fields: Mapping[str, Any]
    digests: Mapping[str, str] | None

    @property
    def name(self) -> str:
        """A name for a folder: the same for the same content, wherever its files lie."""
        digests = self.digests or {}
        told = {
            key: value
            for key, value in self.fields.items()
            if key.removeprefix("arguments.") not in digests
        }
        content = json.dumps([told, dict(digests)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:20]

    def check(self, out: Path, kind: str, given: "Identity") -> None:
        """Raise UserError where the folder `out`, whose run or search this is, is given others."""
        if self.digests is None:
            log.info(
                f"{out}: an earlier version began this {kind} and kept no digests: its inputs are "
                "compared by name"
            )
        there, here = self.digests or {}, given.digests or {}
        both = [name for name in here if name in there]
        for key in {**given.fields, **self.fields}:
            before, now = self.fields.get(key), given.fields.get(key)
            if before != now and key.removeprefix("arguments.") not in both:
                raise UserError(
                    f"{out}: holds another {kind}: {key} is {before!r} there and {now!r} here: "
                    f"{ANOTHER}"
                )
        for name in both:
            if here[name] != there[name]:
                what = TEXT if name in ("corpus", "vectors") else WEIGHTS
                what = ROWS if name.startswith("files.") else what
                what = CODE if name.startswith("module ") else what
                path = given.fields.get(f"arguments.{name}") or given.fields.get(name) or name
                raise UserError(
                    f"{path}: {what} that the {kind} in {out} was started with: put it back, "
                    f"{ANOTHER}"
                )


def check_free(out: Path, own: str | None = None) -> None:
    """Raise UserError for a folder with other files than a run; `own` is one that may be there."""
    opening = (".lock", ENVIRONMENT, checksums.FILE, own)  # left by one that was killed in open_run
    if not out.is_dir() or (out / RECIPE).is_file():
        return
    others = sorted(
        path.name
        for path in out.iterdir()
        if path.name not in opening and path.suffix != ".partial"
    )
    if others:
        raise UserError(f"{out}: holds {others[0]} and no run: choose an empty or new folder")


def check_run(job: Job) -> None:
    """Raise UserError for a folder of another recipe, other arguments or other inputs."""
    at = job.out / RECIPE
    if not at.is_file():
        # what was fine-tuned for this run
        check_free(job.out, TEACHER if job.teacher == str(job.out / TEACHER) else None)
        return
    recipe, environment = from_yaml(at), read_json(job.out / ENVIRONMENT)
    before = _fields(*_of_today(recipe, environment["arguments"]))
    there = Identity(before, environment.get("digests"))
    digests = digests_of_job(job) if there.digests else None
    code = {name: value for name, value in (digests or {}).items() if name.startswith("module ")}
    untrained = code and not any((job.out / STAGES).glob("*/*/*.safetensors"))
    if untrained and there.digests:
        there = replace(there, digests={**there.digests, **code})
    there.check(job.out, "run", Identity(_fields_of(job), digests))
    changed = sorted(dict(code.items() - environment["digests"].items())) if untrained else []
    if changed:
        log.info(f"{', '.join(changed)}: is changed, and nothing was trained: it begins anew")
        shutil.rmtree(job.out / STAGES, ignore_errors=True)
        at.unlink()


def cached_folder(verb: str, job: Job, **more: Any) -> Path:
    """Return the folder in the user's cache of a run that was given none.

    The same call has the same one; other content, settings or `more` arguments have another.
    """
    fields = _fields_of(job) | flat(json.loads(json.dumps(more)))
    return cache("runs") / f"{verb}-{Identity(fields, digests_of_job(job)).name}"


def digests_of_job(job: Job) -> dict[str, str]:
    """Return the digest of each input of a run, by the name of its argument."""
    models = {
        "teacher": job.teacher, "general_teacher": job.general_teacher, "student": job.student,
        "mlm": job.mlm, **{f"more_teachers.{i}": path for i, path in enumerate(job.more_teachers)},
    }  # fmt: skip
    found = digests_of(models, job.files)
    if job.corpus is not None:
        found["corpus"] = corpus_digest(job.corpus)
    for name in job.recipe.own:
        if (at := module_file(name)) is not None:
            found[f"module {name.partition(':')[0]}"] = checksums.sha256_of(at)
        else:
            found[f"module {name}"] = code_digest(name)
    if job.vectors is not None:
        found["vectors"] = checksums.sha256_of(Path(job.vectors).expanduser())
    return found


def digests_of(models: Mapping[str, str | None], files: Files | None) -> dict[str, str]:
    """Return the digest of each model and of each file's rows, "files.train" and so on."""
    found = {name: digest_of(path) for name, path in models.items() if path is not None}
    if files is not None:
        found |= {f"files.{name}": source.digest for name, source in files.sources.items()}
    return found


def flat(tree: Any, at: str = "") -> dict[str, Any]:
    """Return the leaves of nested dicts and lists by their paths, "a.0.b"."""
    if isinstance(tree, dict):
        items: Any = tree.items()
    elif isinstance(tree, list):
        items = enumerate(tree)
    else:
        return {at: tree}
    leaves: dict[str, Any] = {}
    for key, value in items:
        leaves |= flat(value, f"{at}.{key}" if at else str(key))
    return leaves


def _of_today(recipe: Recipe, arguments: dict[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """Return what a folder holds; earlier versions kept settings of `run` among the arguments."""
    kept = dict(arguments)
    run = {name: kept.pop(name) for name in ("seed", "precision", "vocabulary") if name in kept}
    if caching := kept.pop("caching", None):
        run |= {"cache_teacher": True} | {f"cache_{name}": caching[name] for name in caching}
    return (with_run(recipe, **run) if run else recipe), kept


def _fields_of(job: Job) -> dict[str, Any]:
    return _fields(job.recipe, json.loads(json.dumps(job.arguments)))


def _fields(recipe: Recipe, arguments: Any) -> dict[str, Any]:
    return flat(recipe.model_dump(mode="json", exclude=PROSE)) | flat(arguments, "arguments")
