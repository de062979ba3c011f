"""The straightforward steps that ours are compared with, term by term, as anyone would write them.

Each takes a pair of models and a batch, and returns the loss: both models whole, with all that the
paper's own code has them return.
"""

from typing import Any

import torch
import torch.nn.functional as F

from alembert.objectives.label_terms import HardLabels, SoftLabels
from alembert.objectives.layer_terms import HiddenCosine

Batch = dict[str, torch.Tensor]
EVERY = {"output_hidden_states": True, "output_attentions": True}


def both(pair: Any, batch: Batch, **asked: bool) -> tuple[Any, Any]:
    """What the student and the teacher return."""
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
    with torch.no_grad():
        teacher = pair.teacher(**inputs, **asked)
    return pair.student(**inputs, **asked), teacher


def plain_layers(pair: Any, batch: Batch) -> torch.Tensor:
    """TinyBERT's general step, term by term; all scores and hidden states of both, heads too."""
    scores: list[list[torch.Tensor]] = [[], []]
    handles = []

    def keep(into: list[torch.Tensor]) -> Any:
        def hook(module: Any, args: Any, kwargs: Any, _: Any) -> None:
            hidden = args[0] if args else kwargs["hidden_states"]
            shape = (*hidden.shape[:2], module.num_attention_heads, -1)
            q, k = (f(hidden).view(shape).transpose(1, 2) for f in (module.query, module.key))
            into.append(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5)

        return hook

    for model, into in ((pair.student, scores[0]), (pair.teacher, scores[1])):
        for layer in model.bert.encoder.layer:
            attention = layer.attention.self
            handles.append(attention.register_forward_hook(keep(into), with_kwargs=True))
    s, t = both(pair, batch, **EVERY)
    for handle in handles:
        handle.remove()
    loss = F.mse_loss(pair.projections["0"](s.hidden_states[0]), t.hidden_states[0])
    for student in range(1, 5):
        projected = pair.projections[str(student)](s.hidden_states[student])
        loss = loss + F.mse_loss(projected, t.hidden_states[3 * student])
        loss = loss + F.mse_loss(scores[0][student - 1], scores[1][3 * student - 1])
    return loss


def plain_triple(pair: Any, batch: Batch) -> torch.Tensor:
    """The authors' Distiller.step, term by term."""
    s, t = both(pair, batch, output_hidden_states=True)
    mask = batch["attention_mask"].unsqueeze(-1).expand_as(s.logits).bool()
    s_logits = torch.masked_select(s.logits, mask).view(-1, s.logits.size(-1))
    t_logits = torch.masked_select(t.logits, mask).view(-1, s.logits.size(-1))
    soft = F.kl_div(
        F.log_softmax(s_logits / 2, dim=-1), F.softmax(t_logits / 2, dim=-1), reduction="batchmean"
    )
    hard = F.cross_entropy(s.logits.view(-1, s.logits.size(-1)), batch["labels"].view(-1))
    width = s.hidden_states[-1].size(-1)
    wide = batch["attention_mask"].unsqueeze(-1).expand_as(s.hidden_states[-1]).bool()
    student = torch.masked_select(s.hidden_states[-1], wide).view(-1, width)
    teacher = torch.masked_select(t.hidden_states[-1], wide).view(-1, width)
    cosine = F.cosine_embedding_loss(student, teacher, torch.ones(len(student)))
    return 5 * soft * 4 + 2 * hard + cosine


def plain_relations(pair: Any, batch: Batch) -> torch.Tensor:
    """MiniLMv2's step: queries, keys and values of the last layers, every matrix whole."""
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
    found: list[list[torch.Tensor]] = []
    heads = pair.objective[0].heads
    for model in (pair.student, pair.teacher):
        parts = model.encoder.layer[-1].attention.self
        caught: list[torch.Tensor] = []
        handles = [
            part.register_forward_hook(lambda *given, into=caught: into.append(given[2]))
            for part in (parts.query, parts.key, parts.value)
        ]
        with torch.set_grad_enabled(model is pair.student):
            model(**inputs, **EVERY)
        for handle in handles:
            handle.remove()
        found.append([x.view(*x.shape[:2], heads, -1).transpose(1, 2) for x in caught])
    loss = torch.zeros(())
    for s, t in zip(*found, strict=True):
        student, teacher = (x @ x.transpose(-1, -2) / x.shape[-1] ** 0.5 for x in (s, t))
        loss = loss + F.kl_div(
            student.log_softmax(-1), teacher.softmax(-1), reduction="sum"
        ) / student.shape[:-1].numel()  # fmt: skip
    return loss


def plain_transfer(pair: Any, batch: Batch) -> torch.Tensor:
    """A stage of MobileBERT's transfer, term by term, both models whole."""
    ((student, teacher),) = pair.objective[0].layers
    s, t = both(pair, batch, **EVERY)
    here, there = pair.projections[str(student)](s.hidden_states[student]), t.hidden_states[teacher]
    here, there = (F.layer_norm(x, x.shape[-1:]) for x in (here, there))
    maps = F.mse_loss(here, there)
    s_seen, t_seen = s.attentions[student - 1], t.attentions[teacher - 1]
    gap = (t_seen * (t_seen.clamp(min=1e-30).log() - s_seen.clamp(min=1e-30).log())).sum(-1)
    loss: torch.Tensor = 100 * maps + gap.mean()
    return loss


def plain_answers(pair: Any, batch: Batch) -> torch.Tensor:
    """A recipe's last stage on a task, term by term, both models whole."""
    s, t = both(pair, batch, **EVERY)
    loss = torch.zeros(())
    for term, pairs in zip(pair.objective, pair.pairs, strict=True):
        if isinstance(term, SoftLabels):
            student, teacher = (x.logits / term.temperature for x in (s, t))
            gap = F.kl_div(student.log_softmax(-1), teacher.softmax(-1), reduction="batchmean")
            loss = loss + term.weight * term.temperature**2 * gap
        elif isinstance(term, HardLabels):
            loss = loss + term.weight * F.cross_entropy(s.logits, batch["labels"])
        elif isinstance(term, HiddenCosine):
            for here, there in pairs:
                states, others = s.hidden_states[here], t.hidden_states[there]
                alike = F.cosine_similarity(states.flatten(0, 1), others.flatten(0, 1), dim=-1)
                loss = loss + term.weight * (1 - alike.mean()) / len(pairs)
        else:
            raise TypeError(f"{type(term).__name__} has no straightforward form here")
    return loss


TRANSFERS = tuple(f"mobilebert-{k}" for k in range(1, 13))
ANSWERING = tuple(f"{name}-task" for name in ("distilbert", "tinybert", "mobilebert", "minilm"))
PLAIN = {
    "distilbert": plain_triple, "tinybert": plain_layers, "minilm": plain_relations,
    **dict.fromkeys(TRANSFERS, plain_transfer), **dict.fromkeys(ANSWERING, plain_answers),
}  # fmt: skip
