"""What Azure DevOps recorded of a stage's approvals, asked over HTTPS with the run's own token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeferry.adapters.azure_devops import AzureDevOpsApprovals
from edgeferry.adapters.platform_client import Patience
from edgeferry.domain.approval import judge_record
from edgeferry.errors import OutsideError, UsageError
from edgeferry.surroundings import PipelineRun, read_pipeline_run
from tests.ci.platform_stub import TOKEN, Platform, approved


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    stub = Platform(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", stub.ca_file)
    for name, text in stub.environment("rollout").items():
        monkeypatch.setenv(name, text)
    yield stub
    stub.close()


def fetch(waits: list[float] | None = None):
    return AzureDevOpsApprovals(
        read_pipeline_run, Patience((waits if waits is not None else []).append)
    ).fetch()


def test_the_approvers_of_this_stage_are_found(platform: Platform) -> None:
    platform.approvals = {
        "build": [approved("a1", "somebody@else")],
        "rollout": [approved("b1", "ann@contoso.com"), approved("b2", "bob@contoso.com")],
    }
    record = fetch()
    assert [(word.id, word.status, word.approvers) for word in record.words] == [
        ("b1", "approved", ("ann@contoso.com",)),
        ("b2", "approved", ("bob@contoso.com",)),
    ]
    assert record.url == f"{platform.collection}Edge%20fleet/_build/results?buildId=41"
    assert judge_record(record) == ""


@pytest.mark.parametrize(
    ("approvals", "says"),
    [
        pytest.param([], "no approval check", id="no check on the environment"),
        pytest.param([approved("b1", status="pending")], "is pending", id="nobody decided yet"),
        pytest.param(
            [approved("b1", "ann"), approved("b2", "bob", status="rejected")], "b2", id="one check refused"
        ),
        pytest.param([approved("b1")], "names nobody", id="approved, but by nobody who is named"),
    ],
)
def test_anything_less_than_every_check_approved_is_none(
    platform: Platform, approvals: list[dict], says: str
) -> None:
    platform.approvals = {"build": [approved("a1", "ann")], "rollout": approvals}
    assert says in judge_record(fetch())


def test_a_busy_platform_is_asked_again_when_it_says(platform: Platform) -> None:
    platform.approvals = {"rollout": [approved("b1", "ann")]}
    platform.answers = [429, 500]
    waits: list[float] = []
    assert fetch(waits).words[0].approvers == ("ann",)
    assert waits == [7.0, 2.0]


def test_a_platform_that_stays_down_is_the_outside_world(platform: Platform) -> None:
    platform.answers = [503] * 4
    with pytest.raises(OutsideError, match="503"):
        fetch()


def test_a_refused_token_says_what_to_map_and_is_not_shown(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSTEM_ACCESSTOKEN", "stale-token")
    with pytest.raises(OutsideError) as caught:
        fetch()
    assert "SYSTEM_ACCESSTOKEN" in caught.value.fix
    assert "stale-token" not in str(caught.value)


def test_a_stage_the_run_does_not_have_is_named(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEM_STAGENAME", "elsewhere")
    with pytest.raises(OutsideError, match="no stage elsewhere"):
        fetch()


def test_outside_a_pipeline_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYSTEM_ACCESSTOKEN", raising=False)
    monkeypatch.delenv("BUILD_BUILDID", raising=False)
    with pytest.raises(UsageError, match=r"BUILD_BUILDID.*SYSTEM_ACCESSTOKEN"):
        fetch()


def test_the_token_goes_over_https_only() -> None:
    run = PipelineRun("http://127.0.0.1:1/fabrikam/", "p", "1", "rollout", TOKEN)
    with pytest.raises(UsageError, match="https"):
        AzureDevOpsApprovals(lambda: run).fetch()
    assert TOKEN not in repr(run)
