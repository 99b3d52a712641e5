"""Messages from Azure's events endpoint, as far as Microsoft's client goes without one: events that went
through its own AMQP encoder and decoder, and an endpoint that is not there."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from edgeferry.adapters.event_hub import EventHubMessages, Reading, parse_cursor, parse_event
from edgeferry.domain.message import Message, MessagePage
from edgeferry.errors import HubError, UsageError
from tests.needs import lack

KEY = base64.b64encode(b"k" * 32).decode()
AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def event(sequence: int = 7, body: Any = b"{}", device: str | None = "d", **more: Any) -> Any:
    """An EventData as it comes off the wire."""
    try:
        from azure.eventhub import EventData
        from azure.eventhub._pyamqp._decode import decode_payload
        from azure.eventhub._pyamqp._encode import encode_payload
        from azure.eventhub._transport._pyamqp_transport import PyamqpTransport
        from azure.eventhub.amqp import AmqpAnnotatedMessage, AmqpMessageProperties
    except ImportError:
        lack("azure-eventhub")
    annotations = {
        b"x-opt-sequence-number": sequence,
        b"x-opt-enqueued-time": AT + timedelta(milliseconds=5),
        **({} if device is None else {b"iothub-connection-device-id": device}),
        **more.pop("annotations", {}),
    }
    message = AmqpAnnotatedMessage(
        data_body=body,
        annotations=annotations,
        application_properties=more.pop("properties", None),
        properties=AmqpMessageProperties(**more),
    )
    sent = bytearray()
    encode_payload(sent, PyamqpTransport.to_outgoing_amqp_message(message))
    return EventData._from_message(decode_payload(memoryview(bytes(sent))))


def test_an_event_becomes_the_message_that_our_own_hub_would_give():
    given = event(
        body=[b'{"t":', b"1}"],
        annotations={
            b"iothub-connection-module-id": "m",
            b"iothub-message-source": "Telemetry",
            b"dt-subject": "oven",
        },
        properties={"line": "2", "n": 5},
        message_id="m1",
        correlation_id="c1",
        user_id=b"u1",
        content_type="application/json",
        content_encoding="utf-8",
    )
    message = parse_event(given)
    assert message == Message(
        device="d",
        module="m",
        enqueued_at="2026-03-01T09:30:00.005000Z",
        system={
            "messageId": "m1",
            "correlationId": "c1",
            "userId": "u1",
            "contentType": "application/json",
            "contentEncoding": "utf-8",
            "componentName": "oven",
        },
        properties={"line": "2", "n": "5"},
        body=b'{"t":1}',
        sequence=7,
    )
    assert message.is_json


def test_what_no_device_said_is_left_out():
    assert parse_event(event(device=None)) is None
    assert parse_event(event(annotations={b"iothub-message-source": "twinChangeEvents"})) is None


def test_pages_follow_each_other_over_partitions():
    reading = Reading({}, 3, "")
    assert reading.begin(["0", "1"], None) == {"0": "-1", "1": "-1"}
    reading.take("1", [event(5), event(6)])
    assert not reading.is_complete
    reading.take("0", [event(1), event(2)])
    first = reading.page()
    assert [one.sequence for one in first.messages] == [5, 6, 1]
    assert (first.next, first.lost, reading.is_full) == ("0:1,1:6", 0, True)

    more = Reading(parse_cursor(first.next), 3, "")
    assert more.begin(["0", "1"], None) == {"0": 1, "1": 6}
    more.take("0", [event(1), event(2)])
    more.take("0", [])
    assert not more.is_complete, "the other partition has not answered"
    more.take("1", [])
    assert more.is_complete
    assert [one.sequence for one in more.page().messages] == [2]
    assert more.page().next == "0:2,1:6"


def test_a_gap_is_told_as_lost_and_a_new_partition_is_read_from_its_start():
    reading = Reading(parse_cursor("0:10"), 9, "")
    assert reading.begin(["0", "1"], None) == {"0": 10, "1": "-1"}
    reading.take("0", [event(15), event(16)])
    reading.take("1", [event(40)])
    assert reading.page().lost == 4


def test_from_the_end_means_behind_the_last_event_and_the_cursor_says_so():
    reading = Reading(parse_cursor("end"), 9, "")
    assert reading.begin(["0", "1"], lambda one: {"0": 41, "1": -1}[one]) == {"0": 41, "1": "-1"}
    assert reading.page() == MessagePage([], "0:41,1:-1", 0)


def test_one_device_is_read_alone_and_the_cursor_goes_on():
    reading = Reading({}, 9, "d")
    reading.begin(["0"], None)
    reading.take("0", [event(1, device="d"), event(2, device="e"), event(3, device="e")])
    assert [one.sequence for one in reading.page().messages] == [1]
    assert reading.page().next == "0:3"


@pytest.mark.parametrize("cursor", ["x", "0", "0:", "0:1,", "0:1;1:2", "1f0c2a9e-7", "0:" + "9" * 30])
def test_a_cursor_of_something_else_is_a_usage_error(cursor: str):
    with pytest.raises(UsageError, match="no cursor"):
        parse_cursor(cursor)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("nonsense", id="no connection string"),
        pytest.param(
            f"Endpoint=sb://h/;SharedAccessKeyName=p;SharedAccessKey={KEY}", id="names no event hub"
        ),
    ],
)
def test_a_connection_string_that_is_none_is_a_usage_error(text: str):
    event()
    with pytest.raises(UsageError, match=r"hub\.events_connection_string") as caught:
        EventHubMessages(lambda _afresh: text).read()
    assert KEY not in str(caught.value)


def test_an_endpoint_that_is_not_there_is_said_to_be_worth_another_try():
    event()
    text = f"Endpoint=sb://127.0.0.1/;SharedAccessKeyName=p;SharedAccessKey={KEY};EntityPath=e"
    with pytest.raises(HubError, match="did not answer") as caught:
        EventHubMessages(lambda _afresh: text).read()
    assert caught.value.retryable
