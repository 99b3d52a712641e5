import dataclasses
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeferry.domain.manifest import DeviceReport, LayerState, ModuleSpec, ModuleState
from edgeferry.domain.twin import SECTION_BYTES, find_fault, is_same, merge, size_of
from edgeferry.wire.edge_report import diff_reported, fit_reported, render_reported

IMAGE = "127.0.0.1:5443/edge/taxi@sha256:" + "a" * 64
TAXI = ModuleSpec(
    name="taxi",
    image=IMAGE,
    create_options={"HostConfig": {"Init": True}},
    env={"A": "1"},
    startup_order=10,
)

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
    system_modules={
        name: dataclasses.replace(STATE, host_ports={}, description="not run here")
        for name in ("edgeAgent", "edgeHub")
    },
    runtime_settings={"minDockerVersion": "v1.25"},
    layers={
        "edgeferry-taxi": LayerState("Trial", "", "ab" * 32, 7, "2026-11-24T02:00:00Z"),
        "": LayerState("Pulling", progress="3 of 9 MB"),
    },
    agent_build="20261124.1",
    agent_commit="c0ffee",
)
CORE = {
    "type": "docker",
    "imagePullPolicy": "on-create",
    "env": {"A": {"value": "1"}},
    "settings": {
        "image": IMAGE,
        "createOptions": '{"HostConfig":{"Init":true}}',
        "imageHash": "sha256:cc",
    },
    "runtimeStatus": "running",
    "exitCode": 0,
    "statusDescription": "not run here",
    "lastStartTimeUtc": "2026-11-24T02:00:00Z",
    "lastExitTimeUtc": "0001-01-01T00:00:00Z",
}
REPORTED = {
    "schemaVersion": "1.1",
    "version": {"version": "edgeferry 0.1.0", "build": "20261124.1", "commit": "c0ffee"},
    "lastDesiredVersion": 7,
    "lastDesiredStatus": {"code": 200, "description": ""},
    "runtime": {
        "type": "docker",
        "settings": {"minDockerVersion": "v1.25"},
        "platform": {"os": "linux", "architecture": "amd64", "version": "20.10.24"},
    },
    "systemModules": {
        "edgeAgent": CORE,
        "edgeHub": {
            **CORE,
            "status": "running",
            "restartPolicy": "always",
            "startupOrder": 10,
            "restartCount": 0,
            "lastRestartTimeUtc": "0001-01-01T00:00:00Z",
        },
    },
    "layers": {
        "edgeferry-taxi": {
            "outcome": "Trial",
            "reason": "",
            "specHash": "ab" * 32,
            "desiredVersion": 7,
            "since": "2026-11-24T02:00:00Z",
        },
        "_": {
            "outcome": "Pulling",
            "reason": "",
            "specHash": "",
            "desiredVersion": 0,
            "progress": "3 of 9 MB",
        },
    },
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


LEAVES = (
    st.booleans()
    | st.integers(0, 2)
    | st.sampled_from((0.0, 1.0, "a", ""))
    | st.lists(st.booleans() | st.integers(0, 1), max_size=2)
)
NAMES = st.sampled_from(("a", "b", "c"))
VALUES = st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=12)
TREES = st.dictionaries(NAMES, VALUES, max_size=3)


@given(TREES, TREES)
@settings(max_examples=200)
def test_a_patch_turns_the_old_report_into_the_new_one(old, new):
    patch = diff_reported(old, new)
    assert is_same(merge(old, patch), new)
    assert (patch == {}) == is_same(old, new)


def state(name, *, options=0, env=0, image="", description="running"):
    create_options = {"Cmd": ["x" * options]} if options else {}
    spec = ModuleSpec(
        name=name,
        image=image or f"r.example/edge/{name}@sha256:" + "a" * 64,
        create_options=create_options,
        env={"LONG": "e" * env} if env else {},
        layer=name,
    )
    return dataclasses.replace(STATE, spec=spec, image_hash="sha256:" + "b" * 64, description=description)


def report(*states, **members):
    modules = {one.spec.name: one for one in states}
    layers = {name: LayerState("Proven", "", "c" * 64, 7, "2026-11-24T02:00:00Z") for name in modules}
    return dataclasses.replace(REPORT, modules=modules, **{"layers": layers, **members})


def test_fifty_modules_with_large_create_options_fit_what_a_hub_takes():
    said = render_reported(report(*(state(f"module-{number:02}", options=4000) for number in range(50))))
    assert find_fault(said, SECTION_BYTES) is None
    assert len(said["modules"]) == len(said["layers"]) == 50
    for module in said["modules"].values():
        assert module["runtimeStatus"] == "running"
        assert module["settings"]["image"].endswith("a" * 64)
        assert module["settings"]["imageHash"].endswith("b" * 64)
        assert "createOptions" not in module["settings"]
        assert module["statusDescription"].startswith("createOptions left out, too large to report; run")


def test_the_largest_go_first_and_only_as_many_as_it_takes():
    said = render_reported(
        report(state("small", options=500), state("large", options=30_000, env=600), state("other", env=4000))
    )
    assert find_fault(said, SECTION_BYTES) is None
    modules = said["modules"]
    assert "createOptions" in modules["small"]["settings"]
    assert [key for key in modules["large"]["settings"] if key.startswith("createOptions")] == []
    assert modules["large"]["env"] == {"LONG": {"value": "e" * 600}}
    assert modules["other"]["statusDescription"] == "running"


def test_a_report_that_fits_is_left_as_it_is():
    assert fit_reported(REPORTED) is REPORTED
    assert size_of(REPORTED) < SECTION_BYTES / 10


def test_texts_are_cut_before_anything_else_is_lost():
    states = [state(f"m{number}", description=f"why {number} " * 100) for number in range(40)]
    said = render_reported(report(*states))
    assert find_fault(said, SECTION_BYTES) is None
    assert said["modules"]["m39"]["statusDescription"].startswith("why 39 why 39")
    assert said["modules"]["m39"]["lastExitTimeUtc"]


def test_entries_that_cannot_fit_are_counted_in_the_status():
    states = [state(f"m{number}", image="r/" + "x" * 2000 + ":1") for number in range(40)]
    said = render_reported(report(*states, status_description="all is well"))
    assert find_fault(said, SECTION_BYTES) is None
    missing = 40 - len(said["modules"])
    assert 0 < missing < 40
    assert said["lastDesiredStatus"]["description"].startswith(f"{missing} entries left out")
    assert said["lastDesiredStatus"]["description"].endswith("all is well")


SIZES = st.sampled_from((0, 0, 10, 500, 5000, 60_000))
STATES = st.builds(
    state,
    st.from_regex(r"[a-z0-9_-]{1,40}", fullmatch=True),
    options=SIZES,
    env=st.sampled_from((0, 0, 10, 4000)),
    image=st.sampled_from(("", "a:1", "r/" + "x" * 4000)),
    description=st.sampled_from(("running", "\u00e4" * 2000, "")),
)


@given(
    st.lists(STATES, max_size=60, unique_by=lambda one: one.spec.name),
    st.sampled_from(("", "\u4e2d" * 5000)),
)
@settings(max_examples=40, deadline=None)
def test_no_report_is_larger_than_a_hub_takes(states, text):
    said = render_reported(report(*states, status_description=text))
    assert find_fault(said, SECTION_BYTES) is None
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert said["lastDesiredVersion"] == 7
