import pytest

from edgeferry.domain.capture import Bounds, Segment, choose_expired, choose_segments, fits, must_rotate

BOUNDS = Bounds(store_bytes=100, segment_bytes=20)


@pytest.mark.parametrize(
    ("size", "line", "rotated"),
    [
        pytest.param(0, 10, False, id="the first record begins no further segment"),
        pytest.param(10, 10, False, id="a segment may be full to the brim"),
        pytest.param(11, 10, True, id="a record that does not fit begins a segment"),
        pytest.param(0, 50, False, id="a record larger than a segment has one of its own"),
    ],
)
def test_a_segment_is_closed_when_the_next_record_does_not_fit(size, line, rotated):
    assert must_rotate(size, line, BOUNDS) is rotated


@pytest.mark.parametrize(
    ("line", "stored"),
    [pytest.param(50, True, id="half a store"), pytest.param(51, False, id="more than half a store")],
)
def test_one_record_may_not_push_all_others_out(line, stored):
    assert fits(line, BOUNDS) is stored


@pytest.mark.parametrize(
    ("closed", "line", "gone"),
    [
        pytest.param([], 5, [], id="nothing stored"),
        pytest.param([(1, 40), (9, 40)], 5, [], id="room for one more segment"),
        pytest.param([(9, 41), (1, 40)], 5, [1], id="the oldest makes room"),
        pytest.param([(1, 5), (2, 20), (5, 70)], 5, [1, 2], id="as many as are needed"),
        pytest.param([(1, 40), (9, 40)], 30, [1], id="a large record needs more room"),
        pytest.param([(1, 500)], 5, [1], id="a store whose bound was lowered"),
    ],
)
def test_what_is_oldest_makes_room(closed, line, gone):
    segments = [Segment(first, size) for first, size in closed]
    expired = choose_expired(segments, line, BOUNDS)
    assert [segment.first for segment in expired] == gone
    assert sum(s.size_bytes for s in segments if s not in expired) + max(20, line) <= BOUNDS.store_bytes


@pytest.mark.parametrize(
    ("after", "read"),
    [
        pytest.param(0, [5, 9, 20], id="from the beginning, of which a part is gone"),
        pytest.param(6, [5, 9, 20], id="within the first"),
        pytest.param(8, [9, 20], id="behind the last record of a segment"),
        pytest.param(100, [20], id="ahead of all"),
    ],
)
def test_only_segments_that_may_hold_later_records_are_read(after, read):
    segments = [Segment(first, 10) for first in (20, 5, 9)]
    assert [segment.first for segment in choose_segments(segments, after)] == read
