"""`edgeferry devices messages`: what a device said over MQTT, read back through the hub."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_devices import ok, owner, run
from tests.hub.clients import MqttClient
from tests.hubs import RunningHub, free_address

PROJECT = Path(__file__).parents[2] / "examples" / "taxi"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    running = RunningHub(tmp_path_factory.mktemp("hub"), free_address(), 8443, 8883).start()
    yield running
    running.stop()


def test_what_devices_said_is_shown_whole_and_by_device(hub: RunningHub) -> None:
    for name, bodies in (("a", [b'{"rows": 1}', b"plain"]), ("b", [b"\xff\x00"])):
        with MqttClient(hub, name, None, hub.create_device(name)) as client:
            for body in bodies:
                client.publish(f"devices/{name}/messages/events/kind=test", body)
    said = ok(hub, "devices", "messages")
    assert [(one["device"], one["body"]) for one in said] == [
        ("a", {"rows": 1}),
        ("a", "plain"),
        ("b", "/wA="),
    ]
    assert said[0]["properties"] == {"kind": "test"}
    assert [one["body"] for one in ok(hub, "devices", "messages", "b")] == ["/wA="]
    assert ok(hub, "devices", "messages", "--since", said[1]["at"]) == said[1:]
    code, out, _ = run(hub, "devices", "messages", "a")
    assert (code, '{"rows": 1}' in out) == (0, True)
    for arguments, problem in ((["aa"], "did you mean"), (["aa", "--follow"], "did you mean")):
        code, _, err = run(hub, "devices", "messages", *arguments)
        assert (code, problem in err) == (2, True)
    code, _, err = run(hub, "devices", "messages", "--since", "yesterday")
    assert (code, "'yesterday' is not a time" in err) == (2, True)
    code, _, err = run(hub, "devices", "messages", "--since", "2026-11-27", "--follow")
    assert (code, "are both there" in err) == (2, True)


@contextlib.contextmanager
def following(hub: RunningHub) -> Iterator[subprocess.Popen[str]]:
    """`devices messages --follow` in the background; ended by Ctrl-C, with its exit code."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EDGEFERRY_")}
    environment |= {"EDGEFERRY_STATE": str(hub.state / "cli"), "PYTHONUNBUFFERED": "1"}
    environment |= {
        "EDGEFERRY_HUB__CONNECTION_STRING": owner(hub),
        "EDGEFERRY_HUB__CA_FILE": str(hub.ca_file),
    }
    command = [
        sys.executable,
        "-m",
        "edgeferry",
        "--project",
        str(PROJECT),
        "devices",
        "messages",
        "--follow",
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as follower:
        try:
            yield follower
        finally:
            follower.send_signal(signal.SIGINT)
        assert follower.wait(60) == 130


def hear(hub: RunningHub, follower: subprocess.Popen[str], name: str, key: str, number: int) -> str:
    """The first line that the follower prints of what the device says meanwhile."""
    heard = threading.Event()

    def speak(client: MqttClient) -> None:
        while not heard.wait(0.3):  # nobody can know from outside when it listens
            client.publish(f"devices/{name}/messages/events/", json.dumps({"n": number}).encode())

    assert follower.stdout is not None
    with MqttClient(hub, name, None, key) as client:
        speaker = threading.Thread(target=speak, args=(client,))
        speaker.start()
        try:
            return follower.stdout.readline().rstrip()
        finally:
            heard.set()
            speaker.join()


def test_new_messages_are_followed_until_somebody_ends_it(hub: RunningHub) -> None:
    key = hub.create_device("f")
    with following(hub) as follower:
        assert hear(hub, follower, "f", key, 1).endswith('f {"n": 1}')


def test_following_outlives_a_hub_that_was_away(hub: RunningHub) -> None:
    key = hub.create_device("away")
    with following(hub) as follower:
        assert hear(hub, follower, "away", key, 1).endswith('away {"n": 1}')
        hub.kill()
        assert follower.stderr is not None
        assert "waiting until it does" in follower.stderr.readline()
        hub.start()
        assert "answers again" in follower.stderr.readline()
        line = hear(hub, follower, "away", key, 2)
        while line.endswith('{"n": 1}'):
            line = follower.stdout.readline().rstrip() if follower.stdout else ""
        assert line.endswith('away {"n": 2}')
