"""The git program as all of us run it: what it says comes back, and whatever goes wrong is one error."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from edgeferry.adapters.azureml_job import find_commit
from edgeferry.adapters.git_history import GitHistory
from edgeferry.adapters.ledger_git import LedgerGit
from edgeferry.adapters.templates import CopierTemplates
from edgeferry.errors import EdgeferryError, GitError, LedgerError
from edgeferry.git import Git
from tests.repositories import Repository, make_repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = make_repository(tmp_path / "r")
    made.write("kept.py", "")
    made.commit()
    return made


@pytest.fixture
def fake_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `git` to be written, the first that is found."""
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def write_program(file: Path, text: str) -> None:
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def test_what_it_prints_comes_back_byte_by_byte(repository: Repository) -> None:
    blob = Git(repository.root).ask("hash-object", "-w", "--stdin", stdin=b"\xff\0\n").decode().strip()
    assert Git(repository.root).ask("cat-file", "blob", blob) == b"\xff\0\n"


def test_a_command_that_failed_is_told_with_what_git_said(repository: Repository) -> None:
    with pytest.raises(GitError, match=r"git cat-file failed: fatal: .*nowhere") as failed:
        Git(repository.root).ask("cat-file", "-t", "nowhere")
    assert not failed.value.no_repository
    assert Git(repository.root).run("cat-file", "-t", "nowhere").returncode == 128


def test_outside_a_repository_the_error_tells_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with pytest.raises(GitError) as failed:
        Git(tmp_path).ask("rev-parse", "HEAD")
    assert failed.value.no_repository
    assert not failed.value.retryable


def test_a_folder_that_is_not_there_is_not_taken_for_a_missing_git(tmp_path: Path) -> None:
    with pytest.raises(GitError, match=r"cannot change to .*nowhere"):
        Git(tmp_path / "nowhere").ask("status")


@pytest.mark.parametrize("user", ["git", "history", "templates", "ledger"])
def test_a_missing_git_is_told_alike_by_all_who_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = {
        "git": lambda: Git(tmp_path).ask("status"),
        "history": lambda: GitHistory(tmp_path).find_mainline(),
        "templates": lambda: CopierTemplates().write([], tmp_path / "new"),
        "ledger": lambda: LedgerGit(tmp_path, "there").ask("status"),
    }
    with pytest.raises(EdgeferryError, match=r"^git is not installed") as missing:
        asked[user]()
    assert isinstance(missing.value, LedgerError if user == "ledger" else GitError)
    assert "apt-get install git" in missing.value.fix


def test_without_git_a_run_on_azure_ml_names_no_commit(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_commit(repository.root) == repository.git("rev-parse", "HEAD")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_commit(repository.root) == ""


def test_a_git_that_cannot_be_run_is_told_as_such(
    fake_git: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(fake_git.parent))
    write_program(fake_git, "")
    fake_git.write_bytes(b"\x7fELF no program")
    with pytest.raises(GitError, match=r"git cannot be run: .*Exec format"):
        Git(tmp_path).ask("status")


def test_a_command_that_does_not_end_is_given_up_and_may_be_tried_again(
    fake_git: Path, tmp_path: Path
) -> None:
    write_program(fake_git, "exec sleep 60")
    with pytest.raises(GitError, match=r"git fetch did not end in 0\.2 s") as given_up:
        Git(tmp_path, timeout_s=0.2).ask("fetch")
    assert given_up.value.retryable


def test_in_a_hook_of_git_it_works_in_its_own_folder(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git gives its hooks the repository that they run for."""
    hooked = make_repository(tmp_path / "hooked")
    folder = str(hooked.root / ".git")
    for name, value in (("GIT_DIR", folder), ("GIT_INDEX_FILE", f"{folder}/index"), ("GIT_PREFIX", "")):
        monkeypatch.setenv(name, value)
    top = Git(repository.root).ask("rev-parse", "--show-toplevel").decode().strip()
    assert top == str(repository.root)
    assert Git(repository.root).ask("ls-files") == b"kept.py\n"


def test_logins_that_the_surroundings_configure_stay(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("COUNT", "1"), ("KEY_0", "http.x.extraheader"), ("VALUE_0", "Authorization: x")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    assert Git(repository.root).ask("config", "http.x.extraheader") == b"Authorization: x\n"


def test_it_asks_nobody_at_a_terminal_and_its_options_and_variables_are_given(fake_git: Path) -> None:
    write_program(fake_git, 'echo "$@|$GIT_TERMINAL_PROMPT|$GIT_OPTIONAL_LOCKS|$LC_ALL|$OURS"')
    git = Git(Path("/f"), options=("-c", "a.b=c"), variables={"OURS": "yes"})
    assert git.ask("push", "there") == b"-C /f -c a.b=c push there|0|0|C|yes\n"
