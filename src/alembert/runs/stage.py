"""A stage at its beginning: its models, the rows that it reads, how their words are hidden."""

import logging
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from transformers import PreTrainedConfig, PreTrainedModel

from alembert.data.batches import Rows
from alembert.data.collate import Masking, masking_for, pad, plan
from alembert.data.corpus.corpus import Corpus, read_corpus
from alembert.data.encoded import Encoded
from alembert.data.splits import Files, are_pairs
from alembert.initialization.bottleneck import fit_mlm_head
from alembert.initialization.student import from_scratch, from_teacher
from alembert.io.errors import UserError
from alembert.models.architectures import bottlenecked
from alembert.models.building import draw_model
from alembert.models.loading import has_head, label_fields, load_config, load_model
from alembert.models.trace import Batch, Reads
from alembert.recipes import recipe_of
from alembert.recipes.schema import Init, Recipe, Stage, from_yaml
from alembert.runs import ensemble
from alembert.runs.encoded_task import EncodedTask
from alembert.runs.job import Job, head_of
from alembert.training import checkpoint, trace_cache
from alembert.training.distillation import Distillation
from alembert.training.logit_cache import RowSubset, WithTeacherLogits, cached_logits
from alembert.training.monitor import length_of

log = logging.getLogger(__name__)

ANSWERS = Reads(logits=True)
TOKENS = 16_384  # by which a narrow student's view of its teacher is found


def prepare_stage(
    job: Job,
    stage: Stage,
    place: Path,
    last: Path | None,
    read: tuple[EncodedTask, EncodedTask],
    others: tuple[ensemble.EnsembleMember, ...],
    accelerator: Accelerator,
) -> tuple[Distillation, Rows, Masking | None]:
    """A stage's models, the rows that it reads, and how their words are hidden."""
    student_task, teacher_task = read
    words, head = stage.data == "corpus", head_of(stage, student_task.splits)
    labels = () if student_task.splits is None or words else student_task.splits.task.labels
    with accelerator.main_process_first():
        rows, masking = _rows(job, stage, student_task)
    sample = sample_of(rows, student_task.pad)
    teacher = load_model(path, head) if (path := job.asked(stage)) else None
    student = make_student(job, head, labels, last, teacher, sample)
    distillation = Distillation(
        student, teacher, stage.objective, words=words, projections=job.recipe.projections
    )
    reads = distillation.reads[1]
    state = place / "checkpoint" / checkpoint.STATE
    if checkpoint.newest(state)[0] is None:
        if distillation.projections:
            distillation.start_projections(sample)
        if teacher is not None and reads.vocabulary and _new_mlm_head(job, student, last):
            dice = torch.Generator().manual_seed(job.seed)
            fit_mlm_head(student, teacher, masking(dict(sample), dice) if masking else sample)
    kept = reads == ANSWERS or (others and reads.logits)
    if isinstance(rows, Encoded) and teacher is not None and kept:
        assert teacher_task.splits is not None
        asked = _asked(stage, rows, len(labels), job.seed)
        said = cached_logits(
            teacher, teacher_task.splits.train, teacher_task.pad, accelerator, asked
        )
        if others:
            said = ensemble.with_answers(said, teacher_task.splits.task, others, accelerator)
        rows = WithTeacherLogits(rows, said.logits, asked)
    if isinstance(rows, Corpus) and job.caching is not None:
        rows, masking = _with_traces(
            job, stage, distillation, rows, masking, student_task.pad, accelerator
        )
    return distillation, rows, masking


def _new_mlm_head(job: Job, student: PreTrainedModel, last: Path | None) -> bool:
    """Whether a thin student's masked-word head is new, and a better one was not turned down."""
    source = last or job.student
    return (
        bottlenecked(student.config)
        and job.recipe.init.start != "scratch"
        and (source is None or not has_head(str(source), "words"))
    )


def _with_traces(
    job: Job,
    stage: Stage,
    distillation: Distillation,
    rows: Corpus,
    masking: Masking | None,
    pad: int,
    accelerator: Accelerator,
) -> tuple[Rows, Masking | None]:
    """The corpus with what the teacher says of it, and its words hidden already."""
    if distillation.teacher is None:
        log.info(f"stage '{stage.name}': asks no teacher: there is nothing to keep of one")
        return rows, masking
    assert job.caching is not None
    if masking is not None:
        log.info(f"stage '{stage.name}': masks are drawn once a sequence, the same in every epoch")
    with accelerator.main_process_first():
        found = trace_cache.cached_traces(
            distillation, rows, masking, pad, job.caching, job.seed, accelerator
        )
    distillation.dismiss_teacher()
    return found, None


def _asked(stage: Stage, rows: Encoded, classes: int, seed: int) -> RowSubset | None:
    """The rows that a stage of less than an epoch reads, as it reads them; None of a longer one."""
    count = length_of(stage, len(rows), classes).cap * stage.batch_size
    if count >= len(rows):
        return None
    batches = plan(rows.lengths, stage.batch_size, seed, 0)
    return RowSubset(np.concatenate([batches[i] for i in range(len(batches))]), count)


def _rows(job: Job, stage: Stage, student_task: EncodedTask) -> tuple[Rows, Masking | None]:
    """What a stage reads, and how its words are hidden."""
    if stage.data == "task":
        assert student_task.splits is not None
        return student_task.splits.train, None
    assert job.corpus is not None
    corpus = read_corpus(job.corpus, student_task.tokenizer, stage.max_length)
    if stage.masking is None:
        return corpus, None
    share, rare_words = stage.masking.share, stage.masking.rare_words
    return corpus, masking_for(student_task.tokenizer, share, rare_words, corpus.counts)


def choose_recipe(
    recipe: str,
    teacher: str,
    student: str | None,
    layers: int | None,
    hidden_size: int | None,
    files: Files | None = None,
) -> Recipe:
    """The recipe that was asked for, by a name or as a YAML file, for the teacher at a path."""
    config = load_config(teacher)
    if not recipe.endswith((".yaml", ".yml")):
        return recipe_named(recipe, config, student, layers, hidden_size, files)
    if layers is not None or hidden_size is not None:
        raise UserError("--layers and --hidden-size shape named recipes: edit the YAML instead")
    return from_yaml(Path(recipe))


def recipe_named(
    name: str,
    teacher: PreTrainedConfig,
    student: str | None,
    layers: int | None,
    hidden_size: int | None,
    files: Files | None = None,
) -> Recipe:
    """A shipped recipe for a teacher, and for the student that is named: it has its own shape."""
    if student is None:
        typed = getattr(teacher, "type_vocab_size", 0) > 1
        if name == "distilbert" and typed and files is not None and are_pairs(files):
            name = "distilbert-pairs"
            log.info(
                "pairs of texts: the student keeps the teacher's token types (distilbert-pairs)"
            )
        return recipe_of(name, teacher, layers=layers, hidden_size=hidden_size)
    config = load_config(student)
    for option, given, own in (
        ("--layers", layers, int(config.num_hidden_layers)),
        ("--hidden-size", hidden_size, int(config.hidden_size)),
    ):
        if given is not None and given != own:
            raise UserError(
                f"{option} {given}: the student {student} has {own}; leave the option out"
            )
    recipe = recipe_of(name, teacher, layers=config.num_hidden_layers)
    if config.hidden_size != teacher.hidden_size and name.startswith("tinybert"):
        recipe = recipe_of(
            name, teacher, layers=config.num_hidden_layers, hidden_size=config.hidden_size
        )
    width = int(config.hidden_size)
    shape = {"hidden_size": width, "dim": width}
    changes = {
        "student": {name: shape.get(name, value) for name, value in recipe.student.items()},
        "init": Init(start="checkpoint"),
        "projections": "none" if width == teacher.hidden_size else "layer",
    }
    return recipe.model_copy(update=changes)


def sample_of(rows: Rows, pad_token_id: int) -> Batch:
    """Texts from all over the rows as one batch, without labels; cut at twice the mean length."""
    mean = max(int(np.mean(rows.lengths)), 1)
    places = np.linspace(0, len(rows) - 1, min(max(TOKENS // mean, 1), len(rows))).astype(int)
    chosen = [rows[int(i)] for i in places]
    seen = [{k: v[: 2 * mean] for k, v in row.items() if k != "labels"} for row in chosen]
    return pad(seen, pad_token_id)


def make_student(
    job: Job,
    head: str,
    labels: tuple[str, ...],
    last: Path | None,
    teacher: PreTrainedModel | None,
    sample: Batch,
) -> PreTrainedModel:
    """The student with a head for these labels. last: the model of the stage before."""
    recipe = job.recipe
    source = str(last) if last is not None else job.student
    if source is not None:
        torch.manual_seed(job.seed)  # a head that the checkpoint lacks is drawn at random
        config = load_config(source)
        own = {
            name: value
            for name, value in recipe.student.items()
            if "dropout" in name and hasattr(config, name)
        }
        if last is None and job.teacher is None and recipe.init.start == "scratch":
            config.update(label_fields(head, labels) | own)
            return draw_model(
                config, head, job.seed
            )  # fine-tuning: the model's shape, and no weights
        return load_model(source, head, labels=labels, fresh_head=True, changes=own)
    if recipe.init.start == "scratch":
        return from_scratch(recipe.student, head, labels, job.seed)
    if teacher is None and job.teacher is not None:  # its layers, and none of its answers
        teacher = load_model(job.teacher, head, labels=labels, fresh_head=True)
    if recipe.init.start == "checkpoint" or teacher is None:
        raise UserError(
            f"recipe '{recipe.name}' starts from a saved model: name one with --student"
        )
    init = recipe.init
    return from_teacher(
        recipe.student, head, labels, teacher, init.layers, job.seed, sample, init.basis
    )
