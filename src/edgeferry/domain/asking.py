"""How a person asks a model on a device, as a command to paste. Pure."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.smoke import CaseSet, EqualCase

_LONGEST = 2000
"""Characters of a row beyond which nobody wants to paste it."""


@dataclass(frozen=True)
class Asking:
    """A model that answers on a device."""

    model: str
    device: str
    place: str
    """Where on the device's own machine it answers: `127.0.0.1:PORT`."""
    row: Any = None
    """A row of its smoke cases, or an object by column; None where none is at hand."""


def choose_row(cases: CaseSet) -> Any:
    """A row that the model is known to answer; None when there is none of a length to paste."""
    for case in cases.cases:
        if isinstance(case, EqualCase) and case.rows:
            row = case.rows[0]
            found = dict(zip(case.columns, row, strict=True)) if case.columns else list(row)
            if len(json.dumps(found)) <= _LONGEST:
                return found
    return None


def render_asking(asking: Asking) -> tuple[str, str]:
    """What it is, and the command."""
    where = f"on {asking.device}'s machine; each new container of it has another port"
    if asking.row is None:
        command = f"curl http://{asking.place}/openapi.json"
        return f"What {asking.model} takes at /score ({where}):", command
    body = shlex.quote(json.dumps({"data": [asking.row]}, ensure_ascii=False))
    command = f"curl http://{asking.place}/score -H 'content-type: application/json' -d {body}"
    return f"Ask {asking.model} ({where}):", command
