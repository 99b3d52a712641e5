"""Closed segments: compressed whole or not at all, read like open ones, whatever is damaged in them."""

import contextlib
import fcntl
import gzip
import json
import os
import threading

import pytest

from edgeferry.device.modules import segment_closing, segment_files, segment_reading
from edgeferry.device.modules.segment_closing import compress_closed
from edgeferry.device.modules.segment_reading import read_lines
from edgeferry.wire.capture import (
    PACKED,
    PLAIN,
    Line,
    parse_record,
    render_segment_name,
    seal,
    unseal,
)
from edgeferry.wire.capture_segment import Shared, render_entry, render_group, render_shared
from tests.device.conftest import wait_until
from tests.device.disks import run_killed_everywhere
from tests.device.test_capture import ROOMY, fetch, inputs_of, keep, opened  # noqa: F401

SHARED = Shared("taxi", "3", "sha256:aa", ("distance",), "a1", 0)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(segment_closing, "BLOCK_BYTES", 2000)
    monkeypatch.setattr(segment_files, "NEAR_BYTES", 500)


def write_segment(folder, first, count, group=3):
    """A segment of `count` records whose inputs are their sequences."""
    text = render_shared(SHARED)
    for start in range(first, first + count, group):
        numbers = range(start, min(start + group, first + count))
        lines = [render_entry(90, b"[[%d]]" % number, b"[1.5]") for number in numbers]
        text += render_group(b"".join(lines), len(lines), start, start * 1000)
    (folder / render_segment_name(first)).write_bytes(text)


def read(folder, after=0):
    """(inputs, damaged) of what is behind `after`."""
    numbers, damaged = [], 0
    for line in read_lines(folder, after):
        if isinstance(line, Line):
            numbers.append(json.loads(parse_record(line.text).inputs)[0][0])
            assert numbers[-1] == line.sequence
        else:
            damaged += line
    return numbers, damaged


def test_a_compressed_segment_reads_like_its_lines_from_every_place(tmp_path):
    write_segment(tmp_path, 1, 400)
    write_segment(tmp_path, 401, 10)
    lines = (tmp_path / render_segment_name(1)).read_bytes()
    as_lines = list(read_lines(tmp_path, 0))
    compress_closed(tmp_path, lambda: False)
    assert {path.name for path in tmp_path.iterdir()} == {
        render_segment_name(1, PACKED),
        render_segment_name(401),
    }
    assert (tmp_path / render_segment_name(1, PACKED)).stat().st_size < len(lines) / 2
    assert list(read_lines(tmp_path, 0)) == as_lines
    for after in range(0, 411, 7):
        assert read(tmp_path, after) == (list(range(after + 1, 411)), 0)


def test_a_line_that_is_no_record_is_counted_and_costs_no_other_closed_or_not(tmp_path):
    lines = [render_entry(90, b"[[%d]]" % number, b"[1.5]") for number in (1, 3)]
    group = render_group(lines[0] + b"[nonsense]\n" + lines[1], 3, 1, 0)
    (tmp_path / render_segment_name(1)).write_bytes(render_shared(SHARED) + group)
    write_segment(tmp_path, 4, 1)
    assert read(tmp_path) == ([1, 3, 4], 1)
    compress_closed(tmp_path, lambda: False)
    assert (tmp_path / render_segment_name(1, PACKED)).exists()
    assert read(tmp_path) == ([1, 3, 4], 1)


def test_closing_asks_for_the_store_through_its_server_and_takes_no_lock_of_its_own(tmp_path):
    write_segment(tmp_path, 1, 40)
    write_segment(tmp_path, 41, 1)
    server = os.open(tmp_path, os.O_RDONLY)
    asked = []

    @contextlib.contextmanager
    def alone():
        asked.append(sorted(path.suffix for path in tmp_path.iterdir()))
        yield

    fcntl.flock(server, fcntl.LOCK_EX)
    closing = threading.Thread(target=compress_closed, args=(tmp_path, lambda: False, alone), daemon=True)
    closing.start()
    closing.join(10)
    os.close(server)
    assert asked == [[".jsonl", ".jsonl", ".part"]]
    assert not closing.is_alive()
    assert read(tmp_path) == (list(range(1, 42)), 0)


def test_any_gzip_reads_a_compressed_segment(tmp_path):
    write_segment(tmp_path, 1, 400)
    write_segment(tmp_path, 401, 1)
    compress_closed(tmp_path, lambda: False)
    text = gzip.decompress((tmp_path / render_segment_name(1, PACKED)).read_bytes())
    assert text.startswith(render_shared(SHARED))


def test_both_kinds_of_one_segment_are_read_once(tmp_path):
    write_segment(tmp_path, 1, 40)
    write_segment(tmp_path, 41, 1)
    lines = (tmp_path / render_segment_name(1)).read_bytes()
    compress_closed(tmp_path, lambda: False)
    (tmp_path / render_segment_name(1)).write_bytes(lines)
    assert read(tmp_path) == (list(range(1, 42)), 0)
    compress_closed(tmp_path, lambda: False)
    assert not (tmp_path / render_segment_name(1)).exists()


def test_a_page_near_the_end_unpacks_little(tmp_path, monkeypatch):
    write_segment(tmp_path, 1, 3000)
    write_segment(tmp_path, 3001, 1)
    compress_closed(tmp_path, lambda: False)
    unpacked = []
    unpack = segment_reading.unpack
    monkeypatch.setattr(
        segment_reading,
        "unpack",
        lambda member: unpacked.append(unpack(member)) or unpacked[-1],
    )
    assert read(tmp_path, 2995) == ([2996, 2997, 2998, 2999, 3000, 3001], 0)
    assert len(unpacked) == 2  # the first line, and the last block


def test_damaged_groups_are_counted_before_and_after_compression(tmp_path):
    write_segment(tmp_path, 1, 300)
    write_segment(tmp_path, 301, 1)
    path = tmp_path / render_segment_name(1)
    path.write_bytes(path.read_bytes().replace(b"[[100]]", b"[[700]]"))
    good = [number for number in range(1, 302) if number not in (100, 101, 102)]
    assert read(tmp_path) == (good, 3)
    assert read(tmp_path, 102) == (list(range(103, 302)), 0)
    compress_closed(tmp_path, lambda: False)
    assert read(tmp_path) == (good, 3)


@pytest.mark.parametrize("within", ["head", "body"])
def test_a_damaged_block_hides_no_other(tmp_path, within):
    write_segment(tmp_path, 1, 400)
    write_segment(tmp_path, 401, 1)
    compress_closed(tmp_path, lambda: False)
    path = tmp_path / render_segment_name(1, PACKED)
    with path.open("rb") as file:
        heads = list(segment_files.read_heads(file))
    assert len(heads) > 4
    text = bytearray(path.read_bytes())
    text[heads[2][0] + (0 if within == "head" else 60)] ^= 255
    path.write_bytes(text)
    numbers, damaged = read(tmp_path)
    lost = range(heads[2][1].first, heads[3][1].first)
    assert numbers == [number for number in range(1, 402) if number not in lost]
    assert damaged == len(lost)


def test_a_segment_that_is_compressed_while_the_folder_is_read_is_not_passed_over(tmp_path, monkeypatch):
    write_segment(tmp_path, 1, 40)
    write_segment(tmp_path, 41, 2)
    read_folder = os.scandir

    def list_then_compress(folder):
        with read_folder(folder) as entries:
            listed = list(entries)
        monkeypatch.setattr(os, "scandir", read_folder)
        compress_closed(tmp_path, lambda: False)
        assert not (tmp_path / render_segment_name(1)).exists()
        return contextlib.nullcontext(listed)

    monkeypatch.setattr(os, "scandir", list_then_compress)
    assert read(tmp_path) == (list(range(1, 43)), 0)


def test_a_link_to_nothing_is_no_segment(tmp_path):
    write_segment(tmp_path, 1, 2)
    (tmp_path / render_segment_name(3)).symlink_to("nothing")
    assert read(tmp_path) == ([1, 2], 0)


def test_compression_that_is_killed_anywhere_loses_and_doubles_nothing(tmp_path):
    program = """
from edgeferry.device.modules.segment_closing import compress_closed
from tests.device.test_capture_closing import write_segment
def prepare(folder):
    write_segment(folder, 1, 40)
    write_segment(folder, 41, 2)
def act(folder):
    compress_closed(folder, lambda: False)
"""
    folders = run_killed_everywhere(program, tmp_path)
    assert len(folders) > 10
    for folder in folders:
        assert read(folder) == (list(range(1, 43)), 0)
        compress_closed(folder, lambda: False)
        assert read(folder) == (list(range(1, 43)), 0)
        assert {path.name for path in folder.iterdir()} == {
            render_segment_name(1, PACKED),
            render_segment_name(41),
        }


@pytest.mark.parametrize("good", [0, 300, 2700])
def test_behind_groups_that_nobody_can_read_no_sequence_is_given_twice(tmp_path, opened, good):  # noqa: F811
    write_segment(tmp_path, 1, 3000)
    path = tmp_path / render_segment_name(1)
    text = path.read_bytes()
    assert len(text) > 2 * segment_files.NEAR_BYTES
    cut = text.index(b"[[%d]]" % (good + 1))
    path.write_bytes(text[:cut] + text[cut:].replace(b"[1.5]", b"[1.6]"))
    captures = opened(tmp_path, ROOMY)
    keep(captures, 7)
    assert [record.sequence for record in fetch(captures)] == [*range(1, good + 1), 3001]


@pytest.mark.parametrize("ends", [True, False], ids=["with groups", "with none"])
def test_a_segment_of_another_format_stays_as_it_is_and_its_sequences_are_its_own(
    tmp_path,
    opened,  # noqa: F811
    ends,
):
    write_segment(tmp_path, 1, 300)
    path = tmp_path / render_segment_name(1)
    head, *lines = path.read_bytes().splitlines(keepends=True)
    other = seal(unseal(head).replace(b'"format":3', b'"format":9'))
    kept = [line.replace(b",[1.5]", b",[2.5]") for line in lines if ends or line[:1] != b'"']
    path.write_bytes(b"".join([other, *kept]))
    text = path.read_bytes()
    captures = opened(tmp_path, ROOMY)
    keep(captures, 7)
    assert [record.sequence for record in fetch(captures)] == [301]
    packed = tmp_path / render_segment_name(1, PACKED)
    wait_until(packed.exists)
    assert gzip.decompress(packed.read_bytes()) == text


def test_a_server_goes_on_behind_a_closed_segment_whose_follower_was_lost(tmp_path, opened):  # noqa: F811
    write_segment(tmp_path, 1, 5)
    (tmp_path / render_segment_name(1)).chmod(0o400)
    captures = opened(tmp_path, ROOMY)
    keep(captures, 6)
    keep(captures, 7)
    assert inputs_of(fetch(captures)) == [1, 2, 3, 4, 5, 6, 7]
    assert len({path.name.partition(".")[0] for path in tmp_path.iterdir()}) == 2


def test_a_server_goes_on_behind_a_segment_that_is_compressed_already(tmp_path, opened):  # noqa: F811
    write_segment(tmp_path, 1, 50)
    write_segment(tmp_path, 51, 1)
    compress_closed(tmp_path, lambda: False)
    (tmp_path / render_segment_name(51)).unlink()
    captures = opened(tmp_path, ROOMY)
    keep(captures, 51)
    assert inputs_of(fetch(captures)) == list(range(1, 52))


def test_pieces_of_files_that_nobody_needs_go(tmp_path, opened):  # noqa: F811
    (tmp_path / "0000000000000000007.jsonl.gz.part").write_bytes(b"x")
    captures = opened(tmp_path, ROOMY)
    keep(captures, 1)
    captures.sync()
    captures.sync()
    assert [path.name for path in tmp_path.iterdir()] == [render_segment_name(1, PLAIN)]
    assert inputs_of(fetch(captures)) == [1]
