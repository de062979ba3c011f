"""A term: a frozen value that names its reads and, when called, computes a loss of two traces."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from alembert.io.errors import UserError, near
from alembert.io.named import is_named, name_of, named
from alembert.models.layer_map import Pairs
from alembert.models.logits import VocabularyLogits
from alembert.models.trace import Batch, Reads, Trace
from alembert.objectives.fused_linear import VocabularyTerm

ANY_PAIR: Pairs = ((1, 1),)  # in place of a layer map where no model is known yet


def mistake(error: ValidationError, name: str, fields: Iterable[str] = ()) -> UserError:
    """The first mistake of a value that was made in Python: its field, the rule and what it was."""
    first = error.errors()[0]
    where = "".join(f"{part}: " for part in (name, ".".join(map(str, first["loc"]))) if part)
    if first["type"] == "extra_forbidden":
        like = near(str(first["loc"][-1]), fields)
        return UserError(f"{where}there is no such field: rename it or leave it out{like}")
    message = first["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(first["input"], dict) else f" (given: {first['input']!r:.60})"
    return UserError(f"{where}{message}{shown}")


class Term(BaseModel, ABC):
    """A frozen value with a weight in the sum, the reads of its loss, and the loss as a call.

    A term of one's own is a subclass at the top of any module that can be imported. A recipe has
    it as the object, or as YAML with `kind: module:Class`. It has:

    - fields, if any, with types and defaults, as pydantic reads them. They are the fields of its
      YAML: a wrong name or value is refused. `weight` is there already.
    - `reads(pairs, corpus)`: which tensors of the student and of the teacher its loss needs. A
      forward pass computes those of all terms of a stage and no others, so that is also its cost:
      hidden states take the layers up to the deepest one, `logits` the whole model, `vocabulary`
      an MLM head at the rows that count. A term that reads nothing of the teacher needs none.
    - the call `term(student, teacher, pairs, batch)`: the loss, a scalar without its weight, of
      the two traces and the batch (input_ids, attention_mask, labels; of questions `spans`: -100
      where no answer can begin or end, else 1 at a start plus 2 at an end). Its gradient is the
      student's. With projections, hidden states of the student are already as wide as the
      teacher's. Tensors may be bf16, where `precision` is auto on a CPU too: `.float()` them for
      what needs more. Randomness has to come from torch, whose seed is set at each step.
    - `pairs(student, teacher)`, if it compares layers: the layer pairs for these two depths, which
      come back as `pairs`. `LayerTerm` reads them from a layer map.
    - `over`, if its mean is not over tokens. Parts of a batch (`micro_batch_size`, processes) are
      weighed by the number of these items, and add up to the batch's mean. A loss that compares
      the texts of a batch with each other is that of each part.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    weight: Annotated[float, Field(gt=0)] = 1.0
    kind: str = ""  # of a term of one's own: its module:Class
    # the mean is over these: labels, answers (rows of logits), texts, tokens or pairs of tokens
    over: ClassVar[str] = "tokens"

    def __init__(self, /, **fields: Any) -> None:
        """Make a term. Raises UserError that names the field that is wrong."""
        try:
            super().__init__(**fields)
        except ValidationError as error:
            name, fields = f"term {type(self).__name__}", type(self).model_fields
            raise mistake(error, name, fields) from None

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # recipes say where

    @model_validator(mode="before")
    @classmethod
    def _named_by_class(cls, fields: Any) -> Any:
        """Fill the kind of a term of one's own, which is the class itself."""
        if built_in := cls.model_fields["kind"].default:
            if "kind" not in cls.__annotations__:
                raise UserError(
                    f"term {cls.__name__}: is a {built_in} by its kind: derive it from Term or "
                    "LayerTerm, or give it the field `kind: str = ''`"
                )
            return fields
        if not isinstance(fields, dict):
            return fields
        name = name_of(cls, "term")
        if (kind := fields.get("kind", name)) != name and named(kind, "kind") is not cls:
            raise ValueError(f"kind {kind}: is another class than {name}")
        return fields | {"kind": name}

    @property
    def imitates(self) -> bool:
        """Whether it reads a teacher."""
        return any(self.reads(ANY_PAIR, corpus)[1] != Reads() for corpus in (False, True))

    def pairs(self, student: int, teacher: int) -> Pairs:
        """The layer pairs compared, for a student and a teacher of these depths."""
        return ()

    @abstractmethod
    def reads(self, pairs: Pairs, corpus: bool) -> tuple[Reads, Reads]:
        """The reads of the student and of the teacher; corpus: the data is a corpus, for MLM."""

    def count(self, batch: Batch) -> Tensor:
        """The number, (), of items of a batch that the term's mean is over."""
        mask, labels = batch["attention_mask"], batch.get("labels")
        if "spans" in batch and self.over in ("labels", "answers"):
            told = (batch["spans"] > 0).any(dim=1).sum()  # windows whose answer is known
            return told if self.over == "labels" else mask.new_tensor(len(mask))
        if labels is not None and (self.over == "labels" or getattr(self, "rows", "") == "masked"):
            return (~torch.isnan(labels) if labels.is_floating_point() else labels != -100).sum()
        if self.over == "pairs":
            return mask.sum(dim=1).square().sum()
        if self.over == "texts":
            return mask.new_tensor(len(mask))
        per_text = labels is not None and (labels.dim() == 1 or labels.is_floating_point())
        return mask.new_tensor(len(mask)) if self.over == "answers" and per_text else mask.sum()

    def vocabulary_term(
        self, student: VocabularyLogits, teacher: Trace, batch: Batch
    ) -> VocabularyTerm | None:
        """The loss over the vocabulary that stands in for a call; None when the term is called."""
        return None

    @abstractmethod
    def __call__(self, student: Trace, teacher: Trace, pairs: Pairs, batch: Batch) -> Tensor: ...


def own_term(fields: Any) -> Term | None:
    """Return the term of one's own that these fields or this value stand for; None for others.

    Raises UserError for a kind that leads to no term, and ValidationError for wrong fields.
    """
    if isinstance(fields, Term):
        return fields if is_named(fields.kind) else None
    kind = fields.get("kind") if isinstance(fields, dict) else None
    if not isinstance(kind, str) or not is_named(kind):
        return None
    found = named(kind, "kind")
    if not isinstance(found, type) or not issubclass(found, Term):
        raise UserError(f"kind {kind}: is no class derived from alembert.Term: derive it")
    return found.model_validate(fields)
