from contextlib import suppress
from typing import get_args

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


CONNECT = mqtt.Connect("d/m", "h/d/m/?api-version=1", b"SAS", False, 60, mqtt.Will("t", b"w", 1, True))
GOLDEN = [
    pytest.param("100f00044d51545404020000000364" + "2f6d", mqtt.Connect("d/m"), id="CONNECT, bare"),
    pytest.param(
        "1030" + "00044d515454" + "04" + "ec" + "003c" + "0003642f6d" + "000174" + "000177"
        "0014682f642f6d2f3f6170692d76657273696f6e3d31" + "0003534153",
        CONNECT,
        id="CONNECT, all there is",
    ),
    pytest.param("20020000", mqtt.ConnAck(0), id="CONNACK, a new session"),
    pytest.param("20020100", mqtt.ConnAck(0, True), id="CONNACK, a session kept"),
    pytest.param("20020003", mqtt.ConnAck(3), id="CONNACK, not ready"),
    pytest.param("300400016178", mqtt.Publish("a", b"x"), id="PUBLISH, QoS 0"),
    pytest.param("3103000161", mqtt.Publish("a", b"", retain=True), id="PUBLISH, retained"),
    pytest.param("3205000161000a", mqtt.Publish("a", b"", 1, 10), id="PUBLISH, QoS 1"),
    pytest.param("3a05000161000a", mqtt.Publish("a", b"", 1, 10, duplicate=True), id="PUBLISH again"),
    pytest.param("3405000161000a", mqtt.Publish("a", b"", 2, 10), id="PUBLISH, QoS 2"),
    pytest.param("30830100" + "0161" + "78" * 128, mqtt.Publish("a", b"x" * 128), id="PUBLISH, longer"),
    pytest.param("4002ffff", mqtt.PubAck(65535), id="PUBACK"),
    pytest.param("820b0001000161010002622300", mqtt.Subscribe(1, (("a", 1), ("b#", 0))), id="SUBSCRIBE"),
    pytest.param("900500010001" + "80", mqtt.SubAck(1, (0, 1, 0x80)), id="SUBACK"),
    pytest.param("a2050002000161", mqtt.Unsubscribe(2, ("a",)), id="UNSUBSCRIBE"),
    pytest.param("b0020002", mqtt.UnsubAck(2), id="UNSUBACK"),
    pytest.param("c000", mqtt.PingReq(), id="PINGREQ"),
    pytest.param("d000", mqtt.PingResp(), id="PINGRESP"),
    pytest.param("e000", mqtt.Disconnect(), id="DISCONNECT"),
]


@pytest.mark.parametrize(("data", "packet"), GOLDEN)
def test_the_bytes_are_the_standards_both_ways(data, packet):
    assert mqtt.render_packet(packet).hex() == data
    assert mqtt.parse_packet(bytes.fromhex(data)) == packet


def test_every_kind_of_packet_has_its_bytes_here():
    assert {type(one.values[1]) for one in GOLDEN} == set(get_args(mqtt.Packet))


@given(packets, st.integers(0, 400))
def test_a_packet_cut_short_or_with_more_behind_it_is_none(packet, count):
    data = mqtt.render_packet(packet)
    for wrong in (data[: min(count, len(data) - 1)], data + b"x"):
        with pytest.raises(ValueError):  # noqa: PT011  (that it is refused is the point)
            mqtt.parse_packet(wrong)


@given(st.lists(packets, max_size=6), st.integers(1, 50))
def test_a_stream_in_any_pieces_gives_the_same_packets(stream, size):
    data, buffer, found = b"".join(map(mqtt.render_packet, stream)), bytearray(), []
    for at in range(0, len(data), size):
        buffer += data[at : at + size]
        while (length := mqtt.packet_length(buffer, LIMIT)) is not None and length <= len(buffer):
            found.append(mqtt.parse_packet(bytes(buffer[:length])))
            del buffer[:length]
    assert (found, bytes(buffer)) == (stream, b"")


@given(st.lists(packets, min_size=1, max_size=4), st.data())
def test_a_mutated_stream_is_refused_or_read_and_nothing_else(stream, data):
    """Bytes changed, dropped and put in, anywhere."""
    text = bytearray(b"".join(map(mqtt.render_packet, stream)))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    while text:
        with suppress(ValueError):
            length = mqtt.packet_length(text, LIMIT)
            if length is not None and length <= len(text):
                mqtt.parse_packet(bytes(text[:length]))
                del text[:length]
                continue
        return


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
