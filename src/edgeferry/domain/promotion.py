"""Promotion: people's word that a wave is good enough where the numbers could not tell. Pure.

It overrules what was measured, so it is given by those who may approve, and by as many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeferry.domain.gate import judge_approver
from edgeferry.domain.gate_policy import GatePolicy
from edgeferry.domain.people import People
from edgeferry.domain.release import Entry


@dataclass(frozen=True)
class Promoters:
    """Who may promote a wave of this release in an environment."""

    release: Entry
    policy: GatePolicy
    people: People

    def judge(self, orders: Sequence[Entry]) -> tuple[tuple[str, ...], str]:
        """Who of the authors counts, each person once, and why the wave is not promoted yet ("" when it is).
        `orders`: those to promote one wave, oldest first."""
        counted: dict[str, str] = {}
        refused = ""
        for order in orders:
            problem = judge_approver(order.author, self.release, self.policy, self.people)
            if problem:
                refused = problem
            else:
                counted.setdefault(self.people.id_of(order.author), order.author)
        people = tuple(counted.values())
        if len(people) >= self.policy.approvals:
            return people, ""
        said = f" ({', '.join(people)})" if people else ""
        lacking = f"{len(people)} of {self.policy.approvals} people promote it{said}"
        return people, f"{lacking}: {refused}" if refused else lacking
