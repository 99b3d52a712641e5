"""HTTP as the model server speaks it, on real sockets: each limit, and answers in their order."""

from __future__ import annotations

import json
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from edgeferry.device.modules.http import HttpServer
from edgeferry.device.modules.http_request import Limits, Request
from tests.device.conftest import wait_until
from tests.device.loops import Client, RunningLoop, open_client, render

CHUNKED = "Transfer-Encoding: chunked"
KIB = 1024
ROOMY = Limits(head_bytes=4 * KIB, headers=10, body_bytes=64 * KIB, look_s=0.02)


class Server:
    """Answers with the request's body; those of /later only when told, and /fail fails."""

    def __init__(self) -> None:
        self.running = RunningLoop()
        self.later: list[Request] = []
        self.http: HttpServer
        self.port = 0

    def start(self, limits: Limits) -> Server:
        async def listen() -> None:
            self.http = HttpServer(self._handle, limits)
            self.port = await self.http.listen("127.0.0.1", 0)

        self.running.run(listen())
        return self

    def stop(self) -> None:
        self.answer_later()
        self.running.run(self.http.drain())
        self.running.stop()

    def answer_later(self) -> None:
        """All that was left for later is answered, the last one first."""

        def answer() -> None:
            while self.later:
                request = self.later.pop()
                request.answer(200, request.body)

        self.running.call(answer)

    def has_connections(self, count: int) -> bool:
        return self.running.call(lambda: len(self.http.connections) == count)

    def _handle(self, request: Request) -> None:
        if request.url == b"/later":
            self.later.append(request)
        elif request.url == b"/fail":
            raise KeyError("fail")
        else:
            request.answer(200, request.body)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    server.start(ROOMY)
    with open_client(server.port) as client:
        yield client


def refused(client: Client, status: int, says: str) -> None:
    """The next answer is this refusal, and the connection's last."""
    said, headers, body = client.read()
    assert (said, headers["connection"]) == (status, "close")
    error = json.loads(body)["error"]
    assert says in error["message"]
    assert error["fix"]
    assert client.read()[0] == 0


def test_connections_beyond_the_limit_are_told_so_and_closed(server: Server) -> None:
    server.start(replace(ROOMY, connections=2))
    with open_client(server.port) as first, open_client(server.port) as second:
        for client in (first, second):
            client.send(render(b"1"))
            assert client.read()[0] == 200
        with open_client(server.port) as third:
            status, headers, _ = third.read()
            assert (status, headers["connection"], headers["retry-after"]) == (503, "close", "1")
            assert third.read()[0] == 0
        first.send(render(b"2"))
        assert first.read()[2] == b"2"
    assert wait_until(lambda: server.has_connections(0))
    with open_client(server.port) as again:
        again.send(render(b"3"))
        assert again.read()[2] == b"3"


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(render(b"", "X: " + "y" * 4 * KIB), id="one header"),
        pytest.param(render(b"", *["X: y"] * 10), id="eleven headers and more"),
        pytest.param(render(start="GET /" + "x" * 4 * KIB + " HTTP/1.1"), id="path"),
    ],
)
def test_a_head_beyond_the_limits_is_431(client: Client, head: bytes) -> None:
    client.send(head)
    refused(client, 431, "head is larger than 4 KiB or 10 headers")


def test_a_head_without_end_is_431_however_it_arrives(client: Client) -> None:
    client.send(b"POST /score HTTP/1.1\r\nHost: x\r\nX: ")
    with pytest.raises(OSError, match=r"reset|Broken pipe"):
        client.send(b"y" * 64 * KIB * KIB)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        pytest.param(b"POST /score HTTP/1.1\r\nHost: x\r\nX", "head did not arrive", id="head"),
        pytest.param(render(b"", "Content-Length: 9", told=False) + b"{", "body did not arrive", id="body"),
        pytest.param(render(b"", CHUNKED, told=False) + b"1\r\n{", "body did not arrive", id="chunks"),
    ],
)
def test_what_does_not_arrive_in_time_is_408(server: Server, sent: bytes, said: str) -> None:
    server.start(replace(ROOMY, head_s=0.1, body_s=0.1))
    with open_client(server.port) as client:
        client.send(sent)
        refused(client, 408, said)


def test_trickling_wins_no_time(server: Server) -> None:
    server.start(replace(ROOMY, head_s=0.1))
    with open_client(server.port) as client:
        client.send(b"POST /score HTTP/1.1\r\nHost: x\r\nX: ")
        ready: list[object] = []
        while not ready:
            client.send(b"y")
            ready, _, _ = select.select([client.socket], [], [], 0.005)
        refused(client, 408, "head did not arrive")


@pytest.mark.parametrize("asked", [False, True], ids=["never asked", "asked before"])
def test_a_connection_that_asks_nothing_is_closed_without_a_word(server: Server, asked: bool) -> None:
    server.start(replace(ROOMY, head_s=60 if asked else 0.1, idle_s=0.1 if asked else 60))
    with open_client(server.port) as client:
        if asked:
            client.send(render(b"1"))
            assert client.read()[0] == 200
        assert client.read()[0] == 0


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(render(b"", f"Content-Length: {65 * KIB}", told=False), id="told"),
        pytest.param(
            render(b"", CHUNKED, told=False) + b"10400\r\n" + b" " * 0x10400 + b"\r\n", id="in a chunk"
        ),
        pytest.param(
            render(b"", "Expect: 100-continue", f"Content-Length: {65 * KIB}", told=False), id="asked before"
        ),
    ],
)
def test_a_body_beyond_the_limit_is_413(client: Client, sent: bytes) -> None:
    client.send(sent)
    refused(client, 413, "the body is larger than")


def test_a_body_at_the_limit_in_chunks_of_all_sizes_is_taken_whole(client: Client) -> None:
    body = bytes(range(256)) * 256
    cuts = [0, 1, 2, 100, 60_000, len(body)]
    pieces = [*(body[a:b] for a, b in pairwise(cuts)), b""]
    for piece in (render(b"", CHUNKED, told=False), *(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces)):
        client.send(piece)
    assert client.read()[2] == body


def test_all_bodies_together_are_bounded_and_small_ones_still_find_room(server: Server) -> None:
    server.start(replace(ROOMY, body_bytes=KIB * KIB, held_bytes=200 * KIB))
    large = render(b"", f"Content-Length: {KIB * KIB}", told=False) + b"x" * 150 * KIB
    with open_client(server.port) as first, open_client(server.port) as second:
        first.send(large)
        wait_until(lambda: server.http.held_bytes == 150 * KIB)
        second.send(large)
        refused(second, 503, "too many large bodies")
        with open_client(server.port) as third:
            third.send(render(b"small"))
            assert third.read()[2] == b"small"
    wait_until(lambda: server.http.held_bytes == 0)


def test_what_is_sent_at_once_is_answered_in_its_order(server: Server, client: Client) -> None:
    later = render(b"later", start="POST /later HTTP/1.1")
    client.send(render(b"0") + later + b"".join(render(b"%d" % number) for number in range(1, 600)))
    assert client.read()[2] == b"0"
    wait_until(lambda: server.later)
    server.answer_later()
    assert [client.read()[2] for _ in range(600)] == [b"later", *(b"%d" % number for number in range(1, 600))]


def test_rubbish_behind_good_requests_is_refused_behind_their_answers(server: Server, client: Client) -> None:
    client.send(render(b"1", start="POST /later HTTP/1.1") + render(b"2") + b"\x00 rubbish\r\n\r\n")
    wait_until(lambda: server.later)
    server.answer_later()
    assert [client.read()[2] for _ in range(2)] == [b"1", b"2"]
    refused(client, 400, "no HTTP/1.1")


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        pytest.param(b"GET /x HTTP/1.1\r\n\r\n", "no Host", id="no host"),
        pytest.param(render(b"", "Host: y"), "two Host", id="two hosts"),
        pytest.param(render(start="GET / HTTP/2.0"), "HTTP/2.0 is not spoken", id="HTTP/2"),
        pytest.param(b"GET /x\r\n\r\n", "HTTP/0.9 is not spoken", id="HTTP/0.9"),
        pytest.param(render(b"0\r\n\r\n", CHUNKED), "Content-Length", id="two lengths"),
        pytest.param(render(start="CONNECT x:1 HTTP/1.1"), "no proxy", id="CONNECT"),
    ],
)
def test_bad_http_is_refused(client: Client, sent: bytes, says: str) -> None:
    client.send(sent)
    refused(client, 400, says)


def test_a_client_that_waits_to_go_on_is_told_when_it_is_its_turn(server: Server, client: Client) -> None:
    client.send(render(b"1", start="POST /later HTTP/1.1"))
    client.send(render(b"", "Expect: 100-continue", "Content-Length: 2", told=False))
    wait_until(lambda: server.later)
    server.answer_later()
    assert client.read()[2] == b"1"
    assert client.read()[0] == 100
    client.send(b"23")
    assert client.read()[2] == b"23"


def test_http_1_0_is_closed_unless_it_asks_to_be_kept(server: Server, client: Client) -> None:
    client.send(render(b"1", "Connection: keep-alive", start="POST /score HTTP/1.0"))
    assert client.read()[1]["connection"] == "keep-alive"
    client.send(render(b"2", start="POST /score HTTP/1.0"))
    assert client.read()[1]["connection"] == "close"
    assert client.read()[0] == 0


def test_an_answer_to_head_is_a_head(client: Client) -> None:
    client.send(render(b"12345", start="HEAD /score HTTP/1.1") + render(b"6"))
    status, headers, _ = client.read(head_only=True)
    assert (status, headers["content-length"]) == (200, "5")
    assert client.read()[2] == b"6"


def test_another_protocol_is_not_taken_up(client: Client) -> None:
    asked = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA")
    client.send(render(b"1", *asked) + render(b"2"))
    assert [client.read()[2] for _ in range(2)] == [b"1", b"2"]


def test_a_client_that_does_not_read_is_no_longer_read_from_and_then_cut(server: Server) -> None:
    server.start(replace(ROOMY, unread_s=0.2))
    with open_client(server.port) as client, pytest.raises(OSError, match=r"reset|Broken pipe"):
        client.send(render(b"x" * 64 * KIB) * 1024)  # 64 MiB of answers that nobody reads
    assert wait_until(lambda: server.has_connections(0))
    assert server.http.held_bytes == 0


def test_a_handler_that_fails_is_a_500_and_not_an_end(client: Client) -> None:
    client.send(render(b"1", start="POST /fail HTTP/1.1") + render(b"2"))
    assert client.read()[0] == 500
    assert client.read()[2] == b"2"


def test_a_client_that_leaves_gets_no_answer_and_holds_nothing(server: Server) -> None:
    server.start(ROOMY)
    with open_client(server.port) as client:
        client.send(render(b"x" * KIB, start="POST /later HTTP/1.1"))
        wait_until(lambda: server.later)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    (request,) = server.later
    wait_until(lambda: not request.is_waiting)
    server.answer_later()
    assert server.http.held_bytes == 0
    assert server.http.statuses == {}


def test_draining_closes_what_is_idle_and_answers_what_is_under_way(server: Server, client: Client) -> None:
    with open_client(server.port) as idle, open_client(server.port) as half:
        idle.send(render(b"1"))
        assert idle.read()[2] == b"1"
        half.send(render(b"", "Content-Length: 2", told=False) + b"a")
        client.send(render(b"2", start="POST /later HTTP/1.1"))
        wait_until(lambda: server.later and server.http.held_bytes == 2)
        drained = server.running.loop.create_task
        task = server.running.call(lambda: drained(server.http.drain()))
        assert idle.read()[0] == 0
        with pytest.raises(ConnectionRefusedError):
            Client(server.port)
        assert not task.done()
        server.answer_later()
        half.send(b"b")
        for each, body in ((client, b"2"), (half, b"ab")):
            _, headers, said = each.read()
            assert (headers["connection"], said) == ("close", body)
            assert each.read()[0] == 0
        wait_until(task.done)


def test_draining_ends_after_its_time_whatever_is_under_way(server: Server) -> None:
    server.start(replace(ROOMY, drain_s=0.05))
    with open_client(server.port) as client:
        client.send(render(b"1", start="POST /later HTTP/1.1"))
        wait_until(lambda: server.later)
        server.running.run(server.http.drain())
        assert client.read()[0] == 0
