"""What `git diff --name-status -z` and `git ls-files -z` print (git-diff(1), RAW OUTPUT FORMAT): fields ended
by NUL; a status letter, for renames and copies with a similarity, then one path, or two."""

from __future__ import annotations

from collections.abc import Iterator

from edgeferry.domain.affected import Change, Kind

_KINDS: dict[str, Kind] = {"A": "added", "D": "deleted", "R": "renamed", "C": "added"}
"""Any other letter is a change of content, mode or type."""


def parse_name_status(text: str, root: str) -> Iterator[Change]:
    """The changes, their paths made absolute by `root`; ValueError when the text ends within one."""
    fields = iter(text.split("\0")[:-1])
    for status in fields:
        kind = _KINDS.get(status[:1], "changed")
        try:
            before = next(fields) if status[:1] in "RC" else ""
            path = next(fields)
        except StopIteration as error:
            raise ValueError(f"it ends after {status!r}") from error
        moved = f"{root}/{before}" if status[:1] == "R" else ""
        yield Change(f"{root}/{path}", kind, moved)


def parse_untracked(text: str, root: str) -> Iterator[Change]:
    """A change for each of the listed paths."""
    return (Change(f"{root}/{path}", "untracked") for path in text.split("\0")[:-1])
