"""One run as a value: a recipe, its models, its data, and the needs of each stage."""

import logging
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from alembert.data.questions.answers import are_questions
from alembert.data.splits import Files
from alembert.io.errors import UserError
from alembert.objectives.label_terms import SoftLabels
from alembert.objectives.term import ANY_PAIR
from alembert.recipes.schema import Recipe, Stage
from alembert.training import trackers
from alembert.training.callbacks import Callback, names_of
from alembert.training.trace_cache import Caching

log = logging.getLogger(__name__)

OPTIONS = {"corpus": "--corpus", "task": "--train"}  # kind of a stage's data: its option


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run: a recipe, its models, its data; general_teacher is the teacher on the corpus."""

    recipe: Recipe
    out: Path
    teacher: str | None = None
    general_teacher: str | None = None
    student: str | None = None
    corpus: str | None = None
    files: Files | None = None
    mlm: str | None = None  # the MLM of the augmentation
    vectors: str | None = None
    more_teachers: tuple[str, ...] = ()  # of the task, averaged with `teacher`
    model_at: str = "student"  # the result's folder in `out`; "." for a fine-tuned model
    callbacks: tuple[Callback, ...] = ()  # are told how the stages go
    track: tuple[str, ...] = ()  # tools that show the run
    describes: bool = True  # the task is described before the first stage
    slices: tuple[str, ...] = ()  # columns of --eval by whose values the result is measured
    export: bool = False  # the student of a task is exported to int8 at the end
    baselines: bool = False  # cheap models are made of the task's texts, to compare with
    undistilled: bool = False  # the same student is trained without its teacher, too
    labels_of: str | None = None  # a model whose labels count, though no stage imitates it

    def __post_init__(self) -> None:
        if self.vocabulary is not None and self.student is not None:
            raise UserError(
                "--vocabulary trims the vocabulary of a new student, and --student has one: "
                "leave one out (alembert trim makes that of a saved model smaller)"
            )
        if self.caching is not None:
            _check_caching(self)
        for name in self.track:
            trackers.check(name)
        named = (*self.more_teachers, self.teacher)
        if twice := [path for path in self.more_teachers if named.count(path) > 1]:
            raise UserError(f"--teacher {twice[0]}: is named twice: leave one out")
        for option, path in (("--mlm", self.mlm), ("--vectors", self.vectors)):
            if path is not None and self.recipe.augment is None:
                raise UserError(
                    f"{option} augments texts and recipe '{self.recipe.name}' does not: "
                    "leave it out, or add --set augment={}"
                )
            if path is not None and self.files is None:
                raise UserError(f"{option} augments the texts of the task stages: it needs --train")

    @property
    def seed(self) -> int:
        """The seed of all random numbers."""
        return self.recipe.run.seed

    @property
    def precision(self) -> str:
        """The precision of the training, as it was asked for."""
        return self.recipe.run.precision

    @property
    def vocabulary(self) -> str | None:
        """Either "task", where the student has the tokens of the run's texts alone, or None."""
        return self.recipe.run.vocabulary

    @property
    def caching(self) -> Caching | None:
        """How the teacher's traces of the corpus are cached; None where they are not."""
        run = self.recipe.run
        return Caching(run.cache_top, run.cache_precision) if run.cache_teacher else None

    @property
    def result(self) -> Path:
        """The folder of the finished model."""
        return self.out / self.model_at

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the run beside the recipe, as environment.json has them."""
        apart = (
            "recipe", "out", "model_at", "callbacks", "track", "describes", "slices", "export",
            "baselines", "undistilled", "labels_of",
        )  # fmt: skip
        names = [field.name for field in fields(self) if field.name not in apart]
        told = {"callbacks": names_of(self.callbacks)} if self.callbacks else {}
        return {
            **{name: getattr(self, name) for name in names},
            "files": self.files and self.files.arguments,
            **told,
        }

    @property
    def stages(self) -> list[Stage]:
        """The stages whose data is there."""
        return [
            stage
            for stage in self.recipe.stages
            if self._has(stage.data) and not (stage.teacher == "linear" and self._has_no_linear)
        ]

    @property
    def _has_no_linear(self) -> bool:
        """Whether frozen vectors tell nothing: random ones, and those of spans in a context."""
        return self.recipe.init.start == "scratch" or self.asks_questions

    @property
    def asks_questions(self) -> bool:
        """Whether the task is to answer questions by spans of a context."""
        files = self.files
        return (
            files is not None
            and files.task is None
            and are_questions(files.train.rows, files.named, files.kind)
        )

    def _has(self, data: str) -> bool:
        return (self.corpus if data == "corpus" else self.files) is not None

    @property
    def _labels_texts(self) -> bool:
        """Whether a stage on the task has soft labels for texts without a label."""
        return any(
            stage.imitates or stage.teacher == "linear"
            for stage in self.stages
            if stage.data == "task"
        )

    def check_stages(self) -> None:
        """Raise UserError for data that no stage reads, and where no stage has its data."""
        for data, option in OPTIONS.items():
            if self._has(data) and all(stage.data != data for stage in self.recipe.stages):
                raise UserError(
                    f"{option}: recipe '{self.recipe.name}' has no stage that reads it: leave it "
                    "out"
                )
        for stage in self.recipe.stages:
            if not self._has(stage.data):
                log.debug(
                    f"stage '{stage.name}' is left out: it runs when {OPTIONS[stage.data]} is given"
                )
            elif stage.teacher == "linear" and stage in self.stages and self.student is None:
                raise UserError(
                    f"stage '{stage.name}': a linear teacher reads the vectors of the model to "
                    "start from: give --student, or set the stage's teacher to run"
                )
        if self.files is not None and self.files.unlabelled is not None and not self._labels_texts:
            log.info(
                f"{self.files.unlabelled.name}: no stage of this run labels these texts: they are "
                "left out"
            )
        if not self.stages:
            raise UserError(
                f"nothing to run: recipe '{self.recipe.name}' has no stage for the data given: "
                "give " + " or ".join(sorted({OPTIONS[stage.data] for stage in self.recipe.stages}))
            )

    @property
    def max_length(self) -> int:
        """The most tokens of a text in the task stages."""
        return max((stage.max_length for stage in self.stages if stage.data == "task"), default=128)

    @property
    def task_teacher(self) -> str | None:
        """The teacher if a task stage imitates it; its label order and metrics then count."""
        imitated = any(stage.imitates for stage in self.stages if stage.data == "task")
        return self.teacher if imitated else None

    @property
    def tokenizer_source(self) -> str:
        """The model whose tokenizer the student has."""
        return self.student or self.teacher_for(self.stages[0]) or ""

    def teacher_for(self, stage: Stage) -> str | None:
        """Return the teacher for a stage's kind of data, whether or not the stage imitates it."""
        return (self.general_teacher or self.teacher) if stage.data == "corpus" else self.teacher

    def imitated_teacher(self, stage: Stage) -> str | None:
        """Return the teacher that a stage imitates, or None; UserError where it is missing."""
        if not stage.imitates:
            return None
        if (path := self.teacher_for(stage)) is None:
            raise UserError(f"stage '{stage.name}' imitates a teacher: name one with --teacher")
        return path


def _check_caching(job: Job) -> None:
    if job.corpus is None:
        raise UserError(
            "--cache-teacher caches a teacher's outputs on a corpus, and logits of a task's texts "
            "are cached anyhow: give --corpus, or leave it out"
        )
    for stage in job.recipe.stages:
        for term in stage.objective if stage.data == "corpus" else ():
            if term.reads(ANY_PAIR, True)[1].vocabulary and not isinstance(term, SoftLabels):
                raise UserError(
                    f"--cache-teacher: {term.kind} of stage '{stage.name}' compares the logits of "
                    "all tokens, and only the largest are cached: take SoftLabels, or leave "
                    "--cache-teacher out"
                )
