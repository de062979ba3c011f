"""MobileBERT: deep and thin, taught layer by layer (Sun et al. 2020, arXiv 2004.02984)."""

from typing import Any

from transformers import PreTrainedConfig

from alembert.io.errors import UserError
from alembert.models.architectures import bottlenecked, offset
from alembert.models.layer_map import Pairs, layer_map
from alembert.objectives.objective import AttentionKL, FeatureMap, HardLabels, Objective, SoftLabels
from alembert.recipes.length import STUDENT
from alembert.recipes.schema import Init, Masking, Recipe, Stage

PAPER = "MobileBERT: a compact task-agnostic BERT for resource-limited devices (arXiv 2004.02984)"
PRETRAINING = (HardLabels(weight=0.5), SoftLabels(weight=0.5, rows="masked"))
STREAM = 512  # the widest inter-block stream that a student gets unasked
HEAD = 12  # dimensions of a head that thinner ones are widened to
NETWORKS = 4  # feed-forward networks of a layer
RATE = 7e-4  # layers start fitted: at 1.5e-3 the first steps undo it
EARLIER = 0.1  # of that, layers that were transferred before
TASK_RATE = 3e-4
ANSWERS_RATE = 1e-4  # without normalisation 3e-4 undoes there what the layers had learned


def mobilebert(
    teacher: PreTrainedConfig, layers: int | None = None, hidden_size: int | None = None
) -> Recipe:
    """Progressive transfer, then pre-training distillation, then layers and answers on the task."""
    student, pairs = _student(teacher, layers, hidden_size)
    transfer = tuple(_progressive(pairs[:k], len(pairs), not bottlenecked(teacher))
                     for k in range(1, len(pairs) + 1))  # fmt: skip
    return _recipe("mobilebert", teacher, student, (*transfer, _pretraining(), *_task(pairs)))


def mobilebert_tiny(
    teacher: PreTrainedConfig, layers: int | None = None, hidden_size: int | None = None
) -> Recipe:
    """MobileBERT-tiny: half the networks (at least one), all of attention from the bottleneck."""
    recipe = mobilebert(teacher, layers, hidden_size)
    half = max(1, int(recipe.student["num_feedforward_networks"]) // 2)
    smaller = {"num_feedforward_networks": half, "use_bottleneck_attention": True}
    changes = {"name": "mobilebert-tiny", "student": recipe.student | smaller}
    return recipe.model_copy(update=changes)


def mobilebert_joint(
    teacher: PreTrainedConfig, layers: int | None = None, hidden_size: int | None = None
) -> Recipe:
    """All layers at once, then pre-training distillation, then the task."""
    student, pairs = _student(teacher, layers, hidden_size)
    rates = ((r"layer\.\d+\.", 1.0), _moving(1.0, not bottlenecked(teacher)), ("", 0.0))
    stage = _transfer("transfer", _compared(pairs), 3.0, rates)
    return _recipe("mobilebert-joint", teacher, student, (stage, _pretraining(), *_task(pairs)))


def mobilebert_auxiliary(
    teacher: PreTrainedConfig, layers: int | None = None, hidden_size: int | None = None
) -> Recipe:
    """The layers' losses beside pre-training distillation, in one stage; then the task."""
    student, pairs = _student(teacher, layers, hidden_size)
    stage = _pretraining((*PRETRAINING, *_compared(pairs)))
    return _recipe("mobilebert-auxiliary", teacher, student, (stage, *_task(pairs)))


def student_config(teacher: PreTrainedConfig, layers: int, hidden_size: int) -> dict[str, Any]:
    """The fields of a MobileBertConfig: the teacher's heads and words, its shape by _shape."""
    inside, networks = _shape(hidden_size, int(teacher.num_attention_heads))
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


def _shape(stream: int, heads: int) -> tuple[int, int]:
    """How wide a layer is inside, and its feed-forward networks, of four times as many neurons.

    A quarter of the stream and four, as in the paper, whose heads are 32 wide. Heads thinner than
    12 then get up to 12 dimensions, at most half of the stream in all, and the layer as many
    networks, at least one, as it can have without more parameters.
    """
    quarter = heads * max(1, round(stream / 4 / heads))
    paper = _beside_networks(stream, quarter) + NETWORKS * 8 * quarter**2
    for inside in range(heads * min(HEAD, stream // 2 // heads), quarter, -heads):
        networks = (paper - _beside_networks(stream, inside)) // (8 * inside**2)
        if networks > 0:
            return inside, networks
    return quarter, NETWORKS


def _beside_networks(stream: int, inside: int) -> int:
    """Parameters of a layer's bottlenecks and attention; biases left out."""
    return 4 * stream * inside + 3 * inside**2


def shared_fields(teacher: PreTrainedConfig, layers: int, hidden_size: int) -> dict[str, Any]:
    """What a MobileBertConfig and an IBBertConfig take of a teacher alike."""
    narrow = bottlenecked(teacher)  # then its words are as they are
    return {
        "embedding_size": int(teacher.embedding_size) if narrow else min(128, hidden_size),
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
    layers, hidden_size = asked_shape("a MobileBERT", teacher, layers, hidden_size, STREAM)
    pairs = layer_map("uniform", layers, int(teacher.num_hidden_layers))
    return student_config(teacher, layers, hidden_size), pairs


def asked_shape(
    what: str, teacher: PreTrainedConfig, layers: int | None, stream: int | None, usual: int
) -> tuple[int, int]:
    """Layers and stream as asked, else the teacher's and `usual`; UserError where none fit."""
    depth, width = int(teacher.num_hidden_layers), int(teacher.hidden_size)
    layers = depth if layers is None else layers
    if not 1 <= layers <= depth:
        raise UserError(f"--layers {layers}: {what} of this teacher has 1 to {depth}")
    least, why = max(2, int(teacher.num_attention_heads)), "its heads"
    if bottlenecked(teacher) and teacher.embedding_size > least:
        least, why = int(teacher.embedding_size), "its embedding size"
    if stream is not None and not least <= stream <= width:
        raise UserError(
            f"--hidden-size {stream}: {what} of this teacher has {least} ({why}) to {width}"
        )
    return layers, min(max(usual, least), width) if stream is None else stream


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
            "pre-training: no next-sentence prediction",
            "batches of 256 at 7e-4, since layers and the masked-word head start fitted, in "
            "progressive transfer a tenth of it for earlier layers; the paper's, drawn at random, "
            "have 2,048 at 1.5e-3, there 4.5e-3 and 4.5e-4",
            "on a task the layers' losses again (intermediate), then soft and hard labels; the "
            "paper fine-tunes; until validation has stopped rising",
            *(() if bottlenecked(teacher) else (
                "embeddings: principal components of the teacher's, which is no IB-BERT; they move "
                "with the first layer",
            )),
        ),
    )  # fmt: skip


def _moving(factor: float, words: bool) -> tuple[str, float]:
    """Projections learn as fast as what they project; embeddings that are no copies, too."""
    return (r"^projections\.|embeddings\." if words else r"^projections\.", factor)


def _compared(pairs: Pairs) -> Objective:
    return (FeatureMap(weight=100.0, layers=pairs), AttentionKL(weight=1.0, layers=pairs))


def _progressive(pairs: Pairs, depth: int, words: bool) -> Stage:
    """The transfer of the last of these pairs, on what the layers before it have become."""
    k = len(pairs)
    earlier = "|".join(str(i) for i in range(k - 1))
    rates = [(rf"layer\.{k - 1}\.", 1.0), ("", 0.0)]
    if k > 1:
        rates.insert(1, (rf"layer\.({earlier})\.", EARLIER))
    rates.insert(0, _moving(1.0 if k == 1 else EARLIER, words))
    return _transfer(f"transfer-{k}", _compared(pairs[-1:]), 3.0 / depth, tuple(rates))


def _transfer(
    name: str, objective: Objective, epochs: float, rates: tuple[tuple[str, float], ...]
) -> Stage:
    return Stage(
        name=name, data="corpus", objective=objective, epochs=epochs, batch_size=256,
        micro_batch_size=32, learning_rate=RATE, warmup=0.1, weight_decay=0.01, max_length=128,
        rates=rates,
    )  # fmt: skip


def _pretraining(objective: Objective = PRETRAINING) -> Stage:
    return Stage(
        name="pretraining", data="corpus", objective=objective, epochs=3, batch_size=256,
        micro_batch_size=32, learning_rate=RATE, warmup=0.1, weight_decay=0.01, max_length=128,
        masking=Masking(rare_words=0.0),
    )  # fmt: skip


def _task(pairs: Pairs) -> tuple[Stage, Stage]:
    answers = (SoftLabels(weight=5.0, temperature=2.0), HardLabels(weight=2.0))
    layers = Stage(
        name="intermediate", data="task", objective=_compared(pairs), until=STUDENT,
        batch_size=32, learning_rate=TASK_RATE, warmup=0.1, weight_decay=0.01,
    )  # fmt: skip
    changes = {
        "name": "task", "objective": answers, "learning_rate": ANSWERS_RATE,
    }  # fmt: skip
    return layers, layers.model_copy(update=changes)
