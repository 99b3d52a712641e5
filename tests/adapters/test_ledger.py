"""The ledger on real git repositories."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edgeferry.domain.release import Entry
from edgeferry.errors import LedgerError, UsageError
from tests.adapters.ledgers import edit, find, make_remote, open_ledger, tamper


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    return make_remote(tmp_path)


def test_entries_come_back_in_order_on_another_machine(tmp_path: Path, remote: Path) -> None:
    first = open_ledger(tmp_path, remote)
    written = [first.append("release", f"nyc_taxi-v{n}-aa", {"n": n}, "ann") for n in (1, 2)]
    first.append("approval", "nyc_taxi-v1-aa", {}, "ann")
    second = open_ledger(tmp_path, remote, "two")
    assert list(second.entries("release")) == written
    assert [entry.subject for entry in second.entries("release", "nyc_taxi-v2-aa")] == ["nyc_taxi-v2-aa"]
    assert [second.distrust(entry) for entry in written] == ["", ""]


def test_an_empty_ledger_has_no_entries(tmp_path: Path, remote: Path) -> None:
    assert list(open_ledger(tmp_path, remote).entries("release")) == []


def test_a_ledger_that_is_not_there_is_told_by_what_git_found(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"nowhere\.git' does not appear to be a git repository"):
        open_ledger(tmp_path, tmp_path / "nowhere.git").entries("release")


def test_a_repository_that_does_not_answer_may_do_so_later(tmp_path: Path) -> None:
    with pytest.raises(LedgerError) as told:
        open_ledger(tmp_path, "http://127.0.0.1:9/ledger.git").entries("release")
    assert told.value.retryable


def test_who_reads_in_another_thread_moves_no_head_beneath_a_decision(tmp_path: Path, remote: Path) -> None:
    ours, others = open_ledger(tmp_path, remote), open_ledger(tmp_path, remote, "two")
    decided_on: list[int] = []

    def found(entries: Sequence[Entry]) -> None:
        decided_on.append(len(entries))
        if len(decided_on) == 1:
            others.append("order", "x", {}, "bob")
            reader = threading.Thread(target=ours.all_entries)
            reader.start()
            reader.join(1)

    ours.append_unless("wave", "x", {}, "ann", found)
    assert decided_on == [0, 1]


ENTRIES = int(os.environ.get("EDGEFERRY_TEST_LEDGER_ENTRIES", "6"))
"""Of each of two writers; the proof in docs/ledger.md took 500."""


def run_both(work: Callable[[str], None]) -> None:
    threads = [threading.Thread(target=work, args=(machine,)) for machine in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_two_writers_at_once_lose_nothing(tmp_path: Path, remote: Path) -> None:
    def write(machine: str) -> None:
        ledger = open_ledger(tmp_path, remote, machine)
        for number in range(ENTRIES):
            ledger.append("rollout", f"{machine}-{number}", {}, machine)

    run_both(write)
    third = open_ledger(tmp_path, remote, "three")
    subjects = [entry.subject for entry in third.entries("rollout")]
    assert sorted(subjects) == sorted(f"{machine}-{n}" for machine in ("one", "two") for n in range(ENTRIES))
    assert list(third.find_breaches()) == []


def test_of_two_who_decide_at_once_one_appends(tmp_path: Path, remote: Path) -> None:
    new: list[str] = []

    def write(machine: str) -> None:
        ledger = open_ledger(tmp_path, remote, machine)
        for number in range(ENTRIES):

            def started(entries: Sequence[Entry], wave: int = number) -> Entry | None:
                return next((one for one in entries if one.body.get("wave") == wave), None)

            entry, is_new = ledger.append_unless("wave", "r1", {"wave": number}, machine, started)
            assert entry.body == {"wave": number}
            if is_new:
                new.append(f"{number} by {machine}")

    run_both(write)
    entries = open_ledger(tmp_path, remote, "three").entries("wave", "r1")
    assert [entry.body["wave"] for entry in entries] == list(range(ENTRIES))
    assert sorted(f"{entry.body['wave']} by {entry.author}" for entry in entries) == sorted(new)


def test_who_decides_is_given_entries_of_all_kinds_in_order(tmp_path: Path, remote: Path) -> None:
    ledger = open_ledger(tmp_path, remote)
    first = ledger.append("release", "a", {}, "ann")
    second = ledger.append("approval", "a", {}, "ann")
    seen: list[Sequence[Entry]] = []
    third, new = ledger.append_unless("rollout", "r1", {}, "ann", lambda entries: seen.append(entries))
    assert new
    assert list(seen[0]) == [first, second]
    assert list(open_ledger(tmp_path, remote, "two").all_entries()) == [first, second, third]
    assert ledger.append_unless("rollout", "r1", {}, "ann", lambda entries: entries[0]) == (first, False)


def test_entries_of_the_first_ledgers_stay_where_they_were(tmp_path: Path, remote: Path) -> None:
    """They stood in one folder."""
    first = open_ledger(tmp_path, remote)
    old = [first.append("release", f"v{n}", {}, "ann") for n in range(3)]

    def flatten(work: Path) -> None:
        for path in work.rglob("*.json"):
            path.rename(work / path.name)

    tamper(remote, flatten)
    second = open_ledger(tmp_path, remote, "two")
    new = second.append("release", "v3", {}, "ann2")
    assert list(second.all_entries()) == [*old, new]
    assert [second.distrust(entry) for entry in (*old, new)] == [""] * 4


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param({"body": {"n": 2}}, "does not fit", id="edited body"),
        pytest.param({"author": "bob"}, "no trusted key of 'bob'", id="another author"),
        pytest.param({"key": "SHA256:x"}, "another key", id="another key"),
        pytest.param({"signature": "AAAA"}, "does not fit", id="another signature"),
        pytest.param({"signature": "not base64!"}, "does not fit", id="garbage for a signature"),
    ],
)
def test_an_edited_entry_is_not_trusted(
    tmp_path: Path, remote: Path, change: dict[str, object], why: str
) -> None:
    ledger = open_ledger(tmp_path, remote)
    ledger.append("release", "nyc_taxi-v1-aa", {"n": 1}, "ann")
    tamper(remote, lambda work: edit(find(work, 1), **change))
    (entry,) = ledger.entries("release")
    assert why in ledger.distrust(entry)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        pytest.param("000003-approval-nyc_taxi-v1-aa.json", "does not follow", id="an old yes after a no"),
        pytest.param("000003-approval-nyc_taxi-v2-bb.json", "name of another", id="for another release"),
    ],
)
def test_an_entry_cannot_be_replayed(tmp_path: Path, remote: Path, name: str, why: str) -> None:
    ledger = open_ledger(tmp_path, remote)
    ledger.append("approval", "nyc_taxi-v1-aa", {"decision": "yes"}, "ann")
    ledger.append("approval", "nyc_taxi-v1-aa", {"decision": "no"}, "ann")
    tamper(remote, lambda work: (work / name).write_bytes(find(work, 1).read_bytes()) and None)
    *earlier, replayed = ledger.entries("approval")
    assert [ledger.distrust(entry) for entry in earlier] == ["", ""]
    assert why in ledger.distrust(replayed)


def test_a_key_counts_only_where_its_owner_is_trusted(tmp_path: Path, remote: Path) -> None:
    ledger = open_ledger(tmp_path, remote, may_trust=False)
    entry = ledger.append("approval", "nyc_taxi-v1-aa", {}, "mallory")
    assert "no trusted key of 'mallory'" in ledger.distrust(entry)
    key = tmp_path / "one" / "keys" / "mallory.pem"
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_ledger_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LedgerError) as caught:
        open_ledger(tmp_path, tmp_path / "nowhere").entries("release")
    assert caught.value.exit_code == 3
    assert "ledger.url" in caught.value.fix


@pytest.mark.parametrize("author", ["", "../etc", "a b", "x" * 65])
def test_a_name_that_could_leave_the_key_folder_is_refused(tmp_path: Path, remote: Path, author: str) -> None:
    with pytest.raises(UsageError):
        open_ledger(tmp_path, remote).append("approval", "x", {}, author)


def test_a_repository_that_lets_us_write_nothing_says_so_at_once(tmp_path: Path, remote: Path) -> None:
    ledger = open_ledger(tmp_path, remote)
    ledger.append("release", "taxi-v1-aa", {}, "ann")
    hook, tries = remote / "hooks" / "pre-receive", tmp_path / "tries"
    hook.write_text(f"#!/bin/sh\necho once >> {tries}\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(LedgerError, match="takes no entry from us: pre-receive hook declined") as caught:
        ledger.append("release", "taxi-v2-bb", {}, "ann")
    assert not caught.value.retryable
    assert tries.read_text() == "once\n"
    hook.unlink()
    assert ledger.append("release", "taxi-v2-bb", {}, "ann").id.startswith("000002")
