"""What a stage asks of its models, checked before anything is trained: heads, lengths, words."""

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from alembert.io.errors import UserError
from alembert.models.architectures import bottlenecked, offset


def positions(config: PreTrainedConfig) -> int:
    """How many tokens a text of this model may have."""
    if (room := getattr(config, "max_position_embeddings", None)) is None:
        raise UserError(
            f"a model of type '{config.model_type}' is no encoder with positions of its own: take "
            "a BERT, DistilBERT, RoBERTa, ELECTRA, MobileBERT, ModernBERT or the like"
        )
    return int(room) - offset(config)


def check_length(max_length: int, config: PreTrainedConfig, who: str) -> None:
    """Refuse texts longer than the positions of a model."""
    room = positions(config)
    if max_length > room:
        raise UserError(
            f"max_length {max_length} is more than the {room} positions of {who}: set "
            f"--max-length {room} or less"
        )


def check_vocabulary(
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
    if precision == "fp16" and bottlenecked(config):
        raise UserError(
            f"--precision fp16: the states of {who} ({config.model_type}) grow over what fp16 "
            "holds (65,504) and become NaN: choose bf16 or fp32"
        )


@torch.no_grad()
def check_finite(teacher: PreTrainedModel, path: str) -> None:
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
