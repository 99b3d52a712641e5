"""A proposal for `smoke/checks.yml` as YAML with comments (docs/smoke.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from edgeferry.domain.smoke import Row
from edgeferry.domain.smoke_proposals import Proposal

MOST_ROWS = 20
"""Of captured requests, so many rows."""
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


def render_checks(
    model: str,
    version: str,
    proposals: Sequence[Proposal],
    answers: tuple[float, float] | None,
    captured: Sequence[Row] = (),
    device: str = "",
) -> str:
    """The file: checks that version `version` passes, those that fewer versions may pass commented out;
    `answers` are the lowest and the highest of its held-out predictions, None where these are texts,
    `captured` rows that users asked on `device`."""
    lines = [
        f"# Properties that version {version} of {model} has on its held-out rows. Keep those that",
        "# any good version must have, and take the others away. Held-out rows, requests to refuse,",
        "# repeats and memory are asked anyway.",
        "",
    ]
    for one in proposals:
        if one.shape in ("increasing", "decreasing"):
            word = "rises" if one.shape == "increasing" else "falls"
            lines += _check(one.shape, f"{word}-with-{one.column}", one)
    lines += _render_between(answers) if answers else []
    changing = [one for one in proposals if one.shape == "changes"]
    if changing:
        lines.append("# The answer depends on these columns, and neither rises nor falls all along:")
        for one in changing:
            lines += _check("changes", f"looks-at-{one.column}", one)
    ignored = [one.column for one in proposals if one.shape == "ignored"]
    if ignored:
        lines += [f"# No difference was seen along: {', '.join(map(_scalar, ignored))}", ""]
    if captured:
        lines += _render_captured(captured, device)
    return "\n".join(lines).rstrip() + "\n"


def _check(kind: str, id_: str, one: Proposal) -> list[str]:
    return [
        f"- {kind}:",
        f"    id: {_scalar(id_)}",
        f"    column: {_scalar(one.column)}",
        f"    values: {_numbers(one.values)}",
        "",
    ]


def _render_between(answers: tuple[float, float]) -> list[str]:
    low, high = answers
    return [
        f"# Its predictions lie within {low:.6g} and {high:.6g}. Which answers are possible at all?",
        "# - between:",
        "#     id: answers-are-possible",
        f"#     low: {low:.6g}",
        f"#     high: {high:.6g}",
        "#     data: [[…]]",
        "",
    ]


def _render_captured(rows: Sequence[Row], device: str) -> list[str]:
    return [
        f"# What users asked on {device}: alone, together or by name, the answers must be the same.",
        "- same:",
        f"    id: {_scalar(f'as-asked-on-{device}')}",
        "    data:",
        *(f"      - {_numbers(row)}" for row in rows[:MOST_ROWS]),
        "",
    ]


def _numbers(values: Sequence[float]) -> str:
    return json.dumps(
        [int(value) if value == int(value) and abs(value) < 1e15 else value for value in values]
    )


def _scalar(text: str) -> str:
    plain = _PLAIN.fullmatch(text.replace("-", "_")) and text.lower() not in _WORDS
    return text if plain else json.dumps(text)
