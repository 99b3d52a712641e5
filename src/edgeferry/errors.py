"""Every error edgeferry raises on purpose: one line for the problem, one for the fix.

    EdgeferryError                  exit code 70: a bug of ours unless a child says otherwise
    ├── UsageError              2   the command, a file or a setting is wrong
    │   ├── DefinitionError     2   a project file: file:line, the key, the fix
    │   ├── ConditionError      2   a target condition or query: the column
    │   └── DesiredError        2   a device's desired properties: the code its agent reports
    ├── RefusedError            1   the answer is no: a step failed, a gate is shut, a check did not hold
    └── OutsideError            3   hub, registry, engine, ledger or tracking did not do their part
        ├── HubError            3
        ├── RegistryError       3
        ├── EngineError         3
        ├── LoginError          3
        ├── LedgerError         3
        ├── GitError            3
        ├── TrackingError       3
        └── PlaceError          3

Adapters turn their library's exceptions into these; nobody else catches a library's exception.
Expected bad news (a failed smoke test, a verification that does not hold) is a value, not an error.
"""

from __future__ import annotations


class EdgeferryError(Exception):
    """A problem and its fix, each one line a person can act on."""

    exit_code = 70

    def __init__(self, problem: str, *, fix: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.problem} ({self.fix})" if self.fix else self.problem


class UsageError(EdgeferryError):
    """The command, a file or a setting is wrong; nothing was touched."""

    exit_code = 2


class DefinitionError(UsageError):
    """A project file is wrong at `key` (a path of mapping keys and list indexes); the file and line
    are added where the file is read."""

    def __init__(
        self, problem: str, *, fix: str, key: tuple[str | int, ...] = (), file: str = "", line: int = 0
    ) -> None:
        where = f"{file}:{line}: " if file else ""
        super().__init__(where + problem, fix=fix)
        self.bare_problem = problem
        self.key = key
        self.file = file
        self.line = line


class ConditionError(UsageError):
    """A target condition or query cannot be read; `column` counts from 1."""

    def __init__(self, problem: str, *, fix: str, column: int = 1) -> None:
        super().__init__(problem, fix=fix)
        self.column = column


class DesiredError(UsageError):
    """A device's desired properties cannot be carried out; `code` is what edgeAgent reports for it: 400
    malformed, 412 unknown schema version, 417 empty."""

    def __init__(self, problem: str, *, fix: str, code: int = 400) -> None:
        super().__init__(problem, fix=fix)
        self.code = code


class RefusedError(EdgeferryError):
    """The answer is no: what was asked for was tried or checked, and does not hold."""

    exit_code = 1


class OutsideError(EdgeferryError):
    """Something outside edgeferry did not do its part; `retryable` when trying again may help."""

    exit_code = 3

    def __init__(self, problem: str, *, fix: str, retryable: bool = False) -> None:
        super().__init__(problem, fix=fix)
        self.retryable = retryable


class HubError(OutsideError):
    """The hub refused or did not answer; `status` is its HTTP status, 0 when there was none."""

    def __init__(self, problem: str, *, fix: str, retryable: bool = False, status: int = 0) -> None:
        super().__init__(problem, fix=fix, retryable=retryable)
        self.status = status


class RegistryError(OutsideError):
    """The registry refused or did not answer."""


class EngineError(OutsideError):
    """The container engine refused or did not answer."""


class LoginError(OutsideError):
    """There is no login for an outside service, or it or a secret's vault refused."""


class LedgerError(OutsideError):
    """The ledger's repository refused or did not answer."""


class GitError(OutsideError):
    """The git program is missing, did not end, or failed; `said` is what it then printed on stderr."""

    def __init__(self, problem: str, *, fix: str, retryable: bool = False, said: str = "") -> None:
        super().__init__(problem, fix=fix, retryable=retryable)
        self.said = said

    @property
    def no_repository(self) -> bool:
        """Whether it failed because its folder is in no git repository."""
        return "not a git repository" in self.said


class TrackingError(OutsideError):
    """The registry of models (MLflow) refused or did not answer."""


class PlaceError(OutsideError):
    """The place where a pipeline runs (Azure ML) refused or did not answer."""
