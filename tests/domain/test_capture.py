from dataclasses import replace

import pytest

from edgeferry.domain.capture import (
    Bounds,
    Segment,
    choose_bounds,
    choose_expired,
    choose_largest,
    choose_segments,
    has_room,
    must_rotate,
)
from edgeferry.domain.capture_policy import CapturePolicy

BOUNDS = Bounds(
    store_bytes=100, segment_bytes=20, max_records=30, segment_records=5, max_age_s=350, segment_s=60
)


@pytest.mark.parametrize(
    ("size", "records", "age_s", "group", "rotated"),
    [
        pytest.param(19, 0, 1e9, 50, False, id="the first record begins no further segment"),
        pytest.param(10, 1, 0, 10, False, id="a segment may be full to the brim"),
        pytest.param(11, 1, 0, 10, True, id="a group that does not fit begins a segment"),
        pytest.param(1, 4, 0, 1, False, id="few records"),
        pytest.param(1, 5, 0, 1, True, id="as many records as a segment may have"),
        pytest.param(1, 1, 61, 1, True, id="an old segment"),
    ],
)
def test_a_segment_is_closed_when_it_is_full_or_old(size, records, age_s, group, rotated):
    assert must_rotate(size, records, age_s, group, BOUNDS) is rotated


@pytest.mark.parametrize(
    ("line", "stored"),
    [pytest.param(50, True, id="half a store"), pytest.param(51, False, id="more than half a store")],
)
def test_one_record_may_not_push_all_others_out(line, stored):
    assert (line <= choose_largest(BOUNDS)) is stored


@pytest.mark.parametrize(
    ("closed", "group", "gone"),
    [
        pytest.param([], 5, [], id="nothing stored"),
        pytest.param([(1, 40, 0), (9, 40, 0)], 5, [], id="room for one more segment"),
        pytest.param([(9, 41, 0), (1, 40, 0)], 5, [1], id="the oldest makes room"),
        pytest.param([(1, 5, 0), (2, 20, 0), (5, 70, 0)], 5, [1, 2], id="as many as are needed"),
        pytest.param([(1, 40, 0), (9, 40, 0)], 30, [1], id="a large group needs more room"),
        pytest.param([(1, 500, 0)], 5, [1], id="a store whose bound was lowered"),
        pytest.param([(1, 1, 500), (9, 1, 400), (15, 1, 300)], 5, [1, 9], id="old age"),
        pytest.param([(-20, 1, 0), (9, 1, 0)], 5, [-20], id="too many records"),
    ],
)
def test_what_is_oldest_makes_room(closed, group, gone):
    segments = [Segment(*each) for each in closed]
    expired = choose_expired(segments, 15, group, BOUNDS)
    assert [segment.first for segment in expired] == gone
    assert has_room([each for each in segments if each not in expired], 15, group, BOUNDS)


def test_a_store_that_stops_lets_go_of_old_age_alone():
    stops = replace(BOUNDS, stops=True)
    segments = [Segment(1, 60, 500), Segment(5, 60), Segment(9, 60)]
    assert choose_expired(segments, 15, 5, stops) == (segments[0],)
    assert not has_room(segments[1:], 15, 5, stops)


def test_a_policy_sets_the_bounds():
    policy = CapturePolicy(store_bytes=800, max_records=80, max_age_s=800, when_full="stop")
    assert choose_bounds(policy) == Bounds(800, 100, 80, 10, 800, 100, stops=True)
    assert choose_bounds(CapturePolicy()) == Bounds(64 * 2**20, 8 * 2**20, 0, 0, 0, 3600)


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
    assert choose_segments((20, 5, 9), after) == tuple(read)
