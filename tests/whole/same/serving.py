"""Asks a server over HTTP, one request after the other, and writes down what it answers."""

import http.client
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .seen import flat_lines, page_of
from .words import Rename, translated

UP = re.compile(r"http://127\.0\.0\.1:(\d+)")
HEALTH = "/health"
UNTOLD = ("date", "content-length")
PATIENCE = 60.0  # seconds until it is up


def answers(
    said: Path, requests: Sequence[dict[str, Any]], renames: Sequence[Rename]
) -> dict[str, str]:
    """Text by number and request: status, headers and body. said: the file with its first line."""
    port = _port(said)
    if port is None:
        return {"server": "it did not start"}
    found: dict[str, str] = {}
    for number, request in enumerate(requests, 1):
        method, path = str(request["ask"]).split(" ", 1)
        found[f"{number:02} {request['ask']}"[:60]] = _asked(port, method, path, request, renames)
    return found


def _port(said: Path) -> int | None:
    """The port in the server's first line, once all its models answer."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        up = UP.search(said.read_text())
        if up:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", int(up[1]), timeout=10)
                connection.request("GET", HEALTH)
                if connection.getresponse().status == 200:
                    return int(up[1])
            except OSError:
                pass
        time.sleep(0.02)
    return None


def _asked(
    port: int, method: str, path: str, request: dict[str, Any], renames: Sequence[Rename]
) -> str:
    body = request.get("body")
    if body is not None and not isinstance(body, str):
        body = json.dumps(body)
    sent = translated(body or "", renames, "commands") * int(request.get("times", 1))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {"Content-Type": "application/json"} | request.get("headers", {})
        connection.request(
            method, translated(path, renames, "commands"), sent.encode() if sent else None, headers
        )
        answer = connection.getresponse()
        content = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {type(error).__name__}"
    finally:
        connection.close()
    told = [(name.lower(), value) for name, value in answer.getheaders()]
    head = sorted(f"{name}: {value}" for name, value in told if name not in UNTOLD)
    kind = answer.getheader("content-type") or ""
    return "\n".join([f"status {answer.status}", *head, _body(content, kind)])


def _body(content: str, kind: str) -> str:
    if "json" in kind:
        return flat_lines(content)
    return page_of(content) if "html" in kind else content
