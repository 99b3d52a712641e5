"""The gate: whether a release may be rolled out to a target condition. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeferry.domain.approval import find_people, render_origin
from edgeferry.domain.release import Entry


@dataclass(frozen=True)
class Decision:
    """The gate's word: open with who approved, or shut with why and what to do."""

    open: bool
    reason: str
    fix: str = ""
    approval: Entry | None = None


def judge_gate(
    release: Entry,
    condition: str,
    environment: str,
    approvals: Sequence[tuple[Entry, str]],
    release_distrust: str,
) -> Decision:
    """Open when the latest trusted word on this release, this condition and this environment ("" for none) is
    a yes: environments may share a ledger, and the same condition picks other devices in each.

    `approvals` pairs each approval entry of the ledger, oldest first, with why its signature does not
    count ("" when it does). Whose word an entry is, says `domain/approval.py`.
    """
    if release_distrust:
        return Decision(
            False,
            f"release {release.subject} cannot be trusted: {release_distrust}",
            fix="check who wrote it, then release again",
        )
    word: Entry | None = None
    ignored = ""
    for approval, distrust in approvals:
        if approval.body.get("release") != release.subject:
            continue
        if distrust:
            ignored = f"the approval by {approval.author} does not count: {distrust}"
        elif not find_people(approval):
            ignored = f"{approval.author} is a pipeline and names no person who approved"
        elif approval.body.get("release_signature") != release.signature:
            ignored = f"the approval by {approval.author} is for another content of this release"
        elif approval.body.get("environment", "") != environment:
            other = approval.body.get("environment") or "no environment"
            ignored = f"{_render_people(approval)} approved it for {other}, not {environment or 'none'}"
        elif approval.body.get("target_condition") != condition:
            other = approval.body.get("target_condition")
            ignored = f"{_render_people(approval)} approved it for {other!r}, not {condition!r}"
        else:
            word = approval
    if word is not None and word.body.get("decision") == "yes":
        reason = f"approved by {_render_people(word)}{render_origin(word)}, at {word.at}"
        return Decision(True, reason, approval=word)
    if word is not None:
        return Decision(
            False,
            f"{_render_people(word)} said no to release {release.subject} at {word.at}",
            fix="mend the model and release again, or ask for a new approval",
        )
    problem = f"release {release.subject} is not approved for {condition!r}"
    return Decision(
        False,
        f"{problem}: {ignored}" if ignored else problem,
        fix=f"a person approves with: edgeferry approve {release.subject} --by NAME -t {condition!r}"
        + (f" --env {environment}" if environment else ""),
    )


def _render_people(approval: Entry) -> str:
    return " and ".join(find_people(approval))
