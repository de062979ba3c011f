"""MobileBERT: deep and thin, taught layer by layer (Sun et al. 2020, arXiv 2004.02984)."""

from typing import Any

from transformers import PreTrainedConfig

from alembert.io.errors import UserError
from alembert.models.architectures import bottlenecked, offset
from alembert.models.layer_map import Pairs, layer_map
from alembert.objectives.label_terms import HardLabels, NextSentence, SoftLabels
from alembert.objectives.layer_terms import AttentionKL, FeatureMap
from alembert.objectives.objective import Objective
from alembert.recipes.schema import Init, Masking, Recipe, Stage, replaced
from alembert.recipes.stages import LABELS, on_corpus, on_task

PAPER = "MobileBERT: a compact task-agnostic BERT for resource-limited devices (arXiv 2004.02984)"
PRETRAINING = (HardLabels(weight=0.5), SoftLabels(weight=0.5, rows="masked"), NextSentence())
HIDDEN_SIZE = 512  # the greatest width between layers where no --hidden-size is set
HEAD_SIZE = 12  # thinner heads are widened to this many dimensions
NETWORKS = 4  # feed-forward networks of a layer
RATE = 7e-4  # layers start fitted by least squares, which the first steps at 1.5e-3 undo
EARLIER = 0.1  # factor of RATE for layers that were transferred before
TASK_RATE = 3e-4
LABELS_RATE = 1e-4  # without normalisation, soft labels at 3e-4 undo the transfer of the layers


def mobilebert(
    teacher: PreTrainedConfig, layers: int | None = None, hidden_size: int | None = None
) -> Recipe:
    """Return the recipe with progressive transfer (section 3.3), before pre-training and the task.

    On the task, the layers are compared again before soft and hard labels are learned.
    """
    student, pairs = _student(teacher, layers, hidden_size)
    transfer = tuple(_progressive(pairs[:k], len(pairs), not bottlenecked(teacher))
                     for k in range(1, len(pairs) + 1))  # fmt: skip
    return _recipe("mobilebert", teacher, student, (*transfer, pretraining(RATE), *_task(pairs)))


def mobilebert_tiny(
    teacher: PreTrainedConfig, layers: int | None = None, hidden_size: int | None = None
) -> Recipe:
    """Return MobileBERT-tiny: half the networks, at least one, and attention in the bottleneck."""
    recipe = mobilebert(teacher, layers, hidden_size)
    half = max(1, int(recipe.student["num_feedforward_networks"]) // 2)
    smaller = {"num_feedforward_networks": half, "use_bottleneck_attention": True}
    changes = {"name": "mobilebert-tiny", "student": recipe.student | smaller}
    return replaced(recipe, **changes)


def mobilebert_joint(
    teacher: PreTrainedConfig, layers: int | None = None, hidden_size: int | None = None
) -> Recipe:
    """Return the recipe that transfers all layers at once, before pre-training and the task."""
    student, pairs = _student(teacher, layers, hidden_size)
    rates = ((r"layer\.\d+\.", 1.0), _moving(1.0, not bottlenecked(teacher)), ("", 0.0))
    stage = on_corpus("transfer", _compared(pairs), RATE, rates=rates)
    return _recipe("mobilebert-joint", teacher, student, (stage, pretraining(RATE), *_task(pairs)))


def mobilebert_auxiliary(
    teacher: PreTrainedConfig, layers: int | None = None, hidden_size: int | None = None
) -> Recipe:
    """Return the recipe that adds the layers' losses to pre-training distillation, in one stage."""
    student, pairs = _student(teacher, layers, hidden_size)
    stage = pretraining(RATE, (*PRETRAINING, *_compared(pairs)))
    return _recipe("mobilebert-auxiliary", teacher, student, (stage, *_task(pairs)))


def student_config(teacher: PreTrainedConfig, layers: int, hidden_size: int) -> dict[str, Any]:
    """Return the fields of a MobileBertConfig with the teacher's heads and vocabulary."""
    inside, networks = _bottleneck(hidden_size, int(teacher.num_attention_heads))
    return {
        "model_type": "mobilebert",
        **shared_fields(teacher, layers, hidden_size),
        "intra_bottleneck_size": inside,
        "intermediate_size": 4 * inside,
        "num_feedforward_networks": networks,
        "normalization_type": "no_norm",
        "hidden_act": "relu",
        "classifier_activation": False,
    }


def _bottleneck(hidden_size: int, heads: int) -> tuple[int, int]:
    """Return the width inside a layer and its number of feed-forward networks.

    As in the paper, whose heads have 32 dimensions, they are a quarter of the hidden size and
    four. Heads thinner than 12 are widened up to 12 dimensions, all of them together to at most
    half of the hidden size; the layer then gets as many networks, at least one, as it can have
    without more parameters.
    """
    quarter = heads * max(1, round(hidden_size / 4 / heads))
    parameters = _without_networks(hidden_size, quarter) + NETWORKS * 8 * quarter**2
    for inside in range(heads * min(HEAD_SIZE, hidden_size // 2 // heads), quarter, -heads):
        networks = (parameters - _without_networks(hidden_size, inside)) // (8 * inside**2)
        if networks > 0:
            return inside, networks
    return quarter, NETWORKS


def _without_networks(hidden_size: int, inside: int) -> int:
    """Count the parameters of a layer's bottlenecks and attention; biases are left out."""
    return 4 * hidden_size * inside + 3 * inside**2


def shared_fields(teacher: PreTrainedConfig, layers: int, hidden_size: int) -> dict[str, Any]:
    """Return the fields that a MobileBertConfig and an IBBertConfig share."""
    copied = bottlenecked(teacher)  # its embeddings are as narrow as the student's
    return {
        "embedding_size": int(teacher.embedding_size) if copied else min(128, hidden_size),
        "vocab_size": int(teacher.vocab_size),
        "max_position_embeddings": int(teacher.max_position_embeddings) - offset(teacher),
        "type_vocab_size": int(getattr(teacher, "type_vocab_size", 0) or 2),
        "pad_token_id": int(teacher.pad_token_id or 0),
        "num_attention_heads": int(teacher.num_attention_heads),
        "num_hidden_layers": layers,
        "hidden_size": hidden_size,
    }


def _student(
    teacher: PreTrainedConfig, layers: int | None, hidden_size: int | None
) -> tuple[dict[str, Any], Pairs]:
    layers, hidden_size = checked_shape("a MobileBERT", teacher, layers, hidden_size, HIDDEN_SIZE)
    pairs = layer_map("uniform", layers, int(teacher.num_hidden_layers))
    return student_config(teacher, layers, hidden_size), pairs


def checked_shape(
    model: str, teacher: PreTrainedConfig, layers: int | None, hidden_size: int | None, usual: int
) -> tuple[int, int]:
    """Return layers and hidden size, by default the teacher's depth and about `usual`.

    Raises UserError, which calls the student `model`, where this teacher allows no such size.
    """
    depth, width = int(teacher.num_hidden_layers), int(teacher.hidden_size)
    layers = depth if layers is None else layers
    if not 1 <= layers <= depth:
        raise UserError(f"--layers {layers}: {model} of this teacher has 1 to {depth}")
    least, why = max(2, int(teacher.num_attention_heads)), "its heads"
    if bottlenecked(teacher) and teacher.embedding_size > least:
        least, why = int(teacher.embedding_size), "its embedding size"
    if hidden_size is not None and not least <= hidden_size <= width:
        raise UserError(
            f"--hidden-size {hidden_size}: {model} of this teacher has {least} ({why}) to {width}"
        )
    return layers, min(max(usual, least), width) if hidden_size is None else hidden_size


def _recipe(
    name: str, teacher: PreTrainedConfig, student: dict[str, Any], stages: tuple[Stage, ...]
) -> Recipe:
    return Recipe(
        name=name,
        paper=PAPER,
        student=student,
        init=Init(start="teacher", layers="uniform"),
        projections="none" if student["hidden_size"] == teacher.hidden_size else "layer",
        stages=stages,
        deviations=(
            "feature map: squared error of normalised states and attention only; the authors' code "
            "adds gaps of means and variances, with a slip in both",
            "next sentences: a sequence of the corpus is cut in two, and half of them get a piece "
            "of another sequence of the corpus; the authors draw other documents beforehand",
            "batches of 256 at 7e-4, since layers and the MLM head start fitted, in "
            "progressive transfer a tenth of it for earlier layers; the paper's, drawn at random, "
            "have 2,048 at 1.5e-3, there 4.5e-3 and 4.5e-4",
            "on a task the layers' losses again (intermediate), then soft and hard labels; the "
            "paper fine-tunes; until validation has stopped rising",
            "after a corpus the task starts with what that taught, or anew from the teacher, as "
            "held-out texts say (stages.intermediate.start)",
            *(() if bottlenecked(teacher) else (
                "embeddings: principal components of the teacher's, which is no IB-BERT; they move "
                "with the first layer",
            )),
        ),
    )  # fmt: skip


def _moving(factor: float, embeddings: bool) -> tuple[str, float]:
    """Return the learning rate of projections, and of embeddings that are no exact copies."""
    return (r"^projections\.|embeddings\." if embeddings else r"^projections\.", factor)


def _compared(pairs: Pairs) -> Objective:
    return (FeatureMap(weight=100.0, layers=pairs), AttentionKL(weight=1.0, layers=pairs))


def _progressive(pairs: Pairs, depth: int, embeddings: bool) -> Stage:
    """Return the stage that transfers the last of these pairs; earlier layers learn slowly."""
    k = len(pairs)
    earlier = "|".join(str(i) for i in range(k - 1))
    rates = [(rf"layer\.{k - 1}\.", 1.0), ("", 0.0)]
    if k > 1:
        rates.insert(1, (rf"layer\.({earlier})\.", EARLIER))
    rates.insert(0, _moving(1.0 if k == 1 else EARLIER, embeddings))
    compared = _compared(pairs[-1:])
    return on_corpus(f"transfer-{k}", compared, RATE, epochs=3.0 / depth, rates=tuple(rates))


def pretraining(learning_rate: float, objective: Objective = PRETRAINING) -> Stage:
    """Return the stage of MLM, soft labels and next sentences; a recipe may add layers' losses."""
    masking = Masking(rare_words=0.0)
    return on_corpus("pretraining", objective, learning_rate, masking=masking)


def _task(pairs: Pairs) -> tuple[Stage, Stage]:
    layers = on_task(_compared(pairs), TASK_RATE, "intermediate", start="better")
    return layers, on_task(LABELS, LABELS_RATE)
