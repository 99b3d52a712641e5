"""The ledger on real git repositories."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path

import pytest

from edgeferry.adapters.ledger import GitLedger
from edgeferry.adapters.signer import KeyFolder
from edgeferry.errors import LedgerError, UsageError


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(path)], check=True)
    return path


def open_ledger(tmp_path: Path, remote: Path, machine: str = "one", *, may_trust: bool = True) -> GitLedger:
    keys = KeyFolder(tmp_path / machine / "keys", tmp_path / "trust", may_trust=may_trust)
    return GitLedger(str(remote), "ledger", tmp_path / machine / "cache", keys, lambda: 1_800_000_000.0)


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


def test_two_writers_at_once_lose_nothing(tmp_path: Path, remote: Path) -> None:
    def write(machine: str) -> None:
        ledger = open_ledger(tmp_path, remote, machine)
        for number in range(6):
            ledger.append("rollout", f"{machine}-{number}", {}, machine)

    threads = [threading.Thread(target=write, args=(machine,)) for machine in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    subjects = [entry.subject for entry in open_ledger(tmp_path, remote, "three").entries("rollout")]
    assert sorted(subjects) == sorted(f"{machine}-{n}" for machine in ("one", "two") for n in range(6))


def rewrite(remote: Path, change: dict[str, object]) -> None:
    """Somebody with write access edits the newest entry in place."""
    work = remote.parent / "work"
    subprocess.run(["git", "clone", "--quiet", "-b", "ledger", str(remote), str(work)], check=True)
    file = max(work.rglob("*.json"))
    document = json.loads(file.read_text())
    document.update(change)
    file.write_text(json.dumps(document))
    identity = ["-c", "user.name=x", "-c", "user.email=x@localhost"]
    subprocess.run(["git", "-C", str(work), *identity, "commit", "--quiet", "-am", "edit"], check=True)
    subprocess.run(["git", "-C", str(work), "push", "--quiet"], check=True)


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
    rewrite(remote, change)
    (entry,) = ledger.entries("release")
    assert why in ledger.distrust(entry)


def copy_entry(remote: Path, name: str) -> None:
    """Somebody with write access puts a copy of the first entry under another name."""
    work = remote.parent / "work"
    subprocess.run(["git", "clone", "--quiet", "-b", "ledger", str(remote), str(work)], check=True)
    (work / name).write_bytes(min(work.rglob("*.json")).read_bytes())
    identity = ["-c", "user.name=x", "-c", "user.email=x@localhost"]
    subprocess.run(["git", "-C", str(work), "add", name], check=True)
    subprocess.run(["git", "-C", str(work), *identity, "commit", "--quiet", "-m", "copy"], check=True)
    subprocess.run(["git", "-C", str(work), "push", "--quiet"], check=True)


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
    copy_entry(remote, name)
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
