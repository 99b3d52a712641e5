"""Templates that users have are not edited: `edgeferry init --update` tells edits by what they were."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgeferry.adapters.templates import TEMPLATES

WRITTEN = {
    "v1": "84c678347d2b431b3ba6ec1d448847b678adbcfcb5aa481372e47f99979e4444",
}
"""The sha256 of each version. A version that was released is never edited: copy it to the next number, edit
that, and add its line here. One that was not released yet gets its new sum."""


def sum_of(version: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(path for path in version.rglob("*") if path.is_file()):
        total.update(f"{file.relative_to(version).as_posix()}\n".encode())
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def test_every_version_of_the_templates_is_as_it_was_released() -> None:
    assert {folder.name: sum_of(folder) for folder in TEMPLATES.iterdir()} == WRITTEN
