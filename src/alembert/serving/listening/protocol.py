"""One connection: uvicorn's protocol of HTTP/1.1, with limits on what a client sends and leaves."""

import asyncio
from asyncio import TimerHandle, Transport
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import httptools
from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from alembert.serving.listening.connections import Connections
from alembert.serving.schemas import TYPES

HEAD = 16_384  # bytes of the head of a request, and of the trailers of a body
TAKING = 30.0  # seconds in which a client has to take an answer
PIPELINE = 64  # requests of a connection that may wait for their answers
LINGER = 2.0  # seconds in which a client that still sends may read why it was refused
LATE = "alembert.late"  # in the scope of a request that did not arrive in time
RESPONSE, CONTINUE = b"HTTP/1.1 ", b"HTTP/1.1 100 "
Refusal = tuple[int, str]  # status, reason
LONG: Refusal = 431, f"the head of the request is over {HEAD:,} bytes"
MANY: Refusal = 429, f"at most {PIPELINE} requests of a connection wait for their answers"
WRONG: Refusal = 400, "this is no request of HTTP/1.1"
HOSTS: Refusal = 400, "a request has one Host header"
CODED: Refusal = 400, "no Transfer-Encoding is read but chunked"


class _Joined:
    """A transport that sends the head of a response with its body, in one call and not two."""

    def __init__(self, transport: Transport, hang_up: Callable[[], None]) -> None:
        self._transport, self._hang_up = transport, hang_up
        self._head = b""
        self._closing = False
        self.responses = 0  # that were begun

    def write(self, data: bytes) -> None:
        if self._closing:
            return
        self.responses += data.startswith(RESPONSE) and not data.startswith(CONTINUE)
        if not self._head and data.startswith(RESPONSE):
            self._head = data
            asyncio.get_running_loop().call_soon(self._send)  # for a response without a body
        else:
            head, self._head = self._head, b""
            self._transport.write(head + data)

    def close(self) -> None:
        if not self._closing:
            self._send()
            self._closing = True
            self._hang_up()

    def is_closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    def _send(self) -> None:
        head, self._head = self._head, b""
        if head and not self._closing:
            self._transport.write(head)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Guarded(HttpToolsProtocol):
    """A protocol that hangs up on clients whose requests are too long or too slow, or unread.

    A request has `seconds` from its first byte to its last, whatever is answered meanwhile. It
    overrides the methods of asyncio.Protocol and the callbacks of httptools; tests/serving/
    test_uvicorn.py names what it takes from uvicorn.
    """

    seconds: float
    among: Connections

    _joined: _Joined
    _plain: Transport
    _begun = 0  # requests whose first byte has arrived
    _requests = 0  # whose heads have
    _complete = 0  # whose bodies have
    _arrived = 0  # bytes of an incomplete head
    _parsed = 0  # bytes of its URL and headers
    _timer: TimerHandle | None = None  # runs until a request is complete
    _end: TimerHandle | None = None  # runs until an answer has been taken
    _why: Refusal = WRONG
    _refused: Refusal | None = None  # the refusal that comes after the answers on their way

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        self._plain = transport
        self._joined = _Joined(transport, self._hang_up)
        super().connection_made(self._joined)  # type: ignore[arg-type]
        self.among.begins(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._in_time()
        self._taken()
        self.among.lost(self._plain)

    def pause_writing(self) -> None:
        self.among.unread(self._plain)
        self._ends(TAKING)
        super().pause_writing()

    def resume_writing(self) -> None:
        self.among.read(self._plain)
        if not self._joined.is_closing():
            self._taken()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._refused or self._joined.is_closing():
            return  # the rest of what is refused
        self._unset_keepalive_if_required()
        self._wait()
        begun, bodies = self._begun, self._requests - self._complete
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._why)
        else:
            if self._begun > self._requests and not bodies and self._begun - begun <= 1:
                self._arrived += len(data)
                if self._arrived > HEAD:
                    self._refuse(LONG)

    def on_message_begin(self) -> None:
        self._begun += 1
        self._arrived = self._parsed = 0
        self._wait()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(name + b": " + value + b"\r\n")
        if self._requests == self._complete:  # not a trailer, which is no header of the request
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError("this is no proxy")  # the parser then fails, and 400 is sent
            return
        if self._requests - self._joined.responses >= PIPELINE:
            self._why = MANY
            raise ValueError("too many requests")  # the parser then fails, and 429 is sent
        if (refusal := self._unfit()) is not None:
            self._why = refusal
            raise ValueError(refusal[1])  # the parser then fails, and the refusal is sent
        self._requests += 1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._complete += 1
        self._in_time()
        if self._joined.responses < self._requests:
            self.among.works(self._plain)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        answered = self._joined.responses
        if answered >= self._complete and self._refused is not None:
            self._refuse(self._refused)
        elif answered == self._requests:
            self.among.waits(self._plain, answered=True)
        if self._timer is not None and answered < self._begun:
            self._in_time()  # the next request was not read meanwhile
            self._wait()

    def _unfit(self) -> Refusal | None:
        """The reason to refuse a whole head, which a proxy might have read in another way."""
        version = self.parser.get_http_version()
        if version == "1.0":
            self.expect_100_continue = False  # its clients would take 100 for the answer
        elif version != "1.1":
            return WRONG
        elif [name for name, _ in self.headers].count(b"host") != 1:
            return HOSTS
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if any(coding.strip().lower() != b"chunked" for coding in codings):
            return CODED
        return None

    def _count(self, part: bytes) -> None:
        self._parsed += len(part)
        if self._parsed > HEAD:
            self._why = LONG
            raise ValueError("a long head")  # the parser then fails, and 431 is sent

    def _without_upgrade(self, rest: bytes) -> None:
        """Parses a request anew without its offer to upgrade, for which the parser has stopped."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % each for each in self.headers if each[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._begun -= 1
        self.data_received(b"\r\n".join((*lines, b"", rest)))

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.seconds, self._late)

    def _in_time(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        answered = self._joined.responses
        if self._begun == self._complete:  # the client is silent, or sends blank lines
            if answered == self._complete:
                self._joined.close()
        elif answered < self._complete and self._requests == self._begun:
            self._wait()  # a body is not read before the answers to earlier requests are sent
        elif answered < self._complete or answered == self._begun:
            self._plain.abort()  # a refusal would be taken for another answer
        else:
            if self._requests == self._begun:
                self.scope[LATE] = True  # type: ignore[literal-required]
            self._refuse((408, f"the request did not arrive in {self.seconds:g} s"))

    def _refuse(self, refusal: Refusal) -> None:
        """Answers an unreadable request and hangs up, after the answers to those before it."""
        self._in_time()
        if self._joined.responses < self._complete:
            self._refused = refusal
            return
        if self._joined.responses == self._begun:  # it has its answer
            self._joined.close()
            return
        status, reason = refusal
        body = to_json({"error": reason, "error_type": TYPES[status]})
        head = (f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "content-type: application/json",
                f"content-length: {len(body)}", "connection: close",
                *["retry-after: 1"] * (status == 429))  # fmt: skip
        self._joined.write("\r\n".join((*head, "", "")).encode() + body)
        self._joined.close()

    def _hang_up(self) -> None:
        """Closes a transport; a client that is still sending gets time to read its answer."""
        if self._begun > self._complete:
            with suppress(OSError):  # the client has closed it
                self._plain.write_eof()
            self._plain.resume_reading()
            self._ends(LINGER)
        else:
            self._plain.close()
            if self._plain.get_write_buffer_size():
                self._ends(TAKING)

    def _taken(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None

    def _ends(self, seconds: float) -> None:
        if self._end is None:
            self._end = self.loop.call_later(seconds, self._plain.abort)


def protocol(seconds: float, among: Connections) -> type[Guarded]:
    """The protocol of a server's connections, whose requests have so many seconds to arrive."""

    class Limited(Guarded):
        pass

    Limited.seconds, Limited.among = seconds, among
    return Limited
