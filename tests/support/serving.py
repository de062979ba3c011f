"""What tests of the server share: models whose numbers are known, and ways to ask them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from alembert.inference import Session
from alembert.inference.manifest import Manifest, Variant
from alembert.serving.app import app_of
from alembert.serving.served_model import ServedModel
from alembert.serving.service import Limits, Opener, Service

LABELS = ("down", "flat", "up")


def facts_of(kind: str, labels: Sequence[str] = (), inputs: Sequence[str] = ()) -> Manifest:
    names = (*(inputs or ("input_ids", "attention_mask")), *["places"] * (kind == "words"))
    variant = Variant(
        backend="onnx", file="model.onnx", runtime="onnxruntime", precision="fp32", size_mb=0.1
    )
    return Manifest(
        kind=kind,
        labels=tuple(labels),
        max_length=64,
        inputs=names,
        parameters=1000,
        chosen="onnx",
        variants=(variant,),
    )


def made_up(
    folder: Path, engine: Callable[[dict[str, Any]], Any], kind: str = "classification",
    labels: Sequence[str] = LABELS, name: str = "made",
) -> Opener:  # fmt: skip
    """A model that answers with what `engine` says; the folder has the tokenizer."""
    told = facts_of(kind, labels)

    def opened() -> ServedModel:
        return ServedModel(name, Session(folder, facts=told, engine=engine), told.variants[0])

    return opened


def counting(inputs: dict[str, Any]) -> Any:
    """(B, 3) logits: how many tokens there are, the sum of their ids, nothing."""
    mask, ids = inputs["attention_mask"], inputs["input_ids"]
    zero = np.zeros(len(ids))
    return np.stack([mask.sum(1), ids.sum(1) / 100, zero], axis=1).astype(np.float32)


def per_token(inputs: dict[str, Any]) -> Any:
    """(B, T, 3) logits that ids and places decide."""
    ids = inputs["input_ids"][:, :, None] * np.array([1, 7, 3]) % 11
    return (ids + np.arange(ids.shape[1])[None, :, None] % 2).astype(np.float32)


def per_place(inputs: dict[str, Any]) -> Any:
    """(N, 99) logits that the text and the place of each mask decide."""
    rows, columns = np.divmod(inputs["places"], inputs["input_ids"].shape[1])
    sums = (inputs["input_ids"].sum(1)[rows] + 5 * columns)[:, None] * np.arange(1, 100)
    return (sums % 17 / 5).astype(np.float32)


@asynccontextmanager
async def running(
    openers: Sequence[Opener], limits: Limits | None = None, **options: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Service, Any]]:
    """A client of an application that has loaded its models, without a network between them."""
    app, service = app_of(openers, limits or Limits(), **options)
    await service.load(lambda: None)
    transport = httpx.ASGITransport(app)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client, service, app
    finally:
        await service.stop()


async def asked(app: Any, body: bytes, receive: Any, path: str = "/predict") -> list[Any]:
    """What an application sends to a request by hand; receive comes after the body."""
    sent: list[Any] = []
    first = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receiving() -> Any:
        return next(first, None) or await receive()

    async def send(message: Any) -> None:
        sent.append(message)

    head = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
    await app({**head, "root_path": "", "http_version": "1.1", "state": {}}, receiving, send)
    return sent


def texts(*given: str) -> bytes:
    return json.dumps({"inputs": given[0] if len(given) == 1 else list(given)}).encode()


def wait_for(asked_for: Callable[[], bool]) -> "asyncio.Future[None]":
    async def wait() -> None:
        while not asked_for():
            await asyncio.sleep(0.005)

    return asyncio.ensure_future(asyncio.wait_for(wait(), 10))
