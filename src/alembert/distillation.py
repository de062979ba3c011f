"""Student, teacher and projections as one module whose forward is the loss."""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from alembert import objective as terms
from alembert.anatomy import depth
from alembert.errors import UserError
from alembert.objective import Objective
from alembert.trace import Batch, Reads, Trace, no_grad_trace, trace

Projections = Literal["none", "layer", "shared"]


class Distillation(nn.Module):
    """forward(batch) -> (weighted sum (), {term name: unweighted value ()}).

    forward(part, batch): the part's share of them; shares of all parts add up to the batch's.
    The teacher is frozen, in eval mode always, and not part of the state that is saved. words: the
    batches are masked text and logits run over the vocabulary. Projections are Linears from
    student to teacher width, one a layer or one for all, for terms that compare hidden states of
    different widths; they are dropped when the student is saved.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel | None,
        objective: Objective,
        *,
        words: bool,
        projections: Projections = "none",
    ) -> None:
        super().__init__()
        self.student = student
        self.objective = objective
        if teacher is not None:
            teacher.requires_grad_(False)
        self._teacher = (teacher,)  # in a tuple: no submodule, so neither saved nor trained
        student_depth = depth(student.config)
        teacher_depth = depth(teacher.config) if teacher is not None else student_depth
        self.pairs = [term.pairs(student_depth, teacher_depth) for term in objective]
        self.reads = terms.reads(objective, student_depth, teacher_depth, words)
        if teacher is None and self.reads[1] != Reads():
            raise UserError(
                "this objective imitates a teacher and none is given: name one (--teacher)"
            )
        if teacher is not None:
            _check_alike(student, teacher, self.reads[1])
        self.projections = self._projections(projections)

    @property
    def teacher(self) -> PreTrainedModel | None:
        """The frozen teacher; None when the objective is the data's labels alone."""
        return self._teacher[0]

    def forward(self, batch: Batch, whole: Batch | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        theirs = Trace()
        if self.teacher is not None and self.reads[1] != Reads():
            theirs = no_grad_trace(self.teacher, batch, self.reads[1])
        mine = self._project(trace(self.student, batch, self.reads[0]))
        total: Tensor = torch.zeros((), device=batch["input_ids"].device)
        values: dict[str, Tensor] = {}
        for term, pairs in zip(self.objective, self.pairs, strict=True):
            value = term(mine, theirs, pairs, batch)
            if whole is not None:
                value = value * (term.count(batch) / term.count(whole).clamp(min=1))
            total = total + term.weight * value
            values[term.kind] = values.get(term.kind, torch.zeros_like(total)) + value.detach()
        return total, values

    def _projections(self, choice: Projections) -> nn.ModuleDict:
        hidden = self.reads[0].hidden
        if self.teacher is None or not hidden:
            return nn.ModuleDict()
        mine, theirs = self.student.config.hidden_size, self.teacher.config.hidden_size
        if choice == "none":
            if mine != theirs:
                raise UserError(
                    f"hidden states of the student are {mine} wide and the teacher's {theirs}: set "
                    "the recipe's projections to 'layer' or 'shared', or drop the hidden terms"
                )
            return nn.ModuleDict()
        if choice == "shared":
            return nn.ModuleDict({"shared": nn.Linear(mine, theirs)})
        return nn.ModuleDict({str(k): nn.Linear(mine, theirs) for k in sorted(hidden)})

    def _project(self, mine: Trace) -> Trace:
        if not self.projections:
            return mine
        name = "shared" if "shared" in self.projections else None
        projected = {k: self.projections[name or str(k)](h) for k, h in mine.hidden.items()}
        return replace(mine, hidden=projected)


def _check_alike(student: PreTrainedModel, teacher: PreTrainedModel, reads: Reads) -> None:
    """What is compared one by one: refuse numbers that differ, naming both and the mend."""
    other = "start the student from this teacher, or use a teacher with the student's tokenizer"
    tune = "fine-tune the teacher on this task first (alembert finetune)"
    for read, field, what, mend in (
        (reads.words, "vocab_size", "vocabulary words", other),
        (reads.logits, "num_labels", "labels", tune),
        (reads.attention, "num_attention_heads", "attention heads", "make them equal"),
    ):
        mine, theirs = (int(getattr(m.config, field)) for m in (student, teacher))
        if read and mine != theirs:
            raise UserError(
                f"the student has {mine} {what} and the teacher {theirs}, and the recipe compares "
                f"them one by one: {mend}"
            )
