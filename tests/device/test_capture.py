import contextlib
import fcntl
import json
import os
import threading
from pathlib import Path

import pytest

from edgeferry.device.modules import capture
from edgeferry.device.modules.capture import Asked, Captures
from edgeferry.device.modules.capture_pages import count, read_page
from edgeferry.domain.capture import Bounds, Cursor
from edgeferry.domain.model import Tolerance
from edgeferry.wire.capture import PAGE_LENGTH, PageRequest, parse_record
from edgeferry.wire.serving import ModelCard
from tests.device.conftest import wait_until

SMALL = Bounds(store_bytes=8000, segment_bytes=1000)
CARD = ModelCard("taxi", "3", (), Tolerance(0, 0), "fare")
USER, SMOKE = Asked("", "user"), Asked("", "smoke")


@pytest.fixture
def opened():
    """Opens stores, and closes them after the test."""
    with contextlib.ExitStack() as stack:

        def open_(folder, bounds=SMALL):
            captures = Captures(folder, CARD, "sha256:aa", bounds)
            stack.callback(captures.close)
            return captures

        yield open_


def keep(captures, number, asked=USER):
    captures.keep(asked, b"", [[number]], json.dumps([number]).encode(), 200, 0.5)
    captures.write(lambda: None)


def fetch(captures, cursor=Cursor(), limit=1000, purpose=""):
    """Everything behind the cursor, put together as a reader at home does."""
    text, more, pages = "", True, 0
    while more:
        page = read_page(captures, PageRequest(cursor, limit, purpose))
        assert len(json.dumps(page.text)) <= PAGE_LENGTH + 2
        text, cursor, more, pages = text + page.text, page.next, page.more, pages + 1
        assert pages < 500
    return [parse_record(line.encode()) for line in text.split("\n")[:-1]]


def inputs_of(records):
    return [json.loads(record.inputs)[0][0] for record in records]


def test_each_record_says_what_was_asked_and_answered_in_order(tmp_path, opened):
    captures = opened(tmp_path)
    captures.keep(
        Asked("mine", "smoke"), b'{"data": [[1, 2.50]]}', [[1.0, 2.5]], b'{"result": 1e0}', 500, 1.23456
    )
    captures.write(lambda: None)
    keep(captures, 2)
    first, second = fetch(captures)
    assert (first.sequence, first.id, first.purpose, first.status) == (1, "mine", "smoke", 500)
    assert (first.model, first.version, first.digest) == ("taxi", "3", "sha256:aa")
    assert (first.inputs, first.output, first.latency_ms) == ("[[1, 2.50]]", '{"result": 1e0}', 1.235)
    assert (second.sequence, second.inputs, second.output) == (2, "[[2]]", "[2]")
    assert second.id.endswith("-2")
    assert second.at.endswith("Z")
    assert first.at <= second.at


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        pytest.param(b' {"a":\n 1}', '{"a":  1}', id="JSON as it came, on one line"),
        pytest.param(b"1,2,3\n4", '"1,2,3\\n4"', id="something else as a text"),
        pytest.param(b"\xff", '"\\ufffd"', id="bytes that are no text"),
    ],
)
def test_what_a_script_was_given_is_kept_as_it_came(tmp_path, opened, body, kept):
    captures = opened(tmp_path)
    captures.keep(USER, body, body, b"[1]", 200, 0.5)
    captures.write(lambda: None)
    assert [record.inputs for record in fetch(captures)] == [kept]


def test_named_columns_are_kept_as_rows(tmp_path, opened):
    captures = opened(tmp_path)
    captures.keep(USER, b'{"data": [{"b": 2, "a": 1}]}', [[1.0, 2.0]], b"[1]", 200, 0.5)
    captures.write(lambda: None)
    assert [record.inputs for record in fetch(captures)] == ["[[1.0, 2.0]]"]


def test_sequences_go_on_after_a_restart(tmp_path, opened):
    for number in range(30):
        captures = opened(tmp_path)
        keep(captures, number)
        captures.close()
    records = fetch(opened(tmp_path))
    assert [record.sequence for record in records] == list(range(1, 31))
    assert inputs_of(records) == list(range(30))
    assert len(os.listdir(tmp_path)) > 3


def test_the_store_is_bounded_and_what_is_oldest_goes_first(tmp_path, opened):
    captures = opened(tmp_path)
    for number in range(1, 201):
        keep(captures, number)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= SMALL.store_bytes
    records = fetch(captures)
    assert inputs_of(records) == list(range(records[0].sequence, 201))
    counts = count(captures)
    assert counts["expired"] == records[0].sequence - 1 > 0
    assert counts["user"] == len(records) == 200 - counts["expired"]
    assert counts["dropped"] == 0


def test_a_record_larger_than_half_the_store_is_dropped_and_counted(tmp_path, opened):
    captures = opened(tmp_path)
    keep(captures, "x" * 5000)
    keep(captures, 1)
    assert captures.said() == {"written": 1, "dropped": 1, "refused": 0}
    assert inputs_of(fetch(captures)) == [1]


def test_a_torn_last_line_is_cut_off_and_its_sequence_used_again(tmp_path, opened):
    captures = opened(tmp_path)
    keep(captures, 1)
    keep(captures, 2)
    captures.close()
    (segment,) = tmp_path.iterdir()
    segment.write_bytes(segment.read_bytes()[:-7])
    captures = opened(tmp_path)
    assert inputs_of(fetch(captures)) == [1]
    keep(captures, 3)
    assert [(record.sequence, record.inputs) for record in fetch(captures)] == [(1, "[[1]]"), (2, "[[3]]")]


def test_a_damaged_line_is_passed_over_and_counted(tmp_path, opened):
    captures = opened(tmp_path, Bounds())
    for number in range(1, 6):
        keep(captures, number)
    captures.close()
    (segment,) = tmp_path.iterdir()
    segment.write_bytes(segment.read_bytes().replace(b"[[3]]", b"[[8]]").replace(b"[[5]]", b"[[8]]"))
    captures = opened(tmp_path, Bounds())
    assert inputs_of(fetch(captures)) == [1, 2, 4]
    assert read_page(captures, PageRequest(Cursor(), 9, "")).damaged == 2
    assert count(captures)["damaged"] == 2
    keep(captures, 6)
    assert fetch(captures)[-1].sequence == 6  # the damaged fifth is not given away again


def test_pages_are_bounded_and_lead_on(tmp_path, opened):
    captures = opened(tmp_path, Bounds(10_000_000, 500_000))
    wide = "é" * 300
    for number in range(1, 1501):
        keep(captures, [number, wide])
    page = read_page(captures, PageRequest(Cursor(), 1000, ""))
    assert page.more
    assert (page.first, page.last) == (1, 1500)
    assert [number for number, _ in inputs_of(fetch(captures))] == list(range(1, 1501))
    assert [number for number, _ in inputs_of(fetch(captures, Cursor(1490)))] == list(range(1491, 1501))
    assert len(fetch(captures, limit=7)) == 1500


def test_a_limit_of_nothing_tells_first_and_last_alone(tmp_path, opened):
    captures = opened(tmp_path)
    assert read_page(captures, PageRequest(Cursor(), 0, "")).more is False
    keep(captures, 1)
    keep(captures, 2)
    page = read_page(captures, PageRequest(Cursor(), 0, ""))
    assert (page.text, page.first, page.last, page.more) == ("", 1, 2, True)


def test_a_record_longer_than_a_page_comes_in_pieces(tmp_path, opened):
    captures = opened(tmp_path, Bounds())
    long = 'a"\\é' * 100_000
    keep(captures, 1)
    keep(captures, long)
    keep(captures, 3)
    assert inputs_of(fetch(captures)) == [1, long, 3]


def test_a_record_that_goes_while_it_is_read_spoils_no_other(tmp_path, opened):
    captures = opened(tmp_path, Bounds(1_000_000, 300_000))
    keep(captures, "x" * 200_000)
    page = read_page(captures, PageRequest(Cursor(), 9, ""))
    for _ in range(8):
        keep(captures, "y" * 200_000)
    keep(captures, "last")
    text = page.text + read_page(captures, PageRequest(page.next, 9, "")).text
    assert text.startswith('{"sequence":1,')
    assert text.split("\n")[1].startswith(f'{{"sequence":{captures.counts().first},')


def test_a_purpose_chooses_records(tmp_path, opened):
    captures = opened(tmp_path)
    for number in range(1, 11):
        keep(captures, number, SMOKE if number % 5 == 0 else USER)
    assert inputs_of(fetch(captures, purpose="smoke")) == [5, 10]
    assert inputs_of(fetch(captures, purpose="user")) == [1, 2, 3, 4, 6, 7, 8, 9]
    counts = count(captures)
    assert (counts["user"], counts["smoke"]) == (8, 2)


def test_a_missing_folder_drops_records_until_it_is_there(tmp_path, opened, monkeypatch, capsys):
    monkeypatch.setattr(capture, "AGAIN_S", 0.05)
    folder = tmp_path / "later"
    captures = opened(folder)
    keep(captures, 1)
    keep(captures, 2)
    assert captures.said() == {"written": 0, "dropped": 2, "refused": 0}
    assert capsys.readouterr().err.count("captures are dropped") == 1
    assert fetch(captures) == []
    folder.mkdir()

    def kept():
        keep(captures, 3)
        return captures.said()["written"]

    wait_until(kept)
    assert inputs_of(fetch(captures)) == [3]
    assert "no longer" in capsys.readouterr().err


def test_a_full_disk_drops_records_and_leaves_no_torn_line(tmp_path, opened, monkeypatch):
    captures = opened(tmp_path)
    keep(captures, 1)
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, line: write(file, line[:40]))
    keep(captures, 2)
    monkeypatch.undo()
    keep(captures, 3)
    assert captures.said() == {"written": 2, "dropped": 1, "refused": 0}
    assert inputs_of(fetch(captures)) == [1, 3]
    assert count(captures)["damaged"] == 0


def test_many_threads_keep_each_their_own_record(tmp_path, opened):
    captures = opened(tmp_path, Bounds())
    threads = [
        threading.Thread(target=lambda base=base: [keep(captures, base + step) for step in range(200)])
        for base in range(0, 1600, 200)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = fetch(captures)
    assert [record.sequence for record in records] == list(range(1, 1601))
    assert sorted(inputs_of(records)) == list(range(1600))
    assert len({record.id for record in records}) == 1600


def test_two_servers_of_one_store_write_one_row_of_sequences(tmp_path, opened):
    roomy = Bounds(store_bytes=1_000_000, segment_bytes=1000)
    old, new = opened(tmp_path, roomy), opened(tmp_path, roomy)
    numbers = iter(range(40))
    for turns in (1, 1, 2, 7, 1, 5, 3):
        for captures in (old, new):
            for _ in range(turns):
                keep(captures, next(numbers))
    records = fetch(new)
    assert inputs_of(records) == list(range(40))
    assert [record.sequence for record in records] == list(range(1, 41))
    assert len(list(tmp_path.iterdir())) > 5
    keep(old, 40)
    assert inputs_of(fetch(new)) == list(range(41))
    assert old.said()["dropped"] == new.said()["dropped"] == 0


def test_a_server_that_holds_the_store_drops_records_of_the_other_and_delays_it_little(tmp_path, opened):
    captures = opened(tmp_path)
    holder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    keep(captures, 1)
    os.close(holder)
    keep(captures, 2)
    assert inputs_of(fetch(captures)) == [2]
    assert captures.said()["dropped"] == 1


def test_captures_that_are_off_keep_nothing(opened):
    captures = opened(None)
    keep(captures, 1)
    assert captures.said() == {"written": 0, "dropped": 0, "refused": 0}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder here refuses root a file")
def test_a_folder_that_takes_no_files_drops_records(opened):
    captures = opened(Path("/proc/self"))
    keep(captures, 1)
    assert captures.said()["dropped"] == 1
