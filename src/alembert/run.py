"""A run folder: stages in order, evaluation, what is already done is not done again."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from alembert import evaluate, fit, folder, judge
from alembert.data.batches import Batches, Rows
from alembert.data.collate import masking_for
from alembert.data.corpus import read_corpus
from alembert.data.encoded import said_cut
from alembert.data.splits import Files, Splits, prepare
from alembert.distillation import Distillation
from alembert.errors import UserError
from alembert.models.load import load_config, load_model, load_tokenizer, names_of
from alembert.models.new import config_of
from alembert.recipe import Recipe, Stage
from alembert.student import from_scratch, from_teacher
from alembert.train import Watch, precision_of, steps_of, train

Say = Callable[[str], None]
OPTIONS = {"corpus": "--corpus", "task": "--train"}  # what brings the data of a stage


@dataclass(frozen=True)
class Job:
    """One run: a recipe, its models, its data. general_teacher teaches on the corpus."""

    recipe: Recipe
    out: Path
    teacher: str | None = None
    general_teacher: str | None = None
    student: str | None = None
    corpus: str | None = None
    files: Files | None = None
    seed: int = 0
    precision: str = "auto"
    model_at: str = "student"  # where in the folder the result lies; "." for a fine-tuned model

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed {self.seed}: must be 0 or more, and less than 2**63")

    @property
    def result(self) -> Path:
        """The folder of the finished model."""
        return self.out / self.model_at


def run(job: Job, say: Say = print) -> dict[str, Any]:
    """Do what is left of a job; returns metrics.json's content. Raises UserError."""
    stages = _chosen(job, say)
    with folder.claimed(job.out):
        folder.check(job.out, job.recipe, _arguments(job))
        if (job.out / "metrics.json").is_file() and (job.result / "config.json").is_file():
            say(f"{job.out}: finished before; nothing to do")
            return dict(folder.read_json(job.out / "metrics.json"))
        tokenizer = load_tokenizer(job.student or _teacher_of(job, stages[0]) or "")
        splits = _splits(job, stages, tokenizer)
        _check(job, stages, tokenizer, splits)
        accelerator = _accelerator(job)
        if splits is not None and (cut := said_cut(splits.train, splits.valid, splits.test)):
            say(cut)
        last: Path | None = None
        for number, stage in enumerate(stages, start=1):
            place = job.out / "stages" / f"{number:02d}-{stage.name}"
            if not (place / "model" / "config.json").is_file():
                _run_stage(job, stage, place, last, tokenizer, splits, accelerator, say)
            last = place / "model"
        assert last is not None
        folder.copy_model(last, job.result)
        teacher = job.teacher if _imitated(stages) else None
        return judge.judge_run(job.out, job.result, teacher, splits, tokenizer, say)


def _chosen(job: Job, say: Say) -> list[Stage]:
    """Stages whose data is given; what is left out is said."""
    given = {"corpus": job.corpus is not None, "task": job.files is not None}
    chosen = [stage for stage in job.recipe.stages if given[stage.data]]
    for stage in job.recipe.stages:
        if not given[stage.data]:
            say(f"stage '{stage.name}' is left out: it runs when {OPTIONS[stage.data]} is given")
    if not chosen:
        raise UserError(
            f"nothing to run: recipe '{job.recipe.name}' has no stage for the data given: give "
            + " or ".join(sorted({OPTIONS[stage.data] for stage in job.recipe.stages}))
        )
    return chosen


def _arguments(job: Job) -> dict[str, Any]:
    apart = ("recipe", "out", "model_at")
    return {name: value for name, value in asdict(job).items() if name not in apart}


def _teacher_of(job: Job, stage: Stage) -> str | None:
    return (job.general_teacher or job.teacher) if stage.data == "corpus" else job.teacher


def _accelerator(job: Job) -> Accelerator:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision, cpu = precision_of(job.precision, device), device.type == "cpu"
    AcceleratorState._reset_state()  # of an earlier run in this process, with another precision
    return Accelerator(mixed_precision=precision, cpu=cpu)


def _splits(job: Job, stages: list[Stage], tokenizer: PreTrainedTokenizerBase) -> Splits | None:
    if job.files is None:
        return None
    lengths = [stage.max_length for stage in stages if stage.data == "task"]
    known = None
    if job.teacher is not None and _imitated(stages):
        known = names_of(load_config(job.teacher))
    return prepare(job.files, tokenizer, max(lengths, default=128), known, job.seed)


def _check(
    job: Job, stages: list[Stage], tokenizer: PreTrainedTokenizerBase, splits: Splits | None
) -> None:
    """Refuse what one of the stages cannot do before the first is run."""
    source = job.student or _teacher_of(job, stages[0]) or ""
    config = load_config(job.student) if job.student else config_of(job.recipe.student)
    for stage in stages:
        if teacher := _asked(job, stage):
            fit.check_teacher(stage, _head(stage, splits), teacher, source, tokenizer)
        fit.check_length(stage.max_length, config, job.student or "the student")
    fit.check_words(tokenizer, config, source)


def _head(stage: Stage, splits: Splits | None) -> str:
    return "words" if stage.data == "corpus" else _task(splits).task.kind


def _asked(job: Job, stage: Stage) -> str | None:
    """The teacher that a stage imitates, if it imitates one."""
    path = _teacher_of(job, stage) if _needs_teacher(stage) else ""
    if path is None:
        raise UserError(f"stage '{stage.name}' imitates a teacher: name one with --teacher")
    return path or None


def _run_stage(
    job: Job,
    stage: Stage,
    place: Path,
    last: Path | None,
    tokenizer: PreTrainedTokenizerBase,
    splits: Splits | None,
    accelerator: Accelerator,
    say: Say,
) -> None:
    """Train one stage and put its model in place."""
    words = stage.data == "corpus"
    head, labels = _head(stage, splits), () if words else _task(splits).task.labels
    teacher = load_model(path, head) if (path := _asked(job, stage)) else None
    student = _start(job, head, labels, last, teacher)
    rows: Rows
    masking = None
    if words:
        assert job.corpus is not None
        rows = read_corpus(job.corpus, tokenizer, stage.max_length)
        if stage.masking is not None:
            share, rare_words = stage.masking.share, stage.masking.rare_words
            masking = masking_for(tokenizer, share, rare_words, rows.counts)
    else:
        rows = _task(splits).train
    batches = Batches(
        rows, stage.batch_size, job.seed, int(tokenizer.pad_token_id or 0),
        masking, accelerator.process_index, accelerator.num_processes,
    )  # fmt: skip
    steps = steps_of(stage, len(rows))
    distillation = Distillation(
        student, teacher, stage.objective, words=words, projections=job.recipe.projections
    )
    watch = None if words else _watch(stage, student, _task(splits), tokenizer, steps, len(rows))
    folder.open_run(job.out, job.recipe, _arguments(job))
    say(f"stage '{stage.name}': {len(rows):,} sequences, {steps:,} steps of {stage.batch_size}")
    began = time.perf_counter()
    facts = train(
        distillation, stage, batches, steps, place,
        seed=job.seed, accelerator=accelerator, watch=watch,
    )  # fmt: skip
    accelerator.free_memory()  # it would hold this stage's model and optimiser to the end
    facts |= {"seconds": round(time.perf_counter() - began, 1), "steps": steps}
    folder.write_json(place / "facts.json", facts)
    folder.save_model(student, tokenizer, place / "model")
    best = f", best {watch.name} {facts['best']:.4f} at step {facts['best_step']}" if watch else ""
    say(f"stage '{stage.name}': done in {facts['seconds']:.0f} s{best}")


def _task(splits: Splits | None) -> Splits:
    assert splits is not None
    return splits


def _imitated(stages: list[Stage]) -> bool:
    """Whether a task stage asks a teacher: then its labels count, and it is judged too."""
    return any(_needs_teacher(stage) for stage in stages if stage.data == "task")


def _needs_teacher(stage: Stage) -> bool:
    return any(term.kind != "HardLabels" for term in stage.objective)


def _start(
    job: Job, head: str, labels: tuple[str, ...], last: Path | None, teacher: PreTrainedModel | None
) -> PreTrainedModel:
    """The student at the beginning of a stage."""
    source = str(last) if last is not None else job.student
    if source is not None:
        torch.manual_seed(job.seed)  # a head that the checkpoint lacks is drawn at random
        return load_model(source, head, labels=labels, fresh_head=True)
    recipe = job.recipe
    if recipe.init.start == "scratch":
        return from_scratch(recipe.student, head, labels, job.seed)
    if teacher is None and job.teacher is not None:  # its layers, and none of its answers
        teacher = load_model(job.teacher, head, labels=labels, fresh_head=True)
    if recipe.init.start == "checkpoint" or teacher is None:
        raise UserError(
            f"recipe '{recipe.name}' starts from a saved model: name one with --student"
        )
    return from_teacher(recipe.student, head, labels, teacher, recipe.init.layers, job.seed)


def _watch(
    stage: Stage,
    student: PreTrainedModel,
    splits: Splits,
    tokenizer: PreTrainedTokenizerBase,
    steps: int,
    rows: int,
) -> Watch:
    """The held-out slice chooses the best student: each epoch, at most 10 times."""
    epochs = round(steps * stage.batch_size / rows)
    pad = int(tokenizer.pad_token_id or 0)

    def measure() -> float:
        logits = evaluate.predict(student, splits.valid, pad)
        return evaluate.metrics(splits.task, logits, splits.valid)[splits.task.metric]

    return Watch(measure, splits.task.metric, stage.evaluations or min(max(epochs, 3), 10))
