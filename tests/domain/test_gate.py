"""The gate opens only for enough trusted, young yeses of those who may, to this content, these devices and
this plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.domain.gate import Decision, GateQuestion, judge_approver, judge_gate, name_approver
from edgeferry.domain.gate_evidence import EvidenceFact, Weight
from edgeferry.domain.gate_policy import GatePolicy
from edgeferry.domain.people import know_people
from edgeferry.domain.release import Entry, release_name

CONDITION = "tags.models.nyc_taxi = true"
PLAN = "sha256:" + "a" * 64
OTHER_PLAN = "sha256:" + "b" * 64
NOW = datetime(2026, 1, 3, tzinfo=UTC)
RELEASE = Entry(
    "000001-release", "release", "nyc_taxi-v1-aaaa", "2026-01-01T00:00:00Z", "rita", {}, "r-key", "signed"
)
POLICY = GatePolicy(max_age_s=72 * 3600.0)
QUESTION = GateQuestion(RELEASE, "", "prod", CONDITION, PLAN)
VERIFIED = EvidenceFact("verification", Weight.HELD, "436 rows equal")


def approval(by: str = "ann", number: int = 2, at: str = "2026-01-02T00:00:00Z", **changes: Any) -> Entry:
    body = {
        "release": RELEASE.subject,
        "release_signature": RELEASE.signature,
        "environment": "prod",
        "target_condition": CONDITION,
        "plan": PLAN,
        "decision": "yes",
        "expires_at": "2026-01-05T00:00:00+00:00",
    } | changes
    return Entry(f"{number:06d}-approval", "approval", RELEASE.subject, at, by, body, f"{by}-key", "sig")


def ask(
    *words: Entry | tuple[Entry, str],
    policy: GatePolicy = POLICY,
    evidence: tuple[EvidenceFact, ...] = (VERIFIED,),
    **changes: Any,
) -> Decision:
    pairs = [word if isinstance(word, tuple) else (word, "") for word in words]
    return judge_gate(replace(QUESTION, **changes), pairs, evidence, policy, NOW)


@pytest.mark.parametrize(
    ("words", "is_open", "says"),
    [
        pytest.param([], False, "is not approved", id="nobody said anything"),
        pytest.param([approval()], True, "approved by ann", id="a trusted yes"),
        pytest.param([approval(decision="no")], False, "ann said no", id="a no"),
        pytest.param(
            [approval(), approval("bob", decision="no")], False, "bob said no", id="the last word counts"
        ),
        pytest.param([approval(decision="no"), approval("bob")], True, "bob", id="a later yes"),
        pytest.param(
            [approval(), approval(decision="no", plan=OTHER_PLAN)],
            False,
            "ann said no",
            id="a no is to the release, whatever the plan",
        ),
        pytest.param(
            [approval(), approval("rita", decision="no")],
            False,
            "rita said no",
            id="its author may say no to it",
        ),
        pytest.param(
            [approval(), (approval("bob", decision="no"), "wrong key")],
            True,
            "approved by ann",
            id="a no that cannot be trusted stops nothing",
        ),
        pytest.param([approval(target_condition="*")], False, "'*'", id="a yes for other devices"),
        pytest.param(
            [approval(environment="dev")],
            False,
            "ann approved it for dev, not prod",
            id="a yes for the same condition in another environment",
        ),
        pytest.param(
            [approval(environment="")], False, "for no environment", id="a yes outside of environments"
        ),
        pytest.param([approval(release="other")], False, "is not approved", id="a yes for another release"),
        pytest.param([approval(decision="maybe")], False, "said no", id="an unknown word is not a yes"),
    ],
)
def test_the_gate(words: list[Any], is_open: bool, says: str) -> None:
    decision = ask(*words)
    assert decision.open is is_open
    assert says in decision.reason
    assert is_open or decision.fix


TAMPERS = [
    pytest.param(
        [approval()], {"release_distrust": "the signature does not fit the content"}, "does not fit",
        id="an edited release",
    ),
    pytest.param(
        [approval()],
        {"release_distrust": "it does not follow the entry before it"},
        "cannot be trusted: it does not follow",
        id="an old release, copied to the end of the ledger",
    ),
    pytest.param(
        [(approval(), "the signature does not fit the content")], {}, "the approval by ann does not count",
        id="an edited approval",
    ),
    pytest.param(
        [(approval(), "signed with another key than the trusted one of 'ann'")], {}, "another key",
        id="an approval by a wrong key",
    ),
    pytest.param(
        [approval(expires_at="2026-01-03T00:00:00+00:00")], {}, "expired at 2026-01-03",
        id="an approval that expired",
    ),
    pytest.param([approval(expires_at=None)], {}, "when it expires", id="an approval without expiry"),
    pytest.param([approval(expires_at="soon")], {}, "when it expires", id="an expiry that is no time"),
    pytest.param([approval(expires_at="2026-01-05")], {}, "when it expires", id="an expiry without zone"),
    pytest.param(
        [approval(at="2025-12-30T00:00:00Z")], {}, "older than 72 h",
        id="an approval older than the policy allows, whatever it says itself",
    ),
    pytest.param(
        [approval(at="2026-01-03T01:00:00Z")], {}, "in the future", id="an approval dated in the future"
    ),
    pytest.param(
        [approval(plan=OTHER_PLAN)], {}, "approved another plan: bbbbbbbbbbbb, not aaaaaaaaaaaa",
        id="an approval of another plan",
    ),
    pytest.param([approval(plan=None)], {}, "another plan: none", id="an approval of no plan"),
    pytest.param(
        [approval(release_signature="x")], {}, "another content", id="an approval of another content"
    ),
    pytest.param([approval("rita")], {}, "nobody approves their own", id="the author's own approval"),
    pytest.param([approval("RITA")], {}, "nobody approves their own", id="the author's, written otherwise"),
    pytest.param(
        [replace(approval(), key=RELEASE.key)], {}, "ann made this release as rita, with the same key",
        id="the author's, by another name",
    ),
    pytest.param(
        [approval(rollout="nyc_taxi-v1-aaaa-12345678", wave=2)], {}, "for wave 2 of",
        id="an approval of a wave, for the start",
    ),
    pytest.param(
        [approval()], {"rollout": "nyc_taxi-v1-aaaa-12345678", "wave": 3}, "for the start of a rollout",
        id="the approval of the start, for a wave",
    ),
    pytest.param(
        [approval(rollout="nyc_taxi-v1-aaaa-12345678", wave=2)],
        {"rollout": "nyc_taxi-v1-aaaa-12345678", "wave": 3},
        "not for wave 3",
        id="the approval of another wave",
    ),
    pytest.param(
        [approval()],
        {"newer": Entry("000003-rollout", "rollout", "x", "2026-01-02T12:00:00Z", "ci",
                        {"release": "nyc_taxi-v2-bbbb"}, "", "")},
        "before nyc_taxi-v2-bbbb was rolled out",
        id="an approval from before a newer release was rolled out",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("words", "changes", "says"), TAMPERS)
def test_what_was_tampered_with_shuts_the_gate_and_says_why(
    words: list[Any], changes: dict[str, Any], says: str
) -> None:
    decision = ask(*words, **changes)
    assert not decision.open
    assert says in decision.reason
    assert decision.fix


SOURCE = {
    "kind": "azure-devops",
    "url": "https://dev.azure.com/fabrikam/fleet/_build/results?buildId=41",
    "approvals": ["b1"],
    "approvers": ["ann@contoso.com"],
    "at": "2026-01-02T00:00:00Z",
}
TWO = replace(POLICY, approvals=2)


@pytest.mark.parametrize(
    ("words", "policy", "is_open", "says"),
    [
        pytest.param([approval()], TWO, False, "1 of 2 approvals (ann)", id="one of two"),
        pytest.param([approval(), approval("bob", 3)], TWO, True, "ann, at", id="two of two"),
        pytest.param([approval(), approval(number=3)], TWO, False, "1 of 2", id="one person twice"),
        pytest.param([approval(), approval("Ann", 3)], TWO, False, "1 of 2", id="one person, written twice"),
        pytest.param(
            [approval(), replace(approval("bob", 3), key="ann-key")],
            TWO,
            False,
            "bob is ann by another name",
            id="one key by two names",
        ),
        pytest.param(
            [approval(), approval("ci", 3, source={**SOURCE, "approvers": ["Ann@example.org"]})],
            TWO,
            False,
            "Ann@example.org is ann by another name",
            id="one person, here and on the platform",
        ),
        pytest.param(
            [approval(), approval("bob", 3, decision="no"), approval("cleo", 4)],
            TWO,
            False,
            "1 of 2 approvals (cleo)",
            id="a no takes the yeses before it away",
        ),
        pytest.param(
            [approval(), approval("rita", 3)], TWO, False, "rita made this release", id="one and its author"
        ),
        pytest.param(
            [approval("rita")], replace(POLICY, self_approval=True), True, "rita", id="its author, if allowed"
        ),
        pytest.param(
            [approval("bob")],
            replace(POLICY, approvers=frozenset({"ann"})),
            False,
            "bob may not approve here, only ann",
            id="somebody who may not",
        ),
        pytest.param(
            [approval(), approval("bob", decision="no")],
            replace(POLICY, approvers=frozenset({"ann"})),
            True,
            "ann",
            id="a no by somebody who has no say",
        ),
    ],
)
def test_who_and_how_many(words: list[Any], policy: GatePolicy, is_open: bool, says: str) -> None:
    decision = ask(*words, policy=policy)
    assert decision.open is is_open
    assert says in decision.reason


KEYS = {"ann": ["ann-key", "ann-old"], "ann@example.org": ["ann-old"], "rita": ["r-key", "r-new"]}


@pytest.mark.parametrize(
    ("words", "is_open", "says"),
    [
        pytest.param(
            [approval(), replace(approval("ann@example.org", 3), key="ann-old")],
            False,
            "ann@example.org is ann by another name",
            id="another of her keys by another name",
        ),
        pytest.param(
            [approval(), approval("ci", 3, source={**SOURCE, "approvers": ["ann@example.org"]})],
            False,
            "1 of 2 approvals (ann)",
            id="a login that has her key",
        ),
        pytest.param(
            [approval(), replace(approval("rose", 3), key="r-new")],
            False,
            "rose made this release as rita, with the same key",
            id="its author, with another of her keys",
        ),
        pytest.param([approval(), approval("bob", 3)], True, "ann, at", id="two people"),
    ],
)
def test_people_are_counted_by_all_of_their_keys(words: list[Any], is_open: bool, says: str) -> None:
    decision = ask(*words, policy=TWO, keys=KEYS)
    assert decision.open is is_open
    assert says in decision.reason


REVERT = Entry(
    "000003-order", "order", "nyc_taxi-v1-aaaa-12345678", "2026-01-02T12:00:00Z", "cleo",
    {"order": "revert", "reason": "fares"}, "", "",
)  # fmt: skip


@pytest.mark.parametrize(
    ("words", "policy", "is_open", "says"),
    [
        pytest.param(
            [approval()], POLICY, False, "cleo took it back at 2026-01-02T12:00:00Z: fares", id="before"
        ),
        pytest.param(
            [approval(), approval("bob", 4)], TWO, False, "1 of 2 approvals (bob)", id="before and after"
        ),
        pytest.param([approval(), approval(number=4)], POLICY, True, "ann", id="before and again after"),
        pytest.param([approval("bob", 4), approval(number=5)], TWO, True, "bob, at", id="both after"),
    ],
)
def test_a_yes_from_before_the_release_was_taken_back_is_used_up(
    words: list[Any], policy: GatePolicy, is_open: bool, says: str
) -> None:
    decision = ask(*words, policy=policy, reverted=REVERT)
    assert decision.open is is_open
    assert says in decision.reason


@pytest.mark.parametrize(
    ("evidence", "is_open", "says"),
    [
        pytest.param([VERIFIED], True, "approved", id="all that is demanded"),
        pytest.param([], False, "verification not available", id="nothing"),
        pytest.param(
            [EvidenceFact("verification", Weight.FAILED, "it was edited or replaced")],
            False,
            "verification failed: it was edited",
            id="a forged verification",
        ),
        pytest.param(
            [VERIFIED, EvidenceFact("image", Weight.FAILED, "tag v1 was moved to sha256:bb")],
            False,
            "tag v1 was moved",
            id="a moved tag, which no policy need name",
        ),
        pytest.param(
            [VERIFIED, EvidenceFact("sbom", Weight.NOT_AVAILABLE, "")],
            True,
            "approved",
            id="what is not there and not demanded",
        ),
        pytest.param(
            [VERIFIED, EvidenceFact("metrics", Weight.FAILED, "r2 >= 0.9: it is 0.5")],
            False,
            "it is 0.5",
            id="a metric that is not good enough",
        ),
    ],
)
def test_evidence(evidence: list[EvidenceFact], is_open: bool, says: str) -> None:
    decision = ask(approval(), evidence=tuple(evidence))
    assert decision.open is is_open
    assert says in decision.reason


def test_an_sbom_that_is_not_available_shuts_the_gate_only_where_the_policy_demands_it() -> None:
    evidence = (VERIFIED, EvidenceFact("sbom", Weight.NOT_AVAILABLE, "packaging makes none"))
    assert ask(approval(), evidence=evidence).open
    strict = ask(approval(), evidence=evidence, policy=replace(POLICY, evidence=("verification", "sbom")))
    assert "sbom not available: packaging makes none" in strict.reason


def test_the_next_wave_opens_for_its_own_approval() -> None:
    wave = {"rollout": "nyc_taxi-v1-aaaa-12345678", "wave": 2}
    assert ask(approval(), approval("bob", 3, **wave), **wave).open
    shut = ask(approval(), **wave)
    assert "edgeferry approve nyc_taxi-v1-aaaa-12345678 --wave 2 --env prod" in shut.fix
    assert not ask(approval("bob", 3, **wave), approval(number=4, decision="no"), **wave).open


def test_a_release_is_named_by_model_version_and_digest() -> None:
    assert release_name("nyc_taxi", "3", "sha256:0123456789abcdef") == "nyc_taxi-v3-01234567"


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
            approval("ci", source={**SOURCE, "approvers": ["rita"]}),
            False,
            "nobody approves their own",
            id="the author through the platform",
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
        pytest.param(
            approval("ci", source={**SOURCE, "at": "2025-12-30T00:00:00Z"}),
            False,
            "is older than 72 h",
            id="a word that was given long before it was copied",
        ),
        pytest.param(
            approval("ci", source={**SOURCE, "at": "yesterday"}),
            False,
            "does not say when",
            id="a word given at no time",
        ),
    ],
)
def test_a_pipelines_key_counts_only_for_the_people_a_platform_names(
    entry: Entry, is_open: bool, says: str
) -> None:
    decision = ask(entry)
    assert decision.open is is_open
    assert says in decision.reason


def test_two_people_on_the_platform_are_two_approvals() -> None:
    recorded = approval("ci", source={**SOURCE, "approvers": ["ann@contoso.com", "bob@contoso.com"]})
    decision = ask(recorded, policy=TWO)
    assert decision.open
    assert decision.approvals == (recorded,)
    assert "ann@contoso.com and bob@contoso.com, recorded by Azure DevOps" in decision.reason


def test_a_pipelines_yes_does_not_undo_a_persons_no() -> None:
    assert not ask(approval("ann", decision="no"), approval("ci")).open


PEOPLE_KNOWN = know_people({"ann": ["ann-key"], "rita": ["r-key"]})


def test_a_person_is_told_before_signing_what_could_not_count() -> None:
    assert judge_approver("ann", RELEASE, POLICY, PEOPLE_KNOWN) == ""
    assert "made this release" in judge_approver("rita", RELEASE, POLICY, PEOPLE_KNOWN)
    assert "is a pipeline" in judge_approver("ci", RELEASE, POLICY, PEOPLE_KNOWN)


PEOPLE = ("ann", "bob", "cleo", "rita", "ci")


@given(
    words=st.lists(st.tuples(st.sampled_from(PEOPLE), st.sampled_from(["yes", "no"]), st.booleans())),
    needed=st.integers(1, 3),
    own=st.booleans(),
)
def test_it_opens_exactly_when_enough_said_yes_since_the_last_no(
    words: list[tuple[str, str, bool]], needed: int, own: bool
) -> None:
    said = [(by, decision) for by, decision, trusted in words if trusted and by != "ci"]
    last_no = max((place for place, (_, decision) in enumerate(said) if decision == "no"), default=-1)
    yes = {by for by, _ in said[last_no + 1 :] if own or by != "rita"}
    entries = [
        (approval(by, number, decision=decision), "" if trusted else "wrong key")
        for number, (by, decision, trusted) in enumerate(words, start=2)
    ]
    policy = replace(POLICY, approvals=needed, self_approval=own)
    decision = ask(*entries, policy=policy)
    assert decision.open is (len(yes) >= needed)
    assert {entry.author for entry in decision.approvals} == (yes if decision.open else set())


@pytest.mark.parametrize(
    ("user", "changes", "named"),
    [
        pytest.param("ann", {}, " --by ann", id="one's own yes counts"),
        pytest.param("o'hara", {}, " --by 'o'\"'\"'hara'", id="a name that a shell would read otherwise"),
        pytest.param("ann", {"self_approval": False}, "", id="somebody else must"),
        pytest.param("ann", {"approvers": frozenset({"bob"})}, "", id="only others may"),
        pytest.param("ci", {}, "", id="a pipeline is no person"),
    ],
)
def test_who_may_approve_their_own_is_named_in_what_to_type(
    user: str, changes: dict[str, Any], named: str
) -> None:
    policy = GatePolicy(**{"self_approval": True, "evidence": (), **changes})
    shut = judge_gate(GateQuestion(RELEASE, "", "prod", "*", "sha256:aa"), (), (), policy, NOW).fix
    assert name_approver(shut, policy, user) == f"{shut}{named}"
    assert name_approver("see it: edgeferry releases show x", policy, user).endswith("show x")
