"""The gate opens only for a trusted yes on this content and this condition."""

from __future__ import annotations

from typing import Any

import pytest

from edgeferry.domain.gate import judge_gate
from edgeferry.domain.release import Entry, release_name

CONDITION = "tags.models.nyc_taxi = true"
RELEASE = Entry("1", "release", "nyc_taxi-v1-aaaa", "2026-01-01T00:00:00Z", "ci", {}, "key", "signed")


def approval(by: str = "ann", **changes: Any) -> Entry:
    body = {
        "release": RELEASE.subject,
        "release_signature": RELEASE.signature,
        "environment": "prod",
        "target_condition": CONDITION,
        "decision": "yes",
    } | changes
    return Entry("2", "approval", RELEASE.subject, "2026-01-02T00:00:00Z", by, body, "key", "sig")


@pytest.mark.parametrize(
    ("approvals", "is_open", "says"),
    [
        pytest.param([], False, "is not approved", id="nobody said anything"),
        pytest.param([(approval(), "")], True, "approved by ann", id="a trusted yes"),
        pytest.param([(approval(), "wrong key")], False, "wrong key", id="a yes that cannot be trusted"),
        pytest.param([(approval(decision="no"), "")], False, "ann said no", id="a no"),
        pytest.param(
            [(approval(), ""), (approval("bob", decision="no"), "")],
            False,
            "bob said no",
            id="the last word counts",
        ),
        pytest.param([(approval(decision="no"), ""), (approval("bob"), "")], True, "bob", id="a later yes"),
        pytest.param([(approval(target_condition="*"), "")], False, "'*'", id="a yes for other devices"),
        pytest.param(
            [(approval(environment="dev"), "")],
            False,
            "ann approved it for dev, not prod",
            id="a yes for the same condition in another environment",
        ),
        pytest.param(
            [(approval(environment=""), "")], False, "for no environment", id="a yes outside of environments"
        ),
        pytest.param(
            [(approval(release_signature="x"), "")], False, "another content", id="a yes for other content"
        ),
        pytest.param(
            [(approval(release="other"), "")], False, "is not approved", id="a yes for another release"
        ),
        pytest.param([(approval(decision="maybe"), "")], False, "said no", id="an unknown word is not a yes"),
    ],
)
def test_the_gate(approvals: list[tuple[Entry, str]], is_open: bool, says: str) -> None:
    decision = judge_gate(RELEASE, CONDITION, "prod", approvals, "")
    assert decision.open is is_open
    assert says in decision.reason
    assert is_open or decision.fix


def test_a_release_that_cannot_be_trusted_shuts_the_gate_whatever_was_approved() -> None:
    decision = judge_gate(
        RELEASE, CONDITION, "prod", [(approval(), "")], "the signature does not fit the content"
    )
    assert not decision.open
    assert "does not fit" in decision.reason


def test_a_release_is_named_by_model_version_and_digest() -> None:
    assert release_name("nyc_taxi", "3", "sha256:0123456789abcdef") == "nyc_taxi-v3-01234567"


SOURCE = {
    "kind": "azure-devops",
    "url": "https://dev.azure.com/fabrikam/fleet/_build/results?buildId=41",
    "approvals": ["b1"],
    "approvers": ["ann@contoso.com"],
    "at": "2026-01-02T00:00:00Z",
}


@pytest.mark.parametrize(
    ("entry", "is_open", "says"),
    [
        pytest.param(
            approval("ci", source=SOURCE),
            True,
            "approved by ann@contoso.com, recorded by Azure DevOps, https://dev.azure.com/",
            id="what the platform recorded of a person",
        ),
        pytest.param(approval("ci"), False, "ci is a pipeline", id="a pipeline's own yes is nobody's"),
        pytest.param(approval("ci-prod"), False, "ci-prod is a pipeline", id="by whatever pipeline"),
        pytest.param(approval("CI"), False, "CI is a pipeline", id="however its name is written"),
        pytest.param(
            approval("ci", source={**SOURCE, "kind": "rumour"}),
            False,
            "is a pipeline",
            id="an unknown source",
        ),
        pytest.param(
            approval("ci", source={**SOURCE, "approvers": []}),
            False,
            "is a pipeline",
            id="a source without people",
        ),
        pytest.param(
            approval("ci", source={**SOURCE, "approvers": "ann"}),
            False,
            "is a pipeline",
            id="no list of people",
        ),
        pytest.param(
            approval("ci", source={**SOURCE, "approvers": ["ci"]}),
            False,
            "is a pipeline",
            id="a pipeline that approves itself through the platform",
        ),
        pytest.param(
            approval("bob", source=SOURCE), True, "approved by bob, at", id="a person speaks for nobody else"
        ),
        pytest.param(approval("cindy"), True, "approved by cindy", id="a person whose name begins like it"),
        pytest.param(
            approval("ci", source=SOURCE, target_condition="*"),
            False,
            "ann@contoso.com",
            id="for other devices",
        ),
    ],
)
def test_a_pipelines_key_counts_only_for_the_people_a_platform_names(
    entry: Entry, is_open: bool, says: str
) -> None:
    decision = judge_gate(RELEASE, CONDITION, "prod", [(entry, "")], "")
    assert decision.open is is_open
    assert says in decision.reason


def test_a_pipelines_yes_does_not_undo_a_persons_no() -> None:
    words = [(approval("ann", decision="no"), ""), (approval("ci"), "")]
    assert not judge_gate(RELEASE, CONDITION, "prod", words, "").open
