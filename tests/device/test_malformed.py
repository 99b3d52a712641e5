"""Requests as nobody should send them, one a row: what comes back, and whether the connection goes on.

No answer is ever a 5xx, every refusal is a 4xx with problem and fix, and a good request is answered right
afterwards. Numbers of sections are those of RFC 9112 (HTTP/1.1) and RFC 9110 (HTTP semantics).
"""

import gzip
import json

import pytest

from tests.device.raw_http import CHUNKED, GOOD, GOOD_BODY, goes_well, open_line, port_of, render_request

JSON = "Content-Type: application/json"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def port(server):
    return port_of(server.url)


def scored(body, *headers):
    """A request to score these bytes."""
    return render_request(body.encode() if isinstance(body, str) else body, *(headers or (JSON,)))


def bare(body, *headers, start="POST /score HTTP/1.1"):
    """A request without a Content-Length of ours."""
    return render_request(body, *headers, start=start, told=False)


def started(start, body=b""):
    return render_request(body, start=start)


BODIES = {
    # what is no JSON
    "empty body": (scored(""), 400, "not JSON"),
    "no length and no body": (bare(b""), 400, ""),
    "blanks": (scored(" \r\n\t "), 400, "not JSON"),
    "torn": (scored('{"data": [[2.0, 7'), 400, "not JSON"),
    "something after its end": (scored('{"data": [[2.0, 7.0]]}x'), 400, "not JSON"),
    "two documents": (scored(GOOD_BODY * 2), 400, "not JSON"),
    "NUL at its end": (scored(GOOD_BODY + b"\0"), 400, "not JSON"),
    "NULs only": (scored(bytes(64)), 400, ""),
    "no UTF-8": (scored(b'{"data": [[2.0, "\xff"]]}'), 400, "not JSON"),
    "half a UTF-8 letter": (scored(b'{"data": [[2.0, 7.0]], "\xc3"}'), 400, "not JSON"),
    "UTF-16 without a mark, torn": (scored(GOOD_BODY.decode().encode("utf-16-le")[:-1]), 400, "not JSON"),
    "single quotes": (scored("{'data': [[2.0, 7.0]]}"), 400, "not JSON"),
    "a comment": (scored('{"data": [[2.0, 7.0]]} // x'), 400, "not JSON"),
    "a comma too many": (scored('{"data": [[2.0, 7.0,]]}'), 400, "not JSON"),
    "a leading zero": (scored('{"data": [[01, 7.0]]}'), 400, "not JSON"),
    "hexadecimal": (scored('{"data": [[0x10, 7.0]]}'), 400, "not JSON"),
    "a raw control character": (scored('{"data": [["\x01", 7.0]]}'), 400, ""),
    "deep lists": (scored("[" * 200_000), 400, "nested too deeply"),
    "deep objects": (scored('{"data": ' * 200_000), 400, "nested too deeply"),
    "deep within a row": (scored('{"data": [[' + "[" * 100_000 + "]" * 100_000 + ", 7.0]]}"), 400, ""),
    "YAML": (scored("data: [[2.0, 7.0]]"), 400, "not JSON"),
    "CSV": (scored("2.0,7.0\n", "Content-Type: text/csv"), 400, ""),
    "a form": (scored("data=2.0", "Content-Type: application/x-www-form-urlencoded"), 400, ""),
    "compressed": (
        scored(gzip.compress(GOOD_BODY), JSON, "Content-Encoding: gzip"),
        415,
        "Content-Encoding is gzip",
    ),
    "packed in a way of long name": (scored(GOOD_BODY, JSON, "Content-Encoding: " + "z" * 9000), 415, "zzz…"),
    "compressed, not told": (scored(gzip.compress(GOOD_BODY)), 400, "not JSON"),
    "an image to a model of rows": (
        scored(b"\x89PNG\r\n\x1a\n", "Content-Type: image/png"),
        415,
        "no images",
    ),
    # what is JSON, but no rows
    "null": (scored("null"), 400, "no rows"),
    "a number": (scored("12"), 400, "no rows"),
    "a text": (scored('"data"'), 400, "no rows"),
    "a list": (scored("[[2.0, 7.0]]"), 400, "no rows"),
    "no data": (scored("{}"), 400, "no rows"),
    "other data": (scored('{"Data": [[2.0, 7.0]]}'), 400, "no rows"),
    "data twice": (scored('{"data": [[1, 1]], "data": [[2.0, 7.0]]}'), 400, "data"),
    "data is null": (scored('{"data": null}'), 400, "no rows"),
    "data is an object": (scored('{"data": {"distance": [2.0]}}'), 400, "no rows"),
    "data is a text": (scored('{"data": "[[2.0, 7.0]]"}'), 400, "no rows"),
    "no row": (scored('{"data": []}'), 400, "no rows"),
    # rows that are none
    "a row is a number": (scored('{"data": [2.0, 7.0]}'), 400, "row 1"),
    "a row is null": (scored('{"data": [[2.0, 7.0], null]}'), 400, "row 2"),
    "a row is a text": (scored('{"data": ["27"]}'), 400, "row 1"),
    "an empty row": (scored('{"data": [[]]}'), 400, "row 1"),
    "a short row": (scored('{"data": [[2.0, 7.0], [2.0]]}'), 400, "row 2"),
    "a long row": (scored('{"data": [[2.0, 7.0, 1.0]]}'), 400, "row 1"),
    "a very long row": (scored(json.dumps({"data": [[1.5] * 100_000]})), 400, "row 1"),
    "a row of rows": (scored('{"data": [[[2.0, 7.0]]]}'), 400, "row 1"),
    "a column is missing": (scored('{"data": [{"distance": 2.0}]}'), 400, "hour"),
    "a column too many": (scored('{"data": [{"distance": 2.0, "hour": 7.0, "age": 1}]}'), 400, "age"),
    "columns with other cases": (scored('{"data": [{"Distance": 2.0, "hour": 7.0}]}'), 400, "distance"),
    "a column twice": (scored('{"data": [{"distance": 1, "hour": 7, "distance": 2}]}'), 400, "distance"),
    "a column of half a letter": (
        scored('{"data": [{"distance": 2.0, "hour": 7.0, "\\ud800": 1}]}'),
        400,
        "row 1",
    ),
    "a column with an endless name": (
        scored(json.dumps({"data": [{"distance": 2.0, "hour": 7.0, "x" * 100_000: 1}]})),
        400,
        "row 1",
    ),
    # values that are no numbers
    "NaN": (scored('{"data": [[NaN, 7.0]]}'), 400, "NaN"),
    "Infinity": (scored('{"data": [[2.0, -Infinity]]}'), 400, ""),
    "a number beyond doubles": (scored('{"data": [[1e999, 7.0]]}'), 400, "distance"),
    "an integer beyond doubles": (scored('{"data": [[2.0, 1' + "0" * 309 + "]]}"), 400, "hour"),
    "an integer of 5,000 digits": (scored('{"data": [[1' + "0" * 5000 + ", 7.0]]}"), 400, ""),
    "a number of a million digits": (scored('{"data": [[0.' + "1" * MIB + ', "x"]]}'), 400, "hour"),
    "a text for a number": (scored('{"data": [["2.0", 7.0]]}'), 400, "distance"),
    "an endless text for a number": (scored(json.dumps({"data": [["x" * MIB, 7.0]]})), 400, "distance"),
    "a truth value for a number": (scored('{"data": [[2.0, true]]}'), 400, "hour"),
    "null for a number": (scored('{"data": [[null, 7.0]]}'), 400, "distance"),
    "an object for a number": (scored('{"data": [[{"a": 1}, 7.0]]}'), 400, "distance"),
    "half a surrogate pair": (scored('{"data": [["\\ud800", 7.0]]}'), 400, "distance"),
    "the model's answer overflows": (scored('{"data": [[1e308, 1e308]]}'), 400, "row 1"),
    "the last of many rows": (scored(json.dumps({"data": [[2.0, 7.0]] * 9_999 + [[2.0]]})), 400, "row 10000"),
}

ROUTES = {
    "no such path": (started("POST /nothing HTTP/1.1", GOOD_BODY), 404, "/nothing"),
    "a path that climbs": (started("GET /../../etc/passwd HTTP/1.1"), 404, ""),
    "two slashes": (started("POST //score HTTP/1.1", GOOD_BODY), 404, ""),
    "a percent sign without digits": (started("GET /%zz%ff HTTP/1.1"), 404, ""),
    "an encoded NUL": (started("GET /%00 HTTP/1.1"), 404, ""),
    "GET to score": (started("GET /score HTTP/1.1"), 405, "GET"),
    "DELETE with a body": (started("DELETE /score HTTP/1.1", GOOD_BODY), 405, "DELETE"),
    "POST to health": (started("POST /health HTTP/1.1", GOOD_BODY), 405, "POST"),
    "TRACE": (started("TRACE /score HTTP/1.1"), 405, "TRACE"),
}

SIXTY_FOUR_KIB = "x" * 65536
"""More than any limit on one header or on all of them."""

CONNECTIONS = {
    # the start line
    "rubbish": (b"RUBBISH\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a version there is not": (started("POST /score HTTP/3.0", GOOD_BODY), 400),
    "a method there is not": (started("BREW /score HTTP/1.1", GOOD_BODY), 400),
    "a method in small letters": (started("post /score HTTP/1.1", GOOD_BODY), 400),
    "no path": (started("POST HTTP/1.1", GOOD_BODY), 400),
    "a path without its slash": (started("POST score HTTP/1.1", GOOD_BODY), 400),
    "a path of another alphabet": (started("GET /sc\xf6re HTTP/1.1"), 400),
    "NUL in the path": (started("GET /\0 HTTP/1.1"), 400),
    "CONNECT (RFC 9110 9.3.6)": (started("CONNECT x:80 HTTP/1.1"), 400),
    "lines that end in LF alone (2.2)": (GOOD.replace(b"\r\n", b"\n"), 400),
    "an endless path": (started(f"GET /{SIXTY_FOUR_KIB} HTTP/1.1"), 431),
    # headers
    "no Host (3.2)": (b"GET /health HTTP/1.1\r\n\r\n", 400),
    "two Hosts (3.2)": (scored(GOOD_BODY, "Host: y"), 400),
    "an endless header": (scored(GOOD_BODY, f"X: {SIXTY_FOUR_KIB}"), 431),
    "an endless name of a header": (scored(GOOD_BODY, f"{SIXTY_FOUR_KIB}: x"), 431),
    "two thousand headers": (scored(GOOD_BODY, *["X: y"] * 2000), 431),
    "a header on two lines (5.2)": (scored(GOOD_BODY, "X: a\r\n b"), 400),
    "a blank before the colon (5.1)": (scored(GOOD_BODY, "Content-Type : x"), 400),
    "no colon": (scored(GOOD_BODY, "X"), 400),
    "no name": (scored(GOOD_BODY, ": x"), 400),
    "a name that is no token": (scored(GOOD_BODY, "X(: a"), 400),
    "NUL in a header (RFC 9110 5.5)": (scored(GOOD_BODY, "X: a\0b"), 400),
    "a control character in a header": (scored(GOOD_BODY, "X: a\x01b"), 400),
    "CR in a header": (scored(GOOD_BODY, "X: a\rY: b"), 400),
    # the body's length, section 6
    "two ways to tell it": (scored(b"0\r\n\r\n", CHUNKED), 400),
    "two ways to tell it, turned": (bare(b"0\r\n\r\n", CHUNKED, "Content-Length: 5"), 400),
    "two lengths": (scored(GOOD_BODY, "Content-Length: 3"), 400),
    "a list of lengths": (bare(GOOD_BODY, "Content-Length: 22, 23"), 400),
    "a negative length": (bare(b"", "Content-Length: -1"), 400),
    "a length with a plus": (bare(GOOD_BODY, "Content-Length: +22"), 400),
    "a hexadecimal length": (bare(GOOD_BODY, "Content-Length: 0x16"), 400),
    "an empty length": (bare(GOOD_BODY, "Content-Length:"), 400),
    "a length beyond 64 bits": (bare(b"", "Content-Length: 99999999999999999999999"), 400),
    "a length of a terabyte": (bare(b"", "Content-Length: 1000000000000"), 413),
    "an encoding there is not": (bare(GOOD_BODY, "Transfer-Encoding: xchunked"), 400),
    "chunked is not last": (bare(b"0\r\n\r\n", "Transfer-Encoding: chunked, gzip"), 400),
    "chunked twice, once hidden": (bare(b"0\r\n\r\n", CHUNKED, "Transfer-Encoding: identity"), 400),
    "chunked, hidden by a tab": (bare(b"0\r\n\r\n", "Transfer-Encoding:\x0bchunked"), 400),
    # chunks, section 7.1
    "a chunk without a size": (bare(b"\r\n", CHUNKED), 400),
    "a chunk of no size": (bare(b"zz\r\n", CHUNKED), 400),
    "a chunk of negative size": (bare(b"-1\r\n", CHUNKED), 400),
    "a chunk beyond 64 bits": (bare(b"FFFFFFFFFFFFFFFFFF\r\n", CHUNKED), 400),
    "a chunk longer than its size": (bare(b"2\r\n{}XX0\r\n\r\n", CHUNKED), 400),
    "chunks with LF alone": (bare(b"16\n" + GOOD_BODY + b"\n0\n\n", CHUNKED), 400),
    "a length behind the chunks": (
        bare(b"16\r\n" + GOOD_BODY + b"\r\n0\r\nContent-Length: 9\r\n\r\n", CHUNKED),
        400,
    ),
}


def refusal_of(reply, status, says):
    assert reply.status == status, reply
    assert reply.headers["content-type"].startswith("application/json")
    error = json.loads(reply.body)["error"]
    assert says in error["message"]
    assert error["message"]
    assert error["fix"]
    assert len(reply.body) < 2000


@pytest.mark.parametrize(
    ("sent", "status", "says"), [pytest.param(*row, id=id_) for id_, row in BODIES.items()]
)
def test_a_body_that_cannot_be_scored_is_refused_and_the_connection_goes_on(port, sent, status, says):
    with open_line(port) as line:
        line.send(sent)
        refusal_of(line.read(), status, says)
        assert line.is_open()


@pytest.mark.parametrize(
    ("sent", "status", "says"), [pytest.param(*row, id=id_) for id_, row in ROUTES.items()]
)
def test_what_is_asked_of_the_wrong_place_is_refused_and_the_next_request_is_not(port, sent, status, says):
    with open_line(port) as line:
        line.send(sent)
        refusal_of(line.read(), status, says)
    assert goes_well(port)


@pytest.mark.parametrize(("sent", "status"), [pytest.param(*row, id=id_) for id_, row in CONNECTIONS.items()])
def test_what_is_no_http_is_refused_and_the_connection_ends(port, sent, status):
    """Nobody knows where the next request would begin, so what stands there is never taken for one."""
    with open_line(port) as line:
        line.send(sent)
        refusal_of(line.read(), status, "")
        assert not line.is_open()
    assert goes_well(port)
