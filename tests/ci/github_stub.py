"""GitHub, as far as a step asks it: the review history of one run, over HTTPS."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.ci.https_stub import HttpsStub

TOKEN = "ghs_token-of-the-run"


def review(
    login: str, *environments: str, state: str = "approved", kind: str = "User", number: int = 7
) -> dict[str, Any]:
    """One review as the API gives it."""
    return {
        "state": state,
        "comment": "Ship it!",
        "user": {"login": login, "id": 1, "type": kind},
        "environments": [{"id": number, "name": name} for name in environments],
    }


@dataclass
class GitHub:
    """The stub. `answers` are statuses given before the real answer, in order."""

    folder: Path
    repository: str = "contoso/fleet"
    run: str = "30433642"
    reviews: Any = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = HttpsStub(self.folder, self.answer)
        self.ca_file, self.address, self.close = (
            self._server.ca_file,
            self._server.address,
            self._server.close,
        )

    def environment(self, name: str) -> dict[str, str]:
        """The variables of a step in a job of that environment."""
        return {
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_API_URL": f"{self.address}/api/v3",
            "GITHUB_REPOSITORY": self.repository,
            "GITHUB_RUN_ID": self.run,
            "APPROVAL_ENVIRONMENT": name,
            "GITHUB_TOKEN": TOKEN,
        }

    def answer(self, path: str, token: str) -> tuple[int, Any]:
        self.asked.append(path)
        if self.answers:
            return self.answers.pop(0), {}
        if token != f"Bearer {TOKEN}":
            return 401, {"message": "Bad credentials"}
        if path == f"/api/v3/repos/{self.repository}/actions/runs/{self.run}/approvals":
            return 200, self.reviews
        return 404, {"message": "Not Found"}
