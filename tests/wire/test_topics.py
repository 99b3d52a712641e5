from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.wire import topics


def test_identities_write_their_names_raw():
    assert topics.client_id("d", "$edgeAgent") == "d/$edgeAgent"
    assert topics.username("h:8443", "d", "$edgeAgent") == "h:8443/d/$edgeAgent/?api-version=2021-04-12"
    assert topics.resource("h:8443", "d") == "h:8443/devices/d"
    assert topics.resource("h:8443", "d", "m") == "h:8443/devices/d/modules/m"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "localhost/edge2/mod1/?api-version=2019-10-01&DeviceClientType=azure-iot%2F2.14.0%28x%29",
            topics.Username("localhost", "edge2", "mod1", "2019-10-01"),
            id="Python SDK",
        ),
        pytest.param(
            "h:8443/d/?api-version=2021-04-12&model-id=dtmi:a;1&DeviceClientType=a/b (c)",
            topics.Username("h:8443", "d", None, "2021-04-12"),
            id="a device, with a slash later on",
        ),
        pytest.param(
            "h/d/api-version=2016-11-14", topics.Username("h", "d", None, "2016-11-14"), id="old form"
        ),
    ],
)
def test_user_names_are_read_as_clients_write_them(text, expected):
    assert topics.parse_username(text) == expected


@pytest.mark.parametrize("text", ["", "h", "h/d", "h/d/m/x/?api-version=1", "/d/?api-version=1", "h/d/?a=b"])
def test_what_is_no_user_name_is_refused(text):
    with pytest.raises(ValueError, match=r"client id|user name"):
        topics.parse_username(text)


@pytest.mark.parametrize("text", ["", "/m", "d/", "d/m/x"])
def test_what_is_no_client_id_is_refused(text):
    with pytest.raises(ValueError, match="client id"):
        topics.parse_client_id(text)


def test_each_topic_is_read_back_as_it_was_written():
    assert topics.parse_publish(topics.render_twin_get("a1")) == topics.TwinGet("a1")
    assert topics.parse_publish(topics.render_reported_patch("a1")) == topics.ReportedPatch("a1")
    response = topics.render_twin_response(204, "a1", 7)
    assert response == "$iothub/twin/res/204/?$rid=a1&$version=7"
    assert topics.parse_twin_response(response) == topics.TwinResponse(204, "a1", 7)
    assert topics.parse_twin_response("$iothub/twin/res/200/?$rid=a1") == topics.TwinResponse(200, "a1")
    assert topics.parse_desired_patch(topics.render_desired_patch(9)) == 9
    method = topics.render_method("my method/1", "f")
    assert method == "$iothub/methods/POST/my%20method%2F1/?$rid=f"
    assert topics.parse_method(method) == topics.MethodCall("my method/1", "f")
    answer = topics.parse_publish(topics.render_method_response(500, "f"))
    assert answer == topics.MethodResponse(500, "f")


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        pytest.param("devices/d/messages/events/", topics.Telemetry("d", None, {}), id="no bag"),
        pytest.param("devices/d/messages/events", topics.Telemetry("d", None, {}), id="no slash"),
        pytest.param(
            "devices/d/modules/m/messages/events/%24.on=out1&k=v/",
            topics.Telemetry("d", "m", {"$.on": "out1", "k": "v"}),
            id="Node's trailing slash",
        ),
        pytest.param(
            "devices/d/messages/events/a%20b=c%2Fd&flag",
            topics.Telemetry("d", None, {"a b": "c/d", "flag": None}),
            id="encoded, and without a value",
        ),
    ],
)
def test_telemetry_topics_carry_properties(topic, expected):
    assert topics.parse_publish(topic) == expected


@given(st.dictionaries(st.text(min_size=1, max_size=9), st.text(max_size=9), max_size=4))
def test_any_properties_survive_the_topic(properties):
    topic = topics.render_telemetry("d", "m", properties)
    assert topics.parse_publish(topic) == topics.Telemetry("d", "m", properties)


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "any",
        "devices",
        "devices//messages/events/",
        "devices/d/modules//messages/events/",
        "devices/d/messages/devicebound/",
        "$iothub/twin/GET/",
        "$iothub/twin/GET/?$rid=",
        "$iothub/methods/res/ok/?$rid=1",
        "$iothub/methods/res/-1/?$rid=1",
        "$iothub/methods/res/200",
        "$iothub/twin/PATCH/properties/desired/?$rid=1",
    ],
)
def test_other_topics_are_refused(topic):
    with pytest.raises(ValueError, match=r"topic|publish"):
        topics.parse_publish(topic)


@given(st.text(max_size=60))
def test_no_topic_crashes_a_parser(text):
    for parse in (
        topics.parse_publish,
        topics.parse_method,
        topics.parse_twin_response,
        topics.parse_desired_patch,
        topics.parse_username,
    ):
        for prefix in ("", "$iothub/twin/res/", "$iothub/methods/POST/", "$iothub/methods/res/"):
            with suppress(ValueError):
                parse(prefix + text)


def test_an_identity_may_subscribe_to_its_own_and_nothing_else():
    assert topics.allowed_filters("d", "m") == {
        "$iothub/twin/res/#",
        "$iothub/twin/PATCH/properties/desired/#",
        "$iothub/methods/POST/#",
        "devices/d/modules/m/inputs/#",
    }
    assert "devices/d/messages/devicebound/#" in topics.allowed_filters("d")
