"""Azure DevOps, asked with the run's own token about the run that we are a step of."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from edgeferry.domain.approval import AZURE_DEVOPS, Record
from edgeferry.errors import OutsideError, UsageError
from edgeferry.settings import PipelineRun
from edgeferry.wire.azure_devops import (
    parse_approval_ids,
    parse_approvals,
    render_approvals_url,
    render_run_url,
    render_timeline_url,
)
from edgeferry.wire.retry_after import choose_wait

_TRIES = 4
_LONGEST_WAIT_S = 30.0


class AzureDevOpsApprovals:
    """Implements the `Approvals` port. `find_run` gives the run around us, or raises UsageError."""

    def __init__(
        self,
        find_run: Callable[[], PipelineRun],
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._find_run = find_run
        self._sleep = sleep
        self._now = now

    def fetch(self) -> Record:
        """The approvals that the run's stage waited for."""
        run = self._find_run()
        if not run.collection.startswith("https://"):
            raise UsageError(
                f"{run.collection} is no https address, so the run's token is not sent there",
                fix="serve Azure DevOps over https",
            )
        where = (run.collection, run.project)
        with httpx.Client(headers={"Authorization": f"Bearer {run.token}"}, timeout=30) as client:
            timeline = self._get(client, render_timeline_url(*where, run.build))
            try:
                ids = parse_approval_ids(timeline, run.stage)
                asked = self._get(client, render_approvals_url(*where, ids)) if ids else {"value": []}
                words = parse_approvals(asked, ids)
            except ValueError as error:
                raise OutsideError(
                    f"Azure DevOps' answer about run {run.build} cannot be read: {error}",
                    fix="is this the stage of a deployment job? look at the run in Azure DevOps",
                ) from error
        return Record(AZURE_DEVOPS, render_run_url(*where, run.build), run.stage, words)

    def _get(self, client: httpx.Client, url: str) -> dict[str, Any]:
        for number in range(_TRIES):
            try:
                answer = client.get(url)
            except httpx.HTTPError as error:
                if number < _TRIES - 1:
                    self._sleep(2**number)
                    continue
                raise OutsideError(
                    f"Azure DevOps did not answer: {error}", fix="try again", retryable=True
                ) from error
            if answer.status_code == 429 or answer.status_code >= 500:
                if number < _TRIES - 1:
                    asked_s = choose_wait(answer.headers.get("retry-after", ""), number, self._now())
                    self._sleep(min(asked_s, _LONGEST_WAIT_S))
                    continue
                raise OutsideError(
                    f"Azure DevOps answered {answer.status_code} at {answer.url.path}",
                    fix="try again later",
                    retryable=True,
                )
            break
        if answer.status_code != 200:  # 203 and 302 lead to a sign-in page
            raise OutsideError(
                f"Azure DevOps refused the run's token at {answer.url.path}: {answer.status_code}",
                fix="map SYSTEM_ACCESSTOKEN: $(System.AccessToken), and let the build service read builds",
            )
        try:
            document = answer.json()
        except ValueError as error:
            raise OutsideError(
                f"Azure DevOps answered {answer.url.path} with no JSON", fix="is a proxy in between?"
            ) from error
        if not isinstance(document, dict):
            raise OutsideError(
                f"Azure DevOps answered {answer.url.path} with no object", fix="is a proxy in between?"
            )
        return document
