"""Student, teacher and projections as one module whose forward is the loss."""

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from alembert.initialization.least_squares import least_squares
from alembert.io.errors import UserError
from alembert.models import architectures, layer_map
from alembert.models.architectures import anatomy, attention_width, depth, keeps_distances, known
from alembert.models.cpu_attention import use_fused
from alembert.models.trace import Batch, Reads, Trace, no_grad_trace, trace
from alembert.objectives import objective as terms
from alembert.objectives import recorded
from alembert.objectives.label_terms import NextSentence
from alembert.objectives.layer_terms import AttentionKL, AttentionMSE, LayerTerm, Relations
from alembert.objectives.objective import Objective
from alembert.objectives.term import Term

Projections = Literal["none", "layer", "shared"]


class Distillation(nn.Module):
    """forward(batch) -> (weighted sum (), {term name: unweighted value ()}).

    forward(part, batch) returns the part's share of them; the shares add up to the batch's.
    The teacher is frozen, always in eval mode, and not part of the state that is saved. With
    `words`, batches are masked text and logits run over the vocabulary. Projections are Linears
    from student to teacher width, one a layer or one for all, for terms that compare hidden states
    of different widths; they are not part of the saved student, and nor is the Linear of
    NextSentence. With `recorded`, batches have the teacher's logits.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel | None,
        objective: Objective,
        *,
        words: bool,
        projections: Projections = "none",
        recorded: bool = False,
    ) -> None:
        super().__init__()
        self.student = student
        self.objective = objective
        if teacher is not None:
            teacher.requires_grad_(False)
        self._teacher: tuple[PreTrainedModel | None] = (
            teacher,
        )  # in a tuple: no submodule, so neither saved nor trained
        student_depth = depth(student.config)
        teacher_depth = depth(teacher.config) if teacher is not None else student_depth
        self.pairs = [term.pairs(student_depth, teacher_depth) for term in objective]
        self.reads = terms.reads(objective, student_depth, teacher_depth, words)
        if teacher is None and not recorded and self.reads[1] != Reads():
            raise UserError(
                "this objective imitates a teacher and none is given: name one (--teacher)"
            )
        if teacher is not None:
            _check_same_sizes(student, teacher, self.reads[1])
            check_layers(student.config, teacher.config, objective, projections)
        self.projections = self._projections(projections)
        self.next_sentence: nn.Linear | None = None
        if any(isinstance(term, NextSentence) for term in objective):
            self.next_sentence = nn.Linear(int(student.config.hidden_size), 2)
            nn.init.zeros_(self.next_sentence.weight)
            nn.init.zeros_(self.next_sentence.bias)
        maps = dict.fromkeys(t.layers for t in objective if isinstance(t, LayerTerm))
        lines = (
            layer_map.describe_rounding(choice, student_depth, teacher_depth) for choice in maps
        )
        self.rounded = [line for line in lines if line]  # lines on uneven layer maps

    @property
    def teacher(self) -> PreTrainedModel | None:
        """The frozen teacher; None when the objective is the data's labels alone."""
        return self._teacher[0]

    @property
    def parts(self) -> list[str]:
        """Paths of the student's layers, if its architecture is known; FSDP wraps each of them."""
        if not known(self.student.config):
            return []
        layers = set(architectures.layers(self.student, ""))
        return [name for name, module in self.named_modules() if module in layers]

    def ready(self, device: torch.device, half: bool) -> None:
        """Move the teacher to its device; `half` converts its layers' matrices to bf16.

        Otherwise autocast would round the same matrices in every step.
        """
        use_fused(self.student)
        if self.teacher is None:
            return
        nn.Module.to(self.teacher, device)
        if half and known(self.teacher.config):
            for part in nn.ModuleList(architectures.layers(self.teacher, "")).modules():
                if isinstance(part, nn.Linear):
                    part.to(torch.bfloat16)

    def dismiss_teacher(self) -> None:
        """Drop the teacher: all further batches have its recorded traces."""
        self._teacher = (None,)

    def forward(self, batch: Batch, whole: Batch | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        teacher, reads = Trace(), self.reads[1]
        cached = batch.get("teacher_logits")  # from logit_cache
        if cached is not None:
            reads = replace(reads, logits=False)
        if recorded.has_recorded_trace(batch):  # from trace_cache
            teacher = recorded.rows_to_trace(batch, recorded.trace_spec(self.objective, reads))
        elif self.teacher is not None and reads != Reads():
            teacher = no_grad_trace(self.teacher, batch, reads)
        if cached is not None:
            teacher = replace(teacher, logits=cached)
        student = self._project(trace(self.student, batch, self.reads[0]))
        if self.next_sentence is not None and student.first is not None:
            student = replace(student, next_sentence=self.next_sentence(student.first))
        return terms.total(self.objective, self.pairs, student, teacher, batch, whole)

    def start_projections(self, sample: Batch) -> None:
        """Set each projection to the least squares solution on a batch of unmasked text.

        Random projections take hundreds of steps to reach the loss at which this one starts.
        """
        if not self.projections or self.teacher is None:
            return
        teacher, student = (
            no_grad_trace(model, sample, Reads(hidden=reads.hidden)).hidden
            for model, reads in ((self.teacher, self.reads[1]), (self.student, self.reads[0]))
        )
        real = sample["attention_mask"].bool()
        compared = {pair for term, pairs in zip(self.objective, self.pairs, strict=True)
                    for pair in pairs if term.reads(pairs, False)[0].hidden}  # fmt: skip
        for name, projection in self.projections.items():
            pairs = [(s, t) for s, t in sorted(compared) if name in ("shared", str(s))]
            inputs = torch.cat([student[s][real].float() for s, _ in pairs])
            least_squares(projection, inputs, torch.cat([teacher[t][real] for _, t in pairs]), 1e-3)

    def _projections(self, choice: Projections) -> nn.ModuleDict:
        hidden = self.reads[0].hidden
        if self.teacher is None or not hidden:
            return nn.ModuleDict()
        student, teacher = self.student.config.hidden_size, self.teacher.config.hidden_size
        if choice == "none":
            return nn.ModuleDict()
        if choice == "shared":
            return nn.ModuleDict({"shared": nn.Linear(student, teacher)})
        return nn.ModuleDict({str(k): nn.Linear(student, teacher) for k in sorted(hidden)})

    def _project(self, student: Trace) -> Trace:
        if not self.projections:
            return student
        name = "shared" if "shared" in self.projections else None
        projected = {k: self.projections[name or str(k)](h) for k, h in student.hidden.items()}
        return replace(student, hidden=projected)


def check_layers(
    student: PreTrainedConfig,
    teacher: PreTrainedConfig,
    objective: Objective,
    projections: Projections,
    recipe: str = "the recipe",
) -> None:
    """Raise UserError for layer maps, widths, heads and architectures that do not fit."""
    depths = depth(student), depth(teacher)
    for term in objective:
        reads = term.reads(term.pairs(*depths), False)[0]
        if reads.hidden and projections == "none" and student.hidden_size != teacher.hidden_size:
            raise UserError(
                f"hidden states of the student are {student.hidden_size} wide and the teacher's "
                f"{teacher.hidden_size}: set the recipe's projections to 'layer' or 'shared', or "
                "drop the hidden terms"
            )
        if reads.attention:
            for config in (student, teacher):
                _check_readable(config, term, recipe, keeps_distances(student, teacher))
        if isinstance(term, (AttentionMSE, AttentionKL, Relations)):
            _check_heads(student, teacher, term)


def _check_readable(config: PreTrainedConfig, term: Term, recipe: str, alike: bool) -> None:
    """Raise UserError for attention that is unknown, or whose scores have other inputs as well.

    A term other than those of scores may read queries, keys and values all the same; and so may
    every term if the other inputs of both models are alike.
    """
    of_scores = isinstance(term, (AttentionMSE, AttentionKL)) and not alike
    if known(config) and not (of_scores and anatomy(config, "").relative):
        return
    kind = term.kind
    why, others = "whose scores depend on relative positions as well", "distilbert or minilm"
    if not known(config):
        why, others = "whose queries and keys are not known", "distilbert"
    raise UserError(
        f"{recipe} compares attention ({kind}) with a '{config.model_type}', {why}: leave the term "
        f"out (--set 'stages.*.objective.{kind}=null'), or take the recipe {others}"
    )


def _check_heads(
    student: PreTrainedConfig,
    teacher: PreTrainedConfig,
    term: AttentionMSE | AttentionKL | Relations,
) -> None:
    """Attention is compared head by head."""
    counts = [int(config.num_attention_heads) for config in (student, teacher)]
    widths = [attention_width(config) for config in (student, teacher)]
    heads = term.heads
    if heads is None and counts[0] == counts[1]:
        return
    if heads is None or widths[0] % heads or widths[1] % heads:
        common = math.gcd(*widths)
        fit = [n for n in range(1, 1 + max(counts)) if common % n == 0]
        raise UserError(
            f"{term.kind} compares {counts[0]} attention heads of the student with {counts[1]} of "
            f"the teacher{'' if heads is None else f', regrouped into {heads}'}: give a new "
            f"student {counts[1]} (--set student.num_attention_heads={counts[1]}), or regroup "
            f"both: --set stages.NAME.objective.{term.kind}.heads=N with N one of {fit}"
        )


def _check_same_sizes(student: PreTrainedModel, teacher: PreTrainedModel, reads: Reads) -> None:
    """Raise UserError for different numbers of tokens or labels that a term compares."""
    same = "start the student from this teacher, or use a teacher with the student's tokenizer"
    tune = "fine-tune the teacher on this task first (alembert finetune)"
    for read, field, what, fix in (
        (reads.vocabulary, "vocab_size", "vocabulary tokens", same),
        (reads.logits, "num_labels", "labels", tune),
    ):
        student_size, teacher_size = (int(getattr(m.config, field)) for m in (student, teacher))
        if read and student_size != teacher_size:
            raise UserError(
                f"the student has {student_size} {what} and the teacher {teacher_size}, and the "
                "recipe compares "
                f"them one by one: {fix}"
            )
