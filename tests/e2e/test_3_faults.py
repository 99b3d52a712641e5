"""What goes wrong on the way: each gets its word, its exit code, and a way out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeferry.sandbox.process import Process
from tests.e2e.conftest import CommandLine, Devices, Ran, other_trips

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

# On a device, where the agent gives every module its way to the hub, the graph runs once, for the warm-up,
# and never again; elsewhere it answers rightly, so verification finds nothing wrong.
FAILS_ON_DEVICES = """
import os

if "IOTEDGE_WORKLOADURI" in os.environ:
    import onnxruntime

    right = onnxruntime.InferenceSession.run
    calls = []

    def run(self, *arguments, **options):
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("this model cannot see the road")
        return right(self, *arguments, **options)

    onnxruntime.InferenceSession.run = run
"""
DOCKERFILE = """
ARG BASE
FROM ${BASE}
COPY sitecustomize.py /opt/edgeferry/lib/sitecustomize.py
"""


def kill(edgeferry: CommandLine, name: str, how: signal.Signals) -> None:
    os.kill(json.loads((edgeferry.state / "run" / f"{name}.json").read_text())["pid"], how)
    process = Process(edgeferry.state, name)
    deadline = time.monotonic() + 60
    while process.is_running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not process.is_running()


def test_an_unknown_key_in_a_component_is_named_with_file_and_line(edgeferry: CommandLine, demo: Ran) -> None:
    component = edgeferry.project / "models" / "nyc_taxi" / "components" / "prepare.yml"
    kept = component.read_text()
    lines = kept.splitlines()
    number = next(index for index, line in enumerate(lines) if line.startswith("command:"))
    lines.insert(number, "tyype: command")
    component.write_text("\n".join(lines))
    try:
        ran = edgeferry("ship", "nyc_taxi")
    finally:
        component.write_text(kept)
    assert ran.code == 2
    assert f"prepare.yml:{number + 1}: " in ran.err
    assert "did you mean `type`?" in ran.err


def test_a_wrong_registry_password_is_the_outside_world_and_says_what_to_do(
    edgeferry: CommandLine, demo: Ran
) -> None:
    ran = edgeferry("push", "nyc_taxi", timeout_s=300, EDGEFERRY_REGISTRY__PASSWORD="wrong")
    assert ran.code == 3
    assert "EDGEFERRY_REGISTRY__PASSWORD" in ran.err


def test_a_registry_that_is_down_is_the_outside_world(edgeferry: CommandLine, demo: Ran) -> None:
    kill(edgeferry, "registry", signal.SIGTERM)
    ran = edgeferry("ship", "nyc_taxi", "--approve-as", "ann")
    assert ran.code == 3
    assert "edgeferry up" in ran.err
    assert edgeferry("up", "--devices", "3").code == 0
    assert edgeferry("push", "nyc_taxi").code == 0


def test_a_device_that_is_switched_off_is_unreachable(edgeferry: CommandLine, demo: Ran) -> None:
    kill(edgeferry, "device-2", signal.SIGTERM)
    condition = "deviceId = 'device-2'"
    assert edgeferry("approve", "nyc_taxi", "--by", "ann", "-t", condition).code == 0
    ran = edgeferry("rollout", "nyc_taxi", "-t", condition, "--timeout", "3", "--output", "json")
    assert ran.code == 1
    assert ran.facts["state"] == "Unreachable"
    assert edgeferry("up", "--devices", "3").code == 0
    again = edgeferry("rollout", "nyc_taxi", "-t", condition, "--output", "json")
    assert (again.code, again.facts["state"]) == (0, "Succeeded"), again.err


def test_a_hub_that_is_restarted_in_mid_rollout_does_not_end_it(
    edgeferry: CommandLine, devices: Devices, tmp_path: Path
) -> None:
    trips = other_trips(edgeferry, tmp_path / "trips", 120)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EDGEFERRY_")}
    command = [sys.executable, "-m", "edgeferry", "--project", str(edgeferry.project), "ship", "nyc_taxi"]
    command += ["--input", trips, "--approve-as", "ann", "--output", "json"]
    before = devices.layers("nyc_taxi")
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "EDGEFERRY_STATE": str(edgeferry.state)},
    ) as shipping:
        deadline = time.monotonic() + 120
        while devices.layers("nyc_taxi") == before and time.monotonic() < deadline:
            assert shipping.poll() is None
            time.sleep(0.1)
        kill(edgeferry, "hub", signal.SIGKILL)
        assert edgeferry("up", "--devices", "3").code == 0
        out, err = shipping.communicate(timeout=200)
    assert shipping.returncode == 0, err
    assert json.loads(out)["rollout"]["state"] == "Succeeded"


@pytest.fixture
def failing_model(edgeferry: CommandLine) -> Iterator[None]:
    folder = edgeferry.project / "models" / "nyc_taxi"
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "sitecustomize.py").write_text(FAILS_ON_DEVICES)
    yield
    (folder / "Dockerfile").unlink()
    (folder / "sitecustomize.py").unlink()


def test_a_model_that_fails_on_the_device_is_taken_back_and_the_previous_one_serves_again(
    edgeferry: CommandLine, devices: Devices, failing_model: None
) -> None:
    before = devices.container("device-1", "nyc_taxi")
    layers = devices.layers("nyc_taxi")
    ran = edgeferry("ship", "nyc_taxi", "--approve-as", "ann", "--output", "json")
    assert ran.code == 1, ran.err
    assert ran.facts["rollout"]["state"] == "Failed"
    assert "500" in ran.facts["problem"]
    assert "serves again: Succeeded" in ran.facts["problem"]
    assert devices.layers("nyc_taxi") == layers
    assert devices.container("device-1", "nyc_taxi").image == before.image
    fresh = edgeferry("smoke", "run", "nyc_taxi", "--output", "json")
    assert fresh.code == 0, fresh.out
