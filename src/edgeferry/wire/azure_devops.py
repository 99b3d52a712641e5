"""Azure DevOps REST 7.1: what a run's timeline and the approvals API say about the approvals of one stage.

Build timeline (`build/builds/ID/timeline`): records with `type`, `id`, `parentId`, `identifier`. A stage with
checks has a child of type `Checkpoint`, whose children of type `Checkpoint.Approval` bear the ids of the
approvals. Approvals (`pipelines/approvals?approvalIds=…&$expand=steps`): each with `status`, and `steps`
with `status`, `assignedApprover`, `actualApprover` (identities with `uniqueName`), `lastModifiedOn`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from edgeferry.domain.approval import Word

API = "7.1"


def render_timeline_url(collection: str, project: str, build: str) -> str:
    """Where the run's timeline is; `collection` ends in `/`."""
    return f"{collection}{quote(project)}/_apis/build/builds/{quote(build)}/timeline?api-version={API}"


def render_approvals_url(collection: str, project: str, ids: Sequence[str]) -> str:
    """Where these approvals are, with their steps."""
    wanted = ",".join(quote(each) for each in ids)
    return (
        f"{collection}{quote(project)}/_apis/pipelines/approvals"
        f"?approvalIds={wanted}&$expand=steps&api-version={API}"
    )


def render_run_url(collection: str, project: str, build: str) -> str:
    """The run's page, for a person."""
    return f"{collection}{quote(project)}/_build/results?buildId={quote(build)}"


def parse_approval_ids(timeline: Mapping[str, Any], stage: str) -> tuple[str, ...]:
    """The ids of the approvals that `stage` waited for, sorted; ValueError when it is no timeline with that
    stage."""
    records = timeline.get("records")
    if not isinstance(records, list):
        raise ValueError("it has no records")

    def children(kind: str, parents: set[str]) -> set[str]:
        return {str(r.get("id")) for r in records if r.get("type") == kind and r.get("parentId") in parents}

    stages = {str(r.get("id")) for r in records if r.get("type") == "Stage" and r.get("identifier") == stage}
    if not stages:
        raise ValueError(f"it has no stage {stage}")
    return tuple(sorted(children("Checkpoint.Approval", children("Checkpoint", stages))))


def parse_approvals(document: Mapping[str, Any], ids: Sequence[str]) -> tuple[Word, ...]:
    """What was said in each of `ids`; ValueError when one is missing."""
    values = document.get("value")
    found = {str(each.get("id")): each for each in values} if isinstance(values, list) else {}
    missing = [each for each in ids if each not in found]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    return tuple(_parse_word(each, found[each]) for each in ids)


def _parse_word(number: str, approval: Mapping[str, Any]) -> Word:
    said = [step for step in approval.get("steps") or () if step.get("status") == "approved"]
    people = [step.get("actualApprover") or {} for step in said]
    times = [str(step.get("lastModifiedOn") or "") for step in said]
    return Word(
        id=number,
        status=str(approval.get("status") or ""),
        approvers=tuple(str(person["uniqueName"]) for person in people if person.get("uniqueName")),
        at=max(times, default=""),
    )
