"""DistilBERT: half the layers, started from the teacher's (Sanh et al. 2019, arXiv 1910.01108)."""

from typing import Any

from transformers import PreTrainedConfig

from alembert.io.errors import UserError
from alembert.models.architectures import inner_size, offset
from alembert.objectives.layer_terms import HiddenCosine
from alembert.recipes import tinybert
from alembert.recipes.schema import Augment, Init, Masking, Recipe, replaced
from alembert.recipes.stages import LABELS, on_corpus, on_task, rate_for

TRIPLE_LOSS = (*LABELS, HiddenCosine(weight=1.0))


def distilbert(
    teacher: PreTrainedConfig, layers: int | None = None, hidden_size: int | None = None
) -> Recipe:
    """Return the paper's recipe: a student as wide as its teacher, half as deep by default.

    Raises UserError where the teacher has fewer layers, or another width.
    """
    depth = int(teacher.num_hidden_layers)
    layers = max(depth // 2, 1) if layers is None else layers
    if not 1 <= layers <= depth:
        raise UserError(
            f"--layers {layers}: a DistilBERT student takes 1 to {depth} of its teacher's layers"
        )
    if hidden_size is not None and hidden_size != teacher.hidden_size:
        raise UserError(
            f"--hidden-size {hidden_size}: a DistilBERT student is as wide as its teacher "
            f"({teacher.hidden_size}); a narrower one is another recipe's"
        )
    width = int(teacher.hidden_size)
    general = on_corpus(
        "general", TRIPLE_LOSS, 5e-4, micro_batch_size=8, warmup=0.05,
        betas=(0.9, 0.98), epsilon=1e-6, weight_decay=0.0, clip=5.0, max_length=512,
        masking=Masking(),
    )  # fmt: skip
    cosines = HiddenCosine(weight=15.0, layers="uniform")
    return Recipe(
        name="distilbert",
        paper="DistilBERT, a distilled version of BERT (arXiv 1910.01108)",
        student=student_config(teacher, layers),
        init=Init(start="teacher", layers="uniform"),
        stages=(general, on_task((*LABELS, cosines), rate_for(width, 7.5e-5, 5e-4))),
        deviations=(
            "task: hidden cosine at every layer, weight 15, beside soft and hard labels; the "
            "paper's second distillation (SQuAD) has soft and hard labels only",
            "task: learning rate 7.5e-5 at width 768, growing as 1 / width^2 to 5e-4 (3e-4 at 384)",
            "task: trained until validation has stopped rising",
            "start: layers uniform (each block's last), so that the cosines compare like with "
            "like; the authors take 0, 2, 4, 7, 9, 11 of 12 (init.layers: spread)",
            "start: the teacher's token type 0 is added to the positions; the authors drop it",
            "general: the MLM head's transform is copied too (optional in their code)",
        ),
    )


def distilbert_pairs(
    teacher: PreTrainedConfig, layers: int | None = None, hidden_size: int | None = None
) -> Recipe:
    """Return `distilbert` for pairs of texts: a BERT, whose token types tell the two apart."""
    recipe = distilbert(teacher, layers, hidden_size)
    student = _like_its_teacher(teacher, layers or max(int(teacher.num_hidden_layers) // 2, 1))
    deviations = (
        "student: a BERT, which has the token types that the paper's student leaves out",
        "task: variants of the pairs as TinyBERT's, and each text with the nearest one of another "
        "row, since data sets of pairs are small",
        *(line for line in recipe.deviations if "token type" not in line),
    )
    return replaced(
        recipe,
        name="distilbert-pairs",
        student=student,
        augment=Augment(partners=1),
        deviations=deviations,
    )


def _like_its_teacher(teacher: PreTrainedConfig, layers: int) -> dict[str, Any]:
    """Return the fields of a student as wide as its teacher, of its family, with dropout."""
    dropout = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    return tinybert.student_config(teacher, layers, int(teacher.hidden_size)) | dropout


def student_config(teacher: PreTrainedConfig, layers: int) -> dict[str, Any]:
    """Return the fields of a DistilBertConfig as wide as the teacher; of an MPNet's, an MPNet."""
    if teacher.model_type == "mpnet":  # relative positions, which a DistilBERT has not
        return _like_its_teacher(teacher, layers)
    untied = not getattr(teacher, "tie_word_embeddings", True)
    return {
        "model_type": "distilbert",
        "vocab_size": int(teacher.vocab_size),
        "max_position_embeddings": int(teacher.max_position_embeddings) - offset(teacher),
        "n_layers": layers,
        "n_heads": int(teacher.num_attention_heads),
        "dim": int(teacher.hidden_size),
        "hidden_dim": inner_size(teacher),
        "activation": getattr(teacher, "hidden_act", None)
        or getattr(teacher, "activation", "gelu"),
        "pad_token_id": int(teacher.pad_token_id or 0),
        **({"tie_word_embeddings": False} if untied else {}),
    }
