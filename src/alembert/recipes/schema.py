"""Stage and Recipe: a whole distillation as one frozen value; YAML in and out."""

import html
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from alembert.evaluation import own_metric
from alembert.io.errors import UserError
from alembert.io.named import is_named
from alembert.io.parsing import yaml_of
from alembert.models.trace import Reads
from alembert.objectives.objective import Objective
from alembert.objectives.term import ANY_PAIR, mistake

Value = TypeVar("Value", bound=BaseModel)

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Augment(BaseModel):
    """TinyBERT's data augmentation (algorithm 1): copies is its N_a, share its p_t, candidates K.

    together: the share of a text's tokens that one pass of the MLM masks; 0 masks one word a pass,
    as the authors do. partners: of pairs, the texts of other rows that each text is paired with,
    which is not the paper's. most: rows and variants of a run together, beyond which a row has
    fewer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    copies: int = 20
    share: float = 0.4
    candidates: int = 15
    together: float = 0.15
    partners: int = 0
    most: int | None = 50_000

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.copies < 1:
            raise UserError(f"copies {self.copies}: must be 1 or more")
        if not 0 < self.share <= 1:
            raise UserError(f"share {self.share}: must be over 0, at most 1")
        if self.candidates < 1:
            raise UserError(f"candidates {self.candidates}: must be 1 or more")
        if not 0 <= self.together <= 1:
            raise UserError(f"together {self.together}: must be from 0 to 1")
        if self.partners < 0:
            raise UserError(f"partners {self.partners}: must be 0 or more")
        if self.most is not None and self.most < 1:
            raise UserError(f"most {self.most}: must be 1 or more, or null")
        return self

    def of_rows(self, rows: int, texts: int) -> "Augment":
        """Return the settings for so many rows: fewer variants of each text, perhaps none."""
        partners = self.partners if texts == 2 else 0
        if self.most is None:
            return self.model_copy(update={"partners": partners})
        each = self.most // rows - 1  # variants of a row
        partners = min(partners, max(each, 0) // texts)
        copies = min(self.copies, max(each // texts - partners, 0))
        return self.model_copy(update={"partners": partners, "copies": copies})


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants"
    )


class Masking(_Frozen):
    """How tokens are masked for MLM (BERT, section 3.1; rare_words: DistilBERT's code)."""

    share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    rare_words: Annotated[float, Field(ge=0)] = 0.7  # p ~ count^-rare_words; 0 = every token alike


class Span(_Frozen):
    """A number of steps that grows with rows and classes: `epochs`, or `steps` if that is more."""

    epochs: Annotated[float, Field(ge=0)] = 0.0
    steps: Annotated[int, Field(ge=0)] = 0
    steps_a_class: Annotated[int, Field(ge=0)] = 0

    def of(self, epoch: int, classes: int) -> int:
        """Return the number of steps, at least 1; `epoch` is the number of steps of an epoch."""
        return max(math.ceil(self.epochs * epoch), self.steps + self.steps_a_class * classes, 1)


class Until(_Frozen):
    """An open length: a stage is trained until validation has stopped rising.

    That is when `patience` validations in a row found no higher metric and no lower loss. Then
    the learning rate falls to 0, over `cooldown` times the steps until then.
    """

    floor: Span
    cap: Span
    patience: Positive = 3
    cooldown: Annotated[float, Field(ge=0)] = 0.25


class Stage(_Frozen):
    """One training with one objective; batch_size counts the sequences of a step on all devices."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    data: Literal["corpus", "task"]
    objective: Annotated[Objective, Field(min_length=1)]
    alternatives: tuple[Annotated[Objective, Field(min_length=1)], ...] = ()  # tried on held-out
    # "linear": logits of a linear model on the frozen vectors of the model that the run starts from
    teacher: Literal["run", "linear"] = "run"
    # "better": of the student after a corpus and one newly started from the teacher, the better one
    start: Literal["before", "better"] = "before"
    steps: Positive | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None
    until: Until | None = None
    min_steps: Annotated[int, Field(ge=0)] = 0  # with epochs: small data is read more often
    batch_size: Positive = 32
    micro_batch_size: Positive | None = None  # sequences in one forward pass; None = batch_size
    learning_rate: Annotated[float, Field(gt=0)]
    warmup: Fraction = 0.0  # share of the steps
    schedule: Literal["linear", "constant"] = "linear"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    epsilon: Annotated[float, Field(gt=0)] = 1e-8
    clip: Annotated[float, Field(gt=0)] = 1.0
    max_length: Positive = 128
    masking: Masking | None = None  # of a corpus; None = nothing is masked
    rates: tuple[tuple[str, Annotated[float, Field(ge=0)]], ...] = ()
    evaluations: Annotated[int, Field(ge=0)] = 0  # number of validations; 0 = one an epoch
    patience: Annotated[int, Field(ge=0)] = 0  # validations without a better one; 0 = never stops

    @property
    def reads_logits(self) -> bool:
        """Whether a term reads the logits of a head: of the MLM's, or of a task's."""
        reads = [term.reads(ANY_PAIR, self.data == "corpus")[0] for term in self.terms]
        return any(read.logits or read.vocabulary for read in reads)

    @property
    def segments(self) -> bool:
        """Whether a term reads if a sequence's second segment follows its first."""
        return any(term.kind == "NextSentence" for term in self.terms)

    @property
    def terms(self) -> Objective:
        """All terms, those of alternatives too."""
        return (*self.objective, *(term for each in self.alternatives for term in each))

    @property
    def imitates(self) -> bool:
        """Whether a term imitates the run's teacher."""
        return self.teacher == "run" and any(term.imitates for term in self.terms)

    def head(self, task: str) -> str:
        """Return the head that the stage's models need; `task` is the kind of the run's task."""
        if self.data == "task":
            return task
        return "words" if self.reads_logits else "encoder"

    def rate(self, parameter: str) -> float:
        """Return the learning rate's factor for the parameter of this name."""
        return next((f for pattern, f in self.rates if re.search(pattern, parameter)), 1.0)

    @field_validator("rates")
    @classmethod
    def _patterns(cls, rates: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
        for pattern, _ in rates:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression ({error})") from None
        return rates

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if [self.steps, self.epochs, self.until].count(None) != 2:
            raise ValueError("set exactly one of steps, epochs and until")
        if self.until is not None and (self.data != "task" or self.patience):
            raise ValueError("until is for a task, and has a patience of its own: until.patience")
        if self.data == "task" and self.masking is not None:
            raise ValueError("masking belongs to a corpus stage: task texts are not masked")
        reads = {term.reads(ANY_PAIR, False)[1] for term in self.objective}
        if self.teacher == "linear" and (self.data != "task" or reads - {Reads(logits=True)}):
            raise ValueError("a linear teacher has logits of a task alone: take SoftLabels")
        both = {read for term in self.terms for read in term.reads(ANY_PAIR, False)}
        if self.alternatives and (self.data != "task" or both - {Reads(), Reads(logits=True)}):
            raise ValueError("alternatives: are for a task, and compare logits or labels alone")
        if self.alternatives and self.teacher == "linear":
            raise ValueError("alternatives: a linear teacher has soft labels alone: leave them out")
        if self.patience and self.data != "task":
            raise ValueError(f"patience: stage '{self.name}' has no validation: it needs a task")
        masked = any(getattr(term, "rows", "") == "masked" for term in self.objective)
        hard = any(term.over == "labels" for term in self.objective)
        if self.masking is None and (masked or (self.data == "corpus" and hard)):
            raise ValueError(
                "HardLabels on a corpus, or rows 'masked', need masked words: set masking"
            )
        return self


class Init(_Frozen):
    """The source of a student's first weights: random numbers, the teacher, or a saved model.

    basis: how a narrower student sees its teacher, by principal components or by single units.
    """

    start: Literal["scratch", "teacher", "checkpoint"] = "teacher"
    layers: str | tuple[tuple[int, int], ...] = "spread"
    basis: Literal["components", "units"] = "components"


class Run(_Frozen):
    """The settings of a run that are no part of its paper.

    vocabulary "task" gives the student the tokens of the run's texts alone. With cache_teacher the
    teacher's outputs on the corpus are cached: cache_top logits a token, states in cache_precision.
    """

    seed: int = 0
    precision: str = "auto"
    vocabulary: str | None = None
    cache_teacher: bool = False
    cache_top: int = 128
    cache_precision: str = "bf16"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed {self.seed}: must be 0 or more, and less than 2**63")
        if self.precision not in ("auto", "fp32", "bf16", "fp16"):
            raise UserError(f"--precision {self.precision}: choose auto, fp32, bf16 or fp16")
        if self.vocabulary not in (None, "task"):
            raise UserError(f"--vocabulary {self.vocabulary}: task, or leave it out")
        if self.cache_top < 1:
            raise UserError(f"--cache-top {self.cache_top}: must be 1 or more")
        if self.cache_precision not in ("bf16", "fp32"):
            raise UserError(f"--cache-precision {self.cache_precision}: choose bf16 or fp32")
        return self


class Recipe(_Frozen):
    """A whole distillation; `student` has the fields of a transformers config and model_type."""

    name: str
    paper: str = ""
    student: dict[str, Any]
    init: Init = Init()
    projections: Literal["none", "layer", "shared"] = "none"
    augment: Augment | None = None  # of the task stages' texts
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    metric: str | None = None  # of the task; module:function is one's own; None = the usual one
    run: Run = Run()
    deviations: tuple[str, ...] = ()

    @property
    def own(self) -> tuple[str, ...]:
        """The user's own terms and metric, each as module:name."""
        kinds = [term.kind for stage in self.stages for term in stage.objective]
        return tuple(name for name in (*kinds, self.metric or "") if is_named(name))

    def _repr_html_(self) -> str:
        """The recipe as a notebook shows it: its YAML."""
        return f"<pre>{html.escape(to_yaml(self))}</pre>"

    @field_validator("stages")
    @classmethod
    def _distinct(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        names = [stage.name for stage in stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stage names must differ, not {names}")
        return stages

    @field_validator("metric")
    @classmethod
    def _there(cls, metric: str | None) -> str | None:
        if metric is not None and is_named(metric):
            try:
                own_metric.check(metric)
            except UserError as error:
                raise ValueError(str(error)) from None  # pydantic then says where
        return metric


def to_yaml(recipe: Recipe) -> str:
    """Return the recipe as YAML that `from_yaml` turns into an equal value."""
    plain = recipe.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=96)


def from_yaml(path: Path) -> Recipe:
    """Read a recipe. Raises UserError naming the file, the field, the value and the rule."""
    try:
        plain = yaml_of(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable recipe: {error}") from error
    if not isinstance(plain, dict):
        raise UserError(f"{path}: a recipe is a mapping of fields (alembert recipes show NAME)")
    return validated(plain, str(path))


LENGTHS = frozenset({"steps", "epochs", "until"})  # of a stage, which has one of them


def replaced(value: Value, **changes: Any) -> Value:
    """Return a copy of a recipe, a stage or a term with other fields, validated as any is.

    One of a stage's lengths (steps, epochs, until) takes the place of another. Raises UserError
    that names the field that is wrong.
    """
    told, fields = value.model_fields_set, type(value).model_fields
    if any(changes.get(name) is not None for name in LENGTHS):
        told = told - LENGTHS
    kept = {name: getattr(value, name) for name in told}
    try:
        return type(value).model_validate(kept | changes)
    except ValidationError as error:
        raise mistake(error, getattr(value, "name", type(value).__name__), fields) from None


def with_run(recipe: Recipe, **settings: Any) -> Recipe:
    """Return a recipe whose `run` has these settings."""
    return replaced(recipe, run=replaced(recipe.run, **settings))


def validated(plain: dict[str, Any], source: str) -> Recipe:
    """Return a Recipe of plain data; UserError names the first wrong field in one line."""
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        parts: list[Any] = list(first["loc"])
        if parts[:1] == ["stages"] and parts[1:] and isinstance(plain["stages"], list | tuple):
            stage = plain["stages"][parts[1]]
            parts[1] = stage.get("name", parts[1]) if isinstance(stage, dict) else parts[1]
        where = ".".join(map(str, parts)) or "recipe"
        shown = "" if isinstance(first["input"], dict) else f" (given: {first['input']!r})"
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "there is no such field; 'alembert recipes show NAME' prints those there are"
        elif "layers" in parts:
            where = ".".join(map(str, parts[: parts.index("layers") + 1]))
            message = "write a name, or pairs of student and teacher layers such as [[1,3],[2,6]]"
        raise UserError(f"{source}: {where}: {message}{shown}") from error
