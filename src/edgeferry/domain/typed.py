"""Commands for a person to paste into a shell. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping


def render_command(environment: str, *words: str) -> str:
    """The command of edgeferry with these words, in that environment ("" for none)."""
    where = ("--env", environment) if environment else ()
    return shlex.join(("edgeferry", *words, *where))


def render_choices(environment: str, choices: Mapping[str, tuple[str, ...]]) -> str:
    """What each of some commands is for, and the command, one after the other."""
    return "; ".join(f"{what}: {render_command(environment, *words)}" for what, words in choices.items())
