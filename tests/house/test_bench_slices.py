"""A slice of load in which nothing was answered is run again, told, and never counted."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.capture import cost
from bench.capture.serving import Server

Wrk = Callable[..., Server]


@pytest.fixture
def wrk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wrk:
    """A wrk that reports these numbers of requests in turn, the last one for ever; and a server for it."""

    def use(*requests: int) -> Server:
        (tmp_path / "counts").write_text("".join(f"{each}\n" for each in requests))
        program = tmp_path / "wrk"
        program.write_text(
            f"#!/bin/sh\ncd {tmp_path}\nread n < counts\n[ $(wc -l < counts) = 1 ] || sed -i 1d counts\n"
            'echo "{\\"requests\\":$n,\\"us\\":1000000,\\"p50\\":1,\\"p99\\":2,\\"errors\\":0}"\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        return Server(None, 1, 1)  # type: ignore[arg-type]

    monkeypatch.setattr(Server, "busy_s", lambda self: 0.0)
    return use


def test_a_slice_without_a_request_is_told_and_run_again(
    wrk: Wrk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cost.load(wrk(0, 0, 7), tmp_path, 1, 1).per_s == 7
    assert capsys.readouterr().out.count("it is run again") == 2


def test_a_machine_on_which_no_slice_gets_a_request_is_no_place_to_measure(wrk: Wrk, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="too busy to measure"):
        cost.load(wrk(0), tmp_path, 1, 1)


def test_each_server_counts_its_own_turns(wrk: Wrk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrk(50)
    busy = {1: iter((1.0, 1.5)), 2: iter((7.0, 8.0))}
    monkeypatch.setattr(Server, "busy_s", lambda self: next(busy[self.port]))
    servers = {name: Server(None, port, 0) for name, port in (("off", 1), ("group", 2))}  # type: ignore[arg-type]
    spent = cost.take_turns(servers, tmp_path, 1, 0, random.Random(1))
    assert {name: each.each_us for name, each in spent.items()} == {"off": 10_000.0, "group": 20_000.0}
