"""`cases.json`, the smoke cases inside a model's image. Format `edgeferry.cases/1`, ours.

The bytes are canonical JSON, since their sha256 is part of the release.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgeferry.domain.model import Tolerance
from edgeferry.domain.smoke import Case, CaseSet, EqualCase, IncreasingCase, RefusedCase
from edgeferry.errors import UsageError
from edgeferry.wire.canonical import render_canonical

FORMAT = "edgeferry.cases/1"


def render_cases(cases: CaseSet) -> bytes:
    """The exact bytes of `cases.json`; ValueError when a number is not finite."""
    return render_canonical(
        {
            "format": FORMAT,
            "model": cases.model,
            "version": cases.version,
            "tolerance": {"rtol": cases.tolerance.rtol, "atol": cases.tolerance.atol},
            "latency_ms": cases.latency_ms,
            "cases": [_render_case(case) for case in cases.cases],
        }
    )


def parse_cases(body: bytes) -> CaseSet:
    """The cases in the bytes of a `cases.json`; UsageError when they are none."""
    try:
        said = json.loads(body)
        if said["format"] != FORMAT:
            raise ValueError(f"its format is {said['format']!r}")
        return CaseSet(
            model=str(said["model"]),
            version=str(said["version"]),
            tolerance=Tolerance(float(said["tolerance"]["rtol"]), float(said["tolerance"]["atol"])),
            latency_ms=float(said["latency_ms"]),
            cases=tuple(_parse_case(case) for case in said["cases"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"these are not smoke cases of format {FORMAT}: {error}",
            fix="package the model with this version of edgeferry",
        ) from error


def _render_case(case: Case) -> dict[str, Any]:
    match case:
        case EqualCase():
            return {"id": case.id, "kind": "equal", "rows": case.rows, "expected": case.expected}
        case RefusedCase():
            return {"id": case.id, "kind": "refused", "body": case.body}
        case IncreasingCase():
            return {"id": case.id, "kind": "increasing", "rows": case.rows}


def _parse_case(said: Mapping[str, Any]) -> Case:
    match said["kind"]:
        case "equal":
            rows, expected = _parse_rows(said["rows"]), tuple(float(value) for value in said["expected"])
            if len(rows) != len(expected):
                raise ValueError(f"case {said['id']}: {len(rows)} rows, {len(expected)} expected answers")
            return EqualCase(str(said["id"]), rows, expected)
        case "refused":
            return RefusedCase(str(said["id"]), said["body"])
        case "increasing":
            return IncreasingCase(str(said["id"]), _parse_rows(said["rows"]))
        case kind:
            raise ValueError(f"case {said['id']}: kind {kind!r} is unknown")


def _parse_rows(said: Any) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(value if isinstance(value, str) else float(value) for value in row) for row in said)
