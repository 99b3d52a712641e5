"""Which inferences a model's server keeps, how many, how surely, and what of them it may never write down.

A model declares it (`capture:` in `model.yaml`), its image carries it (`model.json`), the server obeys.
Redaction fails closed: what cannot be told apart from a redacted value is left out with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from edgeferry.domain.fields import check_keys, flag, mapping, nearest, number, text
from edgeferry.domain.finding import At, Fault, Report, refuse
from edgeferry.errors import DefinitionError

OLDEST = "oldest"
STOP = "stop"
WHEN_FULL = (OLDEST, STOP)
GROUP = "group"
ACK = "ack"
DURABILITIES = (GROUP, ACK)
ERRORS = "errors"
OUT_OF_RANGE = "out_of_range"
ALWAYS = (ERRORS, OUT_OF_RANGE)
OUTPUT = "output"
"""In `redact`: the answer, rather than a column."""
LEAST_STORE_BYTES = 64 * 1024
_ROWS = "data"


@dataclass(frozen=True)
class CapturePolicy:
    """What a model says of its captures; the members are the keys of `capture:`."""

    enabled: bool = True
    store_bytes: int = 64 * 1024 * 1024
    """How much all segments together may take, at least LEAST_STORE_BYTES."""
    max_age_s: int = 0
    """Records older than this make room; 0: no limit."""
    max_records: int = 0
    """How many records may be held; 0: no limit."""
    when_full: str = OLDEST
    """`oldest`: the oldest records make room. `stop`: the newest are dropped, and counted."""
    durability: str = GROUP
    """`group`: answered once written, on the disk within 100 ms. `ack`: answered once on the disk."""
    rate: float = 1.0
    """The share of inferences that is kept, 0 … 1."""
    always: tuple[str, ...] = ALWAYS
    """Kept whatever the rate: `errors` (the model failed), `out_of_range` (inputs training never saw)."""
    redact: tuple[str, ...] = ()
    """Columns, or `output`, whose values are never written."""


DEFAULT_POLICY = CapturePolicy()


def parse_capture_policy(said: object, at: At = ("capture",), report: Report = refuse) -> CapturePolicy:
    """The policy in a plain document: a mapping of CapturePolicy's members, missing ones by default; or true
    or false, which is `enabled` alone; None is the default.

    Faults carry the key below `at`. Whether the columns of `redact` exist is `check_redaction`'s to say.
    """
    if said is None or isinstance(said, bool):
        return CapturePolicy(enabled=said is not False)
    field = str(at[-1])
    document = mapping({field: said}, field, at[:-1], report)
    check_keys(document, (field.name for field in fields(CapturePolicy)), at, report)
    store_bytes = _count(document, "store_bytes", DEFAULT_POLICY.store_bytes, at, report)
    if store_bytes < LEAST_STORE_BYTES:
        problem = f"`store_bytes` is less than {LEAST_STORE_BYTES}"
        fix = "give more, or write `enabled: false` to keep nothing"
        report(Fault("wrong-value", problem, fix, (*at, "store_bytes")))
    rate = number(document, "rate", DEFAULT_POLICY.rate, at, report)
    if rate > 1:
        fix = "write a share from 0 to 1, for example 0.1"
        report(Fault("wrong-value", "`rate` is more than 1", fix, (*at, "rate")))
    return CapturePolicy(
        enabled=flag(document, "enabled", True, at, report),
        store_bytes=store_bytes,
        max_age_s=_count(document, "max_age_s", DEFAULT_POLICY.max_age_s, at, report),
        max_records=_count(document, "max_records", DEFAULT_POLICY.max_records, at, report),
        when_full=_one_of(document, "when_full", WHEN_FULL, at, report),
        durability=_one_of(document, "durability", DURABILITIES, at, report),
        rate=rate,
        always=_names(document, "always", ALWAYS, ALWAYS, at, report),
        redact=_names(document, "redact", (), None, at, report),
    )


def render_capture_policy(policy: CapturePolicy) -> dict[str, Any]:
    """The document that parses to the policy: what differs from the default, and no more."""
    usual = asdict(DEFAULT_POLICY)
    said = {name: value for name, value in asdict(policy).items() if value != usual[name]}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}


def check_redaction(
    policy: CapturePolicy, columns: Collection[str], output: str = "", at: At = ("capture", "redact")
) -> None:
    """Nothing when `redact` names columns of the model, or `output`; DefinitionError with the key otherwise.
    `output`: what the model calls its answer, which is a likely mistake."""
    for place, name in enumerate(policy.redact):
        if name in columns or name == OUTPUT:
            continue
        fix = f"write `{OUTPUT}` for the answer" if name == output else nearest(name, (*columns, OUTPUT))
        raise DefinitionError(f"`redact` names `{name}`, which the model has not", fix=fix, key=(*at, place))


def must_keep(policy: CapturePolicy, draw: float, failed: bool, out_of_range: bool) -> bool:
    """Whether an inference is captured. `draw`: a random number, 0 ≤ draw < 1, of this inference's own."""
    if not policy.enabled:
        return False
    if (failed and ERRORS in policy.always) or (out_of_range and OUT_OF_RANGE in policy.always):
        return True
    return draw < policy.rate


def find_redacted(policy: CapturePolicy, columns: Sequence[str]) -> tuple[int, ...]:
    """Where in a row the redacted columns stand, counted from 0."""
    return tuple(place for place, name in enumerate(columns) if name in policy.redact)


def redact_rows(rows: Sequence[Sequence[Any]], places: Sequence[int]) -> list[list[Any]]:
    """The rows with None at `places`; the given ones stay as they are."""
    hidden = []
    for row in rows:
        copy = list(row)
        for place in places:
            copy[place] = None
        hidden.append(copy)
    return hidden


def redact_body(said: Any, columns: Sequence[str], places: Sequence[int]) -> Any:
    """What a script was asked, as parsed JSON, without the columns at `places`; itself when there are none.

    Only `{"data": [row, …]}` is understood, each row a list of as many values as there are columns, or an
    object of columns; of any other body nothing is left: None. Whatever else stands in the body or in an
    object is left out, and a list or object in a column's place becomes None: redacted values may hide there.
    """
    if not places:
        return said
    rows = said.get(_ROWS) if isinstance(said, dict) else None
    if not isinstance(rows, list):
        return None
    hidden: list[Any] = []
    for row in rows:
        if isinstance(row, list) and len(row) == len(columns):
            hidden.append([_shown(value, place in places) for place, value in enumerate(row)])
        elif isinstance(row, dict):
            hidden.append(
                {
                    name: _shown(row[name], place in places)
                    for place, name in enumerate(columns)
                    if name in row
                }
            )
        else:
            return None
    return {_ROWS: hidden}


def hides_output(policy: CapturePolicy, failed: bool) -> bool:
    """Whether the answer may not be written: it is redacted, or it is a failure's message, which may quote a
    redacted input."""
    return OUTPUT in policy.redact or (failed and bool(policy.redact))


def _shown(value: Any, redacted: bool) -> Any:
    return None if redacted or isinstance(value, list | dict) else value


def _count(document: Mapping[str, Any], field: str, default: int, at: At, report: Report) -> int:
    value = number(document, field, default, at, report)
    if value != int(value):
        report(Fault("wrong-value", f"`{field}` is no whole number", f"for example {default}", (*at, field)))
    return int(value)


def _one_of(document: Mapping[str, Any], field: str, known: Sequence[str], at: At, report: Report) -> str:
    """The word at `field`, by default the first that is known."""
    word = text(document, field, known[0], at, report)
    if word not in known:
        report(Fault("wrong-value", f"`{word}` is no `{field}`", nearest(word, known), (*at, field)))
        return known[0]
    return word


def _names(
    document: Mapping[str, Any],
    field: str,
    default: tuple[str, ...],
    known: Sequence[str] | None,
    at: At,
    report: Report,
) -> tuple[str, ...]:
    """The list of names at `field`, each once, of those `known`; any with None."""
    value = document.get(field, default)
    if not isinstance(value, list | tuple):
        fix = f"write `{field}: [NAME, …]`, or `{field}: []` for none"
        report(Fault("wrong-value", f"`{field}` is no list of names", fix, (*at, field)))
        return default
    names: list[str] = []
    for place, name in enumerate(value):
        key = (*at, field, place)
        if not isinstance(name, str) or not name:
            report(Fault("wrong-value", f"`{field}` holds what is no name", "put it in quotes", key))
        elif known is not None and name not in known:
            report(Fault("wrong-value", f"`{field}` knows no `{name}`", nearest(name, known), key))
        elif name not in names:
            names.append(name)
    return tuple(names)
