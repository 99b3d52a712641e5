"""Names of tags, models and devices, as typed at a hub with two devices: those that are nearly right, and
those that need not be typed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.test_devices import run
from tests.hub.clients import MqttClient
from tests.hubs import RunningHub, free_address


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """Its devices report modules, as agents do; nobody is there to be asked."""
    running = RunningHub(tmp_path_factory.mktemp("hub"), free_address(), 8443, 8883).start()
    try:
        for device, modules in (("press-1", ["fan", "pump"]), ("press-2", ["pump"])):
            running.create_device(device)
            identity = running.ask("GET", f"/devices/{device}/modules/$edgeAgent")
            secret = identity["authentication"]["symmetricKey"]["primaryKey"]
            with MqttClient(running, device, "$edgeAgent", secret) as agent:
                agent.report({"modules": {name: {"runtimeStatus": "running"} for name in modules}})
        assert (
            run(
                running,
                "devices",
                "tag",
                "press-1",
                "site=berlin",
                "models.pump=true",
                "models.nyc_taxis=true",
            )[0]
            == 0
        )
        yield running
    finally:
        running.stop()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        pytest.param(
            "tag press-2 sitte=b", "no device has the tag sitte: did you mean site?", id="a new one"
        ),
        pytest.param(
            "tag press-2 stie-", "no device has the tag stie: did you mean site?", id="none to take"
        ),
        pytest.param("list tags.modles.pump=true", "did you mean models.pump?", id="a condition"),
        pytest.param("list -w tags.sit='berlin'", "did you mean site?", id="a condition by its option"),
    ],
)
def test_a_tag_that_is_nearly_known_gets_a_hint_and_no_error(hub: RunningHub, words: str, hint: str) -> None:
    code, _, err = run(hub, "devices", *words.split())
    assert (code, hint in err) == (0, True), err
    run(hub, "devices", "tag", "press-2", "sitte-")


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("tag press-2 site=paris floor=3", id="known and new tags"),
        pytest.param("tag press-2 models.nyc_taxi=true", id="a model of the project that nobody has yet"),
        pytest.param("list tags.site='rome'", id="a condition whose tags are known"),
    ],
)
def test_a_tag_that_is_meant_gets_no_hint(hub: RunningHub, words: str) -> None:
    code, _, err = run(hub, "devices", *words.split())
    assert (code, "did you mean" in err) == (0, False), err


def test_a_deployment_that_selects_nobody_by_a_slip_says_so(hub: RunningHub, tmp_path) -> None:
    (tmp_path / "m.json").write_text('{"modulesContent": {"m": {"properties.desired.a": 1}}}')
    words = ("deployments", "create", "debug", "--modules", str(tmp_path / "m.json"), "--priority", "7")
    code, _, err = run(hub, *words, "-c", "tags.sitte = 'berlin'")
    assert (code, "did you mean site?" in err) == (0, True), err


@pytest.mark.parametrize(
    ("words", "problem", "fix"),
    [
        pytest.param(
            "logs pump",
            "pump runs on 2 devices: press-1, press-2",
            "edgeferry logs pump --device press-1",
            id="several devices have it",
        ),
        pytest.param("logs pmup", "no device reports a module pmup", "did you mean `pump`?", id="logs"),
        pytest.param(
            "captures pmup", "no device reports a module pmup", "did you mean `pump`?", id="captures"
        ),
        pytest.param(
            "captures fna --device press-1", "press-1 reports no module fna", "`fan`?", id="on that device"
        ),
    ],
)
def test_a_name_gets_what_is_probably_meant(hub: RunningHub, words: str, problem: str, fix: str) -> None:
    code, out, err = run(hub, *words.split())
    assert (code, out) == (2, "")
    assert f"error: {problem}" in err
    assert fix in err.partition("fix: ")[2]


def test_logs_take_the_only_device_that_has_the_module(hub: RunningHub) -> None:
    code, _, err = run(hub, "logs", "fan")
    assert "fan runs on press-1" in err
    assert (code, "press-1" in err.partition("error: ")[2]) == (3, True), "it is not connected"
