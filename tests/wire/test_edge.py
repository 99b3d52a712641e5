import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.manifest import DeviceReport, ModuleSpec, ModuleState, RegistryLogin
from edgeferry.domain.twin import merge
from edgeferry.errors import DesiredError
from edgeferry.wire.edge import (
    diff_reported,
    module_hash,
    parse_desired,
    parse_module,
    render_module,
    render_reported,
)

IMAGE = "127.0.0.1:5443/edge/taxi@sha256:" + "a" * 64
TAXI = ModuleSpec(
    name="taxi",
    image=IMAGE,
    create_options={"HostConfig": {"Init": True}},
    env={"A": "1"},
    startup_order=10,
)
TAXI_JSON = {
    "type": "docker",
    "status": "running",
    "restartPolicy": "always",
    "imagePullPolicy": "on-create",
    "startupOrder": 10,
    "env": {"A": {"value": "1"}},
    "settings": {"image": IMAGE, "createOptions": '{"HostConfig":{"Init":true}}'},
}


def test_module_both_ways():
    assert render_module(TAXI) == TAXI_JSON
    assert parse_module("taxi", TAXI_JSON) == TAXI


def test_long_create_options_travel_in_chunks_of_512():
    spec = ModuleSpec(name="m", image="a:1", create_options={"Cmd": ["x" * 1200]})
    settings = render_module(spec)["settings"]
    assert sorted(settings) == ["createOptions", "createOptions01", "createOptions02", "image"]
    assert len(settings["createOptions"]) == len(settings["createOptions01"]) == 512
    assert parse_module("m", {"settings": settings}) == spec


def test_create_options_beyond_one_hundred_chunks_are_refused():
    with pytest.raises(DesiredError, match="at most 51200"):
        render_module(ModuleSpec(name="m", image="a:1", create_options={"Cmd": ["x" * 51200]}))


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none() | st.lists(st.text()), max_size=30))
def test_any_create_options_come_back(options):
    spec = ModuleSpec(name="m", image="a:1", create_options=options)
    assert parse_module("m", json.loads(json.dumps(render_module(spec)))) == spec


@pytest.mark.parametrize(
    ("image", "found"),
    [
        ("taxi", "taxi:latest"),
        ("localhost:5000/taxi", "localhost:5000/taxi:latest"),
        ("localhost:5000/taxi:2", "localhost:5000/taxi:2"),
        (IMAGE, IMAGE),
    ],
)
def test_an_image_without_tag_or_digest_is_the_latest(image, found):
    assert parse_module("m", {"settings": {"image": image}}).image == found


def test_absent_members_have_azures_defaults():
    spec = parse_module("m", {"settings": {"image": "a:1", "createoptions": ""}})
    assert spec == ModuleSpec(name="m", image="a:1")
    assert (spec.status, spec.restart_policy, spec.startup_order) == ("running", "always", 4294967295)


@pytest.mark.parametrize(
    ("value", "text"), [("x", "x"), (True, "true"), (False, "false"), (7, "7"), (1.5, "1.5")]
)
def test_environment_values_become_text(value, text):
    said = {"settings": {"image": "a:1"}, "env": {"A": {"value": value}}}
    assert parse_module("m", said).env == {"A": text}


@pytest.mark.parametrize(
    ("change", "where"),
    [
        pytest.param({"settings": {}}, "modules.m.settings.image", id="no image"),
        pytest.param({"settings": None}, "modules.m.settings", id="no settings"),
        pytest.param({"status": "paused"}, "modules.m.status", id="unknown status"),
        pytest.param({"restartPolicy": "maybe"}, "modules.m.restartPolicy", id="unknown policy"),
        pytest.param({"imagePullPolicy": "x"}, "modules.m.imagePullPolicy", id="unknown pull policy"),
        pytest.param({"startupOrder": -1}, "modules.m.startupOrder", id="negative order"),
        pytest.param({"type": "wasm"}, "modules.m.type", id="unknown type"),
        pytest.param({"env": {"A": {"value": None}}}, "modules.m.env.A", id="env without value"),
        pytest.param(
            {"settings": {"image": "a:1", "createOptions": "{"}}, "createOptions", id="torn createOptions"
        ),
        pytest.param(
            {"settings": {"image": "a:1", "createOptions": "[1]"}},
            "createOptions",
            id="createOptions no object",
        ),
    ],
)
def test_a_malformed_module_is_refused_with_its_place(change, where):
    with pytest.raises(DesiredError) as caught:
        parse_module("m", {"settings": {"image": "a:1"}, **change})
    assert where in caught.value.problem
    assert caught.value.code == 400


def test_a_module_name_must_be_one():
    with pytest.raises(DesiredError, match="letters, digits"):
        parse_module("a/b", {"settings": {"image": "a:1"}})


DESIRED = {
    "$version": 7,
    "schemaVersion": "1.1",
    "runtime": {
        "type": "docker",
        "settings": {"registryCredentials": {"r": {"address": "reg:5000", "username": "u", "password": "p"}}},
    },
    "systemModules": {"edgeHub": {"type": "docker", "settings": {"image": "hub:1.5"}}},
    "modules": {"taxi": {**TAXI_JSON, "configuration": {"id": "edgeferry-taxi"}}},
}


def test_desired_properties_become_a_manifest():
    manifest = parse_desired(DESIRED)
    assert manifest.modules == {"taxi": TAXI}
    assert manifest.system_modules == {"edgeHub": ModuleSpec(name="edgeHub", image="hub:1.5")}
    assert manifest.registries == (RegistryLogin("reg:5000", "u", "p"),)
    assert "'p'" not in repr(manifest)


@pytest.mark.parametrize(
    ("desired", "code"),
    [
        pytest.param({"$version": 1}, 417, id="empty"),
        pytest.param({"modules": {}}, 412, id="no schema version"),
        pytest.param({**DESIRED, "schemaVersion": "2.0"}, 412, id="a schema version to come"),
        pytest.param({**DESIRED, "modules": {"taxi": 1}}, 400, id="a module that is none"),
        pytest.param({**DESIRED, "modules": []}, 400, id="modules are no object"),
        pytest.param({**DESIRED, "systemModules": {"edgeHub": {}}}, 400, id="system module without image"),
    ],
)
def test_desired_properties_that_cannot_be_carried_out_have_a_code(desired, code):
    with pytest.raises(DesiredError) as caught:
        parse_desired(desired)
    assert caught.value.code == code
    assert caught.value.fix


def test_a_login_whose_name_had_dots_is_named_in_the_refusal():
    login = {"address": "a.b.io", "username": "u", "password": "secret"}
    runtime = {"settings": {"registryCredentials": {"a": {"b": {"io": login}}}}}
    with pytest.raises(DesiredError, match=r"registryCredentials\.a: .* no dots") as caught:
        parse_desired({**DESIRED, "runtime": runtime})
    assert "secret" not in str(caught.value)


def test_hash_is_the_same_for_equal_documents_only():
    assert module_hash({"a": 1, "b": 2}) == module_hash({"b": 2, "a": 1})
    assert module_hash({"a": 1}) != module_hash({"a": "1"})


STATE = ModuleState(
    spec=TAXI,
    runtime_status="running",
    description="running",
    image_hash="sha256:cc",
    started_at="2026-11-24T02:00:00Z",
    host_ports={"8080/tcp": 32768},
)
REPORT = DeviceReport(
    last_desired_version=7,
    status_code=200,
    status_description="",
    agent_version="edgeferry 0.1.0",
    architecture="amd64",
    engine_version="20.10.24",
    modules={"taxi": STATE},
    system_modules={},
)
REPORTED = {
    "schemaVersion": "1.1",
    "version": {"version": "edgeferry 0.1.0"},
    "lastDesiredVersion": 7,
    "lastDesiredStatus": {"code": 200, "description": ""},
    "runtime": {
        "type": "docker",
        "platform": {"os": "linux", "architecture": "amd64", "version": "20.10.24"},
    },
    "systemModules": {},
    "modules": {
        "taxi": {
            "type": "docker",
            "status": "running",
            "restartPolicy": "always",
            "imagePullPolicy": "on-create",
            "startupOrder": 10,
            "version": "",
            "env": {"A": {"value": "1"}},
            "settings": {
                "image": IMAGE,
                "createOptions": '{"HostConfig":{"Init":true}}',
                "imageHash": "sha256:cc",
            },
            "runtimeStatus": "running",
            "exitCode": 0,
            "statusDescription": "running",
            "lastStartTimeUtc": "2026-11-24T02:00:00Z",
            "lastExitTimeUtc": "0001-01-01T00:00:00Z",
            "restartCount": 0,
            "lastRestartTimeUtc": "0001-01-01T00:00:00Z",
            "hostPorts": {"8080/tcp": 32768},
        }
    },
}


def test_report_has_edge_agents_form():
    assert render_reported(REPORT) == REPORTED


def test_only_what_changed_is_reported():
    stopped = dataclasses.replace(STATE, runtime_status="backoff", exit_code=1, host_ports={})
    later = render_reported(dataclasses.replace(REPORT, modules={"taxi": stopped}))
    assert diff_reported(REPORTED, later) == {
        "modules": {"taxi": {"runtimeStatus": "backoff", "exitCode": 1, "hostPorts": {"8080/tcp": None}}}
    }
    assert diff_reported(REPORTED, REPORTED) == {}


def test_what_is_gone_is_reported_as_null():
    assert diff_reported({"modules": {"a": {"x": 1}}, "$version": 3}, {"modules": {}}) == {
        "modules": {"a": None}
    }


def test_first_report_writes_empty_objects_too():
    assert diff_reported({}, {"modules": {}}) == {"modules": {}}


JSON_OBJECT = st.recursive(
    st.booleans() | st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=1), inner, max_size=3),
)


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=1), JSON_OBJECT),
    st.dictionaries(st.text("abc", min_size=1, max_size=1), JSON_OBJECT),
)
def test_a_patch_turns_the_old_report_into_the_new_one(old, new):
    assert merge(old, diff_reported(old, new)) == new


CREATE_OPTIONS = st.dictionaries(
    st.text(max_size=30),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=300),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=30), inner, max_size=4),
        max_leaves=20,
    ),
    max_size=8,
)


@given(CREATE_OPTIONS)
def test_create_options_come_back_from_their_chunks(options):
    said = render_module(ModuleSpec(name="m", image="a:1", create_options=options))
    chunks = [value for key, value in said["settings"].items() if key.startswith("createOptions")]
    assert all(0 < len(chunk) <= 512 for chunk in chunks)
    assert all(len(chunk) == 512 for chunk in chunks[:-1])
    assert json.loads("".join(chunks)) == options
    assert parse_module("m", said).create_options == options
    backwards = {"image": "a:1", **dict(reversed(said["settings"].items()))}
    assert parse_module("m", {"settings": backwards}).create_options == options


@given(CREATE_OPTIONS)
def test_create_options_are_read_from_text_and_object_alike(options):
    for form in (json.dumps(options), options):
        said = {"settings": {"image": "a:1", "createOptions": form}}
        assert parse_module("m", said).create_options == options


def test_chunks_are_named_as_edge_agent_reads_them():
    options = {"Cmd": ["x" * 600, "y" * 600]}
    settings = render_module(ModuleSpec(name="m", image="a:1", create_options=options))["settings"]
    assert list(settings) == ["image", "createOptions", "createOptions01", "createOptions02"]
    upper = {key.upper() if key != "image" else key: value for key, value in settings.items()}
    assert parse_module("m", {"settings": upper}).create_options == options


def test_a_missing_chunk_is_malformed_not_half_understood():
    options = {"Cmd": ["x" * 600, "y" * 600]}
    settings = render_module(ModuleSpec(name="m", image="a:1", create_options=options))["settings"]
    for lost in ("createOptions", "createOptions01", "createOptions02"):
        with pytest.raises(DesiredError, match="createOptions"):
            parse_module("m", {"settings": {k: v for k, v in settings.items() if k != lost}})


def test_more_create_options_than_a_device_reads_are_refused():
    with pytest.raises(DesiredError, match="at most 51200"):
        render_module(ModuleSpec(name="m", image="a:1", create_options={"Cmd": ["x" * 52000]}))
