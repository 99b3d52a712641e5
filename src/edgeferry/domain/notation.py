"""How names and texts are written in conditions and queries."""

from __future__ import annotations

import re

from edgeferry.errors import ConditionError

PLAIN_NAME = r"[A-Za-z_$][A-Za-z0-9_$]*"
"""Regular expression of the names that need no `[[…]]`, unless they are keywords."""
KEYWORD = "select|top|from|where|group|by|as|or|and|not|in|nin|true|false|null|undefined"
"""Regular expression of the words of the language, in small letters."""


def render_text(value: str) -> str:
    """The text as a constant, whatever is in it."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def render_path(*names: str) -> str:
    """The path of these members, whatever is in their names; ConditionError for a name that none can have."""
    return ".".join(map(_render_name, names))


def _render_name(name: str) -> str:
    if re.fullmatch(PLAIN_NAME, name) and not re.fullmatch(KEYWORD, name, re.IGNORECASE):
        return name
    if not name or "]]" in name or name.endswith("]"):
        fix = "use a name with neither ]] nor ] at its end"
        raise ConditionError(f"no condition can name {name!r}", fix=fix)
    return f"[[{name}]]"
