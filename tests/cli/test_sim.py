"""`edgeferry sim` as it is typed, against a real hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_devices import run
from tests.hubs import RunningHub, free_address


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    running = RunningHub(tmp_path_factory.mktemp("hub"), free_address(), 8443, 8883).start()
    yield running
    running.stop()


def test_hollow_devices_come_with_tags_and_faults_and_go(hub: RunningHub, tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {devices: \"tags.site = 'south'\", kind: offline}\n")
    words = ("--devices", "2", "--seconds", "3", "--tag", "site=north|south", "--output", "json")
    code, out, err = run(hub, "sim", *words, "--faults", str(faults), "--keep")
    assert code == 0, err
    assert "hollow-0001: $edgeAgent connected" in err
    assert "hollow-0002: $edgeAgent connected" not in err
    assert [(each["device"], each["faults"]) for each in json.loads(out)] == [
        ("hollow-0001", []),
        ("hollow-0002", ["offline"]),
    ]
    tags = {name: hub.ask("GET", f"/twins/{name}")["tags"] for name in ("hollow-0001", "hollow-0002")}
    assert {name: (own["site"], own["hollow"], own["edgeferry"]) for name, own in tags.items()} == {
        "hollow-0001": ("north", True, True),
        "hollow-0002": ("south", True, True),
    }
    code, _, err = run(hub, "sim", "--devices", "2", "--seconds", "0.1")
    assert code == 0, err
    assert hub.ask("GET", "/devices") == []


def test_a_real_device_is_left_alone(hub: RunningHub) -> None:
    hub.create_device("hollow-0001")
    code, _, err = run(hub, "sim", "--devices", "1", "--seconds", "1")
    assert code == 1
    assert "not hollow" in err
    assert [each["deviceId"] for each in hub.ask("GET", "/devices")] == ["hollow-0001"]


def test_a_wrong_faults_file_is_refused_before_anything_is_made(hub: RunningHub, tmp_path: Path) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {devices: 1 %, kind: ded}\n")
    code, _, err = run(hub, "sim", "--faults", str(faults))
    assert code == 2
    assert "did you mean dead" in err
