"""Checks of models: config.json before it is used, then length, vocabulary, precision, logits."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from alembert.io.answers import WINDOW
from alembert.io.errors import UserError
from alembert.io.files import inside, read_json
from alembert.models.architectures import bottlenecked, offset
from alembert.models.static.config import STATIC

FIX = "fix the file, or save the model again"
INDEX = "model.safetensors.index.json"  # of weights in several files
MOST = {  # the largest value of a config's size; each is at least 1
    **dict.fromkeys(("num_hidden_layers", "n_layers", "num_hidden_groups"), 256),
    **dict.fromkeys(("inner_group_num", "num_feedforward_networks"), 256),
    **dict.fromkeys(("num_attention_heads", "n_heads"), 10_000),
    **dict.fromkeys(("hidden_size", "dim", "embedding_size", "true_hidden_size"), 1_000_000),
    **dict.fromkeys(("intermediate_size", "hidden_dim", "intra_bottleneck_size"), 1_000_000),
    **dict.fromkeys(("max_position_embeddings", "type_vocab_size"), 10_000_000),
    "vocab_size": 10_000_000,
}
OPTIONAL = ("embedding_size", "max_position_embeddings")
NAMES = 1_000_000  # the most labels
BESIDE = 4  # times the parameters of a file, and MORE: a head may be new, tied weights are once
MORE = 10_000_000


def check_files(folder: Path) -> None:
    """Raises UserError for a saved model whose config or index of weights is not what one holds."""
    path = folder / "config.json"
    fields = read_json(path, FIX)
    if not isinstance(fields, dict):
        raise UserError(f"{path}: holds no object of fields: {FIX}")
    if reason := wrong_field(fields):
        raise UserError(f"{path}: {reason}: {FIX}")
    if not (folder / INDEX).is_file():
        return
    shards = read_json(folder / INDEX, FIX)
    shards = shards.get("weight_map") if isinstance(shards, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise UserError(f"{folder / INDEX}: names no weights: {FIX}")
    for name in dict.fromkeys(map(str, shards.values())):
        if not name.endswith(".safetensors"):
            raise UserError(
                f"{folder / INDEX}: names {name!r}, which is no safetensors and is never read: "
                "save the model again"
            )
        if not inside(folder, name).is_file():
            raise UserError(f"{folder / INDEX}: names {name!r}, which is not there: {FIX}")


def check_size(folder: Path, described: int) -> None:
    """Raises UserError when config.json describes far more parameters than the weights hold."""
    held = 0
    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, "pt") as weights:
                for name in weights.offset_keys():
                    held += math.prod(weights.get_slice(name).get_shape())
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"{folder}: cannot be read as a saved model: {file.name}: {error}: {FIX}"
            ) from error
    if described > BESIDE * held + MORE:
        raise UserError(
            f"{folder / 'config.json'}: describes {described:,} parameters and the weights hold "
            f"{held:,}: {FIX}"
        )


def wrong_field(fields: Mapping[str, Any]) -> str:
    """The reason why a config with these fields cannot be a model's; empty for none."""
    for name, value in fields.items():
        if name not in MOST or (value is None and name in OPTIONAL):
            continue
        least = 0 if name == "type_vocab_size" else 1
        if name == "num_hidden_layers" and fields.get("model_type") == STATIC:
            least = 0
        if type(value) is not int or not least <= value <= MOST[name]:
            return f"{name} is {_shown(value)}, not a whole number from {least} to {MOST[name]:,}"
    if fields.get("transformers_weights") is not None:
        return f"transformers_weights is {_shown(fields['transformers_weights'])}, and not read"
    names = fields.get("id2label")
    if names is not None and not _are_names(names):
        return f'id2label is {_shown(names)}, not names by number such as {{"0": "down"}}'
    ids = fields.get("label2id")
    if ids is not None and not (
        isinstance(ids, dict) and all(type(number) is int for number in ids.values())
    ):
        return f'label2id is {_shown(ids)}, not numbers by name such as {{"down": 0}}'
    kinds = fields.get("architectures")
    if kinds is not None and not (
        isinstance(kinds, list) and kinds and all(isinstance(kind, str) for kind in kinds)
    ):
        return f"architectures is {_shown(kinds)}, not a list of names"
    problem = fields.get("problem_type")
    if problem is not None and not isinstance(problem, str):
        return f"problem_type is {_shown(problem)}, not a name"
    return ""


def _are_names(names: object) -> bool:
    """Whether these are the labels of ids 0, 1, ..."""
    if not isinstance(names, dict) or not 0 < len(names) <= NAMES:
        return False
    numbers = {str(number) for number in range(len(names))}
    return set(map(str, names)) == numbers and all(isinstance(n, str) for n in names.values())


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else text[:40] + "..."


def positions(config: PreTrainedConfig) -> int:
    """The largest number of tokens of a text. Raises UserError without absolute positions."""
    if (length := getattr(config, "max_position_embeddings", None)) is None:
        raise UserError(
            f"a model of type '{config.model_type}' is no encoder with a maximum length: use "
            "a BERT, DistilBERT, RoBERTa, ELECTRA, MobileBERT, ModernBERT or the like"
        )
    return int(length) - offset(config)


def window_length(config: PreTrainedConfig, who: str) -> int | None:
    """The tokens of the windows in which a model has learnt long texts; None where it cuts them.

    Raises UserError where its config has no such number there.
    """
    found = getattr(config, WINDOW, None)
    if found is None or (type(found) is int and 0 < found <= positions(config)):
        return found
    raise UserError(
        f"{who}: {WINDOW} in its config.json is {found!r} and has to be a number of tokens, 1 to "
        f"{positions(config)}: fix it, or take it out"
    )


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
