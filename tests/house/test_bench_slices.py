"""Loads of the bench of captures: without an answer they are run again; turns are taken one at a time."""

import random
import sys
from collections.abc import Callable
from itertools import pairwise
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


@pytest.fixture
def turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wrk that lives for a while of its own time, notes it, and reports its port as requests; the notes."""
    notes = tmp_path / "notes"
    program = tmp_path / "wrk"
    program.write_text(
        f"#!{sys.executable}\nimport sys, time\nport = sys.argv[-1].split(':')[2].split('/')[0]\n"
        f"for _ in range(40):\n    with open({str(notes)!r}, 'a') as file: file.write(port + '\\n')\n"
        "    time.sleep(0.005)\n"
        """print('{"requests":%s,"us":1,"p50":1,"p99":2,"errors":0}' % port)\n"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(cost, "TURN_S", 0.04)
    return notes


def test_turns_are_taken_one_at_a_time_and_each_server_counts_its_own(
    turns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = {11: iter((1.0, 1.5)), 22: iter((7.0, 8.0))}
    monkeypatch.setattr(Server, "busy_s", lambda self: next(busy[self.port]))
    servers = {name: Server(None, port, 0) for name, port in (("off", 11), ("group", 22))}  # type: ignore[arg-type]
    spent = cost.take_turns(servers, tmp_path, 1, 1, random.Random(1))
    assert spent == {"off": cost.Spent(11, 0.5), "group": cost.Spent(22, 1.0)}
    noted = turns.read_text().split()
    changes = sum(before != after for before, after in pairwise(noted))
    assert len(noted) == 80
    assert 3 <= changes <= 30
