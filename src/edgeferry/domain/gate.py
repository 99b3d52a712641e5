"""The gate: whether a release may be rolled out to a target condition. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeferry.domain.release import Entry


@dataclass(frozen=True)
class Decision:
    """The gate's word: open with who approved, or shut with why and what to do."""

    open: bool
    reason: str
    fix: str = ""
    approval: Entry | None = None


def judge_gate(
    release: Entry, condition: str, approvals: Sequence[tuple[Entry, str]], release_distrust: str
) -> Decision:
    """Open when the latest trusted word on this release and this condition is a yes.

    `approvals` pairs each approval entry of the ledger, oldest first, with why its signature does not
    count ("" when it does).
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
        elif approval.body.get("release_signature") != release.signature:
            ignored = f"the approval by {approval.author} is for another content of this release"
        elif approval.body.get("target_condition") != condition:
            other = approval.body.get("target_condition")
            ignored = f"{approval.author} approved it for {other!r}, not {condition!r}"
        else:
            word = approval
    if word is not None and word.body.get("decision") == "yes":
        return Decision(True, f"approved by {word.author} at {word.at}", approval=word)
    if word is not None:
        return Decision(
            False,
            f"{word.author} said no to release {release.subject} at {word.at}",
            fix="mend the model and release again, or ask for a new approval",
        )
    problem = f"release {release.subject} is not approved for {condition!r}"
    return Decision(
        False,
        f"{problem}: {ignored}" if ignored else problem,
        fix=f"a person approves with: edgeferry approve {release.subject} --by NAME -t {condition!r}",
    )
