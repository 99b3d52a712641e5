"""The servers of pages and verdicts, asked by more than they have room for."""

import contextlib
import socket
import threading
from unittest.mock import Mock

import httpx
import pytest

from edgeferry.device.modules.small_server import MOST_AT_ONCE, serve_small
from tests.device.conftest import wait_until


@pytest.fixture
def server():
    started = serve_small(lambda target: (200, b'"%b"' % target.encode()), "127.0.0.1", 0, "small")
    yield started
    started.shutdown()
    started.server_close()


def ask(server):
    return httpx.get(f"http://127.0.0.1:{server.server_address[1]}/x", trust_env=False, timeout=60)


def test_it_answers_so_many_at_once_and_asks_the_next_one_to_come_back(server):
    assert (ask(server).status_code, ask(server).json()) == (200, "/x")
    with contextlib.ExitStack() as stack:
        for _ in range(MOST_AT_ONCE):
            silent = socket.create_connection(server.server_address[:2])
            stack.enter_context(silent)
        refused = wait_until(lambda: (answer := ask(server)).status_code == 503 and answer)
        assert refused.json() == {
            "error": {"message": "too many ask at once", "fix": "ask again in a moment"}
        }
        assert refused.headers["Retry-After"] == "1"
    assert wait_until(lambda: ask(server).status_code == 200)


def test_a_machine_without_another_thread_costs_no_place_for_good(server, monkeypatch, capfd):
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError("can't start new thread")))
        for _ in range(2 * MOST_AT_ONCE):
            with pytest.raises(httpx.HTTPError):
                ask(server)
    assert ask(server).status_code == 200
    assert "can't start new thread" in capfd.readouterr().err


def test_to_start_asks_nobody_for_this_machines_name(monkeypatch):
    monkeypatch.setattr(socket, "getfqdn", Mock(side_effect=AssertionError("asked for a name")))
    started = serve_small(lambda target: (200, b"1"), "127.0.0.1", 0, "small")
    assert ask(started).status_code == 200
    started.shutdown()
    started.server_close()


def test_an_asker_that_breaks_off_takes_no_place_and_says_nothing(server, capfd):
    for _ in range(2 * MOST_AT_ONCE):
        with socket.create_connection(server.server_address[:2]) as asker:
            asker.sendall(b"GET /x HTTP/1.0\r\n")
        wait_until(lambda: ask(server).status_code == 200)
    assert capfd.readouterr().err == ""
