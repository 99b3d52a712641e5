"""git in a bare clone of the ledger's repository: what its failures say of the ledger."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from edgeferry.errors import GitError, LedgerError
from edgeferry.git import Git

_SILENCES = (
    "Could not resolve host",
    "Failed to connect",
    "Connection refused",
    "Connection reset",
    "Connection timed out",
    "timed out",
    "hung up unexpectedly",
    "early EOF",
    "returned error: 5",
    "returned error: 429",
)
"""What git says of a repository that does not answer now."""
_MOVED = ("stale info", "[rejected]", "cannot lock ref", "failed to update ref", "incorrect old value")
"""What git says of a push that another one has overtaken."""
_IDENTITY = ("-c", "user.name=edgeferry", "-c", "user.email=edgeferry@localhost")
_PATIENCE_S = 60.0
_FORBIDDEN = re.compile(r"\[remote rejected\].*\((?P<why>.*)\)")


class LedgerGit:
    """Commands in the clone in `folder`; `url` is named in errors."""

    def __init__(self, folder: Path, url: str) -> None:
        self._git = Git(folder, options=_IDENTITY, timeout_s=_PATIENCE_S)
        self._url = url

    def ask(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """What the command printed; LedgerError when it failed."""
        done = self.run(*arguments, stdin=stdin)
        if done.returncode != 0:
            raise self.explain(arguments[0], done.stderr.decode(errors="replace"))
        return done.stdout

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """How the command ended; LedgerError when it did not, or there is no git."""
        try:
            return self._git.run(*arguments, stdin=stdin)
        except GitError as error:
            if not error.retryable:
                raise LedgerError(error.problem, fix=error.fix) from error
            raise LedgerError(
                f"the ledger {self._url} did not answer in {_PATIENCE_S:g} s",
                fix="is it reachable?",
                retryable=True,
            ) from error

    def explain(self, verb: str, text: str) -> LedgerError:
        """The error for what git printed on stderr."""
        if forbidden := _FORBIDDEN.search(text):
            return LedgerError(
                f"the ledger {self._url} takes no entry from us: {forbidden['why']}",
                fix="let whoever writes in the ledger push to its branch, past any branch policy",
            )
        reason = text.partition("fatal: Could not read from remote repository")[0].strip() or text.strip()
        last = (reason.splitlines() or ["no word from git"])[-1]
        return LedgerError(
            f"git {verb} on the ledger {self._url} failed: {last}",
            fix="check ledger.url and your access to it; 'edgeferry up' makes a local one",
            retryable=any(word in text for word in _SILENCES),
        )


def has_moved(text: str) -> bool:
    """Whether the push whose stderr that is was overtaken: the branch is to be read again."""
    return any(word in text for word in _MOVED)
