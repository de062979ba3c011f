"""What a stage asks of its models, checked before anything is trained: heads, lengths, words."""

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from alembert import anatomy
from alembert.errors import UserError
from alembert.models.load import load_config, load_tokenizer
from alembert.recipe import Stage

# their positions begin after the padding's number
SHIFTED = ("camembert", "data2vec-text", "longformer", "mpnet", "roberta", "xlm-roberta")


def positions(config: PreTrainedConfig) -> int:
    """How many tokens a text of this model may have."""
    if (room := getattr(config, "max_position_embeddings", None)) is None:
        raise UserError(
            f"a model of type '{config.model_type}' is no encoder with positions of its own: take "
            "a BERT, DistilBERT, RoBERTa, ELECTRA, MobileBERT, ModernBERT or the like"
        )
    if config.model_type in SHIFTED:
        room -= int(config.pad_token_id) + 1
    return int(room)


def check_length(max_length: int, config: PreTrainedConfig, who: str) -> None:
    """Refuse texts longer than the positions of a model."""
    room = positions(config)
    if max_length > room:
        raise UserError(
            f"max_length {max_length} is more than the {room} positions of {who}: set "
            f"--max-length {room} or less"
        )


def check_words(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, who: str) -> None:
    """Refuse a tokenizer that speaks words a model has no embedding of."""
    if len(tokenizer) > config.vocab_size:
        raise UserError(
            f"{who}: its tokenizer has {len(tokenizer)} words and the model {config.vocab_size}: "
            "put the tokenizer that it was trained with beside it"
        )


def check_precision(precision: str, config: PreTrainedConfig, who: str) -> None:
    """Refuse fp16 where it is known to break."""
    if precision == "fp16" and anatomy.bottlenecked(config):
        raise UserError(
            f"--precision fp16: the states of {who}, a {config.model_type}, grow over what fp16 "
            "holds (65,504) and become NaN: choose bf16 or fp32"
        )


def check_teacher(stage: Stage, path: str, source: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a teacher without room for a stage's texts, or of other words.

    `source`: the model that the run's tokenizer comes from.
    """
    config = load_config(path)
    check_length(stage.max_length, config, path)
    if path != source and load_tokenizer(path).get_vocab() != tokenizer.get_vocab():
        raise UserError(
            f"{source} and {path} have different vocabularies: the student would read other "
            "words than its teacher; use a student made with this teacher's tokenizer"
        )
    check_words(tokenizer, config, path)
