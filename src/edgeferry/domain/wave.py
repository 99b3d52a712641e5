"""Waves: the portions in which a release reaches its devices, as rising target conditions. Pure.

A wave is one edit of the new layer's target condition: each selects all that the one before selects, and
more. How many devices that is, per stratum, is said by thresholds on their buckets (`domain/bucket.py`),
taken from the devices that are really there; the last condition is the rollout's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from edgeferry.domain.bucket import BUCKETS
from edgeferry.domain.condition import Condition, matches, parse_condition
from edgeferry.domain.enrolment import BUCKET_TAG
from edgeferry.domain.expression import Call, Path, find_paths, follow
from edgeferry.domain.notation import render_path, render_text
from edgeferry.errors import ConditionError, UsageError

_PART = re.compile(r"""(?:[^;'"]|'[^']*'|"[^"]*"|['"])+""")
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(%?)")
_BUCKET = Path(("tags", BUCKET_TAG))
_SELECTING = frozenset({"tags", "properties", "deviceId"})
"""What tells one device from another; a bare name, as of `many`, is of none of them."""


@dataclass(frozen=True)
class WaveRule:
    """How far one wave goes: that many devices, that share of each stratum, or the devices of a condition."""

    text: str
    kind: Literal["count", "percent", "selector"]
    amount: float = 0
    """Devices, or percent; 0 for a condition."""
    condition: str = ""


ALL = WaveRule("100 %", "percent", 100)


@dataclass(frozen=True)
class Member:
    """One device that the rollout targets."""

    device: str
    bucket: int | None
    """None where its twin says none: no threshold can reach it."""
    stratum: str
    """The value of its stratum tag as text; "" where it has none, or there are no strata."""
    group: str
    """The same of the tag that a disruption budget counts by."""
    document: Mapping[str, Any]
    """Its twin."""


@dataclass(frozen=True)
class Wave:
    """One portion of a rollout."""

    number: int
    """From 1."""
    rule: str
    condition: str
    """The layer's target condition from this wave on; it selects the members of earlier waves too."""
    members: tuple[str, ...]
    """The devices that it adds, by name."""
    thresholds: Mapping[str, int]
    """By stratum: buckets below it are in. Of earlier waves too; none in the last wave, which takes all."""


def parse_waves(text: str) -> tuple[WaveRule, ...]:
    """The rules of `1; 10 %; tags.ring = 'early'; 100 %`: counts and percentages say how many have the
    release once the wave is through. The last is 100 %, said or not. UsageError naming the wave that is
    wrong."""
    rules = [_parse_rule(part.strip(), text) for part in _PART.findall(text) if part.strip()]
    percents = [rule for rule in rules if rule.kind == "percent"]
    for before, after in pairwise(percents):
        if after.amount <= before.amount:
            raise _wrong(after.text, text, f"it reaches no further than {before.text}")
    if ALL.amount in [rule.amount for rule in rules[:-1] if rule.kind == "percent"]:
        raise _wrong(rules[-1].text, text, "all devices have the release before it")
    if not rules or rules[-1].kind != "percent" or rules[-1].amount < ALL.amount:
        rules.append(ALL)
    return tuple(rules)


def parse_tag(text: str) -> Path | None:
    """The path of a tag, e.g. `tags.site`; None for an empty text. UsageError for anything else."""
    if not text.strip():
        return None
    try:
        expression = parse_condition(f"is_defined({text})").expression
    except ConditionError:
        expression = None
    match expression:
        case Call("is_defined", (Path(("tags", _, *_)) as path,)):
            return path
    raise UsageError(f"{text!r} is not the path of a tag", fix="write it as tags.NAME, e.g. tags.site")


def read_member(
    document: Mapping[str, Any], stratum: Path | None = None, group: Path | None = None
) -> Member:
    """The device whose twin this is."""
    bucket = follow(document, _BUCKET)
    return Member(
        device=str(document["deviceId"]),
        bucket=bucket if type(bucket) is int and 0 <= bucket < BUCKETS else None,
        stratum=_read_tag(document, stratum),
        group=_read_tag(document, group),
        document=document,
    )


def cut_waves(
    condition: str, members: Sequence[Member], rules: Sequence[WaveRule], stratum: Path | None = None
) -> tuple[Wave, ...]:
    """The waves in which the `members`, all of those that `condition` selects, get the release.

    A count is spread over the strata by their sizes, a percentage is taken of each, rounded down; both reach
    at least one device of each stratum. Devices of one bucket go together. A device without bucket, or
    without the stratum tag, comes by a selector or in the last wave. A wave that would add nobody is left
    out; the last one never is, and its condition is `condition` itself.
    """
    strata = _sort_buckets(members, bool(stratum))
    thresholds: dict[str, int] = {}
    selectors: list[str] = []
    parsed: list[Condition] = []
    waves: list[Wave] = []
    inside: frozenset[str] = frozenset()
    for rule in rules[:-1]:
        if rule.kind == "selector":
            selectors.append(f"({rule.condition})" if rule.condition.strip() != "*" else "deviceId != ''")
            parsed.append(parse_condition(rule.condition))
        else:
            thresholds = {
                name: max(thresholds.get(name, 0), strata[name][count - 1] + 1)
                for name, count in _counts(rule, strata).items()
            }
        parts = [*_render_thresholds(thresholds, members, stratum), *selectors]
        if not parts:
            continue
        reached = frozenset(each.device for each in members if _is_inside(each, thresholds, parsed))
        if len(reached) == len(members) or reached == inside:
            continue
        added = tuple(sorted(reached - inside))
        wanted = f"({' OR '.join(parts)})"
        if condition.strip() != "*":
            wanted = f"({condition.strip()}) AND {wanted}"
        waves.append(Wave(len(waves) + 1, rule.text, wanted, added, dict(thresholds)))
        inside = reached
    rest = tuple(sorted(each.device for each in members if each.device not in inside))
    return (*waves, Wave(len(waves) + 1, rules[-1].text, condition, rest, {}))


def _parse_rule(part: str, text: str) -> WaveRule:
    if not (amount := _AMOUNT.fullmatch(part)):
        try:
            parsed = parse_condition(part)
        except ConditionError as error:
            raise _wrong(part, text, error.problem) from error
        if part != "*" and not any(path.segments[0] in _SELECTING for path in find_paths(parsed.expression)):
            raise _wrong(part, text, "as a condition it names neither tags nor properties nor deviceId")
        return WaveRule(part, "selector", condition=part)
    number = float(amount[1])
    if amount[2]:
        if not 0 < number <= ALL.amount:
            raise _wrong(part, text, "a percentage is more than 0 and at most 100")
        return WaveRule(part, "percent", number)
    if not number or not number.is_integer():
        raise _wrong(part, text, "a number of devices is a whole one, at least 1")
    return WaveRule(part, "count", number)


def _wrong(part: str, text: str, why: str) -> UsageError:
    return UsageError(
        f"rollout.waves: wave {part!r} of {text!r}: {why}",
        fix="write numbers, percentages and conditions that reach ever further: 1; 10 %; tags.ring = 'early'",
    )


def _sort_buckets(members: Sequence[Member], by_stratum: bool) -> dict[str, list[int]]:
    """The buckets in each stratum that a threshold can reach, sorted."""
    strata: dict[str, list[int]] = {}
    for each in members:
        if each.bucket is not None and (each.stratum or not by_stratum):
            strata.setdefault(each.stratum, []).append(each.bucket)
    return {name: sorted(strata[name]) for name in sorted(strata)}


def _counts(rule: WaveRule, strata: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """How many devices of each stratum the rule reaches, at least one."""
    sizes = {name: len(buckets) for name, buckets in strata.items()}
    if rule.kind == "percent":
        return {name: max(1, int(rule.amount * size / 100 + 1e-9)) for name, size in sizes.items()}
    total = sum(sizes.values())
    wanted = min(int(rule.amount), total)
    shares = {name: wanted * size / total for name, size in sizes.items()}
    counts = {name: max(1, int(share)) for name, share in shares.items()}
    by_rest = sorted(shares, key=lambda name: (int(shares[name]) - shares[name], name))
    for name in by_rest[: max(0, wanted - sum(counts.values()))]:
        counts[name] = min(counts[name] + 1, sizes[name])
    return counts


def _is_inside(each: Member, thresholds: Mapping[str, int], selectors: Sequence[Condition]) -> bool:
    """Whether the wave's condition is true of it; what a plan may show can be longer than what is parsed."""
    bucket, threshold = follow(each.document, _BUCKET), thresholds.get(each.stratum)
    if threshold is not None and type(bucket) in (int, float) and bucket < threshold:
        return True
    return any(matches(selector, each.document) for selector in selectors)


def _render_thresholds(
    thresholds: Mapping[str, int], members: Sequence[Member], stratum: Path | None
) -> Iterator[str]:
    """Conditions of which one is true of each device below its stratum's threshold."""
    bucket = render_path(*_BUCKET.segments)
    if stratum is None:
        yield from (f"{bucket} < {threshold}" for threshold in thresholds.values())
        return
    values: dict[int, set[str]] = {}
    for each in members:
        if each.stratum in thresholds:
            value = _render_value(follow(each.document, stratum))
            values.setdefault(thresholds[each.stratum], set()).add(value)
    tag = render_path(*stratum.segments)
    for threshold, among in sorted(values.items()):
        one_of = f"IN [{', '.join(sorted(among))}]" if len(among) > 1 else f"= {min(among)}"
        yield f"({tag} {one_of} AND {bucket} < {threshold})"


def _read_tag(document: Mapping[str, Any], path: Path | None) -> str:
    """The tag's value as text; "" where there is none, or none that a condition could compare."""
    value = follow(document, path) if path else None
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | int | float) else ""


def _render_value(value: Any) -> str:
    return render_text(value) if isinstance(value, str) else json.dumps(value)
