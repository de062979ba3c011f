"""Attention and MLM predictions of teacher and student on one text."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from alembert.io.errors import UserError
from alembert.models.architectures import inputs_of
from alembert.models.layer_map import round_half_up
from alembert.models.loading import has_head, load_model, load_tokenizer
from alembert.runs.record import RunRecord

LAYERS = 4  # the most layers of the student that are shown
TOKENS = 16  # the most tokens of the text
SENTENCE = "The capital of France is a city on the river Seine."
Attention = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """One text as the models read it.

    layers: for each layer shown, {role: (its number, its attention (T, T) averaged over heads)}.
    guesses: an MLM's logits (V,) at the token `masked`, which is -1 for other models.
    """

    text: str
    tokens: list[str]
    layers: list[dict[str, tuple[int, Attention]]]
    guesses: dict[str, NDArray[np.float32]]
    vocabulary: list[str]
    masked: int


def inspect_text(run: RunRecord, text: str) -> Inspection:
    """Run the run's models on one text, or on two texts of a line each.

    Raises UserError where the run has no student yet, or a model cannot be read.
    """
    if run.student is None:
        raise UserError("the run has not made its student yet")
    head = run.metrics.get("task") or "words"
    tokenizer, paths = load_tokenizer(str(run.student)), {}
    if run.teacher and load_tokenizer(run.teacher).get_vocab() == tokenizer.get_vocab():
        paths["teacher"] = run.teacher  # other tokens cannot be compared with the student's
    paths["student" if paths else "model"] = str(run.student)
    if head == "words" and not all(has_head(path, "words") for path in paths.values()):
        head = "encoder"
    eager = {"attn_implementation": "eager"}  # fused kernels return no attention
    models = {role: load_model(path, head, changes=eager) for role, path in paths.items()}
    first, _, second = text.partition("\n")
    batch = tokenizer(
        first, second or None, truncation=True, max_length=TOKENS, return_tensors="pt"
    )
    ids, masked = batch["input_ids"][0], -1
    if head == "words":
        tokens = tokenizer.convert_ids_to_tokens(ids.tolist())
        words = [k for k, token in enumerate(tokens) if token.isalpha()] or [1]
        masked = words[len(words) // 2]
        ids[masked] = tokenizer.mask_token_id
        text = str(tokenizer.decode(ids[1:-1]))
    outputs = {role: _outputs(model, batch) for role, model in models.items()}
    for role, output in outputs.items():
        if not output.attentions:
            raise UserError(f"{paths[role]} has no layers, and so no attention")
    attention = {
        role: [layer[0].mean(0).float().numpy() for layer in output.attentions]
        for role, output in outputs.items()
    }
    guesses = {}
    if head == "words":
        guesses = {role: output.logits[0, masked].numpy() for role, output in outputs.items()}
    return Inspection(
        text=text,
        tokens=list(tokenizer.convert_ids_to_tokens(ids.tolist())),
        layers=_paired_layers(attention),
        guesses=guesses,
        vocabulary=list(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))),
        masked=masked,
    )


def _outputs(model: PreTrainedModel, batch: Any) -> Any:
    inputs = {name: batch[name] for name in inputs_of(model) if name in batch}
    with torch.inference_mode():
        return model(**inputs, output_attentions=True)


def _paired_layers(
    attention: dict[str, list[Attention]],
) -> list[dict[str, tuple[int, Attention]]]:
    """Return evenly spaced student layers, each with the teacher's at the same relative depth."""
    *_, depth = map(len, attention.values())  # the student's, which comes last
    shown = []
    for k in sorted({round(k) for k in np.linspace(1, depth, min(LAYERS, depth))}):
        numbers = {r: max(1, round_half_up(k * len(x), depth)) for r, x in attention.items()}
        shown.append({role: (n, attention[role][n - 1]) for role, n in numbers.items()})
    return shown


def overlap(student: Attention, teacher: Attention) -> float:
    """Return the attention that both share: the sum of the smaller weights, mean over tokens."""
    return float(np.minimum(student, teacher).sum(-1).mean())
