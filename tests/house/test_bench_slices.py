"""Loads of the bench of captures: without an answer they are run again; turns are told apart."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
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


_SERVER = """
import signal, sys
is_on, busy_ns, answered = True, 0, 0
def switch(*_):
    global is_on, busy_ns, answered
    busy_ns += 3_000_000 if is_on else 2_000_000
    answered += int(sys.argv[2])
    is_on = not is_on
    with open(sys.argv[1], "a") as file:
        file.write(f"{int(is_on)} {busy_ns} {answered}\\n")
signal.signal(signal.SIGUSR1, switch)
print("ready", flush=True)
while True:
    signal.pause()
"""
_WRK = """
import signal, sys
def end(*_):
    print('{"requests":9,"us":1,"p50":1,"p99":2,"errors":0}')
    sys.exit()
signal.signal(signal.SIGINT, end)
signal.pause()
"""


@pytest.fixture
def switched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Server]]:
    """A server that answers so many requests in each turn, in 2 ms of processor time, 3 with captures; and a
    wrk that asks until it is told to end."""
    program = tmp_path / "wrk"
    program.write_text(f"#!{sys.executable}\n{_WRK}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(cost, "TURN_S", 0.1)
    with ExitStack() as stack:

        def use(answers: int) -> Server:
            words = [sys.executable, "-c", _SERVER, str(tmp_path / "marks"), str(answers)]
            process = stack.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            return Server(process, 1, 1)

        yield use


def test_turns_of_captures_off_and_on_are_told_apart(
    switched: Callable[[int], Server], tmp_path: Path
) -> None:
    server = switched(10)
    switch = cost.Switch(server, tmp_path / "marks")
    spent = cost.take_turns(server, switch, tmp_path, 1, 1)
    assert {is_on: each.requests for is_on, each in spent.items()} == {False: 100, True: 100}
    assert {is_on: round(each.each_us) for is_on, each in spent.items()} == {False: 200, True: 300}
    assert switch.is_on
    switch.turn(True)
    marks = len((tmp_path / "marks").read_text().splitlines())
    switch.turn(False)
    assert len((tmp_path / "marks").read_text().splitlines()) == marks + 1 == 23


def test_turns_without_an_answer_are_run_again_and_then_given_up(
    switched: Callable[[int], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "TRIES", 2)
    server = switched(0)
    with pytest.raises(RuntimeError, match="2 times turns of 1 s without a request"):
        cost.take_turns(server, cost.Switch(server, tmp_path / "marks"), tmp_path, 1, 1)


def test_a_server_that_does_not_switch_is_told(
    switched: Callable[[int], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "PATIENCE_S", 0.05)
    with pytest.raises(RuntimeError, match="has not switched within"):
        cost.Switch(switched(1), tmp_path / "others").flip()
