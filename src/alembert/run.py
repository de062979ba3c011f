"""A run folder: stages in order, evaluation, what is already done is not done again."""

import time
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from alembert import evaluate, fit, folder, judge
from alembert.answers import answered
from alembert.data.batches import Batches, Rows
from alembert.data.collate import Masking, masking_for
from alembert.data.corpus import Corpus, read_corpus
from alembert.data.encoded import Encoded, said_cut
from alembert.data.splits import Splits, prepare
from alembert.distillation import Distillation, check_layers
from alembert.job import Job, Say, head_of, judged, longest
from alembert.models.load import load_config, load_model, load_tokenizer, names_of
from alembert.models.new import config_of
from alembert.recipe import Stage
from alembert.start import sample_of, student_for
from alembert.trace import Reads
from alembert.train import Watch, precision_of, steps_of, train
from alembert.variants import varied

ANSWERS = Reads(logits=True)


def run(job: Job, say: Say = print) -> dict[str, Any]:
    """Do what is left of a job; returns metrics.json's content. Raises UserError.

    Of several processes (torchrun, accelerate launch) one leads: it alone speaks and writes.
    """
    patience = timedelta(hours=4)  # of the others, while the one that leads evaluates
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=patience)
    leads = state.is_main_process
    say = say if leads else _silent
    stages = job.stages(say)
    with folder.claimed(job.out) if leads else nullcontext():
        if leads:
            folder.check(job.out, job.recipe, job.arguments)
        state.wait_for_everyone()
        if (job.out / "metrics.json").is_file() and (job.result / "config.json").is_file():
            say(f"{job.out}: finished before; nothing to do")
            return dict(folder.read_json(job.out / "metrics.json"))
        tokenizer = load_tokenizer(job.student or job.teacher_for(stages[0]) or "")
        with state.main_process_first():  # what it makes, the others find
            splits = _splits(job, stages, tokenizer)
            _check(job, stages, tokenizer, splits)
            splits = varied(job, stages, splits, tokenizer, say)
        accelerator = _accelerator(job)
        if splits is not None and (cut := said_cut(splits.train, splits.valid, splits.test)):
            say(cut)
        last: Path | None = None
        for number, stage in enumerate(stages, start=1):
            place = job.out / "stages" / f"{number:02d}-{stage.name}"
            if not (place / "model" / "config.json").is_file():
                _run_stage(job, stage, place, last, tokenizer, splits, accelerator, say)
            state.wait_for_everyone()
            last = place / "model"
        assert last is not None
        if leads:
            folder.copy_model(last, job.result)
            teacher = job.teacher if judged(stages) else None
            judge.judge_run(job.out, job.result, teacher, splits, tokenizer, say)
        state.wait_for_everyone()
        return dict(folder.read_json(job.out / "metrics.json"))


def _silent(_: str) -> None:
    """What a process that does not lead says."""


def _accelerator(job: Job) -> Accelerator:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision, cpu = precision_of(job.precision, device), device.type == "cpu"
    AcceleratorState._reset_state()  # of an earlier run in this process, with another precision
    return Accelerator(mixed_precision=precision, cpu=cpu)


def _splits(job: Job, stages: list[Stage], tokenizer: PreTrainedTokenizerBase) -> Splits | None:
    if job.files is None:
        return None
    known = None
    if job.teacher is not None and judged(stages):
        known = names_of(load_config(job.teacher))
    return prepare(job.files, tokenizer, longest(stages), known, job.seed)


def _check(
    job: Job, stages: list[Stage], tokenizer: PreTrainedTokenizerBase, splits: Splits | None
) -> None:
    """Refuse what one of the stages cannot do before the first is run."""
    source = job.student or job.teacher_for(stages[0]) or ""
    config = load_config(job.student) if job.student else config_of(job.recipe.student)
    read: set[tuple[str, str]] = set()
    for stage in stages:
        if teacher := job.asked(stage):
            fit.check_teacher(stage, teacher, source, tokenizer)
            taught = load_config(teacher)
            fit.check_precision(job.precision, taught, teacher)
            check_layers(config, taught, stage.objective, job.recipe.projections)
            read.add((teacher, head_of(stage, splits)))
        fit.check_length(stage.max_length, config, job.student or "the student")
    fit.check_words(tokenizer, config, source)
    fit.check_precision(job.precision, config, job.student or "the student")
    for teacher, head in sorted(read):
        load_model(teacher, head)  # refused now when the head is not there


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
    distillation, rows, masking = _begun(job, stage, place, last, tokenizer, splits, accelerator)
    batches = Batches(rows, stage.batch_size, job.seed, int(tokenizer.pad_token_id or 0), masking)
    steps = steps_of(stage, len(rows))
    watch = None
    if splits is not None and stage.data == "task" and stage.answers:
        watch = _watch(stage, distillation.student, splits, tokenizer, steps, len(rows))
    if accelerator.is_main_process:
        folder.open_run(job.out, job.recipe, job.arguments)
    if isinstance(rows, Corpus) and rows.max_length < stage.max_length:
        say(f"{job.corpus}: prepared for {rows.max_length} tokens, not for {stage.max_length}")
    say(f"stage '{stage.name}': {len(rows):,} sequences, {steps:,} steps of {stage.batch_size}")
    for line in distillation.rounded:
        say(line)
    began = time.perf_counter()
    facts = train(
        distillation, stage, batches, steps, place,
        seed=job.seed, accelerator=accelerator, watch=watch,
    )  # fmt: skip
    accelerator.free_memory()  # it would hold this stage's model and optimiser to the end
    if not accelerator.is_main_process:
        return
    facts |= {"seconds": round(time.perf_counter() - began, 1), "steps": steps}
    folder.write_json(place / "facts.json", facts)
    folder.save_model(distillation.student, tokenizer, place / "model")
    best = f", best {watch.name} {facts['best']:.4f} at step {facts['best_step']}" if watch else ""
    say(f"stage '{stage.name}': done in {facts['seconds']:.0f} s{best}")


def _begun(
    job: Job,
    stage: Stage,
    place: Path,
    last: Path | None,
    tokenizer: PreTrainedTokenizerBase,
    splits: Splits | None,
    accelerator: Accelerator,
) -> tuple[Distillation, Rows, Masking | None]:
    """A stage's models, the rows that it reads, and how their words are hidden."""
    words, head = stage.data == "corpus", head_of(stage, splits)
    labels = () if splits is None or words else splits.task.labels
    pad_token_id = int(tokenizer.pad_token_id or 0)
    with accelerator.main_process_first():
        rows, masking = _rows(job, stage, tokenizer, splits)
    sample = sample_of(rows, pad_token_id)
    teacher = load_model(path, head) if (path := job.asked(stage)) else None
    student = student_for(job, head, labels, last, teacher, sample)
    distillation = Distillation(
        student, teacher, stage.objective, words=words, projections=job.recipe.projections
    )
    if not (place / "checkpoint" / "state.safetensors").is_file():
        distillation.start_projections(sample)
    if isinstance(rows, Encoded) and teacher is not None and distillation.reads[1] == ANSWERS:
        with accelerator.main_process_first():
            rows = answered(teacher, rows, pad_token_id, accelerator)
    return distillation, rows, masking


def _rows(
    job: Job, stage: Stage, tokenizer: PreTrainedTokenizerBase, splits: Splits | None
) -> tuple[Rows, Masking | None]:
    """What a stage reads, and how its words are hidden."""
    if stage.data == "task":
        assert splits is not None
        return splits.train, None
    assert job.corpus is not None
    corpus = read_corpus(job.corpus, tokenizer, stage.max_length)
    if stage.masking is None:
        return corpus, None
    share, rare_words = stage.masking.share, stage.masking.rare_words
    return corpus, masking_for(tokenizer, share, rare_words, corpus.counts)


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
