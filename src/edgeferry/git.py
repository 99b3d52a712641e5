"""The `git` program: the one way in which we run it, and the one error of what goes wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from edgeferry.errors import GitError
from edgeferry.surroundings import child_environment

_SURROUNDINGS = frozenset(
    f"GIT_{name}"
    for name in (
        "ALTERNATE_OBJECT_DIRECTORIES",
        "COMMON_DIR",
        "DIR",
        "GRAFT_FILE",
        "IMPLICIT_WORK_TREE",
        "INDEX_FILE",
        "NAMESPACE",
        "OBJECT_DIRECTORY",
        "PREFIX",
        "SHALLOW_FILE",
        "WORK_TREE",
    )
)
"""Where git works, as it tells its own hooks (git-rev-parse(1), --local-env-vars; what is configured there
stays, logins among it): in a hook, ours would work there too, and not in the folder that it is given."""
_OURS = {
    "LC_ALL": "C",  # what it says is read
    "GIT_TERMINAL_PROMPT": "0",  # nobody is there to answer
    "GIT_OPTIONAL_LOCKS": "0",  # asking locks nobody out
}


class Git:
    """Commands in `folder`, before each `options` of git itself, with `variables` in their environment;
    none takes longer than `timeout_s` seconds."""

    def __init__(
        self,
        folder: Path,
        *,
        options: tuple[str, ...] = (),
        variables: Mapping[str, str] = MappingProxyType({}),
        timeout_s: float = 600.0,
    ) -> None:
        self._command = ("git", "-C", str(folder), *options)
        self._variables = variables
        self._timeout_s = timeout_s

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """How the command ended, well or not; GitError when git is missing, or it did not end."""
        kept = {name: text for name, text in child_environment().items() if name not in _SURROUNDINGS}
        try:
            return subprocess.run(
                [*self._command, *arguments],
                input=stdin,
                capture_output=True,
                check=False,
                timeout=self._timeout_s,
                env={**kept, **_OURS, **self._variables},
            )
        except FileNotFoundError as error:
            raise GitError("git is not installed", fix="install it: apt-get install git") from error
        except OSError as error:
            raise GitError(f"git cannot be run: {error}", fix="mend it: apt-get install git") from error
        except subprocess.TimeoutExpired as error:
            raise GitError(
                f"git {arguments[0]} did not end in {self._timeout_s:g} s",
                fix="does what it asks answer? Try again",
                retryable=True,
            ) from error

    def ask(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """What the command printed; GitError when it failed, too."""
        done = self.run(*arguments, stdin=stdin)
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace")
            raise GitError(
                f"git {arguments[0]} failed: {' '.join(said.split()) or f'exit code {done.returncode}'}",
                fix="mend what git says, then try again",
                said=said,
            )
        return done.stdout
