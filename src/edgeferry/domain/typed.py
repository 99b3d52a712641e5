"""Commands for a person to paste into a shell. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

ME = '"$USER"'
"""Who pastes it, by the name that the shell has for them."""


def render_command(environment: str, *words: str) -> str:
    """The command of edgeferry with these words, in that environment ("" for none)."""
    where = ("--env", environment) if environment else ()
    quoted = (word if word == ME else shlex.quote(word) for word in ("edgeferry", *words, *where))
    return " ".join(quoted)


def name_person(line: str, person: str) -> str:
    """The line with that name for whoever pastes it: containers have none in their shell."""
    return line.replace(ME, shlex.quote(person))


def render_choices(environment: str, choices: Mapping[str, tuple[str, ...]]) -> str:
    """What each of some commands is for, and the command, one after the other."""
    return "; ".join(f"{what}: {render_command(environment, *words)}" for what, words in choices.items())
