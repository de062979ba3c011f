"""One stage: it is prepared, its objective is chosen, it is trained, and its model is saved."""

import logging
import time
from pathlib import Path

from accelerate import Accelerator

from alembert.data.corpus.corpus import Corpus
from alembert.data.corpus.segments import Segmented
from alembert.io.answers import WINDOW
from alembert.recipes.schema import Stage
from alembert.runs.folder import writing
from alembert.runs.job import Job
from alembert.runs.stages import validation
from alembert.runs.stages.choice import better_start, chosen
from alembert.runs.stages.prepare import prepare_stage
from alembert.runs.stages.training import Prepared, trained
from alembert.runs.texts import class_weights
from alembert.runs.texts.ensemble import RunTexts
from alembert.training import checkpoint
from alembert.training.callbacks import Callbacks, Progress
from alembert.training.monitor import Validator

log = logging.getLogger(__name__)


def run_stage(
    job: Job,
    stage: Stage,
    stage_folder: Path,
    last: Path | None,
    texts: RunTexts,
    accelerator: Accelerator,
    callbacks: Callbacks,
) -> None:
    """Train one stage and save its model; `last` is the model of the stage before."""
    splits = texts.student.splits
    stage = class_weights.with_class_weights(stage, splits)
    distillation, rows, masking = prepare_stage(job, stage, stage_folder, last, texts, accelerator)
    prepared = Prepared(
        job=job, stage=stage, texts=texts, distillation=distillation, rows=rows, masking=masking,
        accelerator=accelerator,
    )  # fmt: skip
    if accelerator.is_main_process:
        writing.open_run(job)
    prepared = chosen(better_start(prepared, stage_folder), stage_folder)
    validator, length = prepared.validator, prepared.length
    _announce(prepared, validator)
    start = time.perf_counter()
    facts = trained(prepared, stage_folder, validator, callbacks)
    ended = Progress(
        stage=stage.name, step=facts["step"], steps=facts["step"], earlier=callbacks.earlier,
        model=prepared.distillation.student, best=facts["best"],
    )  # fmt: skip
    callbacks.tell("end", ended)
    callbacks.earlier += facts["step"]
    accelerator.free_memory()  # else it holds this stage's model and optimiser to the end
    if not accelerator.is_main_process:
        return
    facts |= callbacks.state()
    facts |= {"seconds": round(time.perf_counter() - start, 1), "steps": length.cap}
    if splits is not None and stage.data == "task":
        varied = len(splits.variants.of) if splits.variants is not None else 0
        facts |= {"texts": splits.train.count - varied, "held_out": splits.valid.count}
        facts |= {"variants": varied} if varied else {}
    if validator and facts["step"] < length.cap:
        facts["stopped"] = why = (
            f"{validator.patience} validations without a better {validator.name}"
        )
        why += f" by step {facts['cooling']:,}" if facts.get("cooling") else ""
        log.info(f"stage '{stage.name}': ended at step {facts['step']:,} of {length.cap:,}: {why}")
    writing.keep_stage(stage_folder, facts)
    student = prepared.distillation.student
    if splits is not None and stage.data == "task" and stage.reads_logits:
        validation.keep_threshold(student, splits, texts.student.pad)
    windows = splits is not None and splits.windows and stage.data == "task"
    if windows or getattr(student.config, WINDOW, None) is not None:
        setattr(student.config, WINDOW, prepared.job.max_length if windows else None)
    writing.save_model(student, texts.student.tokenizer, stage_folder / "model")
    checkpoint.before(stage_folder / "checkpoint" / checkpoint.STATE).unlink(missing_ok=True)
    best = (
        f", best {validator.name} {facts['best']:.4f} at step {facts['best_step']}"
        if validator
        else ""
    )
    log.info(f"stage '{stage.name}': done in {facts['seconds']:.0f} s{best}")


def _announce(prepared: Prepared, validator: Validator | None) -> None:
    """Say how long a stage is, how it ends, and what of its recipe is read otherwise."""
    stage, rows, splits = prepared.stage, prepared.rows, prepared.texts.student.splits
    rows = rows.corpus if isinstance(rows, Segmented) else rows
    if isinstance(rows, Corpus) and rows.max_length < stage.max_length:
        log.info(
            f"{prepared.job.corpus}: prepared for {rows.max_length} tokens, not for "
            f"{stage.max_length}"
        )
    if stage.data == "corpus":
        duration = validation.describe_length(stage, prepared.length, len(rows))
        log.info(f"stage '{stage.name}': {len(rows):,} sequences, {duration}")
    elif stage.until is not None and validator is not None and splits is not None:
        held_out = f"{splits.valid.count:,} held-out texts"
        log.info(f"stage '{stage.name}': until {validator.name} of {held_out} gets no better")
    else:
        log.info(f"stage '{stage.name}': begins")
    weights = class_weights.describe(stage, splits)
    for line in (*prepared.distillation.rounded, *filter(None, [weights])):
        log.info(line)
