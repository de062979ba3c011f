"""What serving takes from uvicorn beyond its public settings, and the version it is held to.

A new minor version of uvicorn is let in by running these tests with it, reading what they name,
and raising the ceiling in pyproject.toml.
"""

import asyncio
import inspect
import re
import socket
import time
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from packaging.requirements import Requirement
from packaging.version import Version
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from alembert.serving import server
from alembert.serving.listening.connections import Connections
from alembert.serving.listening.protocol import Guarded, protocol

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
# overridden method: its parameters; the protocol's are asyncio's and httptools' callbacks
SERVER = {"shutdown": "self sockets", "handle_exit": "self sig frame", "capture_signals": "self"}
PROTOCOL = {
    "connection_made": "self transport", "connection_lost": "self exc",
    "pause_writing": "self", "resume_writing": "self",
    "data_received": "self data", "on_message_begin": "self", "on_url": "self url",
    "on_header": "self name value", "on_headers_complete": "self", "on_message_complete": "self",
    "on_response_complete": "self",
}  # fmt: skip
CALLED = {"_unset_keepalive_if_required": "self"}  # of the protocol, beside the attributes below
# the last three from on_message_begin on
HELD = ("loop", "parser", "scope", "url", "headers", "expect_100_continue")
# attributes of Server; its `servers` are there when it listens, and the test of signals needs them
READ = ("should_exit", "force_exit", "server_state")
CONNECTIONS = "connections"  # of server_state


def changed(server_type: Any, protocol_type: Any) -> list[str]:
    """A line for each part of uvicorn that serving.server uses and that is no longer as it was."""
    found = []
    for kind, methods in ((server_type, SERVER), (protocol_type, PROTOCOL | CALLED)):
        for name, expected in methods.items():
            method = getattr(kind, name, None)
            given = " ".join(inspect.signature(method).parameters) if method else "gone"
            if given != expected:
                found.append(f"{kind.__name__}.{name} has ({given}), not ({expected})")
    made = server_type(uvicorn.Config(app="none:none"))
    found += [f"{server_type.__name__}.{name} is gone" for name in READ if not hasattr(made, name)]
    if not hasattr(getattr(made, "server_state", None), CONNECTIONS):
        found.append(f"{server_type.__name__}.server_state.{CONNECTIONS} is gone")
    return found


def test_uvicorn_has_all_that_the_server_overrides_and_reads() -> None:
    said = changed(uvicorn.Server, HttpToolsProtocol)
    assert said == [], f"uvicorn {uvicorn.__version__}: read server.py and listening again"


def test_a_changed_part_of_uvicorn_is_named() -> None:
    class Server:
        should_exit = force_exit = False

        def __init__(self, config: uvicorn.Config) -> None: ...

        def shutdown(self, sockets: Any, grace: float) -> None: ...

    class Protocol(HttpToolsProtocol):
        on_url = None

    assert changed(Server, Protocol) == [
        "Server.shutdown has (self sockets grace), not (self sockets)",
        "Server.handle_exit has (gone), not (self sig frame)",
        "Server.capture_signals has (gone), not (self)",
        "Protocol.on_url has (gone), not (self url)",
        "Server.server_state is gone",
        "Server.server_state.connections is gone",
    ]


def test_what_the_server_overrides_is_what_is_checked() -> None:
    def overridden(kind: Any) -> set[str]:
        return {name for name in vars(kind) if hasattr(kind.__base__, name) and name[:2] != "__"}

    assert overridden(server._Server) == set(SERVER)
    assert overridden(Guarded) == set(PROTOCOL)


def test_the_attributes_of_a_request_are_where_the_protocol_reads_them() -> None:
    with asyncio.Runner() as runner:
        config = uvicorn.Config(app=answering, log_config=None)
        made = HttpToolsProtocol(config, uvicorn.Server(config).server_state, {}, runner.get_loop())
        made.on_message_begin()
        assert [name for name in HELD if not hasattr(made, name)] == []


def test_only_the_tested_minor_version_of_uvicorn_is_installed() -> None:
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    [wanted] = [Requirement(each) for each in extras["serve"] if each.startswith("uvicorn")]
    tested = Version(uvicorn.__version__)
    assert wanted.specifier.contains(f"{tested.major}.{tested.minor}.99")
    assert not wanted.specifier.contains(f"{tested.major}.{tested.minor + 1}.0")


@asynccontextmanager
async def listening(app: Any, seconds: float) -> AsyncIterator[tuple[str, int]]:
    """The address of a server that waits so long for a request."""
    guarded = protocol(seconds, Connections(100))
    config = uvicorn.Config(app, http=guarded, lifespan="off", log_config=None)
    made = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(made.serve([listener]))
    while not made.started:
        await asyncio.sleep(0.01)
    yield listener.getsockname()
    made.should_exit = True
    await task


async def answering(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/slow":
        await asyncio.sleep(1)
    head = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.mark.clock
@pytest.mark.parametrize(
    ("first", "found"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", [b"HTTP/1.1 200", b"HTTP/1.1 408"]),
        (b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", []),  # a 408 would be taken for its response
    ],
)
def test_a_second_head_that_stays_away_is_refused_only_after_the_first_response(
    first: bytes, found: list[bytes]
) -> None:
    async def run() -> bytes:
        async with listening(answering, 0.3) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(first + b"GET / HTTP/1.1\r\nX-")
            started, said = time.monotonic(), b""
            with suppress(ConnectionError):  # hung up on
                while piece := await asyncio.wait_for(reader.read(65536), 5):
                    said += piece
            assert time.monotonic() - started < 0.9
            writer.close()
            return said

    said = asyncio.run(run())
    assert re.findall(rb"HTTP/1.1 \d+", said) == found
