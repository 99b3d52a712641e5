"""The open segment, written through memory where that is safe; what a kill and another server find of it."""

import os
import shutil
import time
from dataclasses import replace

import pytest

from edgeferry.device.modules import capture_writer, segment_writing, segments
from edgeferry.device.modules.capture import ANYBODY, Asked, Captures
from edgeferry.device.modules.capture_answers import nothing
from edgeferry.device.modules.capture_writer import Writer
from edgeferry.device.modules.segment_files import MAPPED, find_file_system
from edgeferry.device.modules.segment_reading import read_lines
from edgeferry.device.modules.segment_writing import OpenSegment
from edgeferry.device.modules.segments import Entries, Segments
from edgeferry.domain.capture import choose_bounds
from edgeferry.wire.capture import Line, parse_record, render_segment_name
from edgeferry.wire.capture_segment import render_entry, render_group
from tests.device.conftest import wait_until
from tests.device.disks import run_killed_everywhere
from tests.device.test_capture import CARD, ROOMY, SHARED

BOUNDS = choose_bounds(ROOMY)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A store's folder, where segments are written through memory as soon as they are tidied."""
    if find_file_system(tmp_path) not in MAPPED:
        pytest.skip(f"{tmp_path} is on none of {', '.join(MAPPED)}: nothing is written through memory there")
    monkeypatch.setattr(segments, "SETTLED_S", 0.0)
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def mapped(folder, *numbers, bounds=BOUNDS):
    """A store whose segment is written through memory, with a record of each number."""
    store = Segments(folder, SHARED, bounds)
    with store.alone():
        store.tidy()
    assert store._file.is_mapped
    for number in numbers:
        append(store, number)
    return store


def append(store, number):
    assert store.append(*entry(number), time.monotonic())


def entry(number):
    return Entries(render_entry(90, b"[[%d]]" % number, b"[1.5]"), 1, 0)


def read(folder):
    """(sequence, input) of the records; damage would be a number."""
    found = []
    for line in read_lines(folder, 0):
        record = parse_record(line.text) if isinstance(line, Line) else None
        found.append((record.sequence, int(record.inputs.strip("[]"))) if record else line)
    return found


def size_of(folder):
    return (folder / render_segment_name(1)).stat().st_size


def test_records_in_memory_are_read_at_once_and_nothing_stands_behind_them_once_it_is_closed(folder):
    store = mapped(folder, 7, 8)
    assert size_of(folder) == BOUNDS.segment_bytes
    assert read(folder) == [(1, 7), (2, 8)]
    store.close()
    assert (folder / render_segment_name(1)).read_bytes().endswith(b'"\n')
    assert read(folder) == [(1, 7), (2, 8)]


@pytest.mark.parametrize("at_us", [0, 123, -5], ids=["then", "later", "with the clock set back"])
@pytest.mark.parametrize("size", [1, 5000])
def test_a_record_that_is_appended_alone_is_written_like_any_group(folder, size, at_us):
    store = mapped(folder, 1)
    file = store.quick
    began, inputs = file.size_bytes, b"[[%b]]" % (b"1" * size)
    assert file.append(90, inputs, b"[1.5]", file.began_us + at_us, time.monotonic())
    assert store.last == 2
    data = (folder / render_segment_name(1)).read_bytes()
    assert data[began : file.size_bytes] == render_group(render_entry(90, inputs, b"[1.5]"), 1, 2, at_us)
    assert not data[file.size_bytes :].strip(b"\0")
    store.close()


@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        pytest.param(b"[[1]\n]", b"[1.5]", id="two lines"),
        pytest.param(b"[[1]]", b"[1.5\r]", id="two lines elsewhere"),
        pytest.param(b"[[%b]]" % (b"1" * 4096), b"[1.5]", id="no room"),
    ],
)
def test_what_is_no_line_or_finds_no_room_is_not_appended(folder, inputs, output):
    store = mapped(folder, 1, bounds=replace(BOUNDS, segment_bytes=4096))
    size = store.quick.size_bytes
    assert not store.quick.append(90, inputs, output, 0, time.monotonic())
    assert (store.quick.size_bytes, store.last) == (size, 1)
    store.close()
    assert read(folder) == [(1, 1)]


@pytest.mark.parametrize(
    ("bounds", "act"),
    [
        pytest.param(BOUNDS, Segments.let_go, id="another server may write"),
        pytest.param(BOUNDS, Segments._note_company, id="another server writes"),
        pytest.param(BOUNDS, Segments.doubt, id="the disk did not take it"),
        pytest.param(replace(BOUNDS, segment_records=100), lambda store: None, id="records are counted"),
    ],
)
def test_nothing_is_appended_where_more_is_to_be_looked_at(folder, bounds, act):
    store = mapped(folder, 1, bounds=bounds)
    assert (store.quick is not None) == (bounds is BOUNDS)
    act(store)
    if act is Segments._note_company:
        append(store, 2)
    assert store.quick is None
    store.close()


@pytest.fixture
def writer(folder, monkeypatch):
    """It appends records, the first of which is there; no thread looks after the store, only `sync` does."""
    monkeypatch.setattr(Writer, "_work", lambda self: None)
    made = []

    def make(*, acks=False):
        writer = Writer(folder, SHARED, BOUNDS, acks=acks)
        made.append(writer)
        writer.sync()
        writer.write(render_entry(90, b"[[1]]", b"[1.5]"), 1, nothing)
        return writer

    yield make
    for each in made:
        each.close()


def test_records_that_are_appended_are_on_the_disk_as_soon_as_others(folder, monkeypatch):
    synced = []
    made = Writer(folder, SHARED, BOUNDS, acks=False)
    monkeypatch.setattr(os, "fdatasync", lambda file: synced.append(made.store.last))

    def is_appended():
        made.write(render_entry(90, b"[[1]]", b"[1.5]"), 1, nothing)
        return made.append(90, b"[[1]]", b"[1.5]")

    try:
        assert wait_until(is_appended)
        last = made.store.last
        assert wait_until(lambda: synced and synced[-1] >= last)
        assert made.written == last == len(read(folder))
    finally:
        made.close()


def test_no_record_overtakes_those_that_wait(folder, writer):
    made = writer()
    assert made.append(90, b"[[2]]", b"[1.5]")
    with made._lock:
        assert not made.append(90, b"[[3]]", b"[1.5]")
        made.write(render_entry(90, b"[[3]]", b"[1.5]"), 1, nothing)
    assert not made.append(90, b"[[4]]", b"[1.5]")
    made.write(render_entry(90, b"[[4]]", b"[1.5]"), 1, nothing)
    made.sync()
    assert read(folder) == [(number, number) for number in range(1, 5)]


def test_nothing_is_appended_when_answers_wait_for_the_disk(writer):
    assert not writer(acks=True).append(90, b"[[2]]", b"[1.5]")


def test_a_segment_that_is_too_old_takes_no_more(writer, monkeypatch):
    made = writer()
    assert made.append(90, b"[[2]]", b"[1.5]")
    too_old = made.store.quick.opened_at + BOUNDS.segment_s
    monkeypatch.setattr(capture_writer, "monotonic", lambda: too_old)
    assert made.append(90, b"[[3]]", b"[1.5]")
    monkeypatch.setattr(capture_writer, "monotonic", lambda: too_old + 0.01)
    assert not made.append(90, b"[[4]]", b"[1.5]")


def test_memory_that_is_slow_is_left_to_the_thread_until_it_no_longer_is(folder, writer, monkeypatch):
    made = writer()
    with monkeypatch.context() as patch:
        patch.setattr(capture_writer, "SLOW_S", -1.0)
        assert made.append(90, b"[[2]]", b"[1.5]")
    assert not made.append(90, b"[[3]]", b"[1.5]")
    made.write(render_entry(90, b"[[3]]", b"[1.5]"), 1, nothing)
    assert made.queued_bytes
    made.sync()
    made.write(render_entry(90, b"[[4]]", b"[1.5]"), 1, nothing)
    assert made.append(90, b"[[5]]", b"[1.5]")
    assert read(folder) == [(number, number) for number in range(1, 6)]


PLAIN = (None, ANYBODY, b'{"data":[[7,2.50]]}', [[7.0, 2.5]], b"[1]", 200, 500)


def but(**changes):
    """The plain answer, but for these members."""
    names = ("waits", "asked", "body", "question", "output", "status", "latency_us")
    return tuple(changes.get(name, value) for name, value in zip(names, PLAIN, strict=True))


def kept(which=1, purpose="user", status=200, inputs="[[7,2.50]]", output="[1]"):
    """What is read of the plain answer's record, but for these members; `which`: its id, 1 for a server's."""
    return which, purpose, status, inputs, output


TEXT, LINES, ROWS = (
    but(body=b"7;8", question=b"7;8"),
    but(body=b"7\n8", question=b"7\n8"),
    but(body=b'{"data":[[7,\n2.50]]}'),
)
COLUMN, OUTPUT = (replace(ROOMY, redact=(what,)) for what in ("hour", "output"))


@pytest.mark.parametrize(
    ("policy", "answered", "is_appended", "said"),
    [
        pytest.param(ROOMY, [PLAIN], True, [kept()], id="a user's rows"),
        pytest.param(ROOMY, [TEXT], True, [kept(inputs='"7;8"')], id="what a script was given"),
        pytest.param(
            ROOMY, [but(asked=Asked("mine", "smoke"))], False, [kept("mine", "smoke")], id="the companion's"
        ),
        pytest.param(ROOMY, [but(status=500)], False, [kept(status=500)], id="a failure"),
        pytest.param(COLUMN, [PLAIN], False, [kept(inputs="[[7.0,null]]")], id="a column is redacted"),
        pytest.param(OUTPUT, [PLAIN], False, [kept(output="null")], id="the output is redacted"),
        pytest.param(ROOMY, [PLAIN, PLAIN], False, [kept(), kept()], id="two at once"),
        pytest.param(ROOMY, [but(status=400), PLAIN], False, [kept()], id="one beside a refusal"),
        pytest.param(ROOMY, [but(status=400)], False, [], id="a refusal"),
        pytest.param(replace(ROOMY, rate=0.0), [PLAIN], False, [], id="left out of a sample"),
        pytest.param(ROOMY, [ROWS], False, [kept(inputs="[[7, 2.50]]")], id="rows on two lines"),
        pytest.param(ROOMY, [LINES], False, [kept(inputs='"7\\n8"')], id="a script's two lines"),
        pytest.param(
            ROOMY,
            [but(body=b'{"data":[[7.0,2.5]],"a":1}')],
            False,
            [kept(inputs="[[7.0,2.5]]")],
            id="rows beside something else",
        ),
    ],
)
def test_an_answer_is_kept_the_same_whether_it_is_appended_or_not(
    folder, monkeypatch, policy, answered, is_appended, said
):
    monkeypatch.setattr(Writer, "_work", lambda self: None)
    captures = Captures(folder, CARD, "sha256:aa", policy)
    captures.sync()
    captures._writer.write(render_entry(90, b"[[0]]", b"[0]"), 1, nothing)
    appended, append, sent = [], OpenSegment.append, []

    def watched(*given):
        appended.append(append(*given))
        return appended[-1]

    monkeypatch.setattr(OpenSegment, "append", watched)
    captures.write(answered, sent.append)
    assert sent == [answered]
    assert any(appended) == is_appended
    captures.sync()
    records = [parse_record(line.text) for line in read_lines(folder, 1)]
    own = [1 if each.id.endswith(f"-{each.sequence}") else each.id for each in records]
    told = [(each.purpose, each.status, each.inputs, each.output) for each in records]
    assert [(which, *rest) for which, rest in zip(own, told, strict=True)] == said
    assert captures.said()["written"] == len(said) + 1
    captures.close()


@pytest.mark.parametrize(
    ("torn", "count"),
    [
        pytest.param(b"", 0, id="whole groups"),
        pytest.param(b'[0,90,5,[[9]],[1.5]]\n"1 ', 1, id="and a torn one"),
    ],
)
def test_zeros_that_a_killed_server_left_are_no_torn_group(folder, torn, count, tmp_path):
    killed = mapped(folder, 7)
    shutil.copytree(folder, tmp_path / "after")
    with (tmp_path / "after" / render_segment_name(1)).open("r+b") as file:
        file.seek(killed._file.size_bytes)
        file.write(torn)
    store = mapped(tmp_path / "after", 8)
    assert store.torn == count
    assert read(tmp_path / "after") == [(1, 7), (2, 8)]
    store.close()
    killed.close()


@pytest.mark.parametrize("maps", [False, True], ids=["cut the file off", "and took as much room"])
def test_a_server_stores_nothing_where_another_one_wrote(folder, maps):
    old = mapped(folder, 1)
    old.let_go()
    new = Segments(folder, SHARED, BOUNDS)
    with new.alone():
        new.write([entry(2)])
        if maps:
            new.tidy()
    assert new._file.is_mapped == maps == (size_of(folder) == BOUNDS.segment_bytes)
    assert not old.append(*entry(3), time.monotonic())
    with old.alone():
        old.write([entry(3)])
        old.tidy()
        assert not old._file.is_mapped  # in company
    assert read(folder) == [(1, 1), (2, 2), (3, 3)]
    for store in (old, new):
        store.close()


def test_a_disk_that_does_not_take_what_is_in_memory_is_asked_for_each_write(folder):
    store = mapped(folder, 1)
    store.doubt()
    assert size_of(folder) == store._file.size_bytes
    with store.alone():
        store.tidy()
    append(store, 2)
    assert not store._file.is_mapped
    assert read(folder) == [(1, 1), (2, 2)]
    store.close()


def test_a_disk_without_much_room_is_not_taken_beforehand(folder, monkeypatch):
    monkeypatch.setattr(segment_writing, "_ROOM", 1 << 60)
    store = Segments(folder, SHARED, BOUNDS)
    with store.alone():
        store.tidy()
    append(store, 1)
    assert size_of(folder) == store._file.size_bytes
    store.close()


def test_a_full_segment_is_cut_off_at_its_end_and_its_follower_is_written_through_memory(folder):
    small = replace(BOUNDS, segment_bytes=4096)
    store = mapped(folder, *range(1, 11), bounds=small)
    with store.alone():
        store.write([entry(number) for number in range(11, 101)])
    assert store._file.is_mapped
    names = sorted(path.name for path in folder.iterdir())
    sizes = [(folder / name).stat().st_size for name in names]
    assert len(sizes) > 1
    assert sizes[-1] == small.segment_bytes > max(sizes[:-1])
    assert read(folder) == [(number, number) for number in range(1, 101)]
    store.close()


def test_a_store_that_is_killed_anywhere_loses_nothing_that_was_written_through_memory(folder, tmp_path):
    program = """
import time
from edgeferry.device.modules import segments
from tests.device.test_capture_writing import append, entry, mapped
segments.SETTLED_S = 0.0
def prepare(folder):
    pass
def act(folder):
    store = mapped(folder)
    append(store, 1)
    (folder / "written").touch()
    append(store, 2)
    store.close()
"""
    for killed in run_killed_everywhere(program, folder):
        store = Segments(killed, SHARED, BOUNDS)
        with store.alone():
            store.write([entry(0)])
        found = read(killed)
        assert found == [*((number, number) for number in range(1, len(found))), (len(found), 0)]
        assert len(found) > 1 or not (killed / "written").exists()
        assert not store.torn
        store.close()
