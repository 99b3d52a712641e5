"""`cases.json`, the smoke cases inside a model's image. Format `edgeferry.cases/2`, ours; `/1`, which had the
kinds equal, refused and increasing and no options, is read too.

The bytes are canonical JSON, since their sha256 is part of the release.

    case   {"id", "kind", …as the kind needs, "repeats"?, "latency_ms"?}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgeferry.domain.model import Tolerance
from edgeferry.domain.smoke import (
    BetweenCase,
    Case,
    CaseSet,
    ChangesCase,
    DecreasingCase,
    EqualCase,
    IncreasingCase,
    MemoryCase,
    RefusedCase,
    Row,
    SameCase,
)
from edgeferry.domain.smoke_judging import render_questions
from edgeferry.errors import UsageError
from edgeferry.wire.canonical import render_canonical

FORMAT = "edgeferry.cases/2"
CASES_TYPE = "application/vnd.edgeferry.cases.v2+json"
"""Artifact type of the cases attached to an image, so that they can be read without its layers."""
_FORMATS = (FORMAT, "edgeferry.cases/1")
_MOST_REPEATS = 10_000
_WIDE = 80


def render_cases(cases: CaseSet) -> bytes:
    """The exact bytes of `cases.json`; ValueError when a number is not finite."""
    said: dict[str, Any] = {
        "format": FORMAT,
        "model": cases.model,
        "version": cases.version,
        "tolerance": {"rtol": cases.tolerance.rtol, "atol": cases.tolerance.atol},
        "latency_ms": cases.latency_ms,
        "cases": [render_case(case) for case in cases.cases],
    }
    if cases.model_sha256:
        said["model_sha256"] = cases.model_sha256
    return render_canonical(said)


def parse_cases(body: bytes) -> CaseSet:
    """The cases in the bytes of a `cases.json`; UsageError when they are none."""
    try:
        said = json.loads(body)
        if said["format"] not in _FORMATS:
            raise ValueError(f"its format is {said['format']!r}")
        cases = tuple(_parse_case(case) for case in said["cases"])
        if len({case.id for case in cases}) != len(cases):
            raise ValueError("two cases share an id")
        return CaseSet(
            model=str(said["model"]),
            version=str(said["version"]),
            tolerance=Tolerance(float(said["tolerance"]["rtol"]), float(said["tolerance"]["atol"])),
            latency_ms=float(said["latency_ms"]),
            cases=cases,
            model_sha256=str(said.get("model_sha256", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"these are not smoke cases of format {FORMAT}: {error}",
            fix="package the model with this version of edgeferry",
        ) from error


def describe_case(case: Case) -> tuple[str, int, str]:
    """Kind, how many requests it takes, and what must hold, for people."""
    kind, requests = str(_render_kind(case)["kind"]), len(render_questions(case)) * case.repeats
    match case:
        case EqualCase():
            must = f"{len(case.rows)} rows answered as the pipeline did"
        case RefusedCase():
            must = f"{json.dumps(case.body)} refused"
        case BetweenCase():
            must = f"answers within {case.low:g} and {case.high:g}"
        case ChangesCase():
            must = "answers are not all the same"
        case SameCase():
            must = f"{len(case.ways)} ways of asking give the same"
        case MemoryCase():
            most = f", at most {case.most_bytes / 1e6:g} MB" if case.most_bytes else ""
            must = f"grows by at most {case.growth_bytes / 1e6:g} MB{most}"
        case IncreasingCase():
            must = "answers do not fall"
        case DecreasingCase():
            must = "answers do not rise"
    return kind, requests, must if len(must) <= _WIDE else must[: _WIDE - 1] + "…"


def render_case(case: Case) -> dict[str, Any]:
    """One case as it stands in `cases.json`."""
    said = {"id": case.id, **_render_kind(case)}
    if case.repeats != 1 or isinstance(case, MemoryCase):
        said["repeats"] = case.repeats
    if case.latency_ms is not None:
        said["latency_ms"] = case.latency_ms
    return said


def _render_kind(case: Case) -> dict[str, Any]:
    match case:
        case EqualCase():
            named = {"columns": case.columns} if case.columns else {}
            return {"kind": "equal", "rows": case.rows, "expected": case.expected, **named}
        case RefusedCase():
            return {"kind": "refused", "body": case.body}
        case IncreasingCase():
            return {"kind": "increasing", "rows": case.rows}
        case DecreasingCase():
            return {"kind": "decreasing", "rows": case.rows}
        case BetweenCase():
            return {"kind": "between", "rows": case.rows, "low": case.low, "high": case.high}
        case ChangesCase():
            return {"kind": "changes", "rows": case.rows}
        case SameCase():
            return {"kind": "same", "ways": case.ways}
        case MemoryCase():
            sizes = {"growth_bytes": case.growth_bytes, "most_bytes": case.most_bytes}
            measured = {"measured": True} if case.measured else {}
            return {"kind": "memory", "rows": case.rows, **sizes, **measured}


def _parse_case(said: Mapping[str, Any]) -> Case:
    id_, latency_ms = str(said["id"]), said.get("latency_ms")
    repeats = int(said.get("repeats", 1))
    if not 1 <= repeats <= _MOST_REPEATS:
        raise ValueError(f"case {id_}: {repeats} repeats")
    limit = None if latency_ms is None else float(latency_ms)
    match said["kind"]:
        case "equal":
            return _parse_equal(id_, said, repeats, limit)
        case "refused":
            return RefusedCase(id_, said["body"], repeats=repeats, latency_ms=limit)
        case "increasing":
            return IncreasingCase(id_, _parse_rows(said), repeats=repeats, latency_ms=limit)
        case "decreasing":
            return DecreasingCase(id_, _parse_rows(said), repeats=repeats, latency_ms=limit)
        case "between":
            low, high = float(said["low"]), float(said["high"])
            return BetweenCase(id_, _parse_rows(said), low, high, repeats=repeats, latency_ms=limit)
        case "changes":
            return ChangesCase(id_, _parse_rows(said), repeats=repeats, latency_ms=limit)
        case "same":
            ways = tuple(tuple(way) for way in said["ways"])
            if len(ways) < 2 or not all(ways):
                raise ValueError(f"case {id_}: {len(ways)} ways of asking")
            return SameCase(id_, ways, repeats=repeats, latency_ms=limit)
        case "memory":
            sizes = int(said["growth_bytes"]), int(said["most_bytes"])
            known = said.get("measured") is True
            return MemoryCase(id_, _parse_rows(said), *sizes, known, repeats=repeats, latency_ms=limit)
        case kind:
            raise ValueError(f"case {id_}: kind {kind!r} is unknown")


def _parse_equal(id_: str, said: Mapping[str, Any], repeats: int, limit: float | None) -> Case:
    rows = _parse_rows(said)
    expected = tuple(value if isinstance(value, str) else float(value) for value in said["expected"])
    columns = tuple(str(name) for name in said.get("columns", ()))
    if len(rows) != len(expected):
        raise ValueError(f"case {id_}: {len(rows)} rows, {len(expected)} expected answers")
    if columns and any(len(row) != len(columns) for row in rows):
        raise ValueError(f"case {id_}: a row is not of {len(columns)} columns")
    return EqualCase(id_, rows, expected, columns, repeats=repeats, latency_ms=limit)


def _parse_rows(said: Mapping[str, Any]) -> tuple[Row, ...]:
    rows = tuple(
        tuple(value if value is None or isinstance(value, str) else float(value) for value in row)
        for row in said["rows"]
    )
    if not rows:
        raise ValueError(f"case {said['id']}: no rows")
    return rows
