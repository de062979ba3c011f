"""Training as one call each: finetune, distill, tune and search, and check before them."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from alembert.api import options as o
from alembert.api.first_run import BUILTIN, TEACHER_PACKAGE, builtin_teacher
from alembert.api.given import plain
from alembert.api.model import Model
from alembert.api.seeds import repeat
from alembert.io.environment import missing
from alembert.io.errors import UserError, leads

if TYPE_CHECKING:
    from alembert.data.splits import Files
    from alembert.recipes.schema import Recipe
    from alembert.runs.job import Job
    from alembert.runs.preview import Preview
    from alembert.search.tune import Trial

log = logging.getLogger(__name__)

Named = str | Path | Model  # a model: a folder, a hub id, or what a function here returned


@plain
def finetune(
    model: Named, out: str | Path | None = None, **options: Unpack[o.FinetuneOptions]
) -> Model:
    """Fine-tune a model on a task (train) or by MLM (corpus), in the run folder `out`.

    Without `out` the run is kept in the user's cache. The same call resumes an interrupted run, and
    returns the model of a finished one. Raises UserError that names what is wrong, and the
    fix.
    """
    from alembert.runs.job import Job
    from alembert.runs.run import run

    o.check_names(options, o.FinetuneOptions, "finetune")
    if (count := options.pop("seeds", None)) is not None:
        return repeat(
            lambda folder, seed: finetune(model, folder, **(options | {"seed": seed})),
            out, options.get("seed") or 0, count,
        )  # fmt: skip
    files = o.checked_files(options, [_path(model)], out=out)
    recipe = _fine_tuning(_path(model), options)
    job = _placed("finetune", out, Job(
        recipe=recipe, out=Path(), student=_path(model),
        corpus=options.get("corpus"), files=files,
        model_at=".", callbacks=o.callbacks_of(options),
        track=tuple(options.get("track") or ()), slices=tuple(options.get("slices") or ()),
        baselines=options.get("baselines") is not False,
    ))  # fmt: skip
    run(job)
    _present(job.out, reported=False)
    return Model(job.out)


@plain
def distill(
    teacher: Named | Sequence[Named],
    recipe: "str | Recipe" = "house",
    *,
    out: str | Path | None = None,
    **options: Unpack[o.DistillOptions],
) -> Model:
    """Distil a teacher into a student, on a corpus, a task or both, in the run folder `out`.

    A teacher that was not trained for a task is fine-tuned on it first, in the folder `teacher` of
    the run. Several teachers are averaged. recipe is a name, a YAML file or a Recipe. Without `out`
    the run is kept in the user's cache. The same call resumes an interrupted run, and returns the
    student of a finished one. Raises UserError that names what is wrong, and the fix.
    """
    from alembert.runs.job import Job
    from alembert.runs.run import run

    o.check_names(options, o.DistillOptions, "distill")
    if (count := options.pop("seeds", None)) is not None:
        return repeat(
            lambda folder, seed: distill(teacher, recipe, out=folder, **(options | {"seed": seed})),
            out, options.get("seed") or 0, count,
        )  # fmt: skip
    first, *more = _paths(teacher)
    files = o.checked_files(options, [first, *more], recipe, out)
    chosen = _chosen(recipe, first, files, options)
    general = options.get("general_teacher")
    imitated = any(stage.imitates for stage in chosen.stages if stage.data == "task")
    if files is not None and imitated and not more:
        first, given = _fine_tuned(first, out, options), first
        if first != given and options.get("corpus") is not None:
            general = general or given  # which no task has moved
    job = _placed(
        "distill",
        out,
        Job(
            recipe=chosen,
            out=Path(),
            teacher=first,
            general_teacher=general,
            student=options.get("student"),
            corpus=options.get("corpus"),
            files=files,
            mlm=options.get("mlm"),
            vectors=options.get("vectors"),
            more_teachers=tuple(more),
            callbacks=o.callbacks_of(options),
            track=tuple(options.get("track") or ()),
            slices=tuple(options.get("slices") or ()),
            export=options.get("export") is not False,
            baselines=options.get("baselines") is not False,
            undistilled=bool(options.get("with_undistilled")),
        ),
    )
    run(job)
    _present(job.out)
    return Model(job.out)


@plain
def tune(
    teacher: Named | Sequence[Named],
    recipe: "str | Recipe",
    tries: Sequence[str],
    *,
    out: str | Path | None = None,
    trials: int | None = None,
    **options: Unpack[o.TuneOptions],
) -> "list[Trial]":
    """Try values of a recipe's settings by texts held out of train; return the trials, best first.

    tries are "FIELD=V1,V2"; all mixes are tried, or `trials` random ones. The best is written to
    recipe.yaml in `out`, by default a folder of the user's cache. Raises UserError.
    """
    from alembert.runs.job import Job
    from alembert.search.tune import tune

    o.check_names(options, o.TuneOptions, "tune")
    first, *more = _paths(teacher)
    files = o.checked_files(options, [first, *more], recipe)
    base = Job(
        recipe=_chosen(recipe, first, files, options),
        out=Path(),
        teacher=first,
        student=options.get("student"),
        files=files,
        more_teachers=tuple(more),
    )
    base = _placed("tune", out, base, tries=list(tries), trials=trials)
    return tune(base, tries, trials)


@plain
def search(
    teacher: Named,
    out: str | Path | None = None,
    **options: Unpack[o.SearchOptions],
) -> Model:
    """Find a student for a latency, a speedup or a share of quality, in the run folder `out`.

    A teacher that was not trained for a task is fine-tuned on it first. Without `out` the search is
    kept in the user's cache. Raises UserError for a budget that no student meets.
    """
    try:
        import_module("onnx")
    except ModuleNotFoundError as error:
        raise UserError(missing(error.name, "search")) from error
    from alembert.recipes.schema import Run
    from alembert.search.identity import cached_folder, searched
    from alembert.search.search import search
    from alembert.search.space import USUAL, VOCABULARIES, Budget

    o.check_names(options, o.SearchOptions, "search")
    path = _path(teacher)
    files = searched(o.checked_files(options, [path]))
    vocabulary = options.get("vocabulary", "all")
    if vocabulary not in ("both", *VOCABULARIES):
        raise UserError(f"--vocabulary {vocabulary}: choose both, task or all")
    settings = Run(seed=options.get("seed") or 0, precision=options.get("precision") or "auto")
    recipes = options.get("recipes")
    budget = Budget(
        max_latency_ms=options.get("max_latency_ms"),
        min_retention=options.get("min_retention"),
        trials=options.get("trials", 9),
        steps=options.get("steps", 100),
        epochs=options.get("epochs"),
        length=options.get("length"),
        recipes=USUAL if recipes is None else tuple(dict.fromkeys(recipes.split(","))),
        vocabularies=VOCABULARIES if vocabulary == "both" else (vocabulary,),
        min_speedup=options.get("min_speedup"),
    )
    max_length, metric = options.get("max_length", 128), o.metric_of(options)
    path = _fine_tuned(path, out, options)
    if out is None:
        told = {"max_length": max_length, "metric": metric, "budget": asdict(budget)}
        told |= {"seed": settings.seed, "precision": settings.precision}
        out = cached_folder(path, files, told)
        log.info(f"the search is kept in {out}")
    result = search(
        budget,
        path,
        files,
        Path(out),
        max_length,
        settings.seed,
        settings.precision,
        _present,
        metric,
    )
    log.info(result)
    return Model(out)


@plain
def check(
    *,
    teacher: Named | None = None,
    recipe: "str | Recipe | None" = None,
    **options: Unpack[o.CheckOptions],
) -> "Preview":
    """Return what a training on `train` would read and how long it is, without training.

    With a teacher a few steps are measured: of its fine-tuning, or of its distillation by `recipe`.
    Nothing is kept on disk. Raises UserError for what a training refuses; rows that cannot be read
    are listed.
    """
    from alembert.runs.job import Job
    from alembert.runs.preview import preview, preview_job

    o.check_names(options, o.CheckOptions, "check")
    path = None if teacher is None else _path(teacher)
    files = o.checked_files(options, [path], recipe)
    if files is None:
        raise UserError("a check needs texts to learn from: give --train")
    if recipe is not None:
        chosen = _chosen(recipe, path, files, options)
    else:
        for name in ("student", "layers", "hidden_size"):
            if options.get(name) is not None:
                option = name.replace("_", "-")
                raise UserError(f"--{option} is for a distillation: name its recipe with --recipe")
        chosen = _fine_tuning(path, options)
    if path is None:
        return preview(files, chosen)
    if recipe is not None and _lacks_head(path):
        log.info(f"{path}: distill would fine-tune it first, and that is what is measured")
        recipe, chosen = None, _fine_tuning(path, options)
    if recipe is None:
        return preview_job(Job(recipe=chosen, out=Path(), student=path, files=files))
    student = options.get("student")
    return preview_job(Job(recipe=chosen, out=Path(), teacher=path, student=student, files=files))


def _placed(verb: str, out: str | Path | None, job: "Job", **more: Any) -> "Job":
    """Return the job in the folder `out`, or without one in its own folder of the cache."""
    from alembert.runs.folder.identity import cached_folder

    if out is None:
        out = cached_folder(verb, job, **more)
        log.info(f"the run is kept in {out}")
    return replace(job, out=Path(out))


def _present(out: Path, reported: bool = True) -> None:
    """Write the model card of a run, and its report unless there is one."""
    if not leads():
        return
    from alembert.report import model_card, page

    model_card.write(out)
    if reported and not (out / "report.html").is_file():
        page.attempt([out], None)


def _fine_tuned(
    teacher: str, out: str | Path | None, options: o.DistillOptions | o.SearchOptions
) -> str:
    """Return the teacher of a task: the given one, fine-tuned first where it has no task's head."""
    from alembert.runs.folder import TEACHER

    if not _lacks_head(teacher):
        return teacher
    log.info(
        f"{BUILTIN if TEACHER_PACKAGE in teacher else teacher}: was not trained for a task: it is "
        "fine-tuned first ('alembert check' with the same options says how long both take)"
    )
    names = (*o.Texts.__annotations__, "unlabelled", "seed", "precision", "max_length")
    given: Any = {name: value for name, value in options.items() if name in names}
    return _path(finetune(teacher, None if out is None else Path(out) / TEACHER, **given))


def _lacks_head(model: str) -> bool:
    from alembert.models.loading import label_names_of, load_config

    return label_names_of(load_config(model)) is None


def _fine_tuning(model: str | None, options: o.FinetuneOptions | o.CheckOptions) -> "Recipe":
    """Return the recipe that fine-tunes a model, or BERT-base, with what the keywords change."""
    from transformers import BertConfig

    from alembert.models.loading import load_config
    from alembert.recipes.finetune import finetune as recipe_for
    from alembert.recipes.overrides import with_settings

    recipe = recipe_for(BertConfig() if model is None else load_config(model))
    changes = o.changes_of(recipe, options)
    shaping = {k: v for k, v in changes.items() if (k, v) != ("init.start", "scratch")}
    o.check_unshaped(
        shaping, "the model keeps its shape and weights (init.start=scratch draws new weights)"
    )
    return with_settings(recipe, changes)


def _chosen(
    recipe: "str | Recipe", teacher: str | None, files: "Files | None", options: o.TuneOptions
) -> "Recipe":
    """Return the recipe, given or by its name or file, with what the keywords change.

    A named one is for a teacher of this shape, or without one for BERT-base.
    """
    from transformers import BertConfig

    from alembert.models.loading import load_config
    from alembert.recipes.choose import choose_recipe
    from alembert.recipes.overrides import with_settings

    student = options.get("student")
    chosen = choose_recipe(
        recipe, BertConfig() if teacher is None else load_config(teacher), student,
        options.get("layers"), options.get("hidden_size"), files,
    )  # fmt: skip
    changes = o.changes_of(chosen, options)
    if student:
        o.check_unshaped(changes, "--student keeps its shape and weights; leave one of the two out")
    return with_settings(chosen, changes)


def _path(model: Named) -> str:
    if model == BUILTIN and not Path(BUILTIN).exists():
        return builtin_teacher()
    return str(model.folder if isinstance(model, Model) else model)


def _paths(models: Named | Sequence[Named]) -> list[str]:
    several = isinstance(models, Sequence) and not isinstance(models, str)
    return [_path(each) for each in models] if several else [_path(models)]  # type: ignore[union-attr, arg-type]
