"""Settings as a TOML 1.0 file: one table for each part of their names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence


def render_settings(settings: Mapping[str, str], notes: Sequence[str] = ()) -> str:
    """The file's text, `notes` as comments at its head. Values are basic strings, which JSON's are too."""
    lines = [f"# {note}" for note in notes]
    tables: dict[str, list[str]] = {}
    for name, value in settings.items():
        table, _, key = name.rpartition(".")
        tables.setdefault(table, []).append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    for table, entries in tables.items():
        lines += ["", f"[{table}]", *entries]
    return "\n".join(lines).lstrip() + "\n"
