import json
from dataclasses import replace

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgeferry.domain.manifest import ModuleSpec, RegistryLogin
from edgeferry.errors import DesiredError
from edgeferry.wire.canonical import render_canonical
from edgeferry.wire.edge import module_hash, parse_desired, parse_module, render_module
from tests.iot_edge import find_shared

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


def test_a_whole_number_may_be_written_with_a_point():
    said = {"settings": {"image": "a:1"}, "startupOrder": 10.0}
    assert parse_module("m", said).startup_order == 10
    with pytest.raises(DesiredError, match="startupOrder"):
        parse_module("m", {**said, "startupOrder": 10.5})


def test_a_module_name_must_be_one():
    with pytest.raises(DesiredError, match="letters, digits"):
        parse_module("a/b", {"settings": {"image": "a:1"}})


DESIRED = {
    "$version": 7,
    "schemaVersion": "1.1",
    "runtime": {
        "type": "docker",
        "settings": {
            "minDockerVersion": "v1.25",
            "loggingOptions": '{"type":"json-file"}',
            "registryCredentials": {"r": {"address": "reg:5000", "username": "u", "password": "p"}},
        },
    },
    "systemModules": {
        "edgeAgent": {"type": "docker", "settings": {"image": "agent:1.5"}, "imagePullPolicy": "never"},
        "edgeHub": {
            "type": "docker",
            "status": "running",
            "restartPolicy": "always",
            "startupOrder": 0,
            "env": {"RuntimeLogLevel": {"value": "debug"}},
            "settings": {"image": "hub:1.5", "createOptions": '{"User":"1000"}'},
        },
    },
    "modules": {"taxi": {**TAXI_JSON, "configuration": {"id": "edgeferry-taxi"}}},
}


def test_desired_properties_become_a_manifest():
    manifest = parse_desired(DESIRED)
    assert manifest.modules == {"taxi": replace(TAXI, layer="edgeferry-taxi")}
    assert manifest.system_modules == {
        "edgeAgent": ModuleSpec(name="edgeAgent", image="agent:1.5", image_pull_policy="never"),
        "edgeHub": ModuleSpec(
            name="edgeHub",
            image="hub:1.5",
            create_options={"User": "1000"},
            env={"RuntimeLogLevel": "debug"},
            startup_order=0,
        ),
    }
    assert manifest.registries == (RegistryLogin("reg:5000", "u", "p"),)
    assert manifest.runtime_settings == {
        "minDockerVersion": "v1.25",
        "loggingOptions": '{"type":"json-file"}',
        "registryCredentials": {"r": {"address": "reg:5000", "username": "u"}},
    }
    assert "'p'" not in repr(manifest)


def test_who_gave_a_module_is_rendered_only_when_asked_for():
    spec = replace(TAXI, layer="edgeferry-taxi")
    assert render_module(spec) == TAXI_JSON
    assert parse_module("taxi", render_module(spec, with_layer=True)) == spec
    assert parse_module("taxi", {**TAXI_JSON, "configuration": {"id": 7}}) == TAXI


def test_names_and_fixed_words_may_have_any_case():
    def upper(said):
        if not isinstance(said, dict):
            return said
        return {key if key in NAMES else key.upper(): upper(value) for key, value in said.items()}

    loud = upper(DESIRED)
    loud["MODULES"]["taxi"] |= {"STATUS": "Running", "RESTARTPOLICY": "Always", "TYPE": "Docker"}
    assert loud["MODULES"]["taxi"]["SETTINGS"]["IMAGE"] == IMAGE
    assert parse_desired(loud) == parse_desired(DESIRED)


NAMES = {"$version", "taxi", "A", "r", "edgeAgent", "edgeHub", "RuntimeLogLevel"}


def test_of_two_spellings_the_same_counts_in_any_order():
    settings = {"image": "a:1", "Image": "b:1"}
    backwards = dict(reversed(settings.items()))
    assert parse_module("m", {"settings": settings}) == parse_module("m", {"settings": backwards})


def test_null_and_what_is_the_hubs_are_passed_over():
    desired = {
        **DESIRED,
        "$metadata": {"x": 1},
        "modules": {"$version": 3, "gone": None, "taxi": {**DESIRED["modules"]["taxi"], "version": None}},
    }
    assert parse_desired(desired) == parse_desired(DESIRED)


@pytest.mark.parametrize(
    ("chunks", "problem"),
    [
        pytest.param({"createOptions": "{", "createOptions1": "}"}, "", id="numbers without zeros"),
        pytest.param({"createoptions": "{", "createoptions01": "}"}, "", id="small letters"),
        pytest.param({"createOptions": " null "}, "", id="null as text"),
        pytest.param({"createOptions": None}, "", id="null"),
        pytest.param({"createOptions": "{", "createOptions02": "}"}, "createOptions01", id="a gap"),
        pytest.param({"createOptions": "{}", "createOptions00": ""}, "createOptions01", id="a second first"),
        pytest.param({"createOptions01": "{}"}, "createOptions is missing", id="no first"),
        pytest.param({"createOptions": "{", "createOptions01": 7}, "no text", id="a number as chunk"),
        pytest.param({"createOptions": 7}, "no text", id="a number"),
        pytest.param({"createOptions": ["x"]}, "no text", id="a list"),
        pytest.param({"createOptions": '{"a": NaN}'}, "no JSON", id="no number"),
        pytest.param({"createOptions": '{"a": "\\ud800"}'}, "no JSON", id="half a character"),
        pytest.param({"createOptions": "[" * 100_000}, "not JSON", id="too deep"),
        pytest.param({"createOptions": '{"a": 1' + "0" * 5000 + "}"}, "not JSON", id="too large a number"),
    ],
)
def test_chunks_are_joined_in_order_without_gaps(chunks, problem):
    said = {"settings": {"image": "a:1", **chunks}}
    if not problem:
        assert parse_module("m", said).create_options == {}
        return
    with pytest.raises(DesiredError, match=problem) as caught:
        parse_module("m", said)
    assert "modules.m.settings.createOptions" in caught.value.problem
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("desired", "code"),
    [
        pytest.param({"$version": 1}, 417, id="empty"),
        pytest.param({"modules": {}}, 412, id="no schema version"),
        pytest.param({**DESIRED, "schemaVersion": "2.0"}, 412, id="a schema version to come"),
        pytest.param({**DESIRED, "modules": {"taxi": 1}}, 400, id="a module that is none"),
        pytest.param({**DESIRED, "modules": []}, 400, id="modules are no object"),
        pytest.param({**DESIRED, "systemModules": {"edgeHub": {}}}, 400, id="system module without image"),
        pytest.param({**DESIRED, "runtime": {"type": "podman"}}, 400, id="another runtime"),
        pytest.param({**DESIRED, "schemaVersion": "1.2"}, 412, id="a minor version to come"),
        pytest.param({**DESIRED, "schemaVersion": "21.1"}, 412, id="a version that ends in one"),
        pytest.param({**DESIRED, "x": "\ud800"}, 400, id="half a character"),
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


def texts(pattern):
    return st.from_regex(pattern, fullmatch=True)


ENV = st.dictionaries(
    texts(r"[^+#$\s.]{1,8}"),
    st.fixed_dictionaries(
        {
            "value": st.text(st.characters(codec="utf-8"), max_size=8)
            | st.integers()
            | st.booleans()
            | st.floats(allow_nan=False, allow_infinity=False)
        }
    ),
    max_size=3,
)
SETTINGS = st.builds(
    lambda image, options, size, name: {
        "image": image,
        **{
            f"{name}{number:02}" if number else name: options[number * size : (number + 1) * size]
            for number in range(max(1, -(-len(options) // size)))
        },
    },
    texts(r"[a-z0-9]{1,9}(:[0-9]{1,3})?"),
    st.sampled_from(("", "{}", "null", '{"a": [1, "b"]}', '{"HostConfig": {"Binds": ["/a:/b"]}}')),
    st.integers(5, 9),
    st.sampled_from(("createOptions", "createoptions")),
)
PULL = st.sampled_from(("never", "on-create"))
OPTIONAL = {"env": ENV, "imagePullPolicy": PULL, "startupOrder": st.integers(0, 4294967295)}
REQUIRED = {
    "type": st.just("docker"),
    "settings": SETTINGS,
    "status": st.sampled_from(("running", "stopped")),
    "restartPolicy": st.sampled_from(("never", "on-failure", "on-unhealthy", "always")),
}
LOGIN = st.fixed_dictionaries(
    {"username": st.text(max_size=4), "password": st.text(max_size=4), "address": texts(r"\S{1,8}")}
)
DEPLOYMENT = st.fixed_dictionaries(
    {
        "schemaVersion": st.just("1.1"),
        "runtime": st.fixed_dictionaries(
            {
                "type": st.just("docker"),
                "settings": st.fixed_dictionaries(
                    {},
                    optional={
                        "minDockerVersion": st.text(max_size=5),
                        "loggingOptions": st.text(max_size=5),
                        "registryCredentials": st.dictionaries(texts(r"[^.$# ]{1,5}"), LOGIN, max_size=2),
                    },
                ),
            }
        ),
        "systemModules": st.fixed_dictionaries(
            {
                "edgeAgent": st.fixed_dictionaries(
                    {"type": st.just("docker"), "settings": SETTINGS},
                    optional={"env": ENV, "imagePullPolicy": PULL},
                ),
                "edgeHub": st.fixed_dictionaries(REQUIRED, optional=OPTIONAL),
            }
        ),
        "modules": st.dictionaries(
            texts(r"[a-zA-Z0-9_-]{1,9}"),
            st.fixed_dictionaries(REQUIRED, optional={**OPTIONAL, "version": st.text(max_size=4)}),
            max_size=3,
        ),
    }
)


def schema(version):
    said = json.loads(find_shared(f"schemas/azure-iot-edgeagent-deployment-{version}.json").read_text())
    return jsonschema.validators.validator_for(said)(said)


@pytest.fixture(scope="module", params=["1.0", "1.1"])
def versioned(request):
    return request.param, schema(request.param)


@given(DEPLOYMENT)
@settings(max_examples=100, deadline=None)
def test_what_microsofts_schema_accepts_is_understood(versioned, desired):
    version, validator = versioned
    desired = {**desired, "schemaVersion": version}
    whole = {"$edgeAgent": {"properties.desired": desired}}
    assume(validator.is_valid(whole))
    manifest = parse_desired(desired)
    assert set(manifest.modules) == set(desired["modules"])
    for name, said in desired["modules"].items():
        spec = manifest.modules[name]
        assert (spec.status, spec.restart_policy) == (said["status"], said["restartPolicy"])
        assert spec.startup_order == said.get("startupOrder", 4294967295)
        assert spec.image.startswith(said["settings"]["image"])
        assert set(spec.env) == set(said.get("env", {}))
    assert len(manifest.registries) == len(desired["runtime"]["settings"].get("registryCredentials", {}))


SPECS = st.builds(
    ModuleSpec,
    name=texts(r"[a-zA-Z0-9_-]{1,9}"),
    image=texts(r"[a-z]{1,9}:[0-9]{1,3}"),
    create_options=CREATE_OPTIONS,
    env=st.dictionaries(texts(r"[A-Z_]{1,9}"), st.text(max_size=9), max_size=3),
    status=REQUIRED["status"],
    restart_policy=REQUIRED["restartPolicy"],
    startup_order=OPTIONAL["startupOrder"],
    image_pull_policy=PULL,
    version=st.text(max_size=5),
)


@given(SPECS)
@settings(max_examples=100, deadline=None)
def test_what_we_render_microsofts_schema_accepts(strict, spec):
    module = render_module(spec)
    system = {"type": "docker", "settings": {"image": "a:1"}}
    hub = {**system, "status": "running", "restartPolicy": "always"}
    desired = {
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": {}},
        "systemModules": {"edgeAgent": system, "edgeHub": hub},
        "modules": {spec.name: module},
    }
    whole = {"$edgeAgent": {"properties.desired": desired}}
    assert [error.message for error in strict.iter_errors(whole)] == []
    assert parse_desired(desired).modules == {spec.name: spec}


@pytest.fixture(scope="module")
def strict():
    return schema("1.1")


WORDS = ("schemaVersion", "modules", "systemModules", "runtime", "settings", "image", "env", "configuration")
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
ANY = st.recursive(
    LEAVES | st.sampled_from(("1.1", "docker", "{}", "running")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(WORDS), ANY, max_size=5), st.sampled_from(("1.0", "1.1", "", 1.1)))
@settings(max_examples=200)
def test_any_desired_properties_are_a_manifest_or_refused_with_a_code(desired, version):
    found = read({"schemaVersion": version, **desired})
    if isinstance(found, DesiredError):
        assert (found.code in (400, 412, 417), bool(found.fix)) == (True, True)
    else:
        render_canonical([vars(spec) for spec in found.modules.values()])


def read(desired):
    try:
        return parse_desired(desired)
    except DesiredError as error:
        return error
