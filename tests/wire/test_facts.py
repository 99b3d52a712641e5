"""Twins read as facts: what is missing or odd reads as nothing reported."""

from __future__ import annotations

from typing import Any

import pytest

from edgeferry.domain.rollout_evidence import DeviceEvidence
from edgeferry.domain.smoke import DIGEST_VARIABLE
from edgeferry.wire.facts import parse_evidence, parse_facts

IMAGE = "r:5443/taxi/nyc_taxi@sha256:aa"


def agent_twin() -> dict[str, Any]:
    return {
        "connectionState": "Connected",
        "properties": {
            "desired": {
                "$version": 7,
                "$metadata": {"modules": {"nyc_taxi": {"$lastUpdatedVersion": 5}}},
                "systemModules": {},
                "modules": {"nyc_taxi": {"settings": {"image": IMAGE}}},
            },
            "reported": {
                "lastDesiredVersion": 6,
                "lastDesiredStatus": {"code": 200, "description": ""},
                "modules": {
                    "nyc_taxi": {
                        "settings": {"image": IMAGE, "imageHash": "sha256:cc"},
                        "runtimeStatus": "running",
                        "statusDescription": "running",
                    }
                },
            },
        },
    }


def test_the_version_that_brought_the_module_comes_from_its_own_metadata() -> None:
    facts = parse_facts("d", "nyc_taxi", agent_twin(), None)
    assert (facts.brought_by, facts.reported_version, facts.has_base) == (5, 6, True)
    assert (facts.image, facts.image_hash, facts.runtime_status) == (IMAGE, "sha256:cc", "running")
    assert facts.connected


def test_an_agent_is_read_where_system_modules_are_told() -> None:
    twin = agent_twin()
    desired, reported = twin["properties"]["desired"], twin["properties"]["reported"]
    desired["systemModules"]["edgeAgent"] = {"settings": {"image": "r/agent:2"}, "configuration": {"id": "B"}}
    desired["$metadata"]["systemModules"] = {"edgeAgent": {"$lastUpdatedVersion": 6}}
    own = {"settings": {"image": "r/agent:1", "imageHash": "sha256:dd"}, "runtimeStatus": "running"}
    own["lastStartTimeUtc"] = "2026-01-01T00:00:00Z"
    reported["systemModules"] = {"edgeAgent": own}
    reported["layers"] = {"B": {"outcome": "RolledBack", "reason": "no hands"}}
    facts = parse_facts("d", "agent", twin, None)
    assert (facts.desired_image, facts.brought_by) == ("r/agent:2", 6)
    assert (facts.image, facts.image_hash, facts.runtime_status) == ("r/agent:1", "sha256:dd", "running")
    assert (facts.layer_outcome, facts.layer_reason) == ("RolledBack", "no hands")
    assert facts.since == "2026-01-01T00:00:00Z"


def test_models_are_known_by_what_they_serve_whether_or_not_a_companion_was_seen() -> None:
    twin = agent_twin()
    twin["properties"]["desired"]["modules"] |= {
        "nyc_taxi": {"settings": {"image": IMAGE}, "env": {DIGEST_VARIABLE: {"value": "sha256:aa"}}},
        "gateway": {"settings": {"image": "r/gateway:1"}, "env": {"LEVEL": {"value": "1"}}},
        "odd": None,
    }
    facts = parse_facts("d", "agent", twin, None)
    assert (facts.models, facts.asked) == (("nyc_taxi",), ())
    assert parse_facts("d", "nyc_taxi", twin, None).models == ()


def test_without_metadata_the_whole_desired_version_counts() -> None:
    twin = agent_twin()
    del twin["properties"]["desired"]["$metadata"]
    assert parse_facts("d", "nyc_taxi", twin, None).brought_by == 7


def test_how_the_modules_own_deployment_stands_is_read_and_no_others() -> None:
    twin = agent_twin()
    twin["properties"]["desired"]["modules"]["nyc_taxi"]["configuration"] = {"id": "L2"}
    twin["properties"]["reported"]["layers"] = {
        "L1": {"outcome": "RolledBack", "reason": "another"},
        "L2": {"outcome": "Trial", "reason": ""},
    }
    facts = parse_facts("d", "nyc_taxi", twin, None)
    assert (facts.layer_outcome, facts.layer_reason) == ("Trial", "")
    del twin["properties"]["desired"]["modules"]["nyc_taxi"]["configuration"]
    assert parse_facts("d", "nyc_taxi", twin, None).layer_outcome == ""


@pytest.mark.parametrize(
    "agent",
    [
        pytest.param(None, id="no agent"),
        pytest.param({}, id="empty twin"),
        pytest.param(
            {"properties": {"reported": {"modules": "x", "lastDesiredVersion": "6"}}}, id="odd types"
        ),
    ],
)
def test_a_missing_or_odd_twin_reads_as_nothing(agent: dict[str, Any] | None) -> None:
    facts = parse_facts("d", "nyc_taxi", agent, {"properties": {"reported": {"verdicts": {"nyc_taxi": 5}}}})
    assert (facts.connected, facts.desired_image, facts.reported_version, facts.verdict) == (
        False,
        "",
        0,
        None,
    )


EVIDENCE = {
    "digest": "sha256:bb",
    "version": "4",
    "since": "2026-03-01T10:00:00.000Z",
    "at": "2026-03-01T10:05:00.000Z",
    "requests": 12,
    "errors": 1,
    "latency": "8184:11",
    "outputs": "-8196:1 0:10",
}


def companion_twin(evidence: object) -> dict[str, Any]:
    return {"deviceId": "d", "properties": {"reported": {"evidence": evidence}}}


def test_evidence_is_read_with_its_device() -> None:
    twin = companion_twin({"nyc_taxi": EVIDENCE})
    expected = DeviceEvidence("d", "sha256:bb", 12, 1, {8184: 11}, {-8196: 1, 0: 10})
    assert parse_evidence(twin, "nyc_taxi") == expected
    assert parse_evidence(twin, "boat") is None


@pytest.mark.parametrize(
    "twin",
    [
        pytest.param(None, id="no companion"),
        pytest.param({}, id="an empty twin"),
        pytest.param(companion_twin(None), id="no evidence"),
        pytest.param(companion_twin("much"), id="evidence that is a text"),
        pytest.param(companion_twin({"nyc_taxi": {**EVIDENCE, "requests": -1}}), id="a count below zero"),
    ],
)
def test_evidence_that_is_absent_or_odd_reads_as_none(twin: dict[str, Any] | None) -> None:
    assert parse_evidence(twin, "nyc_taxi") is None
