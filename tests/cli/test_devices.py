"""`edgeferry devices` and `edgeferry deployments` by hand, on a real hub in a process of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest

from edgeferry.adapters.hub import HubClient
from edgeferry.adapters.hub_login import SharedKeyLogin
from edgeferry.cli import devices
from edgeferry.cli.main import main
from edgeferry.device.link import Handlers, Link
from edgeferry.errors import HubError
from edgeferry.wire.connection import parse_connection_string
from edgeferry.wire.sas import render_sas
from tests.hubs import RunningHub, free_address

PROJECT = Path(__file__).parents[2] / "examples" / "taxi"
IMAGE = {"type": "docker", "status": "running", "restartPolicy": "always", "settings": {"image": "i:1"}}
LAYER = {"modulesContent": {"$edgeAgent": {"properties.desired.modules.probe": IMAGE}}}
BASE = {
    "$edgeAgent": {
        "properties.desired": {
            "schemaVersion": "1.1",
            "runtime": {"type": "docker", "settings": {}},
            "systemModules": {"edgeAgent": IMAGE, "edgeHub": IMAGE},
            "modules": {"scorer": IMAGE},
        }
    },
    "scorer": {"properties.desired": {"rows": 1}},
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    running = RunningHub(tmp_path_factory.mktemp("hub"), free_address(), 8443, 8883).start()
    yield running
    running.stop()


@pytest.fixture
def clean(hub: RunningHub) -> RunningHub:
    """The hub, with nothing on it."""
    for one in hub.ask("GET", "/configurations"):
        _delete(hub, f"/configurations/{one['id']}")
    while devices := hub.ask("GET", "/devices"):
        for one in devices:
            _delete(hub, f"/devices/{one['deviceId']}")
    return hub


def _delete(hub: RunningHub, path: str) -> None:
    assert hub.ask("DELETE", path) is None


def owner(hub: RunningHub) -> str:
    text: str = json.loads((hub.state / "connection.json").read_text())["connection_string"]
    return text


def run(hub: RunningHub, *arguments: str, given: str = "", **settings: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command, run in this process as its entry point runs it."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EDGEFERRY_")}
    environment |= {"EDGEFERRY_STATE": str(hub.state / "cli"), "NO_COLOR": "1", "COLUMNS": "200"}
    environment |= {
        "EDGEFERRY_HUB__CONNECTION_STRING": owner(hub),
        "EDGEFERRY_HUB__CA_FILE": str(hub.ca_file),
    }
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    with (
        mock.patch.dict(os.environ, {**environment, **settings}, clear=True),
        mock.patch.object(sys, "argv", ["edgeferry", "--project", str(PROJECT), *arguments]),
        mock.patch.object(sys, "stdin", io.StringIO(given)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return code, out.getvalue(), err.getvalue()


def ok(hub: RunningHub, *arguments: str, given: str = "") -> Any:
    """What the command answers as JSON."""
    code, out, err = run(hub, *arguments, "--output", "json", given=given)
    assert code == 0, err
    return json.loads(out)


def client(hub: RunningHub) -> HubClient:
    return HubClient(SharedKeyLogin(lambda afresh: owner(hub), time.time), str(hub.ca_file))


def signs_in(hub: RunningHub, text: str) -> bool:
    """Whether a device's own credential opens its own twin's identity on the hub."""
    connection = parse_connection_string(text)
    token = render_sas(f"{connection.host_name}/devices/{connection.device_id}", connection.key, 4102444800)
    with httpx.Client(
        verify=ssl.create_default_context(cafile=str(hub.ca_file)), trust_env=False, timeout=40
    ) as http:
        answer = http.get(
            f"https://{connection.host_name}/devices/{connection.device_id}",
            params={"api-version": "2021-04-12"},
            headers={"Authorization": token},
        )
    assert answer.status_code in (200, 401)
    return answer.status_code == 200


# --- create, list, query, show


def test_devices_are_created_once_and_their_keys_shown_only_on_request(clean: RunningHub) -> None:
    code, out, err = run(clean, "devices", "create", "a", "b", "--tag", "site=berlin", "--tag", "m.x=true")
    assert (code, "SharedAccessKey" in out + err) == (0, False)
    assert clean.ask("GET", "/twins/a")["tags"] == {"site": "berlin", "m": {"x": True}}
    assert clean.ask("GET", "/devices/b")["capabilities"] == {"iotEdge": True}
    said = ok(clean, "devices", "create", "b", "c", "--no-edge", "--tag", "site=paris", "--connection-string")
    assert [(one["device"], one["state"]) for one in said] == [("b", "existed"), ("c", "created")]
    assert clean.ask("GET", "/twins/b")["tags"]["site"] == "berlin"
    assert clean.ask("GET", "/devices/c")["capabilities"] == {"iotEdge": False}
    assert all(signs_in(clean, one["connection_string"]) for one in said)


def test_many_devices_are_created_and_deleted(clean: RunningHub) -> None:
    said = ok(clean, "devices", "create", "--count", "130", "--prefix", "m-", "--tag", "many=1")
    assert [one["state"] for one in said] == ["created"] * 130
    assert {one["device"] for one in said} == {f"m-{number}" for number in range(1, 131)}
    said = ok(clean, "devices", "delete", "--where", "tags.many = 1", "--yes")
    assert [one["state"] for one in said] == ["deleted"] * 130
    assert clean.ask("GET", "/devices") == []


def test_a_name_that_no_device_can_have_stops_no_other(clean: RunningHub) -> None:
    code, out, err = run(clean, "devices", "create", "good", "bad name", "-o", "json")
    states = {one["device"]: one["state"] for one in json.loads(out)}
    assert code == 1
    assert states["good"] == "created"
    assert "device id" in states["bad name"]
    assert "1 of 2 devices were not created" in err


def test_a_hub_without_the_bulk_route_is_asked_one_by_one(clean: RunningHub) -> None:
    hub = client(clean)
    send = hub._door.send

    def refuse_bulk(method: str, path: str, *rest: Any, **more: Any) -> Any:
        return send(
            method, "/no-such-route" if (method, path) == ("POST", "/devices") else path, *rest, **more
        )

    hub._door.send = refuse_bulk  # type: ignore[method-assign]
    assert hub.create_devices(["a", "b"], True, {"x": 1}) == {"a": "created", "b": "created"}
    assert hub.create_devices(["b", "c c"], True, {})["b"] == "existed"
    assert clean.ask("GET", "/twins/a")["tags"] == {"x": 1}
    assert hub.delete_devices(["a", "nobody"]) == {"a": "deleted", "nobody": "missing"}
    hub.close()


def test_devices_are_listed_by_condition_with_deployments(clean: RunningHub) -> None:
    ok(clean, "devices", "create", "a", "--tag", "site=berlin")
    ok(clean, "devices", "create", "b", "--no-edge")
    ok(
        clean,
        "deployments",
        "create",
        "base",
        "--modules",
        "-",
        "-c",
        "*",
        "--priority",
        "0",
        given=json.dumps(BASE),
    )
    listed = ok(clean, "devices", "list")
    assert [(one["device"], one["edge"], one["deployments"]) for one in listed] == [
        ("a", True, ["base"]),
        ("b", False, []),
    ]
    assert [one["device"] for one in ok(clean, "devices", "list", "tags.site = 'berlin'")] == ["a"]
    assert len(ok(clean, "devices", "list", "--top", "1")) == 1
    code, _, err = run(clean, "devices", "list", "tags.site = ")
    assert code == 2
    assert "column" in err


def test_a_fleet_of_several_pages_is_listed_whole(clean: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
    ok(clean, "devices", "create", "--count", "25", "--no-edge")
    monkeypatch.setattr(devices, "_PAGE", 10)
    code, out, err = run(clean, "devices", "list", "-o", "json")
    assert code == 0
    assert len(json.loads(out)) == 25
    assert "25 rows read" in err
    assert len(ok(clean, "devices", "list", "--top", "15")) == 15


def test_a_query_of_any_kind_is_answered(clean: RunningHub) -> None:
    ok(clean, "devices", "create", "a", "b", "--tag", "site=berlin")
    assert ok(clean, "devices", "query", "SELECT deviceId, tags.site FROM devices") == [
        {"deviceId": "a", "site": "berlin"},
        {"deviceId": "b", "site": "berlin"},
    ]
    counted = ok(clean, "devices", "query", "SELECT tags.site, COUNT() AS n FROM devices GROUP BY tags.site")
    assert counted == [{"site": "berlin", "n": 2}]
    code, out, _ = run(clean, "devices", "query", "SELECT deviceId FROM devices")
    assert (code, "deviceId" in out, "2 rows" in out) == (0, True, True)
    code, _, err = run(clean, "devices", "query", "SELECT FROM devices")
    assert code == 2
    assert "column" in err
    code, out, _ = run(clean, "devices", "query", "SELECT * FROM devices WHERE deviceId = 'a'")
    assert (code, '"site": "berlin"' in out, "┃" in out, "$metadata" in out) == (0, True, False, False)


def test_show_tells_modules_and_who_gave_them_and_no_keys(clean: RunningHub) -> None:
    ok(clean, "devices", "create", "a")
    ok(
        clean,
        "deployments",
        "create",
        "base",
        "--modules",
        "-",
        "-c",
        "*",
        "--priority",
        "0",
        given=json.dumps(BASE),
    )
    said = ok(clean, "devices", "show", "a")
    assert {one["module"]: one["given_by"] for one in said["modules"]} == {
        "$edgeAgent": "base",
        "$edgeHub": "base",
        "scorer": "base",
    }
    assert "Key" not in json.dumps(said)


def test_show_tells_what_a_devices_agent_says_of_each_layer(clean: RunningHub) -> None:
    ok(clean, "devices", "create", "a")
    layered = ("deployments", "create", "base", "--modules", "-", "-c", "*", "--priority", "0")
    ok(clean, *layered, given=json.dumps(BASE))
    with reporting(clean, "a") as link:
        layer = {"outcome": "RolledBack", "reason": "scorer ended 3 times", "specHash": "5d41"}
        said = {"code": 500, "description": "layer base was rolled back"}
        link.report({"layers": {"base": layer}, "lastDesiredStatus": said})
        told = ok(clean, "devices", "show", "a")
        _, table, _ = run(clean, "devices", "show", "a")
    assert told["layers"] == {"base": {"outcome": "RolledBack", "reason": "scorer ended 3 times"}}
    assert told["agent_says"] == said
    assert "its agent says: 500 layer base was rolled back" in table
    assert "RolledBack" in table


@contextmanager
def reporting(hub: RunningHub, device: str) -> Iterator[Link]:
    """The link of that device's agent, once it can report."""
    own = hub.ask("GET", f"/devices/{device}/modules/$edgeAgent")
    connection = hub.connection(device, own["authentication"]["symmetricKey"]["primaryKey"], "$edgeAgent")
    nothing = lambda *_: None  # noqa: E731
    ready = threading.Event()
    link = Link(lambda _: connection, hub.ca_file, Handlers(nothing, nothing, ready.set, nothing))
    link.start()
    try:
        assert ready.wait(30)
        yield link
    finally:
        link.stop()


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["show"], id="show"),
        pytest.param(["twin"], id="twin"),
        pytest.param(["why"], id="why"),
        pytest.param(["connection-string"], id="connection-string"),
        pytest.param(["keys", "regenerate"], id="keys"),
        pytest.param(["delete"], id="delete"),
        pytest.param(["tag"], id="tag"),
    ],
)
def test_a_misspelt_device_is_answered_with_the_one_meant(hub: RunningHub, arguments: list[str]) -> None:
    ok(hub, "devices", "create", "press-1")
    more = ["x=1"] if arguments == ["tag"] else []
    code, out, err = run(hub, "devices", *arguments, "pres-1", *more)
    assert (code, out) == (2, "")
    assert "did you mean `press-1`" in err


# --- tags, twins, keys


def test_tags_are_set_and_removed_on_several_and_by_condition(clean: RunningHub) -> None:
    ok(clean, "devices", "create", "a", "b", "c", "--tag", "site=berlin", "--tag", "old=1")
    ok(clean, "devices", "tag", "a", "b", "floor=3", "old-")
    assert clean.ask("GET", "/twins/b")["tags"] == {"site": "berlin", "floor": 3}
    code, _, err = run(clean, "devices", "tag", "--where", "tags.old = 1", "floor=4")
    assert code == 2
    assert "1 device: c" in err
    assert "--yes" in err
    ok(clean, "devices", "tag", "--where", "tags.old = 1", "floor=4", "--yes")
    assert clean.ask("GET", "/twins/c")["tags"] == {"site": "berlin", "old": 1, "floor": 4}
    assert clean.ask("GET", "/twins/a")["tags"]["floor"] == 3


def test_a_device_whose_name_ends_in_a_minus_can_be_tagged(clean: RunningHub) -> None:
    ok(clean, "devices", "create", "odd-", "--tag", "x=1")
    assert ok(clean, "devices", "tag", "odd-", "x-", "y=2")["tags"] == {"y": 2}


def test_desired_properties_are_patched_and_the_etag_is_kept_to(clean: RunningHub, tmp_path: Path) -> None:
    ok(clean, "devices", "create", "a")
    clean.create_module("a", "m")
    before = ok(clean, "devices", "twin", "a", "--module", "m")
    twin = ok(clean, "devices", "twin", "a", "-m", "m", "--set", "limits.rows=500", "--set", "name=x")
    assert twin["properties"]["desired"]["limits"]["rows"] == 500
    patch = tmp_path / "patch.json"
    patch.write_text('{"name": null, "on": true}')
    code, _, err = run(
        clean, "devices", "twin", "a", "-m", "m", "--patch", str(patch), "--etag", before["etag"]
    )
    assert code == 1
    assert twin["etag"] in err
    ok(clean, "devices", "twin", "a", "-m", "m", "--patch", str(patch), "--etag", twin["etag"])
    desired = clean.twin("a", "m")["properties"]["desired"]
    assert {name: desired.get(name) for name in ("name", "on")} == {"name": None, "on": True}
    patch.write_text('{"name": 1,\n]')
    code, _, err = run(clean, "devices", "twin", "a", "--patch", str(patch))
    assert code == 2
    assert "patch.json:2" in err
    code, _, err = run(clean, "devices", "twin", "a", "-m", "n")
    assert code == 2
    assert "known here: $edgeAgent, $edgeHub, m" in err


@pytest.mark.parametrize(("flag", "kept"), [([], "secondary"), (["--secondary"], "primary")])
def test_a_new_key_cuts_off_the_old_one_only(clean: RunningHub, flag: list[str], kept: str) -> None:
    ok(clean, "devices", "create", "a")

    def string(*more: str) -> str:
        text: str = ok(clean, "devices", "connection-string", "a", *more)["connection_string"]
        return text

    old = {"primary": string(), "secondary": string("--secondary")}
    code, out, err = run(clean, "devices", "keys", "regenerate", "a", *flag)
    assert (code, "SharedAccessKey" in out + err) == (0, False)
    assert {name: signs_in(clean, text) for name, text in old.items()} == {name: name == kept for name in old}
    assert signs_in(clean, string())
    assert signs_in(clean, string("--secondary"))
    ok(clean, "devices", "keys", "regenerate", "a", "--swap")
    assert string(*([] if kept == "secondary" else ["--secondary"])) == old[kept]


def test_a_connection_string_says_where_mqtt_is(clean: RunningHub) -> None:
    ok(clean, "devices", "create", "a")
    clean.create_module("a", "m")
    [said] = [ok(clean, "devices", "connection-string", "a", "--module", "m")["connection_string"]]
    connection = parse_connection_string(said)
    assert (connection.host_name, connection.gateway_host_name) == (clean.host_name, clean.address)
    assert (connection.device_id, connection.module_id) == ("a", "m")
    inside = ok(clean, "devices", "connection-string", "a", "--for", "container")["connection_string"]
    assert parse_connection_string(inside).gateway_host_name == "edgeferry-hub"
    said = ok(clean, "devices", "connection-string", "a", "--module", "m", "--variables")["variables"]
    assert said["EdgeModuleCACertificateFile"] == str(clean.ca_file)
    assert parse_connection_string(said["EdgeHubConnectionString"]).gateway_host_name == clean.address


# --- deployments


def test_a_deployment_lives_from_file_to_deletion(clean: RunningHub, tmp_path: Path) -> None:
    ok(clean, "devices", "create", "a", "b", "--tag", "site=berlin")
    for content in (BASE, {"modulesContent": BASE}, {"content": {"modulesContent": BASE}}):
        file = tmp_path / "base.json"
        file.write_text(json.dumps(content))
        ok(clean, "deployments", "create", "base", "--modules", str(file), "-c", "*", "--priority", "0")
        ok(clean, "deployments", "delete", "base", "--yes")
    ok(clean, "deployments", "create", "base", "--modules", str(file), "-c", "*", "--priority", "0")
    made = ok(
        clean,
        *("deployments", "create", "probe", "--modules", "-", "-c", "deviceId = 'a'", "--priority", "5"),
        *("--label", "by=ann", "--metric", "here=SELECT deviceId FROM devices WHERE deviceId = 'a'"),
        given=json.dumps(LAYER),
    )
    assert (made["kind"], made["selected"], made["warnings"]) == ("layer", 1, [])
    listed = ok(clean, "deployments", "list")
    assert [(one["deployment"], one["kind"], one["targeted"], one["applied"]) for one in listed] == [
        ("probe", "layer", 1, 1),
        ("base", "base", 2, 2),
    ]
    whole = ok(clean, "deployments", "show", "probe")
    assert whole["metrics"]["results"] == {"here": 1}
    assert whole["labels"] == {"by": "ann"}
    code, out, _ = run(clean, "deployments", "show", "probe")
    assert "properties.desired.modules.probe" in out
    code, _, err = run(clean, "deployments", "delete", "probe")
    assert code == 2
    assert "probe (1 device lose" in err
    assert ok(clean, "deployments", "delete", "probe", "--yes") == [{"deployment": "probe", "devices": 1}]
    again = ok(
        clean,
        *("deployments", "create", "probe", "--modules", "-", "-c", "*", "--priority", "5"),
        given=json.dumps(whole),
    )
    assert again["applied"] == 2


@pytest.mark.parametrize(
    ("name", "manifest", "more", "problem"),
    [
        pytest.param("edgeferry-x", LAYER, [], "edgeferry's own", id="reserved name"),
        pytest.param("Debug", LAYER, [], "lower-case", id="capitals"),
        pytest.param("d", {}, [], "no modulesContent", id="empty"),
        pytest.param(
            "d",
            {"$edgeAgent": {"properties.desired": {"modules": {}}}},
            [],
            "no device can run this",
            id="nothing to run",
        ),
        pytest.param("d", {"$edgeAgent": {"modules.m": {}}}, [], "properties.desired", id="short key"),
        pytest.param("d", LAYER, ["--condition", "tags.a ="], "column", id="condition"),
        pytest.param("d", LAYER, ["--metric", "m=SELECT"], "metric m", id="metric"),
        pytest.param("d", LAYER, ["--label", "edgeferry=model"], "label edgeferry", id="label"),
    ],
)
def test_a_wrong_deployment_never_reaches_the_hub(
    hub: RunningHub, name: str, manifest: Any, more: list[str], problem: str
) -> None:
    arguments = ["--modules", "-", "--condition", "*", "--priority", "3", *more]
    code, _, err = run(hub, "deployments", "create", name, *arguments, given=json.dumps(manifest))
    assert code == 2
    assert problem in err
    assert name not in [one["id"] for one in hub.ask("GET", "/configurations")]


def test_a_deployments_priority_and_condition_change_and_its_content_stays(clean: RunningHub) -> None:
    ok(clean, "devices", "create", "a", "b", "--tag", "site=berlin")
    create = ("deployments", "create", "--modules", "-", "--priority")
    ok(clean, *create, "0", "base", "-c", "*", given=json.dumps(BASE))
    ok(clean, *create, "5", "probe", "-c", "*", "--label", "by=ann", given=json.dumps(LAYER))
    update = ("deployments", "update", "probe")
    made = ok(clean, *update, "--priority", "7", "-c", "deviceId = 'b'", "--label", "for=test")
    assert (made["priority"], made["condition"], made["applied"]) == (7, "deviceId = 'b'", 1)
    whole = ok(clean, "deployments", "show", "probe")
    assert whole["labels"] == {"by": "ann", "for": "test"}
    assert whole["content"] == LAYER
    doubted = ok(clean, *update, "-c", 'deviceId = "a"')
    assert (doubted["priority"], "double quotes" in str(doubted["warnings"])) == (7, True)
    for more, problem in (([], "nothing is to change"), (["-c", "tags.a ="], "column")):
        code, _, err = run(clean, *update, *more)
        assert (code, problem in err) == (2, True)


def test_a_deployment_of_that_name_is_not_covered(clean: RunningHub) -> None:
    arguments = ("deployments", "create", "d", "--modules", "-", "-c", "*", "--priority", "3")
    ok(clean, *arguments, given=json.dumps(LAYER))
    code, _, err = run(clean, *arguments, given=json.dumps(LAYER))
    assert code == 2
    assert "deployments delete d" in err
    code, _, err = run(clean, "deployments", "show", "dd")
    assert code == 2
    assert "did you mean `d`" in err


# --- why


def test_why_names_givers_losers_and_what_a_condition_fails_on(clean: RunningHub) -> None:
    ok(clean, "devices", "create", "a", "--tag", "site=berlin")
    for name, condition, priority, content in (
        ("base", "*", 1, BASE),
        ("low", "*", 0, LAYER),
        ("first", "tags.site = 'berlin'", 5, LAYER),
        ("second", "tags.site = 'berlin'", 6, LAYER),
        ("paris", "tags.site = 'paris' AND tags.floor > 2", 7, LAYER),
    ):
        arguments = ("--modules", "-", "-c", condition, "--priority", str(priority))
        ok(clean, "deployments", "create", name, *arguments, given=json.dumps(content))
    said = ok(clean, "devices", "why", "a")
    given = {(one["module"], one["path"]): one for one in said["given"]}
    assert said["base"] == "base"
    assert given[("probe", "")]["deployment"] == "second"
    assert [(one["deployment"], one["reason"]) for one in given[("probe", "")]["lost"]] == [
        ("first", "lower priority"),
        ("low", "below the base"),
    ]
    assert given[("scorer", "desired")]["deployment"] == "base"
    assert {one["deployment"]: one["reason"] for one in said["not_given"]} == {
        "paris": "not targeted",
        "first": "replaced",
        "low": "below the base",
    }
    code, out, _ = run(clean, "devices", "why", "a")
    assert code == 0
    flat = " ".join(out.replace("│", " ").split())
    assert "tags.site = 'paris' is false: tags.site is \"berlin\"" in flat
    assert said["drift"] == []


def test_why_says_what_the_hub_refused_and_where_the_twin_differs(clean: RunningHub) -> None:
    ok(clean, "devices", "create", "a")
    large = {f"k{number}": "x" * 4000 for number in range(5)}
    for name, priority, content in (
        ("base", 0, BASE),
        ("one", 1, {"scorer": {"properties.desired.one": large}}),
        ("two", 2, {"scorer": {"properties.desired.two": large}}),
    ):
        arguments = ("--modules", "-", "-c", "*", "--priority", str(priority))
        ok(clean, "deployments", "create", name, *arguments, given=json.dumps(content))
    said = ok(clean, "devices", "why", "a")
    assert "scorer" in said["refused"]
    [drift] = said["drift"]
    assert (drift["module"], drift["path"], drift["actual"]) == ("scorer", "two", None)


def test_why_of_a_device_that_runs_no_modules(clean: RunningHub) -> None:
    ok(clean, "devices", "create", "a", "--no-edge")
    code, out, _ = run(clean, "devices", "why", "a")
    assert code == 0
    assert "not an edge device" in out


def test_a_hub_that_is_down_is_the_outside_world(hub: RunningHub) -> None:
    dead = "HostName=127.0.0.1:1;SharedAccessKeyName=iothubowner;SharedAccessKey=AAAA"
    for words in (["devices", "list"], ["deployments", "list"], ["devices", "why", "a"]):
        code, _, err = run(hub, *words, EDGEFERRY_HUB__CONNECTION_STRING=dead)
        assert code == 3
        assert "did not answer" in err
        assert "edgeferry hub start" in err


def test_a_certificate_of_a_stranger_is_answered_with_the_file_to_set(hub: RunningHub) -> None:
    code, _, err = run(hub, "devices", "list", EDGEFERRY_HUB__CA_FILE="")
    assert (code, "EDGEFERRY_HUB__CA_FILE" in err) == (3, True)


def test_an_error_carries_the_status(clean: RunningHub) -> None:
    hub = client(clean)
    with pytest.raises(HubError) as caught:
        hub.device("nobody")
    assert caught.value.status == 404
    hub.close()
