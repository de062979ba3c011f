"""A loaded transformers model -> one ONNX file with dynamic batch and length."""

import io
import logging
import warnings
from ast import literal_eval
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from alembert.export.folding import folded
from alembert.io.errors import UserError
from alembert.models.architectures import inputs_of

OPSET = 20
MOST = 2_000_000_000  # bytes that one ONNX file can hold
MASKED = -1e9  # added to the scores of padding: nothing after softmax, finite in bf16 too
# they take a mask (B, 1, 1, T) as it is, without the twenty nodes that make one of (B, T)
PLAIN = ("bert", "distilbert", "roberta", "xlm-roberta", "electra", "mobilebert", "ibbert")


def names_of(model: PreTrainedModel, kind: str) -> tuple[str, ...]:
    """The names that the graph of this model takes."""
    return (*inputs_of(model), *["places"] * (kind == "words"))


def export(
    model: PreTrainedModel, kind: str, path: Path, pooling: str = "", attentions: bool = False
) -> None:
    """Write the graph of the model, folded; see inference.manifest for its names.

    attentions: a second output, (L, B, A, T, T). Raises UserError where the runtime of the export
    is missing, or the model is larger than one ONNX file can be.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  torch.onnx needs it
    except ImportError as error:
        raise UserError(f"{error.name} is not installed: pip install 'alembert[deploy]'") from error
    if 4 * sum(p.numel() for p in model.parameters()) > MOST:
        raise UserError("the model is over 2 GB: one ONNX file cannot hold it")
    graph = _Graph(folded(model), kind, pooling, attentions).eval()
    names = names_of(model, kind)
    ids = torch.arange(16).reshape(2, 8) % 5 + 2
    mask = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])  # four tensors: one twice would be one input
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    given["places"] = torch.tensor([1, 3, 9])
    shapes = {name: {0: "batch", 1: "length"} for name in names}
    if kind == "words":
        shapes["places"] = {0: "count"}
    try:
        with quiet():
            program = torch.onnx.export(
                graph,
                kwargs={name: given[name] for name in names},
                dynamic_shapes=shapes,
                output_names=["logits", "attentions"][: 1 + attentions],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except (RuntimeError, IndexError) as error:
        kind = model.config.model_type
        raise UserError(
            f"a model of type '{kind}' cannot be exported: its graph cannot be written "
            f"({' '.join(str(error).split())[:200]})"
        ) from error
    assert program is not None
    proto = program.model_proto
    _named(proto)
    onnx.save(proto, str(path))


class _Graph(nn.Module):
    """A model and what is made of its output."""

    def __init__(self, model: PreTrainedModel, kind: str, pooling: str, attentions: bool) -> None:
        super().__init__()
        self.model, self.kind, self.pooling, self.attentions = model, kind, pooling, attentions

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Any:
        given: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.model.config.model_type in PLAIN:
            given["attention_mask"] = (1.0 - attention_mask[:, None, None, :].float()) * MASKED
        if token_type_ids is not None:
            given["token_type_ids"] = token_type_ids
        if places is not None:
            with _heard_at(self.model, places):
                found = self.model(**given, output_attentions=self.attentions)
        else:
            found = self.model(**given, output_attentions=self.attentions)
        if self.kind == "encoder":
            answer = pooled(found.last_hidden_state, attention_mask, self.pooling)
        else:
            answer = found.logits[0] if self.kind == "words" else found.logits
        return (answer, torch.stack(found.attentions)) if self.attentions else answer


def pooled(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """(B, H) of hidden states (B, T, H): the mean of what is no padding, or the first token's."""
    if pooling.startswith("cls"):
        found = hidden[:, 0]
    else:
        weights = mask[:, :, None].to(hidden.dtype)
        found = (hidden * weights).sum(1) / weights.sum(1)
    return nn.functional.normalize(found, dim=-1) if pooling.endswith("+norm") else found


@contextmanager
def _heard_at(model: PreTrainedModel, places: Tensor) -> Iterator[None]:
    """The masked-word head sees the hidden states at the places (N,) alone."""

    def keep(module: nn.Module, given: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state.flatten(0, 1)[places][None]
        return output

    hook = model.base_model.register_forward_hook(keep)
    try:
        yield
    finally:
        hook.remove()


def _named(proto: Any) -> None:
    """Matrix products bear the name of their module; traces of the exporter's machine go."""
    constants = {entry.name for entry in proto.graph.initializer}
    del proto.graph.value_info[:]  # stale after quantisation, which then refuses the graph
    proto.doc_string = ""
    for node in proto.graph.node:
        scopes = [p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"]
        if node.op_type in ("MatMul", "Gemm") and constants & set(node.input) and scopes:
            node.name = literal_eval(scopes[0])[-2].removeprefix("model.")
        del node.metadata_props[:]
        node.doc_string = ""


@contextmanager
def quiet() -> Iterator[None]:
    """What exporters and quantisers say on the way does not reach the user."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
