"""What comes from the client of a request: the body, and the news that it has hung up."""

import asyncio
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from alembert.serving.queue import FailedError
from alembert.serving.schemas import RefusedError
from alembert.serving.service import Limits

PATIENCE = 0.02  # seconds until it is looked whether the client is still there


async def body_of(request: Request, limits: Limits) -> bytes:
    """The body; RefusedError 413 as soon as it is too large, 408 where it does not arrive."""
    refused = RefusedError(413, f"the body is over {limits.body} bytes")
    if int(request.headers.get("content-length", 0)) > limits.body:
        raise refused
    message = await request.receive()
    body = message.get("body", b"")
    if message.get("more_body"):
        try:
            async with asyncio.timeout(limits.reading):
                while message.get("more_body") and len(body) <= limits.body:
                    message = await request.receive()
                    body += message.get("body", b"")
        except TimeoutError as error:
            raise RefusedError(408, "the body did not arrive") from error
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    if len(body) > limits.body:
        raise refused
    return bytes(body)


async def unless_gone(future: asyncio.Future[list[Any]], receive: Receive) -> list[Any]:
    """What the future brings; where the client hangs up first, it is cancelled."""
    loop = asyncio.get_running_loop()
    watch: asyncio.Task[None] | None = None

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        future.cancel()

    def begin() -> None:
        nonlocal watch
        watch = loop.create_task(listen())

    timer = loop.call_later(PATIENCE, begin)
    try:
        return await future
    except asyncio.CancelledError:
        if watch is not None and watch.done():
            raise ClientDisconnect from None
        raise
    except FailedError as error:
        raise RefusedError(424, f"inference failed: {error}") from error
    finally:
        timer.cancel()
        if watch is not None:
            watch.cancel()
