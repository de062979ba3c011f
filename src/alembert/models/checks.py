"""What a stage asks of its models, checked before anything is trained: heads, lengths, words."""

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from alembert.io.errors import UserError
from alembert.models import anatomy
from alembert.models.loading import load_config, load_tokenizer
from alembert.recipes.schema import Stage


def positions(config: PreTrainedConfig) -> int:
    """How many tokens a text of this model may have."""
    if (room := getattr(config, "max_position_embeddings", None)) is None:
        raise UserError(
            f"a model of type '{config.model_type}' is no encoder with positions of its own: take "
            "a BERT, DistilBERT, RoBERTa, ELECTRA, MobileBERT, ModernBERT or the like"
        )
    return int(room) - anatomy.offset(config)


def check_length(max_length: int, config: PreTrainedConfig, who: str) -> None:
    """Refuse texts longer than the positions of a model."""
    room = positions(config)
    if max_length > room:
        raise UserError(
            f"max_length {max_length} is more than the {room} positions of {who}: set "
            f"--max-length {room} or less"
        )


def check_words(
    tokenizer: PreTrainedTokenizerBase,
    config: PreTrainedConfig,
    who: str,
    mend: str = "put the tokenizer that it was trained with beside it",
) -> None:
    """Refuse a tokenizer that speaks words a model has no embedding of."""
    if len(tokenizer) > config.vocab_size:
        raise UserError(
            f"{who}: its tokenizer has {len(tokenizer)} words and the model {config.vocab_size}: "
            f"{mend}"
        )


def check_precision(precision: str, config: PreTrainedConfig, who: str) -> None:
    """Refuse fp16 where it is known to break."""
    if precision == "fp16" and anatomy.bottlenecked(config):
        raise UserError(
            f"--precision fp16: the states of {who} ({config.model_type}) grow over what fp16 "
            "holds (65,504) and become NaN: choose bf16 or fp32"
        )


def check_teacher(
    stage: Stage, head: str, path: str, source: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse a teacher without room for a stage's texts, or of other words than its terms can pair.

    `source`: the model that the run's tokenizer comes from. Answers of whole texts are compared
    whatever pieces each model reads; everything else is compared piece by piece.
    """
    config, own = load_config(path), load_tokenizer(path)
    check_length(stage.max_length, config, path)
    by_text = head not in ("words", "encoder", "tokens")
    paired = [t.kind for t in stage.objective if not by_text or t.over not in ("labels", "answers")]
    if paired and own.get_vocab() != tokenizer.get_vocab():
        less = f", or --set 'stages.{stage.name}.objective=[{{kind: SoftLabels}}]'"
        raise UserError(
            f"{source} and {path} have different vocabularies: {paired[0]} of stage "
            f"'{stage.name}' compares them piece by piece; use a student made with this teacher's "
            f"tokenizer{less if by_text else ''}"
        )
    check_words(own, config, path)


@torch.no_grad()
def check_answers(teacher: PreTrainedModel, path: str) -> None:
    """Refuse a teacher that says NaN or infinity of a text, which would be the student's to learn.

    Raises UserError; asked are its first 512 words.
    """
    words = torch.arange(min(teacher.config.vocab_size, 512)).reshape(1, -1)
    for ids in words.split(min(positions(teacher.config), 64), dim=1):
        found = teacher(ids)
        if not all(part.isfinite().all() for part in found.to_tuple() if torch.is_tensor(part)):
            raise UserError(
                f"{path}: this teacher answers with NaN or infinity, though its weights are "
                "numbers: train it again (a lower --learning-rate, or --precision fp32), or name "
                "another with --teacher"
            )
