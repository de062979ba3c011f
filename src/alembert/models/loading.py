"""Loads saved models: a folder or a hub id becomes a config, a tokenizer or a model with a head."""

import fnmatch
import hashlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file

from alembert.io import checksums, hub
from alembert.io.answers import ENDS, QUESTIONS
from alembert.io.errors import UserError
from alembert.io.files import model_folder
from alembert.io.progress import doing
from alembert.models import ibbert  # noqa: F401  registers its classes
from alembert.models.checks import check_files, check_size, wrong_field
from alembert.models.heads import PROBLEMS
from alembert.models.static import model as static  # noqa: F401  registers its classes

# by kind of head: none, a token at each masked position, or a task's kind of label
HEADS: dict[str, Any] = {
    "encoder": AutoModel,
    "words": AutoModelForMaskedLM,
    "classification": AutoModelForSequenceClassification,
    "regression": AutoModelForSequenceClassification,
    "multilabel": AutoModelForSequenceClassification,
    "tokens": AutoModelForTokenClassification,
    QUESTIONS: AutoModelForQuestionAnswering,
}
# the errors that transformers raises for a folder that it cannot read a model from
UNREADABLE = (
    OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError,
    AssertionError, ImportError, SafetensorError, StrictDataclassError,
)  # fmt: skip


def label_fields(head: str, labels: Sequence[str]) -> dict[str, Any]:
    """The config fields that name a task's labels."""
    if head in ("words", "encoder"):
        return {}
    names = dict(enumerate(labels))
    fields = {"id2label": names, "label2id": {name: i for i, name in names.items()}}
    return fields | ({"problem_type": PROBLEMS[head]} if head in PROBLEMS else {})


def model_path(path: str) -> str:
    """The folder that holds the weights, which is student/ in a run folder; or the hub id.

    Raises UserError for a path that is neither.
    """
    folder = model_folder(path)
    if (folder / "config.json").is_file():
        return str(folder)
    if (folder / "adapter_config.json").is_file():
        raise UserError(
            f"{path}: an adapter (PEFT) is no whole model: merge it into its base model first, "
            "with merge_and_unload() and save_pretrained(), and name that folder"
        )
    if folder.is_dir():
        raise UserError(f"{path}: a folder without config.json is not a saved model")
    if folder.is_file():
        raise UserError(f"{path}: a model is a folder or a hub id, not a file")
    hub.check_id(path, "folder")
    return path


def digest_of(path: str) -> str:
    """The sha256 of a saved model: of the files of its weights, config and tokenizer.

    For a hub id, it is the revision. Raises UserError for a path that is no model.
    """
    folder = Path(model_path(path))
    if not folder.is_dir():
        load_config(path)  # refused, or in the hub's cache from here on
        return f"revision {Path(str(cached_file(path, 'config.json'))).parent.name}"
    parts, state = (*checksums.MODEL, *checksums.TOKENIZER), hashlib.sha256()
    for file in sorted(each for each in folder.iterdir() if each.is_file()):
        if any(fnmatch.fnmatchcase(file.name, pattern) for pattern in parts):
            state.update(f"{file.name} {checksums.sha256_of(file)} ".encode())
    return state.hexdigest()


def load_config(path: str) -> PreTrainedConfig:
    """The config of a saved model. Raises UserError when there is none."""
    checksums.check(Path(model_path(path)) / "config.json")
    config: PreTrainedConfig = _from_pretrained(path, AutoConfig.from_pretrained)
    if reason := wrong_field(config.to_dict()):  # of the hub, or a default of the architecture
        raise UserError(f"{path}: {reason}: name another model")
    return config


def label_names_of(config: PreTrainedConfig) -> list[str] | None:
    """A model's labels in the order of their ids; None where it was saved without a task head."""
    kinds = config.architectures or ["Classification"]  # without the field there may be one
    if any("QuestionAnswering" in kind for kind in kinds):
        return list(ENDS)
    if not any("Classification" in kind for kind in kinds):
        return None
    return [name for _, name in sorted((config.id2label or {}).items())]


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The tokenizer saved beside a model. Raises UserError when there is none."""
    checksums.check_folder(Path(model_path(path)), checksums.TOKENIZER)
    tokenizer, words = _from_pretrained(path, _tokenizer)
    if not tokenizer.is_fast:
        raise UserError(
            f"{path}: only fast tokenizers (tokenizer.json) are read, and this has none"
        )
    if words < 1:  # transformers makes one without a file
        raise UserError(f"{path}: there is no tokenizer beside the model: save it there too")
    if not isinstance(longest := tokenizer.model_max_length, (int, float)):
        raise UserError(
            f"{path}/tokenizer_config.json: model_max_length is {longest!r} and has to be a number "
            "of tokens"
        )
    loaded: PreTrainedTokenizerBase = tokenizer
    return loaded


def _tokenizer(folder: str, **options: Any) -> tuple[PreTrainedTokenizerBase, int]:
    """A tokenizer, and the number of its tokens beside the special ones."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, **options)
    return tokenizer, len(tokenizer) - len(tokenizer.all_special_ids)


def has_head(path: str, head: str) -> bool:
    """Whether the saved weights hold the head beside the encoder."""
    _, missing = _load(path, head)
    return not missing


def load_model(
    path: str,
    head: str,
    *,
    labels: Sequence[str] = (),
    fresh_head: bool = False,
    changes: dict[str, Any] | None = None,
) -> PreTrainedModel:
    """A saved model with the given head, in fp32 and eval mode.

    With fresh_head, a head that is not in the file is drawn at random for these labels; otherwise
    its absence raises a UserError that says how to train one. changes override config fields.
    """
    fields = label_fields(head, labels) if fresh_head else {}
    model, missing = _load(path, head, **fields, **(changes or {}))
    if missing and not fresh_head:
        how = "--corpus FILE" if head == "words" else "--train FILE"
        what = "masked-word" if head == "words" else head
        raise UserError(
            f"{path}: the model has no {what} head ({missing[0]} is not in the file, or "
            "of another shape): train one "
            f"with 'alembert finetune {path} {how} --out DIR' and name DIR instead"
        )
    return model


def _load(path: str, head: str, **fields: Any) -> tuple[PreTrainedModel, list[str]]:
    """The model, and the names of head parameters that the file lacks or has in another shape."""
    folder = Path(model_path(path))
    if any(folder.glob("pytorch_model*.bin")) and not any(folder.glob("*.safetensors")):
        raise UserError(
            f"{path}: its weights are pickled (pytorch_model.bin), which is never read: save the "
            "model again, as model.safetensors"
        )
    checksums.check_folder(folder, checksums.MODEL)
    if folder.is_dir():
        check_size(folder, _described(path, head, **fields))
    with quiet(), doing(f"loading {path}"):
        model, info = _from_pretrained(
            path,
            HEADS[head].from_pretrained,
            output_loading_info=True,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # reported below, in a line
            **fields,
        )
    prefix = "" if head == "encoder" else model.base_model_prefix + "."
    missing = sorted(info["missing_keys"])
    mismatched = sorted(str(entry[0]) for entry in info["mismatched_keys"])
    body = [n for n in missing if n.startswith(prefix) and "pooler." not in n]
    body += [n for n in mismatched if n.startswith(prefix)]
    if body:
        raise UserError(
            f"{path}: weights are missing from the file or of another shape: {body[0]} "
            f"({len(body)} in all)"
        )
    _check_numbers(model, path)
    return model.eval(), [name for name in missing if not name.startswith(prefix)] + mismatched


def _described(path: str, head: str, **fields: Any) -> int:
    """The number of parameters that a saved model's config describes; none is allocated."""

    def build(folder: str, **options: Any) -> int:
        with quiet(), torch.device("meta"):
            model = HEADS[head].from_config(AutoConfig.from_pretrained(folder, **options))
        return sum(parameter.numel() for parameter in model.parameters())

    count: int = _from_pretrained(path, build, **fields)
    return count


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings and progress bars of transformers meanwhile; afterwards they are as before."""
    logger = logging.getLogger("transformers")
    level, bars = logger.level, transformers_logging.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)  # missing keys are reported by `_load`, in a line
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Initializing zero-element")  # MobileBERT, S = E
            yield
    finally:
        logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _check_numbers(model: PreTrainedModel, path: str) -> None:
    """Raises UserError for weights that hold NaN or infinity."""
    if broken := [name for name, p in model.named_parameters() if not p.isfinite().all()]:
        raise UserError(
            f"{path}: its weights are broken: {broken[0]} holds NaN or infinity ({len(broken)} "
            "such in all): train it again (a lower --learning-rate, or --precision fp32), or name "
            "another model"
        )


def _from_pretrained(path: str, read: Any, **options: Any) -> Any:
    folder = model_path(path)
    if Path(folder).is_dir():
        check_files(Path(folder))
    options["trust_remote_code"] = False  # code beside a model is never run
    local = not Path(folder).is_dir() and not hub.reachable()
    try:
        return read(folder, **options, **({"local_files_only": True} if local else {}))
    except UNREADABLE as error:
        if local:
            raise UserError(
                f"{path}: no such folder, and the hub cannot be reached; check the path or the "
                "network, or name a folder that save_pretrained made"
            ) from error
        first = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: cannot be read as a saved model: {first} (name a folder made by "
            "save_pretrained, or a hub id while online)"
        ) from error
