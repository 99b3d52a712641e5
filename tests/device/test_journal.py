import contextlib
import hashlib
import sys
import tempfile
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeferry.device.journal import Journal, read_journal
from edgeferry.errors import OutsideError, UsageError
from tests.device.disks import fill, refusing_writes, run_killed_everywhere, tiny_disk

ENTRIES = [{"step": "pull", "image": f"r/taxi:{n}"} for n in range(1, 5)]


@pytest.fixture
def path(tmp_path) -> Path:
    """A journal with four entries."""
    path = tmp_path / "journal"
    journal = Journal(path)
    assert [journal.append(entry) for entry in ENTRIES] == [1, 2, 3, 4]
    return path


def numbers(path: Path) -> list[int]:
    return [sequence for sequence, _ in Journal(path).entries()]


def test_what_was_appended_is_there_after_a_restart(path):
    assert Journal(path).entries() == list(enumerate(ENTRIES, start=1))
    assert Journal(path).entries(after=2) == [(3, ENTRIES[2]), (4, ENTRIES[3])]
    assert read_journal(path) == list(enumerate(ENTRIES, start=1))
    assert Journal(path).append({}) == 5


def test_a_journal_that_was_never_written_has_no_entries_and_no_file(tmp_path, caplog):
    assert Journal(tmp_path / "journal").entries() == []
    assert read_journal(tmp_path / "journal") == []
    assert list(tmp_path.iterdir()) == []
    assert not caplog.records


def test_only_the_agent_may_read_its_journal(path):
    assert path.stat().st_mode & 0o777 == 0o600
    Journal(path).cut(2)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("restarted", [False, True], ids=["alive", "restarted"])
@pytest.mark.parametrize(
    ("cuts", "left"),
    [
        pytest.param([2], [3, 4], id="some"),
        pytest.param([4], [], id="all"),
        pytest.param([3, 1], [4], id="an earlier one after a later one"),
        pytest.param([0], [1, 2, 3, 4], id="nothing"),
    ],
)
def test_what_was_cut_is_gone_and_numbers_go_on(path, cuts, left, restarted):
    journal = Journal(path)
    for upto in cuts:
        journal.cut(upto)
    if restarted:
        journal = Journal(path)
    assert [sequence for sequence, _ in journal.entries()] == left
    assert journal.append({}) == 5
    assert numbers(path) == [*left, 5]


def test_numbers_go_on_after_cuts_of_everything_and_restarts_between(tmp_path):
    given_numbers = []
    for _ in range(3):
        journal = Journal(tmp_path / "journal")
        given_numbers += [journal.append({}), journal.append({})]
        Journal(tmp_path / "journal").cut(given_numbers[-1])
        assert numbers(tmp_path / "journal") == []
    assert given_numbers == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("lost", ["gone", "empty", "zeros"])
def test_a_lost_journal_does_not_begin_below_a_state_that_knows_its_numbers(path, lost, caplog):
    if lost == "gone":
        path.unlink()
    else:
        path.write_bytes(b"" if lost == "empty" else b"\0" * 4096)
    journal = Journal(path)
    assert journal.entries(after=4) == []
    assert "the state at 4" in caplog.text
    assert journal.append({}) == 5
    assert Journal(path).entries(after=4) == [(5, {})]


def test_a_journal_cut_at_any_byte_keeps_its_whole_lines_and_goes_on(path, caplog):
    body = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(body) if byte == 10]
    for end in range(ends[0], len(body)):
        caplog.clear()
        path.write_bytes(body[:end])
        whole = sum(end >= each for each in ends) - 1
        assert [entry for _, entry in read_journal(path)] == ENTRIES[:whole], end
        journal = Journal(path)
        assert [entry for _, entry in journal.entries()] == ENTRIES[:whole], end
        assert ("torn" in caplog.text) == (end not in ends), end
        assert journal.append({"after": end}) == whole + 1
        assert [entry for _, entry in read_journal(path)] == [*ENTRIES[:whole], {"after": end}]


def test_each_flipped_byte_is_noticed_and_nothing_false_is_read(path):
    body = path.read_bytes()
    everything = list(enumerate(ENTRIES, start=1))
    for place in range(len(body)):
        for bit in (0, 5, 7):
            path.write_bytes(body[:place] + bytes([body[place] ^ 1 << bit]) + body[place + 1 :])
            found = read_journal(path)
            assert len(found) < 4, (place, bit)
            assert found == everything[: len(found)]
            before = body[:place].count(b"\n")
            assert len(found) == max(0, before - 1), (place, bit)


def test_what_is_broken_is_put_aside_with_all_that_follows_and_it_is_said(path, caplog):
    body = path.read_bytes()
    lines = body.splitlines(keepends=True)
    for broken in range(len(lines)):
        caplog.clear()
        damaged = [*lines[:broken], lines[broken][:-9] + b"X" + lines[broken][-8:], *lines[broken + 1 :]]
        path.write_bytes(b"".join(damaged))
        journal = Journal(path)
        assert [entry for _, entry in journal.entries()] == ENTRIES[: max(0, broken - 1)]
        assert "journal broken" in caplog.text
        assert path.with_name("journal.broken").read_bytes() == b"".join(damaged[broken:])
        given_before = 3 if broken == 4 else 4  # nobody knows the number in a broken last line
        assert numbers(path) == list(range(1, broken))
        assert Journal(path).append({"mended": True}) == given_before + 1
        caplog.clear()
        assert Journal(path).entries()[-1] == (given_before + 1, {"mended": True})
        assert not caplog.records


def test_zeros_after_the_last_line_are_a_torn_tail(path, caplog):
    with path.open("ab") as file:
        file.write(b"\0" * 700)
    assert numbers(path) == [1, 2, 3, 4]
    assert "torn" in caplog.text
    assert not path.with_name("journal.broken").exists()


def test_a_line_that_appears_twice_is_not_read_twice(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[-1]]))
    assert numbers(path) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "left",
    [
        pytest.param(b'5 0123456789abcdef {"much": "' + b"x" * 90, id="half a line"),
        pytest.param(b"x" * 90 + b"\n", id="the end of a line"),
        pytest.param(None, id="a whole line"),
    ],
)
def test_what_a_failed_append_could_not_clear_up_is_no_entry(path, tmp_path, left, caplog):
    journal = Journal(path)
    journal.entries()
    if left is None:
        other = tmp_path / "other"
        other.write_bytes(path.read_bytes())
        Journal(other).append({"never": "acknowledged", "much": "x" * 90})
        left = other.read_bytes()[path.stat().st_size :]
    for act in (lambda: journal.append({"a": 1}) == 5, lambda: len(journal.entries()) == 5):
        with path.open("ab") as file:
            file.write(left)
        assert act()
        assert Journal(path).entries()[4:] == [(5, {"a": 1})]
    assert not caplog.records


def test_a_cut_beyond_the_last_entry_counts_its_number_as_given(path):
    Journal(path).cut(7)
    assert numbers(path) == []
    assert Journal(path).append({}) == 8


def test_a_folder_in_the_journals_place_is_put_aside(path):
    path.unlink()
    path.mkdir()
    journal = Journal(path)
    assert journal.entries(after=4) == []
    assert journal.append({}) == 5


def test_a_journal_that_is_taken_away_goes_on_with_its_numbers(path):
    journal = Journal(path)
    journal.entries()
    path.unlink()
    assert journal.append({"a": 1}) == 5
    assert Journal(path).entries() == [(5, {"a": 1})]
    path.write_bytes(b"")
    assert journal.append({"a": 2}) == 6
    assert Journal(path).entries() == [(6, {"a": 2})]


def test_a_journal_that_cannot_be_opened_is_named(tmp_path):
    path = tmp_path / "journal"
    path.symlink_to(path)
    with pytest.raises(OutsideError, match="cannot be opened"):
        Journal(path).entries()
    with pytest.raises(OSError, match="symbolic links"):
        Journal(path).append({})


def test_what_a_newer_agent_wrote_is_refused_and_kept(path):
    first = b'0 %b {"format":2,"given":0}'
    checksum = hashlib.sha256(first.replace(b"%b ", b"")).hexdigest()[:16].encode()
    path.write_bytes(first % checksum + b"\nin a form nobody here knows\n")
    before = path.read_bytes()
    for attempt in (
        lambda: Journal(path).entries(),
        lambda: Journal(path).append({}),
        lambda: Journal(path).cut(1),
        lambda: read_journal(path),
    ):
        with pytest.raises(UsageError, match="version 2") as caught:
            attempt()
        assert "newer agent" in caught.value.fix
    assert path.read_bytes() == before


@pytest.mark.parametrize("size", [1, 900, 9000], ids=["short", "a part of a page", "pages"])
def test_a_full_disk_refuses_entries_and_leaves_no_half_line(tmp_path, size):
    with tiny_disk(tmp_path / "tiny") as folder:
        journal = Journal(folder / "journal")
        kept = [journal.append({"n": 0, "much": "x" * size})]
        filler = fill(folder)
        with contextlib.suppress(OSError):
            for n in range(1, 5000):
                kept.append(journal.append({"n": n, "much": "x" * size}))
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                journal.append({"n": -1, "much": "x" * 9000})
            assert journal.path.read_bytes().endswith(b"\n")
        assert [sequence for sequence, _ in journal.entries()] == kept
        filler.unlink()
        kept.append(journal.append({"n": len(kept), "much": "x" * size}))
        assert kept == list(range(1, len(kept) + 1))
        assert [entry["n"] for _, entry in Journal(journal.path).entries()] == list(range(len(kept)))


def test_a_full_disk_refuses_a_cut_and_keeps_the_entries(tmp_path):
    with tiny_disk(tmp_path / "tiny") as folder:
        journal = Journal(folder / "journal")
        for n in range(10):
            journal.append({"n": n, "much": "x" * 900})
        filler = fill(folder)
        with pytest.raises(OSError, match="No space"):
            journal.cut(3)
        assert numbers(journal.path) == list(range(1, 11))
        filler.unlink()
        journal.cut(3)
        assert numbers(journal.path) == list(range(4, 11))
        assert {each.name for each in folder.iterdir()} == {"journal"}


@pytest.mark.parametrize("broken", [False, True], ids=["whole", "broken"])
def test_a_folder_that_refuses_writes_can_still_be_read(tmp_path, broken):
    with tiny_disk(tmp_path / "tiny") as folder:
        journal = Journal(folder / "journal")
        for entry in ENTRIES:
            journal.append(entry)
        if broken:
            body = journal.path.read_bytes()
            journal.path.write_bytes(body[:-40] + b"\n" + body[-40:])
        with refusing_writes(folder):
            again = Journal(journal.path)
            found = again.entries()
            assert [entry for _, entry in found] == ENTRIES[: len(found)]
            assert len(found) == (3 if broken else 4)
            with pytest.raises(OSError, match="Read-only"):
                again.append({})
        assert again.append({}) == len(found) + 1
        assert Journal(journal.path).entries()[-1] == (len(found) + 1, {})


STEPS = """
def prepare(folder):
    journal = Journal(folder / "journal")
    journal.append({"step": 1})
    journal.append({"step": 2})
def act(folder):
    journal = Journal(folder / "journal")
    journal.entries()
    journal.append({"step": 3})
    journal.cut(2)
    journal.append({"step": 4})
"""


def test_appends_and_a_cut_killed_before_any_system_call_leave_old_or_new(tmp_path):
    seen = []
    for folder in run_killed_everywhere(STEPS, tmp_path):
        journal = Journal(folder / "journal")
        seen.append([sequence for sequence, _ in journal.entries()])
        assert journal.append({}) == seen[-1][-1] + 1
        assert {each.name for each in folder.iterdir()} == {"journal"}
    assert [stage for stage, _ in groupby(seen)] == [[1, 2], [1, 2, 3], [3], [3, 4]]


def test_an_entry_is_on_disk_before_append_returns_and_a_cut_before_its_name(path):
    calls = []

    def note(frame, event, called):
        if event == "c_call" and called.__module__ == "posix":
            calls.append(called.__name__)

    def ordered(act) -> list[str]:
        calls.clear()
        sys.setprofile(note)
        act()
        sys.setprofile(None)
        return [name for name in calls if name in ("pwrite", "fdatasync", "fsync", "replace")]

    journal = Journal(path)
    journal.entries()
    assert ordered(lambda: journal.append({})) == ["pwrite", "fdatasync"]
    assert ordered(lambda: journal.cut(2))[-4:] == ["pwrite", "fsync", "replace", "fsync"]
    # A new process cannot know whether the one before it came as far as the folder.
    assert ordered(lambda: Journal(path).append({})) == ["fsync", "fsync", "pwrite", "fdatasync"]


IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where fsync costs nothing, if there is such a place."""


@dataclass
class Oracle:
    """What a journal should hold, as plain lists."""

    entries: list[tuple[int, dict]] = field(default_factory=list)
    last: int = 0

    def append(self, entry: dict) -> int:
        self.last += 1
        self.entries.append((self.last, entry))
        return self.last

    def cut(self, upto: int) -> None:
        self.entries = [each for each in self.entries if each[0] > upto]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
DEEDS = st.one_of(
    st.tuples(st.just("append"), st.dictionaries(st.text(max_size=5), JSON, max_size=3)),
    st.tuples(st.just("append"), st.just({"a": 1})),
    st.tuples(st.just("cut"), st.floats(0, 1)),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("tear"), st.binary(min_size=1, max_size=40).filter(lambda tail: b"\n" not in tail)),
    st.tuples(st.just("begin a line"), st.integers(1, 25)),
    st.tuples(st.just("entries"), st.floats(0, 1)),
)


@given(st.lists(DEEDS, max_size=14))
@settings(max_examples=80)
def test_a_journal_is_a_list_that_survives(deeds):
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        path, oracle = Path(folder) / "journal", Oracle()
        journal = Journal(path)
        for deed, told in deeds:
            if deed == "append":
                assert journal.append(told) == oracle.append(told)
            elif deed == "cut":
                upto = round(told * oracle.last)
                journal.cut(upto)
                oracle.cut(upto)
            elif deed == "entries":
                after = round(told * oracle.last)
                assert journal.entries(after) == [each for each in oracle.entries if each[0] > after]
            elif deed == "restart":
                journal = Journal(path)
            elif path.exists():
                torn = told if deed == "tear" else path.read_bytes().splitlines()[-1][:told]
                with path.open("ab") as file:
                    file.write(torn)
        assert journal.entries() == oracle.entries
        assert Journal(path).entries() == oracle.entries
        assert Journal(path).append({}) == oracle.last + 1
