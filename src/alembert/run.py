"""A run folder: stages in order, evaluation, what is already done is not done again."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from alembert import evaluate, folder, judge
from alembert.data.batches import Batches, Rows
from alembert.data.collate import masking_for
from alembert.data.corpus import read_corpus
from alembert.data.splits import Files, Splits, prepare
from alembert.distillation import Distillation
from alembert.errors import UserError
from alembert.models.load import load_config, load_model, load_tokenizer, names_of
from alembert.objective import reads
from alembert.recipe import Recipe, Stage
from alembert.student import from_scratch, from_teacher
from alembert.trace import Reads
from alembert.train import Watch, precision_of, steps_of, train

Say = Callable[[str], None]


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
            found: dict[str, Any] = folder.read_json(job.out / "metrics.json")
            return found
        tokenizer = load_tokenizer(job.student or _teacher_of(job, stages[0]) or "")
        splits = _splits(job, stages, tokenizer)
        folder.open_run(job.out, job.recipe, _arguments(job))
        accelerator = _accelerator(job)
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
            option = "--corpus" if stage.data == "corpus" else "--train"
            say(f"stage '{stage.name}' is left out: it runs when {option} is given")
    if not chosen:
        raise UserError(
            f"nothing to run: recipe '{job.recipe.name}' has no stage for the data given"
        )
    return chosen


def _arguments(job: Job) -> dict[str, Any]:
    apart = ("recipe", "out", "model_at")
    return {name: value for name, value in asdict(job).items() if name not in apart}


def _teacher_of(job: Job, stage: Stage) -> str | None:
    return (job.general_teacher or job.teacher) if stage.data == "corpus" else job.teacher


def _accelerator(job: Job) -> Accelerator:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = precision_of(job.precision, device)
    return Accelerator(mixed_precision=precision, cpu=device.type == "cpu")


def _splits(job: Job, stages: list[Stage], tokenizer: PreTrainedTokenizerBase) -> Splits | None:
    if job.files is None:
        return None
    lengths = [stage.max_length for stage in stages if stage.data == "task"]
    known = None
    if job.teacher is not None and _imitated(stages):
        known = names_of(load_config(job.teacher))
    return prepare(job.files, tokenizer, max(lengths, default=128), known, job.seed)


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
    head = "words" if words else _task(splits).task.kind
    labels = () if words else _task(splits).task.labels
    teacher = None
    if _needs_teacher(stage):
        path = _teacher_of(job, stage)
        if path is None:
            raise UserError(f"stage '{stage.name}' imitates a teacher: name one with --teacher")
        teacher = load_model(path, head)
    student = _start(job, head, labels, last, teacher)
    _check_fit(stage, student, teacher, tokenizer, job)
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
    say(f"stage '{stage.name}': {len(rows):,} sequences, {steps:,} steps of {stage.batch_size}")
    began = time.perf_counter()
    facts = train(
        distillation, stage, batches, steps, place,
        seed=job.seed, accelerator=accelerator, watch=watch,
    )  # fmt: skip
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
    return reads(stage.objective, 1, 1, stage.data == "corpus")[1] != Reads()


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


def _check_fit(
    stage: Stage,
    student: PreTrainedModel,
    teacher: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    job: Job,
) -> None:
    """Length and words must fit both models before anything is trained."""
    for name, model in (("student", student), ("teacher", teacher)):
        if model is None:
            continue
        room = int(model.config.max_position_embeddings)
        if model.config.model_type in ("roberta", "xlm-roberta"):
            room -= int(model.config.pad_token_id) + 1
        if stage.max_length > room:
            raise UserError(
                f"stage '{stage.name}': max_length {stage.max_length} is more than the {room} "
                f"positions of the {name}: set --max-length {room} or less"
            )
    if teacher is None or job.student is None:
        return
    path = _teacher_of(job, stage) or ""
    if load_tokenizer(path).get_vocab() != tokenizer.get_vocab():
        raise UserError(
            f"{job.student} and {path} have different vocabularies: the student would read other "
            "words than its teacher; use a student made with this teacher's tokenizer"
        )


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
