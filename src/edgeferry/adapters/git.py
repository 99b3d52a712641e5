"""The `git` program, run in a bare clone of the ledger's repository, and what it says when it fails."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from edgeferry.errors import LedgerError
from edgeferry.settings import child_environment

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
_FORBIDDEN = re.compile(r"\[remote rejected\].*\((?P<why>.*)\)")


class Git:
    """Commands in the clone in `folder`; `url` is named in errors."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url

    def ask(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """What the command printed; LedgerError when it failed."""
        done = self.run(*arguments, stdin=stdin)
        if done.returncode != 0:
            raise self.explain(arguments[0], done.stderr.decode(errors="replace"))
        return done.stdout

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """How the command ended; LedgerError when it did not, or there is no git."""
        identity = ["-c", "user.name=edgeferry", "-c", "user.email=edgeferry@localhost"]
        command = ["git", "-C", str(self._folder), *identity, *arguments]
        try:
            return subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                check=False,
                timeout=60,
                env={**child_environment(), "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
            )
        except FileNotFoundError as error:
            raise LedgerError(
                "the program git is missing", fix="install git, e.g. apt-get install git"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise LedgerError(
                f"the ledger {self._url} did not answer in 60 s", fix="is it reachable?", retryable=True
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
