"""The kind of head of a saved model, and the pooling of a sentence encoder."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from alembert.io.answers import QUESTIONS
from alembert.io.errors import UserError
from alembert.io.files import read_json

HEADS = {
    "ForTokenClassification": "tokens",
    "ForQuestionAnswering": QUESTIONS,
    "ForMaskedLM": "words",
    "ForPreTraining": "words",
    "Model": "encoder",
}
PROBLEMS = {  # transformers' problem_type of each kind of sequence classification
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}
POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
MODULES = ("Transformer", "Pooling", "Normalize")  # those of sentence-transformers we can export


def kind_of(config: PreTrainedConfig, path: str) -> str:
    """The kind of a model's head, one of loading.HEADS; UserError for others."""
    name = (config.architectures or ["Model"])[0]
    if name.endswith("ForSequenceClassification"):
        usual = "regression" if config.num_labels == 1 else "classification"
        kinds = {problem: kind for kind, problem in PROBLEMS.items()}
        kind = kinds.get(config.problem_type or "", usual)
        if kind == "regression" and config.num_labels != 1:
            raise UserError(
                f"{path}: a regression with {config.num_labels} scores is not known here: there "
                "are models of one score"
            )
        return kind
    for ending, kind in HEADS.items():
        if name.endswith(ending):
            return kind
    raise UserError(
        f"{path}: a {name} is not known here: there are models of sequence classification, token "
        "classification, question answering, masked words, and encoders without a head"
    )


def pooling_of(folder: Path) -> str:
    """mean or cls, with "+norm" where vectors get length 1, from sentence-transformers' files."""
    entries = _json(folder / "modules.json") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{folder / 'modules.json'}: holds no list of modules: fix it")
    modules = [str(entry.get("type", "")).rpartition(".")[2] for entry in entries]
    if strange := [name for name in modules if name not in MODULES]:
        raise UserError(
            f"{folder / 'modules.json'}: a module {strange[0]} cannot be exported: there are "
            f"{', '.join(MODULES)}"
        )
    file = _json(folder / "1_Pooling" / "config.json") or {"pooling_mode_mean_tokens": True}
    if not isinstance(file, dict):
        raise UserError(f"{folder / '1_Pooling' / 'config.json'}: holds no fields: fix it")
    modes = [str(file["pooling_mode"])] if file.get("pooling_mode") else []
    modes += [
        POOLINGS.get(str(key), str(key))
        for key, on in file.items()
        if "_mode_" in key and on is True
    ]
    if len(modes) != 1 or modes[0] not in POOLINGS.values():
        raise UserError(
            f"{folder / '1_Pooling' / 'config.json'}: {' and '.join(modes) or 'no pooling'} cannot "
            "be exported: mean and cls can"
        )
    return modes[0] + "+norm" * ("Normalize" in modules)


def _json(path: Path) -> Any:
    """The content of a JSON file; empty when there is no file."""
    return read_json(path, "fix it") if path.is_file() else {}
