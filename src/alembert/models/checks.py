"""Checks of models before training: sequence length, vocabulary size, precision, finite logits."""

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from alembert.io.errors import UserError
from alembert.models.architectures import bottlenecked, offset


def positions(config: PreTrainedConfig) -> int:
    """The largest number of tokens of a text. Raises UserError without absolute positions."""
    if (length := getattr(config, "max_position_embeddings", None)) is None:
        raise UserError(
            f"a model of type '{config.model_type}' is no encoder with a maximum length: use "
            "a BERT, DistilBERT, RoBERTa, ELECTRA, MobileBERT, ModernBERT or the like"
        )
    return int(length) - offset(config)


def check_length(max_length: int, config: PreTrainedConfig, who: str) -> None:
    """Raises UserError when max_length exceeds the positions of a model."""
    length = positions(config)
    if max_length > length:
        raise UserError(
            f"max_length {max_length} is more than the {length} positions of {who}: set "
            f"--max-length {length} or less"
        )


def check_vocabulary(
    tokenizer: PreTrainedTokenizerBase,
    config: PreTrainedConfig,
    who: str,
    fix: str = "put the tokenizer that it was trained with beside it",
) -> None:
    """Raises UserError when a tokenizer has more tokens than the model has embeddings."""
    if len(tokenizer) > config.vocab_size:
        raise UserError(
            f"{who}: its tokenizer has {len(tokenizer)} tokens and the model {config.vocab_size}: "
            f"{fix}"
        )


def check_precision(precision: str, config: PreTrainedConfig, who: str) -> None:
    """Raises UserError for fp16 where its hidden states are known to overflow."""
    if precision == "fp16" and bottlenecked(config):
        raise UserError(
            f"--precision fp16: the states of {who} ({config.model_type}) exceed the range of fp16 "
            "(65,504) and become NaN: choose bf16 or fp32"
        )


@torch.no_grad()
def check_finite(teacher: PreTrainedModel, path: str) -> None:
    """Raises UserError for a teacher whose outputs on its first 512 token ids are not finite."""
    token_ids = torch.arange(min(teacher.config.vocab_size, 512)).reshape(1, -1)
    for ids in token_ids.split(min(positions(teacher.config), 64), dim=1):
        output = teacher(ids)
        if not all(part.isfinite().all() for part in output.to_tuple() if torch.is_tensor(part)):
            raise UserError(
                f"{path}: this teacher's outputs are NaN or infinite, though its weights are "
                "numbers: train it again (a lower --learning-rate, or --precision fp32), or name "
                "another with --teacher"
            )
