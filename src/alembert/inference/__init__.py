"""From an exported folder to answers on CPU: tokenizers, numpy and the folder's engine; no torch.

Read `session` first: texts in, typed answers out. `manifest` is deploy.json, what a folder says
of itself; `texts` checks what a caller gives, `tokenization` makes rows, `batching` puts rows of
like length together, `engine` runs the graph (onnxruntime or OpenVINO), and `predictions` makes
answers of its numbers.

For other rooms: Session, session, manifest, texts, tokenization, batching, engine, predictions.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alembert.inference.session import Session

__all__ = ["Session"]


def __getattr__(name: str) -> Any:
    if name != "Session":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from alembert.inference.session import Session  # numpy and tokenizers: only when it is used

    return Session
