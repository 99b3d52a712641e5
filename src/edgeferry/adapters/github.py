"""GitHub, asked with the run's own token who reviewed the environment of the job that we are a step of."""

from __future__ import annotations

from collections.abc import Callable

from edgeferry.adapters.platform_client import Patience, PlatformClient
from edgeferry.domain.approval import GITHUB, Record
from edgeferry.errors import OutsideError
from edgeferry.surroundings import GitHubRun
from edgeferry.wire.github import HEADERS, parse_reviews, render_reviews_url, render_run_url

_RIGHTS = "give the job `permissions: actions: read`, and the step `GITHUB_TOKEN: ${{ github.token }}`"


class GitHubApprovals:
    """Implements the `Approvals` port. `find_run` gives the run around us, or raises UsageError."""

    def __init__(self, find_run: Callable[[], GitHubRun], patience: Patience | None = None) -> None:
        self._find_run = find_run
        self._patience = patience or Patience()

    def fetch(self) -> Record:
        """The reviews of the job's environment."""
        run = self._find_run()
        with PlatformClient("GitHub", run.api, run.token, _RIGHTS, self._patience, HEADERS) as client:
            history = client.get(render_reviews_url(run.api, run.repository, run.id))
        try:
            words = parse_reviews(history, run.environment, run.id, run.server)
        except ValueError as error:
            raise OutsideError(
                f"GitHub's answer about run {run.id} cannot be read: {error}",
                fix="look at the run at GitHub; is a proxy in between?",
            ) from error
        page = render_run_url(run.server, run.repository, run.id)
        return Record(GITHUB, page, run.environment, words)
