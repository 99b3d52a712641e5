"""Azure DevOps, asked with the run's own token about the run that we are a step of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeferry.adapters.platform_client import Patience, PlatformClient
from edgeferry.domain.approval import AZURE_DEVOPS, Record
from edgeferry.errors import OutsideError
from edgeferry.surroundings import PipelineRun
from edgeferry.wire.azure_devops import (
    parse_approval_ids,
    parse_approvals,
    render_approvals_url,
    render_run_url,
    render_timeline_url,
)

_RIGHTS = "map SYSTEM_ACCESSTOKEN: $(System.AccessToken), and let the build service read builds"


class AzureDevOpsApprovals:
    """Implements the `Approvals` port. `find_run` gives the run around us, or raises UsageError."""

    def __init__(self, find_run: Callable[[], PipelineRun], patience: Patience | None = None) -> None:
        self._find_run = find_run
        self._patience = patience or Patience()

    def fetch(self) -> Record:
        """The approvals that the run's stage waited for."""
        run = self._find_run()
        where = (run.collection, run.project)
        with PlatformClient("Azure DevOps", run.collection, run.token, _RIGHTS, self._patience) as client:
            timeline = _as_object(client.get(render_timeline_url(*where, run.build)))
            try:
                ids = parse_approval_ids(timeline, run.stage)
                asked = _as_object(client.get(render_approvals_url(*where, ids))) if ids else {"value": []}
                words = parse_approvals(asked, ids)
            except ValueError as error:
                raise OutsideError(
                    f"Azure DevOps' answer about run {run.build} cannot be read: {error}",
                    fix="is this the stage of a deployment job? look at the run in Azure DevOps",
                ) from error
        return Record(AZURE_DEVOPS, render_run_url(*where, run.build), run.stage, words)


def _as_object(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise OutsideError("Azure DevOps answered with no object", fix="is a proxy in between?")
    return document
