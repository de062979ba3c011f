"""From a saved folder to answers on CPU; `session` needs onnxruntime and tokenizers, no torch."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alembert.inference.session import Session

__all__ = ["Session"]


def __getattr__(name: str) -> Any:
    if name != "Session":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from alembert.inference.session import Session  # numpy and tokenizers: only when it is used

    return Session
