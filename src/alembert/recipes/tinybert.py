"""TinyBERT: narrow; imitates layers, then logits (Jiao et al. 2020, arXiv 1909.10351)."""

from typing import Any

from transformers import PreTrainedConfig

from alembert.io.errors import UserError
from alembert.models.architectures import inner_size, offset
from alembert.objectives.label_terms import SoftLabels
from alembert.objectives.layer_terms import AttentionMSE, HiddenMSE
from alembert.recipes.schema import Augment, Init, Recipe, replaced
from alembert.recipes.stages import on_corpus, on_task, rate_for

FAMILIES = ("mpnet", "roberta", "xlm-roberta")  # whose students are built as they are
LAYERS = (HiddenMSE(layers="uniform", embeddings=True), AttentionMSE(layers="uniform"))


def tinybert(
    teacher: PreTrainedConfig, layers: int | None = None, hidden_size: int | None = None
) -> Recipe:
    """Return the recipe of TinyBERT4, 4 layers of width 312, or of another size.

    Raises UserError where the student is larger than its teacher, or its heads do not divide it.
    """
    depth, width = int(teacher.num_hidden_layers), int(teacher.hidden_size)
    usual = min(4, depth), min(312, width)
    layers, hidden_size = checked_shape("a TinyBERT", teacher, layers, hidden_size, usual)
    rate, soft = rate_for(hidden_size, 5e-5, 1e-3), (SoftLabels(temperature=1.0),)
    return Recipe(
        name="tinybert",
        paper="TinyBERT: distilling BERT for natural language understanding (arXiv 1909.10351)",
        student=student_config(teacher, layers, hidden_size),
        init=Init(start="teacher", layers="uniform"),
        projections="none" if hidden_size == width else "layer",
        augment=Augment(),
        stages=(
            on_corpus("general", LAYERS, rate),
            on_task(LAYERS, rate, "intermediate", start="better"),
            on_task(soft, rate_for(hidden_size, 3e-5, 5e-4), "prediction"),
        ),
        deviations=(
            "losses over layers count real tokens only; the authors average padding in, and set "
            "masked scores to 0",
            "soft labels are T^2 KL, mean over texts; the authors' cross entropy is a mean over "
            "texts and classes without T^2 (at T = 1 another learning rate)",
            "regression learns the teacher's scores, as in the paper; the authors' code uses the "
            "data's",
            "projections: one a layer, started at the least squares solution; the paper's code "
            "has one for all (projections: shared), drawn at random",
            "task: trained until validation has stopped rising; the paper's 20 and 3 epochs",
            "no dropout in the student: with 0.1 its loss over layers stayed 1.6 times as large",
            "learning rates grow as 1 / width^2, from 5e-5 and 3e-5 at width 768 to 1e-3 and 5e-4",
            "after a corpus the task starts with what that taught, or anew from the teacher, as "
            "held-out texts say (stages.intermediate.start)",
            "variants: without a masked-word model from the teacher's own wordpiece vectors, and "
            "with the rows at most 50,000 (augment.most)",
            "start: where no student is given, the teacher's layers through its principal "
            "components (init); the authors' general stage starts at random (init.start: scratch)",
        ),
    )


def tinybert6(
    teacher: PreTrainedConfig, layers: int | None = None, hidden_size: int | None = None
) -> Recipe:
    """Return the recipe of TinyBERT6: as wide as the teacher, with half its layers."""
    depth, width = int(teacher.num_hidden_layers), int(teacher.hidden_size)
    recipe = tinybert(
        teacher,
        max(depth // 2, 1) if layers is None else layers,
        width if hidden_size is None else hidden_size,
    )
    return replaced(recipe, name="tinybert6")


def checked_shape(
    model: str,
    teacher: PreTrainedConfig,
    layers: int | None,
    hidden_size: int | None,
    usual: tuple[int, int],
) -> tuple[int, int]:
    """Return layers and hidden size, by default `usual`, whose width the heads then divide.

    Raises UserError, which calls the student `model`, where it is larger than this teacher.
    """
    depth, width = int(teacher.num_hidden_layers), int(teacher.hidden_size)
    heads = int(teacher.num_attention_heads)
    layers = usual[0] if layers is None else layers
    if hidden_size is None:
        hidden_size = max(usual[1] // heads, 1) * heads
    if not 1 <= layers <= depth:
        raise UserError(f"--layers {layers}: {model} student of this teacher has 1 to {depth}")
    if not 1 <= hidden_size <= width:
        raise UserError(
            f"--hidden-size {hidden_size}: {model} student of this teacher is 1 to {width} wide"
        )
    return layers, hidden_size


def student_config(teacher: PreTrainedConfig, layers: int, hidden_size: int) -> dict[str, Any]:
    """Return the fields of a BERT with the teacher's family, heads and vocabulary.

    The student of an MPNet is one, too, since it keeps the teacher's relative positions.
    """
    heads = int(teacher.num_attention_heads)
    if hidden_size % heads:
        near = max(hidden_size - hidden_size % heads, heads)
        raise UserError(
            f"--hidden-size {hidden_size}: does not divide among the teacher's {heads} attention "
            f"heads: take {near} or {near + heads}"
        )
    kind = teacher.model_type if teacher.model_type in FAMILIES else "bert"
    types = int(getattr(teacher, "type_vocab_size", 0) or 2)
    positions = int(teacher.max_position_embeddings) - (offset(teacher) if kind == "bert" else 0)
    return {
        "model_type": kind,
        "vocab_size": int(teacher.vocab_size),
        "max_position_embeddings": positions,
        **({} if kind == "mpnet" else {"type_vocab_size": types}),
        "num_hidden_layers": layers,
        "hidden_size": hidden_size,
        "num_attention_heads": heads,
        "intermediate_size": _inner(teacher, hidden_size),
        "layer_norm_eps": float(getattr(teacher, "layer_norm_eps", 1e-12)),
        "hidden_act": getattr(teacher, "hidden_act", None)
        or getattr(teacher, "activation", "gelu"),
        "pad_token_id": int(teacher.pad_token_id or 0),
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }


def _inner(teacher: PreTrainedConfig, hidden_size: int) -> int:
    """Return the paper's 1200 at width 312 of 768, else the teacher's multiple of the width."""
    width, inner = int(teacher.hidden_size), inner_size(teacher)
    return 1200 if (hidden_size, width) == (312, 768) else inner * hidden_size // width
