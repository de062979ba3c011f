"""A Session on a saved model that is not exported: torch behind the same interface."""

from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from alembert.evaluation import predict
from alembert.evaluation.spans.scores import THRESHOLD
from alembert.export.onnx import pooled
from alembert.inference.engine import Ids, check_threads
from alembert.inference.manifest import Manifest
from alembert.inference.session import Session
from alembert.io.answers import NEVER, QUESTIONS
from alembert.io.errors import UserError
from alembert.models import checks, loading
from alembert.models.architectures import inputs_of
from alembert.models.heads import kind_of, pooling_of
from alembert.models.logits import logits_in
from alembert.models.precision import torch_threads


def torch_session(
    path: str, threads: int | None = 1, long: str | None = None, max_length: int | None = None
) -> Session:
    """Return a Session on a saved model, a folder or a hub id, in eager torch and fp32.

    threads are those of torch while it computes; None leaves their number. Raises UserError where
    there is no such model.
    """
    check_threads(threads)
    model, _, facts = described(path)
    return _session(model, path, facts, threads, long, max_length)


def session_of_loaded(
    model: PreTrainedModel, path: str, max_length: int, long: str = "cut"
) -> Session:
    """Return a Session on a model that was loaded from `path`, in torch on one thread."""
    facts = _facts(model, path)
    return _session(model, path, facts, 1, long, min(max_length, facts.max_length))


def _session(
    model: PreTrainedModel, path: str, facts: Manifest, threads: int | None, long: str | None,
    max_length: int | None,
) -> Session:  # fmt: skip
    folder = Path(loading.model_path(path))
    if not folder.is_dir():  # a hub id, whose files are in the cache by now
        folder = Path(str(cached_file(path, "tokenizer.json"))).parent
    engine = TorchEngine(model, facts.kind, facts.pooling, threads)
    return Session(folder, long=long, max_length=max_length, facts=facts, engine=engine)


Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def described(
    path: str, loaded: Loaded | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, Manifest]:
    """Load a saved model and its tokenizer; return them with a manifest that has no variants.

    What is loaded already is not loaded again.

    Raises UserError where there is none, or where it cannot be read as one that answers.
    """
    if loaded is not None:
        return *loaded, _facts(loaded[0], path)
    config, tokenizer = loading.load_config(path), loading.load_tokenizer(path)
    checks.check_vocabulary(tokenizer, config, path)
    checks.positions(config)
    kind = kind_of(config, path)
    if kind == "encoder" and not Path(loading.model_path(path)).is_dir():
        raise UserError(f"{path}: an encoder's pooling is read from its folder: save it in one")
    model = loading.load_model(path, kind)
    return model, tokenizer, _facts(model, path)


def _facts(model: PreTrainedModel, path: str) -> Manifest:
    config = model.config
    kind = kind_of(config, path)
    labels = tuple(loading.label_names_of(config) or ()) if kind not in ("words", "encoder") else ()
    folder = Path(loading.model_path(path))
    return Manifest(
        kind=kind,
        labels=labels,
        max_length=checks.positions(config),
        inputs=(),
        parameters=model.num_parameters(),
        chosen="torch",
        variants=(),
        width=config.hidden_size,
        pooling=pooling_of(folder) if kind == "encoder" else "",
        null_threshold=_threshold(config) if kind == QUESTIONS else NEVER,
        window_length=checks.window_length(config, path) or 0,
    )


def _threshold(config: PreTrainedConfig) -> float:
    """Return the threshold of "no answer" of a model's config; without one it is never given."""
    found = getattr(config, THRESHOLD, None)
    return NEVER if found is None else float(found)


class TorchEngine:
    """An engine like those of inference.engine, for one call at a time."""

    def __init__(
        self, model: PreTrainedModel, kind: str, pooling: str, threads: int | None = None
    ) -> None:
        self._model, self._kind, self._pooling, self._threads = model, kind, pooling, threads
        self._takes = inputs_of(model)
        self._lock = Lock()  # a hook on the model selects the rows of the MLM head

    @torch.inference_mode()
    def __call__(self, ids: Ids) -> NDArray[np.float32]:
        batch = {name: torch.from_numpy(each) for name, each in ids.items()}
        inputs = {name: batch[name] for name in self._takes}
        with self._lock, torch_threads(self._threads):
            if self._kind == "words":
                output = predict.logits_of(self._model, inputs, batch["places"])
            elif self._kind == "encoder":
                hidden = self._model(**inputs).last_hidden_state
                output = pooled(hidden, batch["attention_mask"], self._pooling)
            else:
                output = logits_in(self._model(**inputs))
        return output.numpy()
