import errno
import json
import random
import stat
import sys
from pathlib import Path

import pytest

from edgeferry.device.checked_file import CheckedFile
from edgeferry.errors import EdgeferryError, OutsideError, UsageError
from tests.device.disks import fill, refusing_writes, run_killed_everywhere, tiny_disk

FIRST = {"desired": {"modules": {"taxi": {"image": "r/taxi:1"}}}, "version": 1}
SECOND = {"desired": {"modules": {"taxi": {"image": "r/täxi:2"}}}, "version": 2}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "state.json"


@pytest.fixture
def saved_twice(path) -> Path:
    """A file that holds SECOND, with FIRST as its previous copy."""
    CheckedFile(path).save(FIRST)
    CheckedFile(path).save(SECOND)
    return path


def names(path: Path) -> set[str]:
    return {each.name for each in path.parent.iterdir()}


def test_what_was_saved_is_loaded(path):
    CheckedFile(path).save(SECOND)
    assert CheckedFile(path).load() == SECOND
    assert CheckedFile(path).read() == SECOND


@pytest.mark.parametrize(
    ("said", "loaded"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({1: "a", 10: "b", 2: "c"}, {"1": "a", "10": "b", "2": "c"}, id="numbers as keys"),
        pytest.param({"a": "\ud800\u2028\0"}, {"a": "\ud800\u2028\0"}, id="odd characters"),
        pytest.param({"a": 1e300, "b": float("inf")}, {"a": 1e300, "b": float("inf")}, id="odd numbers"),
        pytest.param({"format": 7, "payload": {}}, {"format": 7, "payload": {}}, id="our own words"),
    ],
)
def test_any_object_is_kept_as_json_keeps_it(path, said, loaded):
    CheckedFile(path).save(said)
    assert CheckedFile(path).load() == loaded


def test_what_is_no_json_is_refused_before_anything_is_touched(saved_twice):
    before = saved_twice.read_bytes()
    with pytest.raises(TypeError):
        CheckedFile(saved_twice).save({"a": object()})
    assert saved_twice.read_bytes() == before
    assert CheckedFile(saved_twice).load() == SECOND


def test_a_file_that_was_never_saved_is_none_and_nobody_complains(path, caplog):
    assert CheckedFile(path).load() is None
    assert not caplog.records
    assert names(path) == set()


def test_only_the_agent_may_read_its_files(saved_twice):
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in saved_twice.parent.iterdir()}
    assert modes == {"state.json": 0o600, "state.json.previous": 0o600}


def test_a_copy_cut_at_any_byte_gives_way_to_the_previous_one_and_it_is_said(saved_twice, caplog):
    whole = saved_twice.read_bytes()
    for end in range(len(whole)):
        caplog.clear()
        saved_twice.write_bytes(whole[:end])
        assert CheckedFile(saved_twice).read() == FIRST, end
        said = " ".join(record.message for record in caplog.records)
        assert "broken" in said, end
        assert "previous copy" in said, end


def test_each_flipped_byte_is_noticed(saved_twice, caplog):
    whole = saved_twice.read_bytes()
    for place in range(len(whole)):
        for bit in (0, 5, 7):
            caplog.clear()
            saved_twice.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            assert CheckedFile(saved_twice).read() == FIRST, (place, bit)
            assert "broken" in caplog.text, (place, bit)


def test_a_broken_copy_is_put_aside_not_deleted(saved_twice):
    saved_twice.write_bytes(b"what was left of it")
    assert CheckedFile(saved_twice).load() == FIRST
    assert saved_twice.with_name("state.json.broken").read_bytes() == b"what was left of it"
    assert CheckedFile(saved_twice).load() == FIRST
    CheckedFile(saved_twice).save(SECOND)
    assert CheckedFile(saved_twice).load() == SECOND


def test_two_broken_copies_are_both_put_aside_and_it_is_said(saved_twice, caplog):
    saved_twice.write_bytes(b"")
    saved_twice.with_name("state.json.previous").write_bytes(b"\0" * 50)
    assert CheckedFile(saved_twice).load() is None
    assert "begins anew" in caplog.text
    assert names(saved_twice) == {"state.json.broken", "state.json.previous.broken"}


def test_reading_touches_nothing(saved_twice):
    saved_twice.write_bytes(b"")
    before = names(saved_twice)
    assert CheckedFile(saved_twice).read() == FIRST
    assert names(saved_twice) == before


def test_a_folder_in_the_files_place_is_put_aside(saved_twice):
    saved_twice.unlink()
    saved_twice.mkdir()
    assert CheckedFile(saved_twice).load() == FIRST
    CheckedFile(saved_twice).save(SECOND)
    assert CheckedFile(saved_twice).load() == SECOND


def test_saving_over_a_broken_copy_keeps_the_previous_whole_one(saved_twice):
    saved_twice.write_bytes(b"torn")
    CheckedFile(saved_twice).save({"third": 3})
    assert CheckedFile(saved_twice).load() == {"third": 3}
    saved_twice.unlink()
    assert CheckedFile(saved_twice).load() == FIRST


def test_a_stale_previous_copy_and_a_draft_are_not_preferred(saved_twice):
    draft = saved_twice.with_name("state.json.new")
    draft.write_bytes(saved_twice.with_name("state.json.previous").read_bytes())
    assert CheckedFile(saved_twice).load() == SECOND
    assert not draft.exists()


def test_a_lost_copy_gives_way_to_the_previous_one(saved_twice, caplog):
    saved_twice.unlink()
    assert CheckedFile(saved_twice).load() == FIRST
    assert "previous copy" in caplog.text


def test_a_file_in_the_old_form_is_version_0(path):
    path.write_text(json.dumps(FIRST))
    assert CheckedFile(path).load() == FIRST
    migrated = CheckedFile(path, migrations={0: lambda old: {"from": old["version"]}})
    assert migrated.load() == {"from": 1}


def test_the_old_form_may_use_our_names(path):
    old = {"format": 1, "payload": {}, "sha256": "key"}
    path.write_text(json.dumps(old))
    assert CheckedFile(path).load() == old


def test_older_versions_are_migrated_step_by_step_and_written_only_by_the_next_save(path):
    CheckedFile(path).save({"steps": [1]})
    before = path.read_bytes()
    steps = {n: lambda old, n=n: {"steps": [*old["steps"], n + 1]} for n in (1, 2)}
    file = CheckedFile(path, 3, steps)
    assert file.load() == {"steps": [1, 2, 3]}
    assert path.read_bytes() == before
    file.save({"steps": ["saved"]})
    assert CheckedFile(path, 3, steps).load() == {"steps": ["saved"]}


def test_a_version_without_its_step_is_our_bug(path):
    with pytest.raises(EdgeferryError, match="no migration from version 1"):
        CheckedFile(path, 2)


def test_what_a_newer_agent_wrote_is_refused_and_kept(path):
    newer = CheckedFile(path, 2, {1: dict})
    newer.save(FIRST)
    newer.save(SECOND)
    before = path.read_bytes()
    for attempt in (CheckedFile(path).load, lambda: CheckedFile(path).save({})):
        with pytest.raises(UsageError, match="version 2") as caught:
            attempt()
        assert "newer agent" in caught.value.fix
    path.unlink()
    with pytest.raises(UsageError, match="version 2"):
        CheckedFile(path).load()
    path.write_bytes(before)
    assert newer.load() == SECOND


SAVES = """
def prepare(folder):
    file = CheckedFile(folder / "state.json")
    for number in {before}:
        if number is None:
            file.path.write_bytes(b"torn")
        else:
            file.save({"saved": number})
def act(folder):
    CheckedFile(folder / "state.json").save({"saved": 2})
"""


@pytest.mark.parametrize(
    ("before", "old"),
    [
        pytest.param([], None, id="the first save"),
        pytest.param([1], 1, id="the second save"),
        pytest.param([0, 1], 1, id="a later save"),
        pytest.param([0, 1, None], 0, id="a save over a broken copy"),
    ],
)
def test_a_save_killed_before_any_of_its_system_calls_leaves_old_or_new(tmp_path, before, old):
    folders = run_killed_everywhere(SAVES.replace("{before}", repr(before)), tmp_path)
    found = []
    for folder in folders:
        file = CheckedFile(folder / "state.json")
        said = file.load()
        found.append(said and said["saved"])
        assert not file.path.with_name("state.json.new").exists()
        file.save({"saved": 3})
        assert CheckedFile(file.path).load() == {"saved": 3}
    new = found.count(2)
    assert found == [old] * (len(found) - new) + [2] * new
    assert len(found) - new > 5
    assert new > 1


def test_bytes_are_on_disk_before_their_name_and_the_name_before_save_returns(saved_twice):
    calls = []

    def note(frame, event, called):
        if event == "c_call" and called.__module__ == "posix":
            calls.append(called.__name__)

    file = CheckedFile(saved_twice)
    sys.setprofile(note)
    file.save(FIRST)
    sys.setprofile(None)
    order = [name for name in calls if name in ("pwrite", "fsync", "replace")]
    assert order == ["pwrite", "fsync", "replace", "replace", "fsync"]


def test_a_full_disk_keeps_what_was_saved_before(tmp_path):
    with tiny_disk(tmp_path / "tiny") as folder:
        file = CheckedFile(folder / "state.json")
        file.save(FIRST)
        file.save(SECOND)
        filler = fill(folder)
        with pytest.raises(OSError) as caught:  # noqa: PT011
            file.save({"much": "x" * 5000})
        assert caught.value.errno == errno.ENOSPC
        assert names(file.path) == {"filler", "state.json", "state.json.previous"}
        assert CheckedFile(file.path).load() == SECOND
        filler.unlink()
        file.save({"third": 3})
        assert CheckedFile(file.path).load() == {"third": 3}


@pytest.mark.parametrize("broken", [False, True], ids=["whole", "broken"])
def test_a_folder_that_refuses_writes_can_still_be_loaded_from(tmp_path, broken):
    with tiny_disk(tmp_path / "tiny") as folder:
        file = CheckedFile(folder / "state.json")
        file.save(FIRST)
        file.save(SECOND)
        if broken:
            file.path.write_bytes(b"torn")
        with refusing_writes(folder):
            assert file.load() == (FIRST if broken else SECOND)
            with pytest.raises(OSError, match="Read-only"):
                file.save({"third": 3})
            assert file.load() == (FIRST if broken else SECOND)


def test_a_file_that_cannot_be_opened_is_named_and_left_alone(tmp_path):
    path = tmp_path / "loop"
    path.symlink_to(path)
    with pytest.raises(OutsideError, match="cannot be opened") as caught:
        CheckedFile(path).load()
    assert caught.value.fix
    assert path.is_symlink()


def test_random_damage_never_gives_anything_but_what_was_saved(saved_twice):
    whole, dice = saved_twice.read_bytes(), random.Random(6)
    for _ in range(300):
        damaged = bytearray(whole)
        start = dice.randrange(len(whole))
        length = dice.randrange(1, 64)
        damaged[start : start + length] = dice.choice([b"", b"\0" * length, dice.randbytes(length)])
        saved_twice.write_bytes(bytes(damaged))
        assert CheckedFile(saved_twice).read() == (SECOND if bytes(damaged) == whole else FIRST)
