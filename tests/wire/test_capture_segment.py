import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.capture import Record
from edgeferry.wire.capture_block import COLUMNS, HEAD_BYTES, LINES, pack, pack_group, parse_head, unpack
from edgeferry.wire.capture_segment import (
    Group,
    Shared,
    join_entries,
    merge_groups,
    parse_entries,
    parse_groups,
    parse_shared,
    read_purpose,
    render_entry,
    render_group,
    render_shared,
)
from tests.wire.test_capture import json_texts

SHARED = Shared("taxi", "3", "sha256:aa", ("distance", "hour"), "a1", 1_795_838_400_000_000)
FIRST = b"[0,410,12,[[1.5, 2.0]],[12.5]]\n"
SECOND = b'[0,411,"mine","smoke",500,5,[[1]],{"error":1}]\n'
TOLD = b'"2 17 1000 '
GROUP = FIRST + SECOND + TOLD + b'%08x"\n' % zlib.adler32(FIRST + SECOND + TOLD)

entries = st.lists(
    st.builds(
        render_entry,
        st.integers(0, 10**9),
        st.one_of(json_texts, st.text(st.characters(codec="utf-8", exclude_characters="\r\n"))).map(
            str.encode
        ),
        json_texts.map(str.encode),
        st.sampled_from(["", "order-7.b:c_D"]),
        st.sampled_from(["user", "smoke"]),
        st.sampled_from([200, 500]),
    ),
    min_size=1,
    max_size=5,
)


def group_of(lines, first=17, at_us=1000):
    return render_group(join_entries(lines), len(lines), first, at_us)


def parse(text, **kind):
    return list(parse_groups(text.splitlines(keepends=True), **kind))


def records_of(text, shared=SHARED):
    return [record for group in parse(text) for record in parse_entries(group, shared)]


def test_a_group_is_the_lines_of_its_records_and_one_that_ends_it():
    assert render_entry(410, b"[[1.5, 2.0]]", b"[12.5]") == FIRST
    assert render_entry(411, b"[[1]]", b'{"error":1}', "mine", "smoke", 500) == SECOND
    assert group_of([FIRST, SECOND]) == GROUP
    assert all(json.loads(line) is not None for line in GROUP.splitlines())


def test_a_segments_first_line_completes_its_records():
    assert parse_shared(render_shared(SHARED)) == SHARED
    at = "2026-11-28T04:00:00.001000Z"
    assert records_of(GROUP) == [
        Record(17, "user", "a1-17", at, "taxi", "3", "sha256:aa", 200, 0.41, "[[1.5, 2.0]]", "[12.5]"),
        Record(18, "smoke", "mine", at, "taxi", "3", "sha256:aa", 500, 0.411, "[[1]]", '{"error":1}'),
    ]
    assert [read_purpose(line) for line in (FIRST, SECOND)] == ["user", "smoke"]


def test_a_group_of_another_version_says_so_itself():
    other = Shared("taxi", "4", "sha256:bb", ("distance", "hour"), "b2", 5)
    (group,) = parse(group_of([render_shared(other), FIRST]))
    (record,) = parse_entries(group, SHARED)
    assert (record.version, record.id, record.sequence) == ("4", "b2-17", 17)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"nonsense\n", id="no list"),
        pytest.param(b"[5,410,6,[[1]],[12.5]]\n", id="inputs that end elsewhere"),
        pytest.param(b"[5,410,5,[[1]]]\n", id="no output"),
        pytest.param(b"[5,410,99,[[1]],[12.5]]\n", id="inputs without an end"),
        pytest.param(b'[5,410,3,"\xff",[12.5]]\n', id="not UTF-8"),
    ],
)
def test_a_line_that_is_no_record_costs_no_other_of_its_group(line):
    (group,) = parse(group_of([FIRST, line, FIRST]))
    before, bad, behind = parse_entries(group, SHARED)
    assert (before.sequence, bad, behind.sequence) == (17, None, 19)


def test_a_time_that_no_calendar_has_is_no_record():
    (group,) = parse(group_of([FIRST], at_us=10**18))
    assert list(parse_entries(group, SHARED)) == [None]


@given(entries)
def test_every_text_comes_back_as_it_was(lines):
    (group,) = parse(group_of(lines))
    assert group == Group(17, 1000, None, tuple(lines))
    for line, record in zip(lines, parse_entries(group, SHARED), strict=True):
        inputs = json.loads(record.inputs)
        texts = [record.inputs, inputs if isinstance(inputs, str) else record.inputs]
        assert line.decode().endswith(tuple(f",{text},{record.output}]\n" for text in texts))


@given(st.data())
def test_a_torn_group_is_never_read_as_good(data):
    torn = GROUP[: data.draw(st.integers(1, len(GROUP) - 1))]
    assert all(isinstance(item, int) for item in parse(torn))
    assert parse(torn) != []
    assert parse(torn, ended=False) == []


@given(st.data())
def test_a_group_with_one_wrong_byte_is_never_read_as_good_and_spoils_no_other(data):
    before, after = group_of([FIRST], first=16), group_of([FIRST], first=19)
    text = bytearray(GROUP)
    text[data.draw(st.integers(0, len(text) - 2))] ^= data.draw(st.integers(1, 255))
    found = parse(before + bytes(text) + after)
    assert [item.first for item in found if isinstance(item, Group)] == [16, 19]
    assert sum(item for item in found if isinstance(item, int)) > 0


@given(st.binary(max_size=200))
def test_nothing_else_is_a_group_nor_a_member(text):
    assert not any(isinstance(item, Group) for item in parse(text))
    assert parse_shared(text) is None
    with pytest.raises(ValueError, match="member"):
        unpack(text)


@given(st.lists(st.tuples(entries, st.integers(-(10**6), 10**6)), min_size=1, max_size=4))
def test_groups_that_are_merged_hold_the_same_records_at_the_same_times(made):
    texts, first = [], 17
    for lines, at_us in made:
        texts.append(group_of(lines, first, at_us))
        first += len(lines)
    merged, *ends = merge_groups(b"".join(texts))
    assert ends == [17, first]
    assert len(parse(merged)) == 1
    assert records_of(merged) == records_of(b"".join(texts))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        GROUP + FIRST,
        GROUP.replace(b"12.5", b"12.6") + group_of([FIRST], 19),
        GROUP + group_of([FIRST], 20),
        FIRST + GROUP,
        group_of([b"[7,410,5,[[1]],[2]]\n"]),
        group_of([render_shared(SHARED), FIRST]),
    ],
    ids=["nothing", "a torn end", "damage", "a gap", "a line too many", "merged before", "a first line"],
)
def test_only_whole_groups_of_a_server_are_merged(text):
    with pytest.raises(ValueError, match="no group"):
        merge_groups(text)


@pytest.mark.parametrize("odd", [b"[0,1,7,[[1,2]],[3]]\n", b"[0,1,11,[[1,2,3,4]],[3]]\n"])
def test_lines_of_another_length_are_packed_as_they_are(odd):
    others = [b"[0,1,9,[[1,2,3]],[3]]\n"] * 4
    for place in range(5):
        group = group_of([*others[:place], odd, *others[place:]])
        member = pack_group(group, 17)
        assert (parse_head(member).form, unpack(member)) == (LINES, group)
    group = group_of([others[0], b"[0,1,7,[[1,2]],[3]]\n", b"[0,1,11,[[1,2,3,4]],[3]]\n"])
    assert unpack(pack_group(group, 17)) == group


@given(entries)
def test_a_member_holds_the_very_lines(lines):
    group = group_of(lines)
    for member in (pack_group(group, 17), pack(group, 17)):
        head = parse_head(member[:HEAD_BYTES])
        assert (head.length, head.first) == (len(member), 17)
        assert unpack(member) == group


def test_lines_that_are_alike_are_packed_by_column():
    alike = [b"[0,%d,7,[[%d,2]],[%d]]\n" % (number, number % 7, number * 7919) for number in range(500)]
    member = pack_group(group_of(alike), 17)
    assert parse_head(member).form == COLUMNS
    assert len(member) < len(pack(group_of(alike), 17))
    assert parse_head(pack_group(GROUP, 17)).form == LINES


@given(st.data())
def test_a_damaged_member_is_never_read_as_good(data):
    member = bytearray(pack_group(GROUP * 3, 17))
    member[data.draw(st.integers(HEAD_BYTES, len(member) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match="member"):
        unpack(bytes(member))
    with pytest.raises(ValueError, match="member"):
        unpack(bytes(member[:-1]))
