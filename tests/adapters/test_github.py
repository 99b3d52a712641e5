"""What GitHub recorded of an environment's reviews, asked over HTTPS with the run's own token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from edgeferry.adapters.github import GitHubApprovals
from edgeferry.adapters.platform_client import Patience
from edgeferry.domain.approval import judge_record
from edgeferry.errors import OutsideError, UsageError
from edgeferry.surroundings import GitHubRun, read_github_run
from tests.ci.github_stub import TOKEN, GitHub, review


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHub]:
    stub = GitHub(tmp_path_factory.mktemp("github"))
    yield stub
    stub.close()


@pytest.fixture
def github(server: GitHub, monkeypatch: pytest.MonkeyPatch) -> GitHub:
    server.reviews, server.answers, server.asked = [], [], []
    monkeypatch.setenv("SSL_CERT_FILE", server.ca_file)
    for name, text in server.environment("edgeferry-prod").items():
        monkeypatch.setenv(name, text)
    return server


def fetch(waits: list[float] | None = None):
    return GitHubApprovals(read_github_run, Patience((waits if waits is not None else []).append)).fetch()


def test_the_reviewers_of_this_jobs_environment_are_found(github: GitHub) -> None:
    github.reviews = [
        review("eve", "edgeferry-prod-build"),
        review("bob", "edgeferry-prod", "elsewhere"),
        review("ann", "edgeferry-prod"),
        review("ann", "edgeferry-prod", state="pending"),
    ]
    record = fetch()
    assert [(word.id, word.status, word.approvers) for word in record.words] == [
        ("30433642/7/ann", "approved", ("ann@github.com",)),
        ("30433642/7/bob", "approved", ("bob@github.com",)),
    ]
    assert record.url == "https://github.com/contoso/fleet/actions/runs/30433642"
    assert (record.platform, record.stage) == ("github", "edgeferry-prod")
    assert judge_record(record) == ""


@pytest.mark.parametrize(
    ("reviews", "says"),
    [
        pytest.param([], "no approval check", id="no reviewers on the environment"),
        pytest.param(
            [review("ann", "edgeferry-dev")], "no approval check", id="a yes to another environment"
        ),
        pytest.param(
            [review("ann", "edgeferry-prod", state="pending")], "no approval check", id="a mere comment"
        ),
        pytest.param([review("a-bot", "edgeferry-prod", kind="Bot")], "no approval check", id="an app's yes"),
        pytest.param(
            [
                review("ann", "edgeferry-prod"),
                review("a-bot", "edgeferry-prod", kind="Bot", state="rejected"),
            ],
            "is rejected",
            id="an app's no",
        ),
        pytest.param(
            [review("ann", "edgeferry-prod"), review("bob", "edgeferry-prod", state="rejected")],
            "is rejected",
            id="somebody else's no",
        ),
        pytest.param(
            [review("ann", "edgeferry-prod", state="rejected"), review("ann", "edgeferry-prod")],
            "is rejected",
            id="a no in an earlier attempt",
        ),
    ],
)
def test_anything_less_than_a_persons_yes_is_none(github: GitHub, reviews: list[Any], says: str) -> None:
    github.reviews = reviews
    assert says in judge_record(fetch())


def test_a_busy_platform_is_asked_again_when_it_says(github: GitHub) -> None:
    github.reviews = [review("ann", "edgeferry-prod")]
    github.answers = [429, 502]
    waits: list[float] = []
    assert len(fetch(waits).words) == 1
    assert waits == [7.0, 2.0]


def test_a_refused_token_says_what_to_grant_and_is_not_shown(
    github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghs_stale")
    with pytest.raises(OutsideError, match="401") as caught:
        fetch()
    assert "actions: read" in caught.value.fix
    assert "ghs_stale" not in str(caught.value)


@pytest.mark.parametrize("answer", [{"message": "odd"}, "odd", [1]])
def test_an_answer_that_is_no_history_is_the_outside_world(github: GitHub, answer: Any) -> None:
    github.reviews = answer
    with pytest.raises(OutsideError, match=r"cannot be read|no JSON"):
        fetch()


def test_outside_a_workflow_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_RUN_ID", "GITHUB_TOKEN", "APPROVAL_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match=r"GITHUB_RUN_ID.*APPROVAL_ENVIRONMENT.*GITHUB_TOKEN"):
        fetch()


def test_the_token_goes_over_https_only() -> None:
    run = GitHubRun("http://x", "http://127.0.0.1:1/api/v3", "o/r", "1", "prod", TOKEN)
    with pytest.raises(UsageError, match="https"):
        GitHubApprovals(lambda: run).fetch()
    assert TOKEN not in repr(run)
