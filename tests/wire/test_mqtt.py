from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.wire import mqtt

LIMIT = 300 * 1024

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
filters = texts.filter(bool)
topics = filters.filter(lambda text: "+" not in text and "#" not in text)
ids = st.integers(1, 0xFFFF)
payloads = st.binary(max_size=300)
wills = st.builds(mqtt.Will, texts, payloads, st.integers(0, 2), st.booleans())
packets = st.one_of(
    st.builds(
        mqtt.Connect,
        client_id=texts,
        username=texts,
        password=st.none() | payloads,
        clean_session=st.booleans(),
        keep_alive_s=st.integers(0, 0xFFFF),
        will=st.none() | wills,
    ),
    st.builds(mqtt.ConnAck, st.integers(0, 5), st.booleans()),
    st.builds(mqtt.Publish, topics, payloads, st.just(0), st.just(0), st.booleans()),
    st.builds(mqtt.Publish, topics, payloads, st.integers(1, 2), ids, st.booleans(), st.booleans()),
    st.builds(mqtt.PubAck, ids),
    st.builds(
        mqtt.Subscribe,
        ids,
        st.lists(st.tuples(filters, st.integers(0, 2)), min_size=1, max_size=4).map(tuple),
    ),
    st.builds(mqtt.SubAck, ids, st.lists(st.sampled_from((0, 1, 0x80)), max_size=4).map(tuple)),
    st.builds(mqtt.Unsubscribe, ids, st.lists(texts, min_size=1, max_size=4).map(tuple)),
    st.builds(mqtt.UnsubAck, ids),
    st.sampled_from((mqtt.PingReq(), mqtt.PingResp(), mqtt.Disconnect())),
)


@given(packets)
def test_every_packet_is_read_back_as_it_was_written(packet):
    data = mqtt.render_packet(packet)
    assert mqtt.packet_length(data, LIMIT) == len(data)
    assert mqtt.packet_length(data + b"more", LIMIT) == len(data)
    assert mqtt.parse_packet(data) == packet


@given(packets, st.integers(0, 400))
def test_half_a_packet_is_waited_for_and_never_read(packet, count):
    data = mqtt.render_packet(packet)
    half = data[: min(count, len(data) - 1)]
    length = mqtt.packet_length(half, LIMIT)
    assert length is None or length > len(half)


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_never_crashes(data):
    read(data)


@given(packets, st.integers(0, 60), st.integers(0, 255))
def test_a_packet_with_a_broken_byte_never_crashes(packet, position, byte):
    data = bytearray(mqtt.render_packet(packet))
    data[position % len(data)] = byte
    read(bytes(data))


def read(data: bytes) -> None:
    """What a server does with `data`: cut a packet off, read it; only ValueError may come of it."""
    with suppress(ValueError):
        length = mqtt.packet_length(data, LIMIT)
        if length is not None and length <= len(data):
            mqtt.parse_packet(data[:length])


@pytest.mark.parametrize(
    ("data", "packet"),
    [
        pytest.param("c000", mqtt.PingReq(), id="PINGREQ"),
        pytest.param("20020105", mqtt.ConnAck(5, True), id="CONNACK"),
        pytest.param("3205000161000a", mqtt.Publish("a", b"", 1, 10), id="PUBLISH, QoS 1"),
        pytest.param("8206000100016101", mqtt.Subscribe(1, (("a", 1),)), id="SUBSCRIBE"),
        pytest.param(
            "101100044d5154540402003c000364617400",
            None,
            id="a CONNECT cut short",
        ),
    ],
)
def test_known_bytes(data, packet):
    if packet is None:
        with pytest.raises(ValueError, match="packet"):
            mqtt.parse_packet(bytes.fromhex(data))
    else:
        assert mqtt.parse_packet(bytes.fromhex(data)) == packet
        assert mqtt.render_packet(packet) == bytes.fromhex(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("00", id="type 0"),
        pytest.param("f000", id="type 15"),
        pytest.param("c100", id="flags on a PINGREQ"),
        pytest.param("8000", id="SUBSCRIBE without its flags"),
        pytest.param("47455420", id="an HTTP request"),
        pytest.param("30ffffffff7f", id="a length of five bytes"),
        pytest.param("30ffffff7f", id="a length beyond the limit"),
    ],
)
def test_what_begins_no_packet_is_refused_at_its_first_bytes(data):
    with pytest.raises(ValueError, match=r"packet|remaining"):
        mqtt.packet_length(bytes.fromhex(data), LIMIT)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("3603000161", id="QoS 3"),
        pytest.param("300400022f23", id="a wildcard to publish to"),
        pytest.param("3205000161" + "0000", id="packet id 0"),
        pytest.param("82020001", id="SUBSCRIBE to nothing"),
        pytest.param("8206000100016103", id="QoS 3 asked for"),
        pytest.param("3004000200" + "61", id="U+0000 in a topic"),
        pytest.param("30040002c328", id="not UTF-8"),
        pytest.param("c00100", id="a byte too many"),
        pytest.param("101000044d51545404010000000461626364", id="reserved connect flag"),
        pytest.param("101000044d51545404400000000461626364", id="a password without a user"),
    ],
)
def test_contradictions_are_refused(data):
    with pytest.raises(ValueError):  # noqa: PT011  (that it is refused is the point)
        mqtt.parse_packet(bytes.fromhex(data))


def test_a_client_of_another_level_is_recognised_and_answered_in_its_words():
    five = bytes.fromhex("101000044d5154540502003c0000000364").ljust(18, b"a")
    assert mqtt.parse_packet(five).level == 5
    assert mqtt.render_refusal(5) == bytes.fromhex("2003008400")
    assert mqtt.render_refusal(3) == bytes.fromhex("20020001")


def test_a_password_is_not_shown_when_printed():
    assert "s3cr3t" not in repr(mqtt.Connect("d", "u", b"s3cr3t"))
