"""The ONNX file of a loaded transformers model, with dynamic batch size and length."""

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

from alembert.evaluation.predict import mlm_head_at
from alembert.export.folding import folded
from alembert.io.environment import missing
from alembert.io.errors import UserError
from alembert.models.architectures import inputs_of
from alembert.models.logits import logits_in

OPSET = 20
MAX_BYTES = 2_000_000_000  # one ONNX file can hold no more
MASKED = -1e9  # added to the scores of padding: 0 after softmax, finite in bf16 too
# they add a mask (B, 1, 1, T) as it is, which saves the twenty nodes that convert one of (B, T)
TAKES_ADDED_MASK = (
    "bert",
    "distilbert",
    "roberta",
    "xlm-roberta",
    "electra",
    "mobilebert",
    "ibbert",
)


def input_names(model: PreTrainedModel, kind: str) -> tuple[str, ...]:
    """Return the names of the inputs of this model's graph."""
    return (*inputs_of(model), *["places"] * (kind == "words"))


def export(
    model: PreTrainedModel, kind: str, path: Path, pooling: str = "", attentions: bool = False
) -> None:
    """Write the graph of the folded model, whose inputs and outputs inference.manifest describes.

    attentions adds a second output, (L, B, A, T, T); else an encoder's is its hidden states
    (B, T, H), for tools that pool them. Raises UserError where a package is missing,
    the model is too large for one ONNX file, or its graph cannot be written.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  torch.onnx needs it
    except ImportError as error:
        raise UserError(missing(error.name, "deploy")) from error
    if 4 * sum(p.numel() for p in model.parameters()) > MAX_BYTES:
        raise UserError("the model is over 2 GB: one ONNX file cannot hold it")
    graph = _Graph(folded(model), kind, pooling, attentions).eval()
    names = input_names(model, kind)
    ids = torch.arange(16).reshape(2, 8) % 5 + 2
    mask = torch.tensor(
        [[1] * 8, [1] * 5 + [0] * 3]
    )  # no tensor is passed twice, which would be one input
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    inputs["places"] = torch.tensor([1, 3, 9])
    shapes = {name: {0: "batch", 1: "length"} for name in names}
    if kind == "words":
        shapes["places"] = {0: "count"}
    try:
        with quiet():
            program = torch.onnx.export(
                graph,
                kwargs={name: inputs[name] for name in names},
                dynamic_shapes=shapes,
                output_names=_outputs(kind, attentions),
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
    _name_products(proto)
    onnx.save(proto, str(path))


def _outputs(kind: str, attentions: bool) -> list[str]:
    """Return the names of a graph's outputs, which other tools look for too."""
    if kind != "encoder":
        return ["logits", *["attentions"] * attentions]
    return ["sentence_embedding", "attentions" if attentions else "last_hidden_state"]


class _Graph(nn.Module):
    """A model with the pooling or the selection that its kind of output needs."""

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
        inputs: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.model.config.model_type in TAKES_ADDED_MASK:
            inputs["attention_mask"] = (1.0 - attention_mask[:, None, None, :].float()) * MASKED
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        if places is not None:
            with mlm_head_at(self.model.base_model, lambda hidden: hidden.flatten(0, 1)[places]):
                output = self.model(**inputs, output_attentions=self.attentions)
        else:
            output = self.model(**inputs, output_attentions=self.attentions)
        if self.kind == "encoder":
            numbers = pooled(output.last_hidden_state, attention_mask, self.pooling)
        else:
            numbers = logits_in(output)[0] if self.kind == "words" else logits_in(output)
        if self.attentions:
            return numbers, torch.stack(output.attentions)
        return (numbers, output.last_hidden_state) if self.kind == "encoder" else numbers


def pooled(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Return (B, H) of hidden states (B, T, H): the mean over real tokens, or the first token's."""
    if pooling.startswith("cls"):
        vectors = hidden[:, 0]
    else:
        weights = mask[:, :, None].to(hidden.dtype)
        vectors = (hidden * weights).sum(1) / weights.sum(1)
    return nn.functional.normalize(vectors, dim=-1) if pooling.endswith("+norm") else vectors


def _name_products(proto: Any) -> None:
    """Name matrix products after their modules, and remove paths of the exporter's machine."""
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
    """Within the block, output and warnings of exporters and quantisers are suppressed."""
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
