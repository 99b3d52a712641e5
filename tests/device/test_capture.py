import asyncio
import base64
import contextlib
import errno
import fcntl
import json
import math
import os
import shutil
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from edgeferry.device.modules import capture_writer, segments
from edgeferry.device.modules.capture import ANYBODY, Asked, Captures
from edgeferry.device.modules.capture_answers import nothing
from edgeferry.device.modules.capture_pages import count, read_page
from edgeferry.domain.capture import Cursor, choose_bounds
from edgeferry.domain.capture_policy import CapturePolicy
from edgeferry.domain.model import Column, Tolerance
from edgeferry.wire.capture import parse_record
from edgeferry.wire.capture_page import PAGE_LENGTH, PageRequest
from edgeferry.wire.capture_segment import Shared, render_entry
from edgeferry.wire.serving import ModelCard, parse_bytes_request
from tests.device.conftest import wait_until
from tests.device.disks import fill, tiny_disk

SMALL = CapturePolicy(store_bytes=8000)
ROOMY = CapturePolicy()
CARD = ModelCard(
    model="taxi",
    version="3",
    columns=(Column("distance", "double"), Column("hour", "double")),
    tolerance=Tolerance(1e-9, 0.0),
    output="fareAmount",
)
SHARED = Shared("taxi", "3", "sha256:aa", ("distance", "hour"), "", 0)
USER, SMOKE = ANYBODY, Asked("", "smoke")


@pytest.fixture
def opened():
    """Opens stores, and closes them after the test."""
    with contextlib.ExitStack() as stack:

        def open_(folder, policy=SMALL, card=CARD):
            captures = Captures(folder, card, "sha256:aa", policy)
            stack.callback(captures.close)
            return captures

        yield open_


def said(captures):
    """(written, dropped, state) once nothing waits any more."""
    captures.sync()
    told = captures.said()
    return told["written"], told["dropped"], told["state"]


def ignore(answered):
    """Nobody waits for an answer."""


def keep(captures, number, asked=USER):
    captures.write([(None, asked, b"", [[number]], json.dumps([number]).encode(), 200, 500)], ignore)


def fetch(captures, cursor=Cursor(), limit=1000, purpose=""):
    """Everything behind the cursor, put together as a reader at home does."""
    text, more, pages = "", True, 0
    while more:
        page = read_page(captures, PageRequest(cursor, limit, purpose))
        assert len(json.dumps(page.text)) <= PAGE_LENGTH + 2
        text, cursor, more, pages = text + page.text, page.next, page.more, pages + 1
        assert pages < 500
    return [parse_record(line.encode()) for line in text.split("\n")[:-1]]


def size_of(folder):
    """Of all its files, some of which may go meanwhile."""
    size = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def inputs_of(records):
    return [json.loads(record.inputs)[0][0] for record in records]


def test_each_record_says_what_was_asked_and_answered_in_order(tmp_path, opened):
    captures = opened(tmp_path)
    captures.write(
        [
            (
                None,
                Asked("mine", "smoke"),
                b'{"data": [[1, 2.50]]}',
                [[1.0, 2.5]],
                b'{"result": 1e0}',
                500,
                1235,
            )
        ],
        ignore,
    )
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
        pytest.param(b'{"a": [1, NaN]}', '{"a": [1, NaN]}', id="what only Python takes for JSON as it came"),
        pytest.param(b'{"a": 01}', '"{\\"a\\": 01}"', id="nearly JSON as a text"),
        pytest.param(b"[1] 2", '"[1] 2"', id="JSON and more as a text"),
        pytest.param(b"", '""', id="nothing"),
        pytest.param(b"\0", '"\\u0000"', id="a byte that ends stores"),
        pytest.param('{"a": "\xe9"}'.encode(), '{"a": "\xe9"}', id="letters beyond ASCII"),
        pytest.param(b"[" * 1500, '"' + "[" * 1500 + '"', id="nested without end"),
        pytest.param(b"[\n" * 1100, '"' + "[\\n" * 1100 + '"', id="nested without end, line by line"),
        pytest.param(b'{"a":\r [1, NaN]}', '{"a":  [1, NaN]}', id="what only Python takes, on one line"),
    ],
)
def test_what_a_script_was_given_is_kept_as_it_came(tmp_path, opened, body, kept):
    captures = opened(tmp_path)
    captures.write([(None, USER, body, body, b"[1]", 200, 500)], ignore)
    assert [record.inputs for record in fetch(captures)] == [kept]


@pytest.mark.parametrize(
    ("redact", "kept"),
    [
        pytest.param((), "[[1.0,null],[2.0,3.0]]", id="all of it"),
        pytest.param(("distance",), "[[null,null],[null,3.0]]", id="redacted"),
    ],
)
def test_a_missing_value_is_kept_as_null_like_it_is_asked(tmp_path, opened, redact, kept):
    captures = opened(tmp_path, replace(ROOMY, redact=redact))
    rows = [[1.0, math.nan], [2.0, 3.0]]
    captures.write(
        [(None, USER, b'{"data": [{"distance": 1, "hour": null}, [2, 3]]}', rows, b"[1,2]", 200, 500)], ignore
    )
    assert [record.inputs for record in fetch(captures)] == [kept]


def test_named_columns_are_kept_as_rows(tmp_path, opened):
    captures = opened(tmp_path)
    captures.write([(None, USER, b'{"data": [{"b": 2, "a": 1}]}', [[1.0, 2.0]], b"[1]", 200, 500)], ignore)
    assert [record.inputs for record in fetch(captures)] == ["[[1.0,2.0]]"]


def test_an_upload_that_looks_like_rows_is_kept_as_the_bytes_it_is(tmp_path, opened):
    card = replace(CARD, runtime="pyfunc", columns=(Column("picture", "binary"),))
    captures = opened(tmp_path, card=card)
    body = b'{"data":not rows}'
    captures.write([(None, USER, body, parse_bytes_request(body), b"[1]", 200, 500)], ignore)
    (record,) = fetch(captures)
    assert base64.b64decode(json.loads(record.inputs)[0][0]) == body


def test_another_version_takes_over_an_empty_segment_whose_first_line_is_long(tmp_path, opened):
    wide = replace(CARD, columns=tuple(Column(f"column-{number:05}", "double") for number in range(6000)))
    opened(tmp_path, ROOMY, wide).close()
    captures = opened(tmp_path, ROOMY, replace(wide, version="4"))
    keep(captures, 1)
    assert said(captures) == (1, 0, "ok")
    assert [record.version for record in fetch(captures)] == ["4"]


def test_what_comes_after_the_end_is_answered_and_counted(tmp_path, opened):
    captures = opened(tmp_path)
    keep(captures, 1)
    captures.close()
    sent = []
    captures.write([(None, USER, b"", [[2]], b"[2]", 200, 500)] * 2, lambda _: sent.append(True))
    assert sent == [True]
    assert (captures.said()["written"], captures.said()["dropped"]) == (1, 2)


def test_files_that_cannot_be_opened_end_no_captures(tmp_path, opened, monkeypatch):
    captures = opened(tmp_path)
    keep(captures, 1)
    captures.sync()
    tried = threading.Event()

    def refuse(file):
        tried.set()
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(capture_writer, "AGAIN_S", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(os, "dup", refuse)
        keep(captures, 2)
        assert tried.wait(60)
    keep(captures, 3)
    assert wait_until(lambda: not captures._writer._dirty.is_set())
    assert inputs_of(fetch(captures)) == [1, 2, 3]


def test_sequences_go_on_after_a_restart(tmp_path, opened):
    for number in range(30):
        captures = opened(tmp_path)
        keep(captures, number)
        captures.close()
    records = fetch(opened(tmp_path))
    assert [record.sequence for record in records] == list(range(1, 31))
    assert inputs_of(records) == list(range(30))
    assert len({name.partition(".")[0] for name in os.listdir(tmp_path)}) > 1


def test_the_store_is_bounded_and_what_is_oldest_goes_first(tmp_path, opened):
    captures = opened(tmp_path)
    for number in range(1, 601):
        keep(captures, number)
        captures.sync()
        assert size_of(tmp_path) <= SMALL.store_bytes + 1000
    records = fetch(captures)
    assert inputs_of(records) == list(range(records[0].sequence, 601))
    counts = count(captures)
    assert counts["expired"] == records[0].sequence - 1 > 0
    assert counts["user"] == len(records) == 600 - counts["expired"]
    assert counts["dropped"] == 0


def test_a_record_larger_than_half_the_store_is_dropped_and_counted(tmp_path, opened):
    captures = opened(tmp_path)
    keep(captures, "x" * 5000)
    keep(captures, 1)
    assert said(captures) == (1, 1, "ok")
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
    captures = opened(tmp_path, ROOMY)
    for number in range(1, 6):
        keep(captures, number)
    captures.close()
    (segment,) = tmp_path.iterdir()
    segment.write_bytes(segment.read_bytes().replace(b"[[3]]", b"[[8]]").replace(b"[[5]]", b"[[8]]"))
    captures = opened(tmp_path, ROOMY)
    assert inputs_of(fetch(captures)) == [1, 2, 4]
    assert read_page(captures, PageRequest(Cursor(), 9, "")).damaged == 2
    assert count(captures)["damaged"] == 2
    keep(captures, 6)
    assert fetch(captures)[-1].sequence == 6  # the damaged fifth is not given away again


def test_pages_are_bounded_and_lead_on(tmp_path, opened):
    captures = opened(tmp_path, CapturePolicy(store_bytes=16_000_000))
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
    captures = opened(tmp_path, ROOMY)
    long = 'a"\\é' * 100_000
    keep(captures, 1)
    keep(captures, long)
    keep(captures, 3)
    assert inputs_of(fetch(captures)) == [1, long, 3]


def test_a_record_that_goes_while_it_is_read_spoils_no_other(tmp_path, opened):
    captures = opened(tmp_path, CapturePolicy(store_bytes=1_000_000))
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
    monkeypatch.setattr(capture_writer, "AGAIN_S", 0.05)
    folder = tmp_path / "later"
    captures = opened(folder)
    keep(captures, 1)
    captures.sync()
    keep(captures, 2)
    assert said(captures) == (0, 2, "failing")
    assert capsys.readouterr().err.count("captures are dropped") == 1
    assert fetch(captures) == []
    folder.mkdir()

    def kept():
        keep(captures, 3)
        return captures.said()["written"]

    wait_until(kept)
    assert set(inputs_of(fetch(captures))) == {3}
    assert "no longer" in capsys.readouterr().err


def test_a_full_disk_drops_records_until_it_is_not_and_leaves_no_torn_line(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(capture_writer, "AGAIN_S", 0.0)
    with tiny_disk(tmp_path / "disk", "16k") as folder:
        captures = opened(folder, ROOMY)
        keep(captures, 1)
        captures.sync()
        filler = fill(folder)
        kept, before = [1], 1
        for number in range(2, 200):  # some find room in the last block
            keep(captures, number)
            captures.sync()
            if captures.said()["written"] > before:
                kept, before = [*kept, number], captures.said()["written"]
        written, dropped, state = said(captures)
        assert state == "full"
        assert dropped > 1
        assert written + dropped == 199
        assert captures.metrics()["edgeferry_captures_full"] == 1
        filler.unlink()
        keep(captures, 200)
        assert said(captures) == (written + 1, dropped, "ok")
        assert inputs_of(fetch(captures)) == [*kept, 200]
        assert count(captures)["damaged"] == 0
        captures.close()


def test_two_servers_of_one_store_write_one_row_of_sequences(tmp_path, opened):
    short = CapturePolicy(max_records=80)
    other = replace(CARD, version="4")
    old, new = opened(tmp_path, short), opened(tmp_path, short, other)
    numbers = iter(range(40))
    for turns in (1, 1, 2, 7, 1, 5, 3):
        for captures in (old, new):
            for _ in range(turns):
                keep(captures, next(numbers))
            captures.sync()
    records = fetch(new)
    assert inputs_of(records) == list(range(40))
    assert [record.sequence for record in records] == list(range(1, 41))
    assert [record.version for record in records[:4]] == ["3", "4", "3", "4"]
    keep(old, 40)
    old.sync()
    assert inputs_of(fetch(new)) == list(range(41))
    assert said(old)[1] == said(new)[1] == 0


def test_records_wait_while_another_server_holds_the_store(tmp_path, opened):
    captures = opened(tmp_path)
    keep(captures, 1)
    captures.sync()
    holder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    keep(captures, 2)
    assert said(captures) == (1, 0, "slow")
    os.close(holder)
    keep(captures, 3)
    assert inputs_of(fetch(captures)) == [1, 2, 3]
    assert said(captures) == (3, 0, "ok")


def test_what_was_written_before_the_store_went_away_is_still_put_on_the_disk(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    store = segments.Segments(folder, SHARED, choose_bounds(ROOMY))
    with store.alone():
        store.write([segments.Entries(render_entry(90, b"[[1]]", b"[1.5]"), 1, 0)])
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError), store.alone():
        pass
    files = store.take_unsynced()
    assert any(stat.S_ISREG(os.fstat(file).st_mode) for file in files)
    segments.sync_all(files)
    store.close()


def test_another_server_gets_in_whenever_records_are_put_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(capture_writer, "TIDY_S", 60.0)
    writer = capture_writer.Writer(tmp_path, SHARED, choose_bounds(ROOMY), acks=False)
    other = segments.Segments(tmp_path, SHARED, choose_bounds(ROOMY))

    def gets_in():
        with contextlib.suppress(segments.StoreBusyError), other.alone():
            return True
        writer.write(render_entry(90, b"[[1]]", b"[1.5]"), 1, nothing)
        return False

    writer.sync()
    writer.write(render_entry(90, b"[[1]]", b"[1.5]"), 1, nothing)
    wait_until(gets_in)
    other.close()
    writer.close()


def test_a_client_that_is_gone_is_no_disk_that_fails_and_holds_nobody_up(tmp_path):
    writer = capture_writer.Writer(tmp_path, SHARED, choose_bounds(ROOMY), acks=False)
    writer.sync()
    syncing = threading.Thread(target=writer.sync, daemon=True)

    def sent():
        syncing.start()
        syncing.join(10)
        raise OSError("the client is gone")

    with pytest.raises(OSError, match="the client is gone"):
        writer.write(render_entry(90, b"[[1]]", b"[1.5]"), 1, sent)
    assert not syncing.is_alive()
    assert (writer.written, writer.dropped, writer.state()) == (1, 0, ("ok", ""))
    writer.close()


def test_captures_that_are_off_keep_nothing(opened):
    captures = opened(None)
    keep(captures, 1)
    assert said(captures) == (0, 0, "off")


def test_a_folder_that_takes_no_files_drops_records(opened):
    captures = opened(Path("/proc/self"))
    keep(captures, 1)
    assert said(captures) == (0, 1, "failing")


def hold(captures):
    """The disk is not done with what it was asked to do."""
    assert captures._writer._lock.acquire(timeout=5)
    return captures._writer._lock.release


def answer(captures, *numbers):
    """The numbers of the groups whose answers went out within three times the patience, in their order."""

    async def run():
        sent = []
        for number in numbers:
            captures.write(
                [(None, USER, b"", [[number]], b"[1]", 200, 500)],
                lambda _, number=number: sent.append(number),
            )
            at_once.append(len(sent))
        await asyncio.sleep(3 * capture_writer.SLOW_S)
        return sent

    at_once: list[int] = []
    return asyncio.run(run()), at_once


def test_answers_go_first_when_the_disk_hangs_and_their_records_are_written_later(tmp_path, opened, capsys):
    captures = opened(tmp_path)
    captures.sync()
    release = hold(captures)
    sent, at_once = answer(captures, 1, 2)
    assert (sent, at_once) == ([1, 2], [0, 0])  # patiently, once
    sent, at_once = answer(captures, 3)
    assert (sent, at_once) == ([3], [1])
    assert captures.said()["state"] == "slow"
    assert captures.metrics()["edgeferry_captures_buffered_bytes"] > 0
    ahead = "answers go ahead of their records: "
    assert capsys.readouterr().err == f"{ahead}the disk takes longer than 5 ms\n"
    release()
    assert inputs_of(fetch(captures)) == [1, 2, 3]
    captures.sync()
    assert said(captures) == (3, 0, "ok")
    assert capsys.readouterr().err == f"{ahead}no longer\n"


def test_a_thread_that_gets_no_time_is_no_slow_disk_and_no_answer_is_ahead_of_its_record(
    tmp_path, opened, monkeypatch, capsys
):
    captures = opened(tmp_path)
    captures.sync()
    asleep = threading.Event()

    def refuse(file):
        asleep.set()
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(capture_writer, "AGAIN_S", 3600)
    with monkeypatch.context() as patch:
        patch.setattr(os, "dup", refuse)
        keep(captures, 0)
        assert asleep.wait(20)
        assert wait_until(lambda: "captures wait" in capsys.readouterr().err)
    written = []

    async def run():
        for number in range(1, 4):  # each needs another segment, which is the thread's to begin
            done = asyncio.Event()
            captures.write(
                [(None, USER, b"", [["x" * 900]], json.dumps([number]).encode(), 200, 500)],
                lambda _, done=done: (written.append(captures.said()["written"]), done.set()),
            )
            await asyncio.wait_for(done.wait(), 20)

    asyncio.run(run())
    assert written == [2, 3, 4]
    assert captures.said()["state"] == "ok"
    assert capsys.readouterr().err == ""


def test_what_finds_no_room_in_memory_is_dropped_and_counted(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(capture_writer, "BUFFER_BYTES", 50)
    captures = opened(tmp_path)
    captures.sync()
    release = hold(captures)
    sent, _ = answer(captures, *range(1, 11))
    assert sorted(sent) == list(range(1, 11))
    release()
    written, dropped, _ = said(captures)
    assert written > 0 < dropped
    assert written + dropped == 10
    assert inputs_of(fetch(captures)) == list(range(1, written + 1))


def test_answers_that_wait_for_the_disk_go_out_once_it_has_their_records(tmp_path, opened, monkeypatch):
    captures = opened(tmp_path, replace(SMALL, durability="ack"))
    captures.sync()
    synced = []
    fdatasync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda file: (fdatasync(file), synced.append(file)))

    async def run():
        done = asyncio.Event()
        captures.write(
            [(None, USER, b"", [[1]], b"[1]", 200, 500)], lambda _: (order.append(len(synced)), done.set())
        )
        order.append("asked")
        await asyncio.wait_for(done.wait(), 10)

    order: list[object] = []
    asyncio.run(run())
    assert order[0] == "asked"
    assert order[1] > 0


def test_answers_wait_for_the_disk_again_once_it_takes_no_longer_than_they_would(
    tmp_path, opened, monkeypatch
):
    monkeypatch.setattr(capture_writer, "ACK_S", 0.1)
    captures = opened(tmp_path, replace(ROOMY, durability="ack"))
    captures.sync()
    stalls = [0.5]
    monkeypatch.setattr(os, "fdatasync", lambda file: time.sleep(stalls.pop() if stalls else 0.02))

    async def run():
        done = asyncio.Event()
        captures.write([(None, USER, b"", [[1]], b"[1]", 200, 500)], lambda _: done.set())
        await asyncio.wait_for(done.wait(), 10)
        return captures.said()

    said = asyncio.run(run())
    assert (said["state"], said["reason"]) == ("slow", "the disk takes longer than 100 ms")
    wait_until(lambda: captures.said()["state"] == "ok")


def test_a_store_that_is_closed_stays_so(tmp_path, opened):
    captures = opened(tmp_path)
    keep(captures, 1)
    writer = captures._writer
    captures.close()
    assert writer.sync() == 1
    assert writer.store._file is None


def test_a_sync_that_finds_no_file_left_to_open_is_made_up_for(tmp_path, monkeypatch):
    monkeypatch.setattr(capture_writer.Writer, "_work", lambda self: None)  # as when it waits for records
    writer = capture_writer.Writer(tmp_path, SHARED, choose_bounds(ROOMY), acks=False)
    writer.sync()
    assert not writer._dirty.is_set()
    with monkeypatch.context() as patch:
        patch.setattr(os, "dup", Mock(side_effect=OSError(errno.EMFILE, "Too many open files")))
        with pytest.raises(OSError, match="Too many open files"):
            writer.sync()
    assert writer._dirty.is_set()
    writer.close()


def test_a_store_that_stops_when_full_keeps_what_it_has(tmp_path, opened):
    captures = opened(tmp_path, replace(SMALL, max_records=16, when_full="stop"))
    for number in range(1, 31):
        keep(captures, number)
        captures.sync()
    assert said(captures) == (16, 14, "full")
    assert inputs_of(fetch(captures)) == list(range(1, 17))


def test_a_bound_of_records_lets_the_oldest_go(tmp_path, opened):
    captures = opened(tmp_path, replace(ROOMY, max_records=16))
    for number in range(1, 31):
        keep(captures, number)
        captures.sync()
        assert captures.counts().last - captures.counts().first < 16
    assert inputs_of(fetch(captures))[-1] == 30


def test_old_segments_go_by_a_clock_that_nobody_sets(tmp_path, opened, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(segments.time, "monotonic", lambda: now[0])
    captures = opened(tmp_path, replace(ROOMY, max_age_s=80))
    keep(captures, 1)
    captures.sync()
    for path in tmp_path.iterdir():
        os.utime(path, (2e9, 2e9))  # a clock that was far ahead
    now[0] += 50
    keep(captures, 2)
    assert inputs_of(fetch(captures)) == [1, 2]
    now[0] += 50
    keep(captures, 3)
    assert inputs_of(fetch(captures)) == [2, 3]


def test_a_segment_is_as_old_as_its_last_record(tmp_path, opened, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(segments.time, "monotonic", lambda: now[0])
    captures = opened(tmp_path, replace(ROOMY, max_age_s=80))
    for number, passed_s in ((1, 0), (2, 9), (3, 76)):
        now[0] += passed_s
        keep(captures, number)
        captures.sync()
    assert inputs_of(fetch(captures)) == [1, 2, 3]
    now[0] += 10
    keep(captures, 4)
    assert inputs_of(fetch(captures)) == [3, 4]


def test_of_a_sample_failures_and_what_training_never_saw_are_kept(tmp_path, opened):
    card = replace(CARD, columns=(Column("distance", "double", low=1.0, high=5.0),))
    captures = opened(tmp_path, replace(ROOMY, rate=0.0), card)
    for number, status in ((3, 200), (0.5, 200), (5.5, 200), (4, 500), (5, 200)):
        captures.write([(None, USER, b"", [[number]], b"[1]", status, 500)], ignore)
    assert inputs_of(fetch(captures)) == [0.5, 5.5, 4]
    assert captures.metrics()["edgeferry_captures_left_out_total"] == 2


@pytest.mark.parametrize(
    ("body", "question", "kept"),
    [
        pytest.param(b'{"data":[[1,2]]}', [[1.0, 2.0]], "[[1.0,null]]", id="rows"),
        pytest.param(b'{"data":[[1,2]]}', b'{"data":[[1,2]]}', '{"data":[[1,null]]}', id="a script's rows"),
        pytest.param(b"hour=2", b"hour=2", "null", id="what cannot be told apart"),
    ],
)
def test_what_is_redacted_is_never_written(tmp_path, opened, body, question, kept):
    captures = opened(tmp_path, replace(ROOMY, redact=("hour", "output")))
    captures.write([(None, USER, body, question, b"[77]", 200, 500)], ignore)
    (record,) = fetch(captures)
    assert (record.inputs, record.output) == (kept, "null")
    assert b"77" not in next(tmp_path.iterdir()).read_bytes().splitlines()[1]
