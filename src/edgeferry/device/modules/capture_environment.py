"""What an operator says of captures in a module's environment, over what the model's card says.

    EDGEFERRY_CAPTURES              a folder, or `off`
    EDGEFERRY_CAPTURES_BYTES        store_bytes
    EDGEFERRY_CAPTURES_AGE_S        max_age_s
    EDGEFERRY_CAPTURES_RECORDS      max_records
    EDGEFERRY_CAPTURES_WHEN_FULL    when_full
    EDGEFERRY_CAPTURES_DURABILITY   durability
    EDGEFERRY_CAPTURES_RATE         rate
    EDGEFERRY_CAPTURES_ALWAYS       always, a comma between names
    EDGEFERRY_CAPTURES_REDACT       more to redact, a comma between names

A wrong value is told on stderr and changes nothing: a mistyped variable may not take a model's answers away.
What the model redacts, or does not capture at all, no environment brings back; and of a column to redact that
the model has not, nobody knows which was meant, so that nothing is captured.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeferry.domain.capture_policy import CapturePolicy, check_redaction, parse_capture_policy
from edgeferry.domain.finding import Fault
from edgeferry.errors import DefinitionError
from edgeferry.wire.capture import CAPTURES_FOLDER
from edgeferry.wire.serving import ModelCard

PLACE = "EDGEFERRY_CAPTURES"
_NUMBERS = {"BYTES": "store_bytes", "AGE_S": "max_age_s", "RECORDS": "max_records", "RATE": "rate"}
_WORDS = {"WHEN_FULL": "when_full", "DURABILITY": "durability"}


def place_of(environ: Mapping[str, str]) -> Path | None:
    """The folder of the store; None when captures are off."""
    folder = environ.get(PLACE, CAPTURES_FOLDER)
    return Path(folder) if folder not in ("", "off") else None


def policy_of(card: ModelCard, environ: Mapping[str, str]) -> CapturePolicy:
    """The card's policy with what the environment says instead."""
    policy = card.capture
    for name, field in {**_NUMBERS, **_WORDS, "ALWAYS": "always"}.items():
        text = environ.get(f"{PLACE}_{name}", "").strip()
        if text:
            policy = _with(policy, f"{PLACE}_{name}", field, text)
    more = _names(environ.get(f"{PLACE}_REDACT", ""))
    policy = replace(policy, redact=tuple(dict.fromkeys((*policy.redact, *more))))
    try:
        check_redaction(policy, [column.name for column in card.columns], card.output)
    except DefinitionError as error:
        _say(f"{PLACE}_REDACT: {error.problem} ({error.fix}); nothing is captured")
        return replace(policy, enabled=False)
    return policy


def _with(policy: CapturePolicy, variable: str, field: str, text: str) -> CapturePolicy:
    value: Any = text
    if field == "always":
        value = _names(text) if text != "none" else []
    elif field not in _WORDS.values():
        with contextlib.suppress(ValueError):  # told as what it is
            value = float(text)
    faults: list[Fault] = []
    said = parse_capture_policy({field: value}, report=faults.append)
    for fault in faults:
        _say(f"{variable}: {fault.problem} ({fault.fix}); it is not obeyed")
    return policy if faults else replace(policy, **{field: getattr(said, field)})


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
