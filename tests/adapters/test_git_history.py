"""What has changed, as git itself tells; and what it says when it cannot tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeferry.adapters.git_history import GitHistory
from edgeferry.errors import UsageError
from tests.repositories import Repository, make_repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = make_repository(tmp_path / "r")
    for name in ("kept.py", "moved.py", "gone.py", "edited.py", "deep/er/file.py"):
        made.write(name, f"# {name}\n" * 5)
    made.write(".gitignore", "*.log\n")
    made.commit()
    return made


def changes(repository: Repository, since: str, below: str = "") -> dict[str, str]:
    found = GitHistory(repository.root / below).changes_since(since)
    assert found.root == str(repository.root)
    return {each.path.removeprefix(f"{found.root}/"): each.kind for each in found.files}


def test_committed_staged_unstaged_and_untracked_work_counts(repository: Repository) -> None:
    repository.append("kept.py")
    repository.commit()
    repository.git("mv", "moved.py", "deep/moved.py")
    repository.git("rm", "--quiet", "gone.py")
    repository.append("edited.py")
    repository.write("new file.py", "")
    repository.write("noise.log", "")
    expected = {
        "kept.py": "changed",
        "deep/moved.py": "renamed",
        "gone.py": "deleted",
        "edited.py": "changed",
        "new file.py": "untracked",
    }
    assert changes(repository, "HEAD^") == expected
    assert changes(repository, "HEAD^", below="deep/er") == expected
    assert [
        each.before for each in GitHistory(repository.root).changes_since("HEAD").files if each.before
    ] == [f"{repository.root}/moved.py"]


def test_what_was_done_and_undone_is_no_change(repository: Repository) -> None:
    repository.append("kept.py")
    repository.commit()
    repository.git("revert", "--no-edit", "HEAD")
    assert changes(repository, "HEAD~2") == {}


def test_work_is_compared_with_where_it_left_the_branch(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "-b", "work")
    repository.append("kept.py")
    repository.commit()
    repository.git("checkout", "--quiet", "main")
    repository.append("edited.py")
    repository.commit("somebody else's")
    repository.git("checkout", "--quiet", "work")
    assert changes(repository, "main") == {"kept.py": "changed"}
    assert GitHistory(repository.root).find_mainline() == "main"


def test_a_merge_is_compared_with_the_branch_that_it_goes_to(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "-b", "work")
    repository.append("kept.py")
    repository.commit()
    repository.git("checkout", "--quiet", "main")
    repository.append("edited.py")
    repository.commit()
    repository.git("merge", "--quiet", "--no-edit", "work")
    assert changes(repository, "HEAD^1") == {"kept.py": "changed"}


def test_settings_of_the_users_git_change_nothing(repository: Repository) -> None:
    for name, value in (("diff.noprefix", "true"), ("diff.relative", "true"), ("core.quotePath", "true")):
        repository.git("config", name, value)
    repository.write("grüße.py", "")
    repository.append("kept.py")
    assert changes(repository, "HEAD", below="deep") == {"grüße.py": "untracked", "kept.py": "changed"}


def test_a_revision_that_is_not_there_is_named(repository: Repository) -> None:
    for revision in ("nowhere", "--all", ""):
        with pytest.raises(UsageError, match="has no revision") as caught:
            GitHistory(repository.root).changes_since(revision)
        assert "--since origin/main" in caught.value.fix


def test_a_shallow_clone_says_how_to_deepen_it(repository: Repository, tmp_path: Path) -> None:
    first = repository.git("rev-parse", "HEAD")
    repository.append("kept.py")
    repository.commit()
    repository.append("kept.py")
    repository.commit()
    repository.git("clone", "--quiet", "--depth", "2", f"file://{repository.root}", str(tmp_path / "shallow"))
    shallow = Repository(tmp_path / "shallow")
    assert changes(shallow, "HEAD^") == {"kept.py": "changed"}
    with pytest.raises(UsageError, match="shallow") as caught:
        GitHistory(shallow.root).changes_since(first)
    assert "git fetch --unshallow" in caught.value.fix
    shallow.git("fetch", "--quiet", "--depth", "1", "origin", first)
    with pytest.raises(UsageError, match="is cut off"):
        GitHistory(shallow.root).changes_since(first)


def test_histories_that_never_met_are_refused(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "--orphan", "other")
    repository.commit("another beginning")
    with pytest.raises(UsageError, match="no history in common"):
        GitHistory(repository.root).changes_since("main")


def test_a_folder_in_no_repository_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "alone").mkdir()
    with pytest.raises(UsageError, match="in no git repository"):
        GitHistory(tmp_path / "alone").changes_since("main")


def test_a_repository_without_a_commit_is_named(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "r")
    with pytest.raises(UsageError, match="nothing is committed"):
        GitHistory(repository.root).changes_since("HEAD")
    with pytest.raises(UsageError, match="has none of"):
        GitHistory(repository.root).find_mainline()
