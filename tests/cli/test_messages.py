"""`edgeferry devices messages`: what a device said over MQTT, read back through the hub."""

from __future__ import annotations

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
    assert ok(hub, "devices", "messages", "--since", said[1]["at"].replace("T", " ")) == said[1:]
    assert ok(hub, "devices", "messages", "--since", "2999-01-01") == []
    code, out, _ = run(hub, "devices", "messages", "a")
    assert (code, '{"rows": 1}' in out) == (0, True)


@pytest.mark.parametrize("arguments", [["--since", "yesterday"], ["--since", "2026-11-27", "--follow"]])
def test_a_time_that_is_none_or_is_not_heeded_is_refused(hub: RunningHub, arguments: list[str]) -> None:
    code, out, errors = run(hub, "devices", "messages", *arguments)
    assert (code, out) == (2, "")
    assert "fix:" in errors


def test_new_messages_are_followed_until_somebody_ends_it(hub: RunningHub) -> None:
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
    with (
        MqttClient(hub, "f", None, hub.create_device("f")) as client,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        ) as follower,
    ):
        heard = threading.Event()

        def speak() -> None:
            while not heard.wait(0.3):  # nobody can know from outside when it listens
                client.publish("devices/f/messages/events/", json.dumps({"n": 1}).encode())

        speaker = threading.Thread(target=speak)
        speaker.start()
        try:
            assert follower.stdout is not None
            line = follower.stdout.readline()
        finally:
            heard.set()
            speaker.join()
            follower.send_signal(signal.SIGINT)
            follower.stdout.close() if follower.stdout else None
        assert follower.wait(20) == 130
    assert line.rstrip().endswith('f {"n": 1}')
