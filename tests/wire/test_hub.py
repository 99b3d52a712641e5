import json

import pytest

from edgeferry.domain.condition import parse_condition
from edgeferry.domain.layering import Deployment
from edgeferry.domain.query import parse_query
from edgeferry.domain.twin import new_twin
from edgeferry.wire import hub

NOW = "2026-11-24T02:16:00.000000Z"


def identity(module=None, **more):
    return hub.Identity("d", module, "1", NOW, "cA==", "cw==", new_twin(NOW), **more)


def test_a_device_has_what_a_module_has_not():
    device = hub.render_identity(identity(is_edge=True, scope="s"), hub.Presence())
    module = hub.render_identity(identity("m", managed_by="IotEdge"), hub.Presence(True, NOW, NOW))
    assert (device["capabilities"], device["deviceScope"]) == ({"iotEdge": True}, "s")
    assert (device["connectionState"], device["lastActivityTime"]) == ("Disconnected", "0001-01-01T00:00:00Z")
    assert (module["moduleId"], module["managedBy"]) == ("m", "IotEdge")
    assert (module["connectionState"], module["lastActivityTime"]) == ("Connected", NOW)
    assert "capabilities" not in module
    keys = {"primaryKey": "cA==", "secondaryKey": "cw=="}
    assert device["authentication"]["symmetricKey"] == module["authentication"]["symmetricKey"] == keys


def test_a_twin_shows_no_key():
    text = json.dumps(hub.render_twin(identity("m", deployments={"x": "Applied"}), hub.Presence()))
    assert "cA==" not in text
    assert '"configurations": {"x": {"status": "Applied"}}' in text


def test_a_device_reads_its_twin_without_tags_and_metadata():
    assert json.loads(hub.render_device_twin(new_twin(NOW))) == {
        "desired": {"$version": 1},
        "reported": {"$version": 1},
    }


@pytest.mark.parametrize("condition", ["*", "tags.environment='test' or tags.line = 1"])
def test_the_queries_of_a_deployment_can_be_asked(condition):
    deployment = Deployment("dep-1", 0, NOW, parse_condition(condition), {})
    queries = hub.render_system_queries(deployment)
    assert [parse_query(text).collection for text in queries.values()] == [
        "devices",
        *["devices.modules"] * 3,
    ]
    assert "configurations.[[dep-1]].status = 'Applied'" in queries["appliedCount"]


def test_an_empty_condition_has_no_query_for_its_devices():
    deployment = Deployment("dep-1", 0, NOW, parse_condition(""), {})
    assert hub.render_system_queries(deployment)["targetedCount"] == ""


def test_a_method_request_is_read_back_as_it_was_written():
    request = hub.MethodRequest("ping", {"a": [1, None]}, 10, 5)
    assert hub.parse_method_request(json.loads(hub.render_method_request(request))) == request
    assert hub.parse_method_request({"methodName": "x"}) == hub.MethodRequest("x", None, 30, 0)


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"methodName": ""},
        {"methodName": "x" * 1025},
        {"methodName": "x", "responseTimeoutInSeconds": 4},
        {"methodName": "x", "responseTimeoutInSeconds": True},
        {"methodName": "x", "connectTimeoutInSeconds": 301},
    ],
)
def test_a_method_request_out_of_bounds_is_refused(body):
    with pytest.raises(hub.RefusalError) as caught:
        hub.parse_method_request(body)
    assert caught.value.status == 400


@pytest.mark.parametrize("name", sorted(hub.ERROR_CODES))
def test_every_error_says_its_problem_and_fix_in_the_form_its_readers_know(name):
    refusal = hub.RefusalError(name, "no such thing", fix="make it")
    body = hub.render_error(refusal, "abc", NOW)
    assert refusal.status == hub.ERROR_CODES[name] // 1000
    assert hub.parse_error(body) == "no such thing. make it"
    assert set(json.loads(body)) == {"Message", "ExceptionMessage"}


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"Message": 5}', b'{"Message": "{"}', b"\xff"])
def test_an_error_body_of_another_form_is_shown_as_it_is(body):
    assert hub.parse_error(body) == body.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ("*", ("*",)),
        ('"*"', ("*",)),
        ("MQ==", ("MQ==",)),
        ('"MQ=="', ("MQ==",)),
        ('W/"MQ=="', ("MQ==",)),
        ("W/MQ==", ("MQ==",)),
        ('"MQ==", "Mg=="', ("MQ==", "Mg==")),
        ('W/"MQ==",Mg== ,*', ("MQ==", "Mg==", "*")),
        ('""', ("",)),
        (",", ()),
    ],
)
def test_if_match_is_read_as_every_client_writes_it(header, expected):
    assert hub.parse_if_match(header) == expected


@pytest.mark.parametrize(
    ("if_match", "fits"),
    [
        (None, True),
        (("*",), True),
        (("MQ==",), True),
        (("Mg==", "MQ=="), True),
        (("Mg==",), False),
        ((), False),
    ],
)
def test_one_of_the_etags_must_be_the_documents(if_match, fits):
    assert hub.matches_etag(if_match, "MQ==") is fits


def test_etags_count():
    assert [hub.render_etag(count) for count in (1, 2, 10)] == ["MQ==", "Mg==", "MTA="]


@pytest.mark.parametrize("data", [b"{", b"NaN", b"1e999", b'"\\ud800"', b"\xff", b"[" * 100_000])
def test_json_that_cannot_be_kept_is_refused(data):
    with pytest.raises(ValueError):  # noqa: PT011  (that it is refused is the point)
        hub.parse_json(data)


@pytest.mark.parametrize("depth", [251, 5_000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_json_is_taken_to_a_depth_that_is_the_same_everywhere(opening, closing, depth):
    with pytest.raises(ValueError, match="nested too deeply"):
        hub.parse_json(opening * depth + b"1" + closing * depth)
    flat = b"[" + b",".join([b"{}"] * depth) + b"]"
    assert len(hub.parse_json(flat)) == depth
    assert hub.parse_json(opening * 249 + b"1" + closing * 249)
