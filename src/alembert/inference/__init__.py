"""Inference with an exported folder on CPU: tokenizers, numpy and the folder's engine; no torch.

Read `session` first: texts in, typed answers out. `manifest` is deploy.json, the description of an
exported folder; `texts` checks a caller's texts, `tokenization` encodes rows, `batching` puts rows
of similar length together and joins the windows of a long text, `graph` checks what the file of a
graph claims, `engine` runs it (onnxruntime or OpenVINO), `static` is the engine of a static student
(numpy alone), for which `words` looks words up, and `predictions` turns logits into answers.
`questions` reads and answers those about a context, by the best of its `spans`.

For other rooms: Session, session, manifest, texts, tokenization, batching, engine, predictions,
questions, spans, static.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alembert.inference.session import Session

__all__ = ["Session"]


def __getattr__(name: str) -> Any:
    if name != "Session":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from alembert.inference.session import Session  # imports numpy and tokenizers

    return Session
