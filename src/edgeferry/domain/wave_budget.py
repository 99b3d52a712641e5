"""Waves cut smaller, so that none takes more devices of a group out of service than a budget allows. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from edgeferry.domain.bucket import BUCKETS
from edgeferry.domain.condition import join_conditions
from edgeferry.domain.enrolment import BUCKET_TAG
from edgeferry.domain.notation import render_path
from edgeferry.domain.wave import Member, Wave


def keep_budget(waves: Sequence[Wave], members: Sequence[Member], most: int) -> tuple[Wave, ...]:
    """The waves, those in several parts that would reach more than `most` devices of a group: by their
    buckets, the lowest first. Devices without a group are in no budget; those without a bucket, and those
    of one bucket, cannot be parted."""
    known = {each.device: each for each in members}
    bucket = render_path("tags", BUCKET_TAG)
    kept: list[Wave] = []
    before = ""
    for wave in waves:
        parts = list(_part([known[device] for device in wave.members], most))
        for number, (names, below) in enumerate(parts, 1):
            condition = wave.condition
            if below is not None:
                within = f"({before}) OR {bucket} < {below}" if before else f"{bucket} < {below}"
                condition = join_conditions(wave.condition, within)
            rule = f"{wave.rule}, part {number} of {len(parts)}" if len(parts) > 1 else wave.rule
            kept.append(replace(wave, number=len(kept) + 1, rule=rule, condition=condition, members=names))
        before = wave.condition
    return tuple(kept)


def count_at_once(names: Sequence[str], groups: Mapping[str, str]) -> Counter[str]:
    """How many of these devices each group has; devices without a group are left out."""
    return Counter(group for group in (groups.get(name, "") for name in names) if group)


def _part(members: Sequence[Member], most: int) -> Iterator[tuple[tuple[str, ...], int | None]]:
    """Names of devices, and the bucket below which they are; None with the last, which takes all that are
    left. One part, of nobody, where there is nobody."""
    counts: Counter[str] = Counter()
    part: list[str] = []

    def rank(member: Member) -> int:
        return BUCKETS if member.bucket is None else member.bucket

    for bucket, together in groupby(sorted(members, key=lambda each: (rank(each), each.device)), key=rank):
        these = list(together)
        coming = Counter(each.group for each in these if each.group)
        if part and any(counts[group] + count > most for group, count in coming.items()):
            yield tuple(sorted(part)), bucket
            part, counts = [], Counter()
        part += [each.device for each in these]
        counts.update(coming)
    yield tuple(sorted(part)), None
