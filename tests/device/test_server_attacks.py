"""Clients that dawdle, leave, flood or never end; and those that are odd but within their rights."""

import random
import socket
import struct
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.device.raw_http import (
    CHUNKED,
    GOOD,
    GOOD_ANSWER,
    GOOD_BODY,
    NO_ANSWER,
    Line,
    goes_well,
    open_line,
    port_of,
    render_request,
)

MIB = 1024 * 1024
SLOW_CLIENTS = 200


@pytest.fixture(scope="module")
def port(server):
    return port_of(server.url)


def chunks(*parts):
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))


def resident_bytes(server):
    """Resident memory of the server's process at its highest."""
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM"))


# odd, but within their rights (sections of RFC 9112)

ODD = {
    "the whole address (3.2.2)": render_request(start="POST http://x/score HTTP/1.1"),
    "a query": render_request(start="POST /score?version=3 HTTP/1.1"),
    "blank lines before (2.2)": b"\r\n\r\n" + GOOD,
    "chunks (7.1)": render_request(chunks(GOOD_BODY), CHUNKED, told=False),
    "a chunk a byte": render_request(
        chunks(*(GOOD_BODY[at : at + 1] for at in range(len(GOOD_BODY)))), CHUNKED, told=False
    ),
    "a chunk with an extension (7.1.1)": render_request(
        chunks(GOOD_BODY).replace(b"\r\n", b";a=b\r\n", 1), CHUNKED, told=False
    ),
    "headers in capitals and tabs": render_request(
        GOOD_BODY, f"CONTENT-LENGTH:\t{len(GOOD_BODY)}\t", told=False
    ),
    "no content type": render_request(GOOD_BODY),
    "an upgrade that is not taken (RFC 9110 7.8), as Java's HttpClient sends it": render_request(
        GOOD_BODY, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"
    ),
    "a mark of UTF-8 before the body (RFC 8259 8.1)": render_request(b"\xef\xbb\xbf" + GOOD_BODY),
    "UTF-16, told by its mark": render_request(GOOD_BODY.decode().encode("utf-16")),
    "JSON that says it is a text": render_request(GOOD_BODY, "Content-Type: text/plain; charset=latin-1"),
    "keys beside data": render_request(b'{"method": "predict", "data": [[2.0, 7.0]]}'),
    "escaped keys": render_request(b'{"d\\u0061ta": [{"hour": 7, "dist\\u0061nce": 2}]}'),
}


@pytest.mark.parametrize("sent", [pytest.param(sent, id=id_) for id_, sent in ODD.items()])
def test_an_odd_request_is_answered_right(port, sent):
    with open_line(port) as line:
        line.send(sent)
        reply = line.read()
        assert (reply.status, reply.body) == (200, GOOD_ANSWER)
        assert line.is_open()


def test_a_client_of_http_1_0_is_answered_and_then_left(port):
    with open_line(port) as line:
        line.send(b"POST /score HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(GOOD_BODY), GOOD_BODY))
        assert line.read().body == GOOD_ANSWER
        assert not line.is_open()


def test_a_client_that_says_close_is_answered_and_then_left(port):
    with open_line(port) as line:
        line.send(render_request(GOOD_BODY, "Connection: close"))
        reply = line.read()
        assert (reply.body, reply.headers["connection"].lower()) == (GOOD_ANSWER, "close")
        assert not line.is_open()


def test_a_client_that_waits_to_be_told_to_go_on_is_told(port):
    """RFC 9110 10.1.1; curl does so with bodies above a mebibyte."""
    head = render_request(b"", "Expect: 100-continue", f"Content-Length: {len(GOOD_BODY)}", told=False)
    with open_line(port) as line:
        line.send(head)
        assert line.read().status == 100
        line.send(GOOD_BODY)
        assert line.read().body == GOOD_ANSWER
        assert line.is_open()


def test_a_client_that_waits_is_told_at_once_that_its_body_is_too_large(port):
    with open_line(port) as line:
        line.send(render_request(b"", "Expect: 100-continue", f"Content-Length: {64 * MIB}", told=False))
        assert line.read().status == 413


def test_requests_sent_at_once_are_answered_in_order(port):
    rows = [b'{"data": [[%d, 7]]}' % number for number in range(100)]
    with open_line(port) as line:
        line.send(b"".join(map(render_request, rows)))
        assert [line.read().body for _ in rows] == [b"[%.1f]" % (2 * number + 8) for number in range(100)]
        assert line.is_open()


def test_rubbish_behind_good_requests_takes_nothing_from_them(port):
    with open_line(port) as line:
        line.send(GOOD * 3 + b"\x00\xff rubbish \r\n\r\n" + GOOD)
        assert [line.read().status for _ in range(5)] == [200, 200, 200, 400, NO_ANSWER]
    assert goes_well(port)


def test_a_request_smuggled_behind_another_is_no_request(port):
    """Two ways to tell the length: what stands behind the shorter one is never answered (11.2)."""
    inner = render_request(b"", start="GET /health HTTP/1.1")
    with open_line(port) as line:
        line.send(render_request(b"0\r\n\r\n" + inner, CHUNKED))
        assert [line.read().status, line.read().status] == [400, NO_ANSWER]


def test_an_answer_to_head_has_no_body(port):
    with open_line(port) as line:
        line.send(render_request(b"", start="HEAD /health HTTP/1.1"))
        assert line.read("HEAD").status in (200, 405)
        assert line.is_open()


# clients that leave

STAGES = {
    "at once": b"",
    "within the start line": GOOD[:9],
    "within the headers": GOOD[:30],
    "within the body": GOOD[:-5],
    "within a chunk": render_request(b"16\r\n{", CHUNKED, told=False),
    "before the answer": GOOD,
    "with a hundred answers unread": GOOD * 100,
}


@pytest.mark.parametrize("politely", [True, False], ids=["politely", "with a reset"])
@pytest.mark.parametrize("sent", [pytest.param(sent, id=id_) for id_, sent in STAGES.items()])
def test_a_client_that_leaves_does_no_harm(port, sent, politely):
    for _ in range(5):
        line = Line(port)
        line.send(sent)
        if not politely:
            line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.close()
    assert goes_well(port)


def test_a_client_that_ends_its_half_is_answered(port):
    with open_line(port) as line:
        line.send(GOOD)
        line.socket.shutdown(socket.SHUT_WR)
        assert line.read().body == GOOD_ANSWER


# clients that dawdle

DAWDLING = {
    "nothing": (b"", b""),
    "headers": (b"POST /score HTTP/1.1\r\nHost: x\r\nX: ", b"y"),
    "bodies": (render_request(b"", f"Content-Length: {MIB}", told=False) + b"{", b" "),
    "chunks": (render_request(b"", CHUNKED, told=False), b"1\r\n \r\n"),
}


@pytest.mark.parametrize(("first", "more"), [pytest.param(*row, id=id_) for id_, row in DAWDLING.items()])
def test_clients_that_trickle_hold_up_nobody(port, first, more):
    """Hundreds of connections amid a request, each sending a byte now and then (slow loris)."""
    with ExitStack() as stack:
        slow = [stack.enter_context(open_line(port)) for _ in range(SLOW_CLIENTS)]
        for line in slow:
            line.send(first)
        for _ in range(10):
            for line in slow:
                line.send(more)
            with open_line(port) as fresh:
                assert fresh.is_open()
                assert fresh.is_open()
    assert goes_well(port)


# clients without end


def flood(port, head, part, most=64 * MIB):
    """How many bytes of endless parts the server let in, and the status it said at its end."""
    sent = 0
    with open_line(port) as line:
        line.socket.settimeout(10)
        line.send(head)
        try:
            while sent < most:
                sent += line.socket.send(part)
        except OSError:
            pass
        return sent, line.read().status


@pytest.mark.parametrize(
    ("head", "part", "status"),
    [
        pytest.param(
            b"POST /score HTTP/1.1\r\nHost: x\r\n", b"X: " + b"y" * 1000 + b"\r\n", 431, id="headers"
        ),
        pytest.param(b"POST /score HTTP/1.1\r\nHost: x\r\nX: ", b"y" * 4096, 431, id="one header"),
        pytest.param(b"POST /", b"x" * 4096, 431, id="path"),
        pytest.param(
            render_request(b"", CHUNKED, told=False), b"10000\r\n" + b" " * 65536 + b"\r\n", 413, id="chunks"
        ),
        pytest.param(render_request(b"", CHUNKED, told=False), b"1\r\n \r\n" * 1000, 413, id="tiny chunks"),
        pytest.param(
            render_request(b"", CHUNKED, told=False) + b"1",
            b";" + b"x" * 4096,
            (400, 413, 431),
            id="extension",
        ),
        pytest.param(
            render_request(b"0\r\n", CHUNKED, told=False),
            b"X: " + b"y" * 1000 + b"\r\n",
            (400, 413, 431),
            id="trailers",
        ),
        pytest.param(
            render_request(b"", f"Content-Length: {2**40}", told=False), b" " * 65536, 413, id="told length"
        ),
    ],
)
def test_what_has_no_end_is_cut_off(server, port, head, part, status):
    before = resident_bytes(server)
    sent, said = flood(port, head, part)
    assert sent < 64 * MIB
    # a reset may overtake the answer
    assert said in (*(status if isinstance(status, tuple) else (status,)), NO_ANSWER)
    assert resident_bytes(server) - before < 80 * MIB
    assert goes_well(port)


def test_many_bodies_at_the_limit_at_once_do_not_fill_memory(server, port):
    """Twelve bodies of 16 MiB, all but their last byte: they are not all held at once."""
    before = resident_bytes(server)
    with ExitStack() as stack:
        lines = [stack.enter_context(open_line(port)) for _ in range(12)]
        for line in lines:
            line.socket.setblocking(False)
            line.send(render_request(b"", f"Content-Length: {16 * MIB}", told=False))
        for _ in range(16):
            for line in lines:
                line.send(b" " * MIB)
            assert goes_well(port)
        assert resident_bytes(server) - before < 160 * MIB
    assert goes_well(port)


def test_bytes_changed_at_random_never_make_the_server_fail(port):
    """A good request with some bytes changed, taken out, put in or doubled: an answer below 500, or none."""
    draw = random.Random(11)
    said = set()
    for _ in range(400):
        request = bytearray(GOOD)
        for _ in range(draw.randint(1, 6)):
            at = draw.randrange(len(request))
            end = min(len(request), at + draw.randint(0, 8))
            request[at:end] = draw.choice(
                (b"", bytes([draw.randrange(256)]), request[at:end] * 2, b"\r\n", b"0", draw.randbytes(4))
            )
        with open_line(port) as line:
            line.send(bytes(request))
            line.socket.shutdown(socket.SHUT_WR)
            said.add(line.read().status)
    assert said <= {NO_ANSWER, *range(200, 500)}
    assert {200, 400} <= said
    assert goes_well(port)
