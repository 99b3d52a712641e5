"""A platform's record becomes an approval in a real ledger, once, for what it was given for."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any, cast

import pytest

from edgeferry.adapters.ledger import GitLedger
from edgeferry.adapters.signer import KeyFolder
from edgeferry.domain.approval import Record, Word
from edgeferry.domain.release import Entry
from edgeferry.errors import RefusedError
from edgeferry.ports import Services
from edgeferry.workflows.approve import approve, approve_from, ask_gate

CONDITION = "tags.models.nyc_taxi = true"


@pytest.fixture
def services(tmp_path: Path) -> Services:
    url = str(tmp_path / "ledger.git")
    subprocess.run(["git", "init", "--quiet", "--bare", url], check=True)
    keys = KeyFolder(tmp_path / "keys", tmp_path / "trust", may_trust=True)
    nothing: dict[str, Any] = dict.fromkeys(Services.__dataclass_fields__)
    return Services(**nothing | {"ledger": GitLedger(url, "ledger", tmp_path / "cache", keys, time.time)})


def release(services: Services, name: str = "nyc_taxi-v1-aaaa") -> Entry:
    return services.ledger.append("release", name, {"model": "nyc_taxi"}, "ci")


def record(*words: Word) -> Record:
    return Record("azure-devops", "https://dev.azure.com/f/p/_build/results?buildId=41", "rollout", words)


YES = record(Word("b1", "approved", ("ann@contoso.com",), "2026-11-27T10:00:00Z"))


def test_a_recorded_yes_opens_the_gate_in_the_persons_name(services: Services) -> None:
    entry = release(services)
    signed = approve_from(services, entry, CONDITION, YES, "ci", environment="prod")
    assert (signed.author, signed.body["source"]["approvals"]) == ("ci", ["b1"])
    gate = ask_gate(services, entry, CONDITION, environment="prod")
    assert gate.open
    assert "approved by ann@contoso.com, recorded by Azure DevOps" in gate.reason


def test_the_pipeline_cannot_approve_by_itself(services: Services) -> None:
    entry = release(services)
    approve(services, entry, CONDITION, "ci", yes=True, environment="prod")
    assert not ask_gate(services, entry, CONDITION, environment="prod").open


def test_a_step_that_runs_again_adds_no_second_entry(services: Services) -> None:
    entry = release(services)
    first = approve_from(services, entry, CONDITION, YES, "ci", environment="prod")
    assert approve_from(services, entry, CONDITION, YES, "ci", environment="prod") == first
    assert len(services.ledger.entries("approval")) == 1


@pytest.mark.parametrize("what", ["another release", "other devices", "another environment"])
def test_an_approval_is_used_for_one_thing_only(services: Services, what: str) -> None:
    entry = release(services)
    approve_from(services, entry, CONDITION, YES, "ci", environment="prod")
    other = release(services, "nyc_taxi-v2-bbbb") if what == "another release" else entry
    environment = "dev" if what == "another environment" else "prod"
    condition = "deviceId = 'device-9'" if what == "other devices" else CONDITION
    with pytest.raises(RefusedError, match="b1 was given for nyc_taxi-v1-aaaa"):
        approve_from(services, other, condition, YES, "ci", environment=environment)
    assert not ask_gate(services, other, condition, environment=environment).open


def test_a_stage_without_an_approval_check_is_refused_and_nothing_is_written(services: Services) -> None:
    entry = release(services)
    with pytest.raises(RefusedError, match="no approval check") as caught:
        approve_from(services, entry, CONDITION, record(), "ci", environment="prod")
    assert "environment of stage rollout" in caught.value.fix
    assert cast(Any, services.ledger).entries("approval") == []
