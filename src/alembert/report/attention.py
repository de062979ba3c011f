"""Teacher and student read one text: where each layer attends, and which hidden word they guess."""

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

LAYERS = 4  # of the student that are shown
TOKENS = 16
SENTENCE = "The capital of France is a city on the river Seine."
Attention = NDArray[np.float32]


@dataclass(frozen=True)
class Insides:
    """`layers`: student layer, its attention (T, T), teacher layer, its attention; heads averaged.

    `text`: what was read. Without a teacher the last two are None. `guesses`: of models of masked
    words, logits (V,) at a word that was hidden; `hidden` is where.
    """

    text: str
    tokens: list[str]
    layers: list[tuple[int, Attention, int | None, Attention | None]]
    guesses: dict[str, NDArray[np.float32]]
    vocabulary: list[str]
    hidden: int


def insides(run: RunRecord, text: str) -> Insides:
    """Run the models on one text (two texts: a line each). UserError when they cannot be read."""
    if run.student is None:
        raise UserError("the run has not made its student yet")
    head = run.metrics.get("task") or "words"
    tokenizer, paths = load_tokenizer(str(run.student)), {}
    if run.teacher and load_tokenizer(run.teacher).get_vocab() == tokenizer.get_vocab():
        paths["teacher"] = run.teacher  # another's pieces cannot be laid beside the student's
    own = "student" if paths else "model"
    paths[own] = str(run.student)
    if head == "words" and not all(has_head(path, "words") for path in paths.values()):
        head = "encoder"
    eager = {"attn_implementation": "eager"}  # the fused kinds keep no attention
    models = {who: load_model(path, head, changes=eager) for who, path in paths.items()}
    first, _, second = text.partition("\n")
    batch = tokenizer(
        first, second or None, truncation=True, max_length=TOKENS, return_tensors="pt"
    )
    ids, hidden = batch["input_ids"][0], -1
    if head == "words":
        tokens = tokenizer.convert_ids_to_tokens(ids.tolist())
        whole = [k for k, token in enumerate(tokens) if token.isalpha()] or [1]
        hidden = whole[len(whole) // 2]
        ids[hidden] = tokenizer.mask_token_id
        text = str(tokenizer.decode(ids[1:-1]))
    outputs = {who: _asked(model, batch) for who, model in models.items()}
    seen = {
        who: [layer[0].mean(0).float().numpy() for layer in output.attentions]
        for who, output in outputs.items()
    }
    guesses = {}
    if head == "words":
        guesses = {who: output.logits[0, hidden].numpy() for who, output in outputs.items()}
    return Insides(
        text,
        list(tokenizer.convert_ids_to_tokens(ids.tolist())),
        _paired(seen[own], seen.get("teacher")),
        guesses,
        list(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))),
        hidden,
    )


def _asked(model: PreTrainedModel, batch: Any) -> Any:
    inputs = {name: batch[name] for name in inputs_of(model) if name in batch}
    with torch.inference_mode():
        return model(**inputs, output_attentions=True)


def _paired(
    student: list[Attention], teacher: list[Attention] | None
) -> list[tuple[int, Attention, int | None, Attention | None]]:
    """Student layers evenly chosen, each beside the teacher's at the same relative height."""
    chosen = sorted({round(k) for k in np.linspace(1, len(student), min(LAYERS, len(student)))})
    if teacher is None:
        return [(k, student[k - 1], None, None) for k in chosen]
    height = {k: max(1, round_half_up(k * len(teacher), len(student))) for k in chosen}
    return [(k, student[k - 1], height[k], teacher[height[k] - 1]) for k in chosen]


def alike(student: Attention, teacher: Attention) -> float:
    """The share of attention that both place alike: sum of the smaller, mean over tokens."""
    return float(np.minimum(student, teacher).sum(-1).mean())
