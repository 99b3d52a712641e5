"""Azure DevOps, as far as a step asks it: the timeline of one run, and its approvals, over HTTPS."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.ci.https_stub import HttpsStub

TOKEN = "token-of-the-run"


def approved(number: str, *people: str, status: str = "approved") -> dict[str, Any]:
    """One approval as the approvals API gives it; `people` said yes."""
    return {
        "id": number,
        "status": status,
        "minRequiredApprovers": 1,
        "steps": [
            {
                "assignedApprover": {"displayName": "A group", "uniqueName": "vstfs:///a-group"},
                "actualApprover": {"displayName": person, "uniqueName": person},
                "status": "approved",
                "lastModifiedOn": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            for person in people
        ]
        or [{"assignedApprover": {"uniqueName": "vstfs:///a-group"}, "status": "pending"}],
    }


@dataclass
class Platform:
    """The stub. `approvals` by stage; `answers` are statuses given before the real answer, in order."""

    folder: Path
    project: str = "Edge fleet"
    build: str = "41"
    stages: tuple[str, ...] = ("build", "rollout")
    approvals: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    answers: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = HttpsStub(self.folder, self.answer)
        self.close = self._server.close

    @property
    def ca_file(self) -> str:
        return self._server.ca_file

    @property
    def collection(self) -> str:
        return f"{self._server.address}/fabrikam/"

    def environment(self, stage: str, token: str = TOKEN) -> dict[str, str]:
        """The predefined variables of a step in that stage."""
        return {
            "SYSTEM_COLLECTIONURI": self.collection,
            "SYSTEM_TEAMPROJECT": self.project,
            "BUILD_BUILDID": self.build,
            "SYSTEM_STAGENAME": stage,
            "SYSTEM_ACCESSTOKEN": token,
        }

    def timeline(self) -> dict[str, Any]:
        records = []
        for stage in self.stages:
            records.append({"type": "Stage", "id": f"s-{stage}", "parentId": None, "identifier": stage})
            records.append(
                {"type": "Phase", "id": f"p-{stage}", "parentId": f"s-{stage}", "identifier": stage}
            )
            records.append({"type": "Checkpoint", "id": f"c-{stage}", "parentId": f"s-{stage}"})
            records += [
                {"type": "Checkpoint.Approval", "id": each["id"], "parentId": f"c-{stage}"}
                for each in self.approvals.get(stage, [])
            ]
        return {"records": records}

    def answer(self, path: str, token: str) -> tuple[int, Any]:
        self.asked.append(path)
        if self.answers:
            return self.answers.pop(0), {}
        if token != f"Bearer {TOKEN}":
            return 203, "<html>Sign in</html>"
        parts = urlsplit(path)
        root = "/fabrikam/Edge%20fleet/_apis"
        if parts.path == f"{root}/build/builds/{self.build}/timeline":
            return 200, self.timeline()
        if parts.path == f"{root}/pipelines/approvals":
            query = parse_qs(parts.query)
            wanted = query["approvalIds"][0].split(",")
            known = [each for several in self.approvals.values() for each in several]
            if query.get("$expand") != ["steps"]:
                known = [{**each, "steps": []} for each in known]
            return 200, {"value": [each for each in known if each["id"] in wanted]}
        return 404, {}
