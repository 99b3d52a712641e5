"""What git prints of changes."""

from __future__ import annotations

import pytest

from edgeferry.domain.affected import Change
from edgeferry.wire.git_diff import parse_name_status, parse_untracked


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param("M\0a b.py\0", [Change("/r/a b.py", "changed")], id="a name with a space"),
        pytest.param(
            "A\0x\ny\0D\0z\0", [Change("/r/x\ny", "added"), Change("/r/z", "deleted")], id="a line end"
        ),
        pytest.param("R087\0old\0new\0", [Change("/r/new", "renamed", "/r/old")], id="a rename has two"),
        pytest.param("C100\0old\0new\0", [Change("/r/new", "added")], id="what was copied is still there"),
        pytest.param("T\0link\0", [Change("/r/link", "changed")], id="a file became a link"),
    ],
)
def test_changes_are_read(text: str, changes: list[Change]) -> None:
    assert list(parse_name_status(text, "/r")) == changes


@pytest.mark.parametrize("text", ["M\0", "R100\0old\0"])
def test_half_a_change_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="it ends after"):
        list(parse_name_status(text, "/r"))


def test_untracked_files_are_changes() -> None:
    assert list(parse_untracked("a\0b c\0", "/r")) == [
        Change("/r/a", "untracked"),
        Change("/r/b c", "untracked"),
    ]
