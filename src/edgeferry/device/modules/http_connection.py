"""One connection of HTTP/1.1 (RFC 9110, RFC 9112): requests are read and answered in their order.

What breaks a bound or the grammar gets an answer that says so, behind the answers to what came before it;
then the connection is closed. llhttp reads the grammar, through httptools.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn

import httptools

from edgeferry.device.modules.http_request import JSON, MIB, Request
from edgeferry.wire.serving import render_refusal

if TYPE_CHECKING:
    from edgeferry.device.modules.http import HttpServer

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_WAIT, _HEAD, _BODY = range(3)
_TURNED_AWAY = 64
"""Connections beyond the limit that are told so at one time; others are cut without a word."""
_SMALL_BODY_BYTES = 64 * 1024
"""There always is room for bodies up to this."""
_OF_UPGRADES = (b"upgrade", b"connection", b"http2-settings")


class _RefusedError(Exception):
    """Ends the parsing of a connection; the refusal itself is kept there."""


class Connection(asyncio.Protocol):
    """One client. Reads requests, hands them over one by one, writes the answers."""

    def __init__(self, server: HttpServer) -> None:
        self.current: Request | None = None
        """What is being answered."""
        self._server = server
        self._limits = server.limits
        self._transport: asyncio.Transport
        self._parser: httptools.HttpRequestParser
        self._request: Request | None = None
        """What is being read."""
        self._waiting: deque[Request] = deque()
        self._state = _WAIT
        self._since = 0.0
        self._pieces = bytearray()
        """Of its body, when it comes in several."""
        self._arrived_bytes = 0
        self._fed = 0
        """Raw bytes of this head, or of this body with its chunks' lengths."""
        self._is_upgrade = False
        self._owes_continue = False
        self._has_read_all = False
        self._is_lingering = False
        self._is_choked = False
        self._is_paused = False
        self._is_going_on = False
        self._unread_bytes = 0
        self._is_new = True
        """Nothing was asked yet."""
        self._refusal: tuple[int, str, str] | None = None

    # asyncio

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)
        has_room = self._server.add(self)
        self._since = self._server.now
        most = self._limits.connections
        if len(self._server.connections) > most + _TURNED_AWAY:
            self.abort()
        elif not has_room:
            self._refusal = (503, f"there are {most} connections already", "ask again in a moment")
            self._refuse_now()

    def connection_lost(self, error: Exception | None) -> None:
        self._server.discard(self)
        held = [len(request.body) for request in (self.current, *self._waiting) if request]
        self._server.held_bytes -= sum(held) + self._arrived_bytes
        self._forget_request()
        self.current = None
        self._waiting.clear()
        self._has_read_all = True
        del self._parser  # it holds this connection's methods

    def eof_received(self) -> bool:
        self._has_read_all = True
        return self.current is not None or bool(self._waiting)

    def pause_writing(self) -> None:
        self._is_choked = True
        self._since = self._server.now
        self._regulate()

    def resume_writing(self) -> None:
        self._is_choked = False
        self._since = self._server.now
        self._go_on()

    def data_received(self, data: bytes) -> None:
        if self._has_read_all:
            self._fed += len(data)
            if self._fed > self._limits.body_bytes + MIB:
                self.abort()
            return
        request, state = self._request, self._state
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            if not self._has_read_all:
                self._read_without_upgrade(data[error.args[0] :])
        except httptools.HttpParserError as error:
            if not self._has_read_all:
                refusal = (400, f"this is no HTTP/1.1: {error}", "send a well-formed request")
                self._end_reading(*(self._refusal or refusal))
        else:
            if self._state and self._request is request and self._state == state:
                self._fed += len(data)
                if self._state == _HEAD and self._fed > self._limits.head_bytes:
                    self._end_reading(*self._large_head())
                elif self._state == _BODY and self._fed > self._limits.body_bytes + MIB:
                    self._end_reading(*self._large_body())

    # httptools

    def on_message_begin(self) -> None:
        if self._has_read_all:
            raise _RefusedError
        self._request = Request(self)
        self._is_new = False
        self._state = _HEAD
        self._since = self._server.now
        self._fed = 0

    def on_url(self, url: bytes) -> None:
        assert self._request is not None
        self._request.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        request = self._request
        assert request is not None
        request.size += len(name) + len(value)
        request.count += 1
        if request.size > self._limits.head_bytes or request.count > self._limits.headers:
            self._refuse(*self._large_head())
        name = name.lower()
        headers = request.headers
        if name in headers:
            if name == b"host":
                self._refuse(400, "the request has two Host headers", "send one")
            value = headers[name] + b", " + value
        headers[name] = value

    def on_headers_complete(self) -> None:
        request, parser = self._request, self._parser
        assert request is not None
        headers = request.headers
        request.method = parser.get_method()
        version = parser.get_http_version()
        if version == "1.0":
            request.is_old = True
        elif version != "1.1":
            self._refuse(400, f"HTTP/{version} is not spoken here", "use HTTP/1.1")
        elif b"host" not in headers:
            self._refuse(400, "the request has no Host header", "send one, as HTTP/1.1 asks for")
        if len(request.url) + request.size > self._limits.head_bytes:
            self._refuse(*self._large_head())
        if request.method == b"CONNECT":
            self._refuse(400, "this is no proxy", "ask for a path, such as /health")
        if b"upgrade" in headers and parser.should_upgrade():
            self._is_upgrade = True
            return
        self._state = _BODY
        self._since = self._server.now
        self._fed = 0
        if b"content-length" in headers and int(headers[b"content-length"]) > self._limits.body_bytes:
            self._refuse(*self._large_body())
        if headers.get(b"expect", b"").lower() == b"100-continue" and not request.is_old:
            self._owes_continue = True
            self._pay_continue()

    def on_body(self, piece: bytes) -> None:
        request, server = self._request, self._server
        assert request is not None
        server.held_bytes += len(piece)
        if not self._arrived_bytes:
            request.body = piece
        else:
            self._pieces += piece if self._pieces else request.body + piece
        self._arrived_bytes += len(piece)
        if self._arrived_bytes > self._limits.body_bytes:
            self._refuse(*self._large_body())
        if server.held_bytes > self._limits.held_bytes and self._arrived_bytes > _SMALL_BODY_BYTES:
            self._refuse(503, "there are too many large bodies at once", "ask again in a moment")

    def on_message_complete(self) -> None:
        request = self._request
        assert request is not None
        if self._is_upgrade:
            return
        self._request = None
        self._state = _WAIT
        self._owes_continue = False
        if self._pieces:
            request.body = bytes(self._pieces)
            self._pieces.clear()
        self._arrived_bytes = 0
        if not self._parser.should_keep_alive():
            request.keep_alive = False
            self._has_read_all = True
        if self.current is None and not self._waiting and not self._is_choked:
            self._hand_over(request)
        else:
            self._waiting.append(request)
            self._regulate()

    # answers

    def answer(self, request: Request, status: int, body: bytes, headers: bytes, kind: bytes) -> None:
        """The request's answer is written, when it is still waited for; then it is the next one's turn."""
        if self.current is not request:
            return
        self.current = None
        server = self._server
        server.held_bytes -= len(request.body)
        server.statuses[status] += 1
        is_last = not request.keep_alive or server.is_draining
        if (
            status == 200
            and kind is JSON
            and not (is_last or headers or request.is_old)
            and (request.method != b"HEAD")
        ):
            self._transport.write(b"%b%d\r\n\r\n%b" % (server.good, len(body), body))
        else:
            if is_last:
                headers += b"Connection: close\r\n"
            elif request.is_old:
                headers += b"Connection: keep-alive\r\n"
            self._write(status, body, headers, kind, without_body=request.method == b"HEAD")
        if is_last:
            self._finish()
            return
        self._since = server.now
        if self._waiting or self._has_read_all or self._owes_continue or self._is_paused:
            self._go_on()

    def _hand_over(self, request: Request) -> None:
        self.current = request
        try:
            self._server.handle(request)
        except Exception as error:  # noqa: BLE001 - one request must not end the others
            sys.stderr.write("".join(traceback.format_exception(error)))
            request.refuse(500, f"the server failed: {type(error).__name__}", "read the module's log")

    def _go_on(self) -> None:
        """The next requests that have been read are handed over; behind the last one, a refusal goes out."""
        if self._transport.is_closing() or self._is_going_on:
            return
        self._is_going_on = True  # an answer that comes at once must not nest: thousands may wait
        while self._waiting and self.current is None and not self._is_choked:
            self._hand_over(self._waiting.popleft())
        self._is_going_on = False
        if self.current is None and not self._waiting:
            if self._refusal is not None:
                self._refuse_now()
            elif self._has_read_all:
                self._finish()
            else:
                self._pay_continue()
        self._regulate()

    def _regulate(self) -> None:
        """Nothing more is read while answers are owed, or are not read."""
        wanted = (self._is_choked or bool(self._waiting)) and not self._is_lingering
        if wanted != self._is_paused and not self._transport.is_closing():
            self._is_paused = wanted
            if wanted:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _pay_continue(self) -> None:
        if self._owes_continue and self.current is None and not self._waiting:
            self._owes_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _write(
        self, status: int, body: bytes, headers: bytes, kind: bytes, *, without_body: bool = False
    ) -> None:
        head = b"HTTP/1.1 %d %b\r\n%bContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n" % (
            status,
            _REASONS[status],
            self._server.date,
            kind,
            len(body),
            headers,
        )
        self._transport.write(head if without_body else head + body)

    def _finish(self) -> None:
        self._has_read_all = True
        self._since = self._server.now
        self._transport.close()

    # refusals

    def _refuse(self, status: int, problem: str, fix: str) -> NoReturn:
        """Called while bytes are parsed: these are the last ones."""
        self._refusal = (status, problem, fix)
        raise _RefusedError

    def _end_reading(self, status: int, problem: str, fix: str) -> None:
        """What was read before is still answered, then comes this refusal, then the end."""
        self._refusal = (status, problem, fix)
        self._has_read_all = True
        self._server.held_bytes -= self._arrived_bytes
        self._forget_request()
        self._go_on()

    def _forget_request(self) -> None:
        """What has been read of a request is gone."""
        self._request = None
        self._arrived_bytes = 0
        self._pieces.clear()
        self._state = _WAIT

    def _refuse_now(self) -> None:
        """The refusal is written; the client is listened to a little more, lest a reset overtakes it."""
        assert self._refusal is not None
        (status, problem, fix), self._refusal = self._refusal, None
        self._server.statuses[status] += 1
        again = b"Retry-After: 1\r\n" if status == 503 else b""
        self._write(status, render_refusal(problem, fix), again + b"Connection: close\r\n", JSON)
        self._has_read_all = self._is_lingering = True
        self._since = self._server.now
        self._fed = 0
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _large_head(self) -> tuple[int, str, str]:
        most = f"{self._limits.head_bytes // 1024} KiB or {self._limits.headers} headers"
        return 431, f"the request's head is larger than {most}", "send fewer and shorter headers"

    def _large_body(self) -> tuple[int, str, str]:
        most = self._limits.body_bytes // MIB
        return 413, f"the body is larger than {most} MiB", "send fewer rows at a time"

    def _read_without_upgrade(self, rest: bytes) -> None:
        """The request is read again as if it had not asked for another protocol (RFC 9110, 7.8)."""
        request = self._request
        assert request is not None
        self._is_upgrade = False
        self._parser = httptools.HttpRequestParser(self)
        kept = [(name, value) for name, value in request.headers.items() if name not in _OF_UPGRADES]
        if b"close" in request.headers.get(b"connection", b"").lower():
            kept.append((b"connection", b"close"))
        version = b"1.0" if request.is_old else b"1.1"
        lines = [b"%b %b HTTP/%b" % (request.method, request.url, version), *map(b": ".join, kept)]
        self._request = None
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def count_in_flight(self) -> int:
        """Requests that wait for their answers."""
        return len(self._waiting) + (self.current is not None)

    # time

    def look(self, now: float) -> None:
        """Ends what has taken too long by `now`."""
        limits = self._limits
        waited = now - self._since - limits.look_s
        if self._is_lingering:
            if waited > limits.linger_s:
                self.abort()
        elif self._is_choked or self._transport.is_closing():
            unread = self._transport.get_write_buffer_size()
            if unread != self._unread_bytes:
                self._unread_bytes, self._since = unread, now
            elif waited > limits.unread_s:
                self.abort()
        elif self.current is not None or self._waiting:
            self._since = now
        elif self._state == _BODY:
            if waited > limits.body_s:
                said = f"the body did not arrive within {limits.body_s:g} s"
                self._end_reading(408, said, "send it faster")
        elif self._state == _HEAD:
            if waited > limits.head_s:
                said = f"the request's head did not arrive within {limits.head_s:g} s"
                self._end_reading(408, said, "send it faster")
        elif waited > (limits.head_s if self._is_new else limits.idle_s):
            self.abort()

    def close_if_idle(self) -> None:
        """Closed, unless a request is under way."""
        if self.current is None and not self._waiting and self._state == _WAIT and not self._is_lingering:
            self._finish()

    def abort(self) -> None:
        """Closed at once; what was not sent is lost."""
        self._has_read_all = True
        self._transport.abort()
