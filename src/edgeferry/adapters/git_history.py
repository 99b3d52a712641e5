"""The project's git repository, asked with the `git` program; nothing in it is changed."""

from __future__ import annotations

from pathlib import Path

from edgeferry.domain.affected import Changes
from edgeferry.errors import GitError, UsageError
from edgeferry.git import Git
from edgeferry.wire.git_diff import parse_name_status, parse_untracked

_MAINLINES = ("origin/HEAD", "origin/main", "origin/master", "main", "master")
_DEEPEN = "git fetch --unshallow; in CI let the checkout bring all history (fetch depth 0)"


class GitHistory:
    """Implements the `History` port for the repository that `folder` is in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._git = Git(folder)

    def changes_since(self, revision: str) -> Changes:
        """What differs between the working tree and the commit where HEAD's history left `revision`."""
        root, shallow = self._look()
        if not self._resolve("HEAD"):
            raise UsageError(f"nothing is committed in {root} yet", fix="git commit, then ask again")
        commit = self._resolve(revision)
        if not commit and shallow:
            raise UsageError(f"this clone is shallow and does not reach {revision!r}", fix=_DEEPEN)
        if not commit:
            raise UsageError(
                f"the repository {root} has no revision {revision!r}",
                fix="give a branch, a tag or a commit, e.g. --since origin/main; git fetch brings new ones",
            )
        base = self._git.run("merge-base", commit, "HEAD")
        if base.returncode != 0 and shallow:
            raise UsageError(
                f"this clone is shallow: where its work left {revision!r} is cut off", fix=_DEEPEN
            )
        if base.returncode != 0:
            raise UsageError(
                f"HEAD and {revision!r} have no history in common", fix="give a revision that HEAD comes from"
            )
        since = base.stdout.decode().strip()
        options = ("--name-status", "-z", "--find-renames", "--no-ext-diff")
        git = Git(root)
        changed = _read(git.ask("diff", *options, since, "--"))
        untracked = _read(git.ask("ls-files", "--others", "--exclude-standard", "-z"))
        files = (*parse_name_status(changed, str(root)), *parse_untracked(untracked, str(root)))
        return Changes(str(root), since, files)

    def find_mainline(self) -> str:
        """The first of the usual names that there is: the remote's own default, then main, master."""
        root, shallow = self._look()
        found = next((name for name in _MAINLINES if self._resolve(name)), "")
        if not found:
            raise UsageError(
                f"the repository {root} has none of {', '.join(_MAINLINES)}",
                fix=_DEEPEN if shallow else "say since when: --since REVISION",
            )
        return found

    def _look(self) -> tuple[Path, bool]:
        """The repository's folder, and whether its history is cut off."""
        try:
            said = _read(self._git.ask("rev-parse", "--show-toplevel", "--is-shallow-repository"))
        except GitError as error:
            if not error.no_repository:
                raise
            raise UsageError(
                f"{self._folder} is in no git repository, so nobody knows what has changed",
                fix="git init, and commit; or name the models yourself",
            ) from error
        root, shallow = said.rsplit("\n", 2)[:2]
        return Path(root), shallow == "true"

    def _resolve(self, revision: str) -> str:
        """The commit's id; "" when there is none."""
        if revision.startswith("-"):  # git would take it for an option
            return ""
        done = self._git.run("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        return done.stdout.decode().strip() if done.returncode == 0 else ""


def _read(said: bytes) -> str:
    """Names of files need be no UTF-8."""
    return said.decode("utf-8", "backslashreplace")
