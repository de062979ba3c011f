"""What a run cannot do, refused before its first stage is begun."""

from transformers import PreTrainedTokenizerBase

from alembert.initialization.student import describe_start, start_map
from alembert.io.errors import UserError
from alembert.models.building import checked_config
from alembert.models.checks import check_finite, check_length, check_precision, check_vocabulary
from alembert.models.loading import load_config, load_model, load_tokenizer
from alembert.recipes.schema import Stage
from alembert.runs import class_weights
from alembert.runs.encoded_task import EncodedTask
from alembert.runs.job import Job, head_of
from alembert.training.distillation import check_layers


def check_teacher(
    stage: Stage, head: str, path: str, source: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse a teacher without room for a stage's texts, or of other words than its terms can pair.

    `source`: the model that the run's tokenizer comes from. Answers of whole texts are compared
    whatever pieces each model reads; everything else is compared piece by piece.
    """
    config, own = load_config(path), load_tokenizer(path)
    check_length(stage.max_length, config, path)
    by_text = head not in ("words", "encoder", "tokens")
    paired = [t.kind for t in stage.objective if not by_text or t.over not in ("labels", "answers")]
    if paired and own.get_vocab() != tokenizer.get_vocab():
        less = f", or --set 'stages.{stage.name}.objective=[{{kind: SoftLabels}}]'"
        raise UserError(
            f"{source} and {path} have different vocabularies: {paired[0]} of stage "
            f"'{stage.name}' compares them piece by piece; use a student made with this teacher's "
            f"tokenizer{less if by_text else ''}"
        )
    check_vocabulary(own, config, path)


def check_job(job: Job, stages: list[Stage], student_task: EncodedTask) -> str:
    """Refuse what one of the stages cannot do before the first is run; a line on the start."""
    source = job.student or job.teacher_for(stages[0]) or ""
    config = load_config(job.student) if job.student else checked_config(job.recipe.student)
    read: set[tuple[str, str]] = set()
    first, line = job.asked(stages[0]) or job.teacher, ""
    if job.student is None and first is not None and job.recipe.init.start == "teacher":
        begins = load_config(first)
        line = describe_start(config, begins)
        start_map(job.recipe.init.layers, config, begins)
    for stage in stages:
        class_weights.weighed(stage, student_task.splits)
        if teacher := job.asked(stage):
            head = head_of(stage, student_task.splits)
            check_teacher(stage, head, teacher, source, student_task.tokenizer)
            taught = load_config(teacher)
            check_precision(job.precision, taught, teacher)
            asking = f"stage '{stage.name}' of recipe '{job.recipe.name}'"
            check_layers(config, taught, stage.objective, job.recipe.projections, asking)
            read.add((teacher, head))
        check_length(stage.max_length, config, job.student or "the student")
    if job.student is None and config.vocab_size != load_config(source).vocab_size:
        mend = f"set student.vocab_size={len(student_task.tokenizer)}, or leave it out"
        check_vocabulary(student_task.tokenizer, config, "the student", mend)
    else:
        check_vocabulary(student_task.tokenizer, config, source)
    check_precision(job.precision, config, job.student or "the student")
    for teacher, head in sorted(read):
        check_finite(load_model(teacher, head), teacher)  # refused now without the head too
    return line
