"""Ship several: the road of each of these models, some at a time, each by a command of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeferry.domain.several import Ended, find_worst
from edgeferry.ports import Commands, Json


@dataclass(frozen=True)
class Shipped:
    """What became of one of them: its exit code, and the answer of its `ship`."""

    model: str
    code: int
    seconds: float
    facts: Json


@dataclass(frozen=True)
class Convoy:
    """What became of all of them; `code` is the worst exit code."""

    shipped: tuple[Shipped, ...]

    @property
    def code(self) -> int:
        return find_worst(each.code for each in self.shipped)


def ship_several(
    commands: Commands,
    models: Sequence[str],
    words: Callable[[str], Sequence[str]],
    at_once: int,
    tell: Callable[[str, str], None],
) -> Convoy:
    """Every one of `models` is shipped, whatever becomes of the others; `words` makes the command of one,
    which answers in JSON. `tell` hears (model, line of progress)."""
    ended = commands.run_each({model: words(model) for model in models}, at_once, tell)
    return Convoy(tuple(_read(model, ended[model]) for model in models))


def _read(model: str, ended: Ended) -> Shipped:
    try:
        facts = json.loads(ended.answer)
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        facts = {
            "ok": False,
            "problem": f"exit code {ended.code}: {ended.last}",
            "fix": "see its lines above",
        }
    return Shipped(model, ended.code, ended.seconds, {**facts, "model": model})
