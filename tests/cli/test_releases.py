"""`edgeferry approve` and `edgeferry releases`, as typed, with a real ledger, registry and hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgeferry.adapters.hub import HubClient
from edgeferry.adapters.hub_login import SharedKeyLogin
from edgeferry.adapters.ledger import GitLedger
from edgeferry.adapters.registry import RegistryClient
from edgeferry.adapters.signer import KeyFolder
from edgeferry.domain.release import Entry
from edgeferry.ports import Services
from edgeferry.wire.plan import plan_hash, render_plan
from tests.ci.platform_stub import Platform, approved
from tests.hubs import RunningHub, free_address
from tests.registries import RegistryServer
from tests.typed import typed
from tests.workflows.test_approve import Bench, planned

CONDITION = "tags.models.nyc_taxi = true"
PROD = """
[gate]
approvals = 2
evidence = "verification, metrics"
metrics = "r2 >= 0.7"
"""


@dataclass
class Shop:
    """A project without models, whose ledger holds a release by rita; its hub has one device."""

    bench: Bench
    release: Entry
    environment: dict[str, str]

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        words = ("--project", str(self.bench.folder / "shop"), *arguments)
        done = typed(*words, environment=self.environment)
        return done.returncode, done.stdout, done.stderr

    def facts(self, *arguments: str) -> Any:
        code, out, err = self(*arguments, "--output", "json")
        assert code == 0, err
        return json.loads(out)

    def kinds(self) -> list[str]:
        return [each.kind for kind in ("plan", "approval") for each in self.bench.ledger.entries(kind)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    running = RunningHub(tmp_path_factory.mktemp("hub"), free_address(), 8443, 8883).start()
    text = json.loads((running.state / "connection.json").read_text())["connection_string"]
    client = HubClient(SharedKeyLogin(lambda afresh: text, time.time), str(running.ca_file))
    client.create_device("device-1", {"edgeferry": True, "rollout_bucket": 17, "models": {"nyc_taxi": True}})
    client.close()
    yield running
    running.stop()


@pytest.fixture
def shop(tmp_path: Path, hub: RunningHub, registry: RegistryClient, registry_server: RegistryServer) -> Shop:
    (tmp_path / "shop" / "environments").mkdir(parents=True)
    (tmp_path / "shop" / "edgeferry.toml").write_text("")
    (tmp_path / "shop" / "environments" / "prod.toml").write_text(PROD)
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path / "ledger.git")], check=True)
    state = tmp_path / "state"
    keys = KeyFolder(state / "keys", state / "trust", may_trust=True)
    ledger = GitLedger(str(tmp_path / "ledger.git"), "ledger", tmp_path / "cache", keys, time.time)
    nothing: dict[str, Any] = dict.fromkeys(Services.__dataclass_fields__)
    bench = Bench(tmp_path, Services(**nothing), ledger, registry)
    settings = {
        "STATE": str(state),
        "USER": "rita",
        "LEDGER__URL": str(tmp_path / "ledger.git"),
        "HUB__CONNECTION_STRING": json.loads((hub.state / "connection.json").read_text())[
            "connection_string"
        ],
        "HUB__CA_FILE": str(hub.ca_file),
        "REGISTRY__HOST": registry_server.host,
        "REGISTRY__PREFIX": registry.reference("x", "y").split("/")[1],
        "REGISTRY__USERNAME": "pusher",
        "REGISTRY__PASSWORD": registry_server.password,
        "REGISTRY__CA_FILE": registry_server.ca_file,
    }
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EDGEFERRY_")}
    environment |= {"NO_COLOR": "1", "COLUMNS": "200"}
    environment |= {f"EDGEFERRY_{name}": text for name, text in settings.items()}
    return Shop(bench, bench.release(), environment)


def test_approve_shows_plan_and_evidence_and_signs_a_yes_to_that_plan(shop: Shop) -> None:
    planned = shop.facts("plan", "nyc_taxi", "-t", CONDITION)
    assert shop.kinds() == []
    asked = shop.facts("approve", "nyc_taxi", "--ask", "-t", CONDITION)
    assert asked["hash"] == planned["hash"], "what plan shows is what is approved"
    assert asked["plan"]["gained"] == ["device-1"]
    assert asked["gate"]["open"] is False
    assert [(each["kind"], each["state"]) for each in asked["evidence"]] == [
        ("image", "held"),
        ("verification", "held"),
        ("metrics", "held"),
        ("sbom", "not available"),
        ("signature", "not available"),
    ]
    assert shop.kinds() == ["plan"], "and no word"
    code, out, err = shop("approve", "nyc_taxi", "--by", "ann", "-t", CONDITION)
    assert code == 0, err
    for words in ("Waves", "Evidence", "436 rows equal", "gate: release", "approved by ann for devices"):
        assert words in out
    assert shop.kinds() == ["plan", "approval"]
    (approval,) = shop.bench.ledger.entries("approval")
    assert approval.body["plan"] == asked["hash"]
    assert approval.body["expires_at"] in out


def approve_at_a_terminal(shop: Shop, *options: str) -> subprocess.CompletedProcess[str]:
    """`edgeferry approve`, where somebody types y."""
    leader, terminal = os.openpty()
    try:
        os.write(leader, b"y\n")
        return subprocess.run(
            [sys.executable, "-m", "edgeferry", "approve", "nyc_taxi", "-t", CONDITION, *options],
            cwd=shop.bench.folder / "shop",
            env={**shop.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=terminal,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        os.close(leader)
        os.close(terminal)


def test_whoever_is_asked_at_a_terminal_approves_in_their_own_name(shop: Shop) -> None:
    code, _, err = shop("approve", "nyc_taxi", "-t", CONDITION)
    assert (code, "give --by" in err) == (2, True), "nobody can be asked"
    for unasked in (["--yes"], ["--output", "json"], ["--output", "json", "--by", "ann"]):
        refused = approve_at_a_terminal(shop, *unasked)
        assert (refused.returncode, "add --by NAME" in refused.stderr) == (2, True), unasked
    assert shop.kinds() == []
    done = approve_at_a_terminal(shop)
    assert "Sign a yes to it as rita?" in done.stderr
    assert done.returncode == 0, done.stderr
    assert [entry.author for entry in shop.bench.ledger.entries("approval")] == ["rita"]


def test_in_an_environment_nobody_approves_their_own_and_two_people_are_asked(shop: Shop) -> None:
    code, _, err = shop("approve", "nyc_taxi", "--by", "rita", "-t", CONDITION, "--env", "prod")
    assert code == 1
    assert "nobody approves their own here" in err
    assert "gate.self_approval" in err
    assert shop.kinds() == []
    shop.facts("approve", "nyc_taxi", "--by", "ann", "-t", CONDITION, "--env", "prod")
    second = shop.facts("approve", "nyc_taxi", "--by", "bob", "-t", CONDITION, "--env", "prod")
    assert "1 of 2 approvals (ann)" in second["gate"]["reason"]
    assert "r2 >= 0.7: it is 0.8" in [each["detail"] for each in second["evidence"]]
    assert shop.kinds() == ["plan", "approval", "approval"]


def test_in_a_pipeline_the_yes_is_the_persons_whom_the_platform_names(shop: Shop) -> None:
    platform = Platform(shop.bench.folder / "platform")
    platform.approvals = {"rollout": [approved("b1", "ann@contoso.com", "bob@contoso.com")]}
    shop.environment |= platform.environment("rollout")
    shop.environment |= {"EDGEFERRY_USER": "ci", "SSL_CERT_FILE": platform.ca_file}
    release = shop.release.subject
    try:
        code, _, err = shop("approve", release, "--from", "azure-devops", "-t", CONDITION, "--env", "prod")
        assert (code, "nobody could look at this plan" in err) == (1, True), err
        shop.facts("approve", release, "--ask", "-t", CONDITION, "--env", "prod")
        shown = shop.facts("approve", release, "--from", "azure-devops", "-t", CONDITION, "--env", "prod")
    finally:
        platform.close()
    assert shown["by"] == "ann@contoso.com and bob@contoso.com"
    assert shown["source"]["approvals"] == ["b1"]
    (approval,) = shop.bench.ledger.entries("approval")
    assert (approval.author, approval.body["plan"]) == ("ci", shown["hash"])


def test_releases_are_listed_and_shown_with_each_word_about_them(shop: Shop) -> None:
    shop.facts("approve", "nyc_taxi", "--by", "ann", "-t", CONDITION, "--env", "prod")
    shop.facts("approve", "nyc_taxi", "--by", "bob", "-t", CONDITION, "--env", "prod", "--no")
    shop.bench.edit(
        shop.bench.ledger.entries("approval")[1],
        lambda document: document["body"].update(decision="yes"),
    )
    (listed,) = shop.facts("releases", "list")
    assert (listed["release"], listed["author"], listed["approved_by"]) == (
        shop.release.subject,
        "rita",
        ["ann"],
    )
    shown = shop.facts("releases", "show", "nyc_taxi", "-t", CONDITION, "--env", "prod")
    assert shown["distrust"] == ""
    assert [(each["by"], each["environment"], bool(each["distrust"])) for each in shown["approvals"]] == [
        ("ann", "prod", False),
        ("bob", "prod", True),
    ]


def test_a_policy_that_cannot_be_read_is_named(shop: Shop) -> None:
    shop.environment["EDGEFERRY_GATE__METRICS"] = "r2 better than before"
    code, _, err = shop("approve", "nyc_taxi", "--by", "ann", "-t", CONDITION)
    assert code == 2
    assert "gate.metrics: 'r2 better than before' cannot be read" in err


def test_who_watches_or_promotes_is_told_what_is_needed_and_what_to_type(shop: Shop) -> None:
    ledger, release = shop.bench.ledger, shop.release
    plan = planned(release)
    ledger.append("plan", release.subject, render_plan(plan), "rita")
    rollout = f"{release.subject}-prod-12345678"
    body = {
        "release": release.subject,
        "model": "nyc_taxi",
        "environment": "prod",
        "condition": CONDITION,
        "plan": plan_hash(plan),
        "policy": {"rollout.approve_waves": "yes"},
    }
    ledger.append("rollout", rollout, body, "rita")
    for event in (
        {"event": "started"},
        {"event": "judged", "verdict": {"state": "pass", "reason": "all well"}},
    ):
        ledger.append("wave", rollout, {"wave": 1, **event}, "rita")
    code, _, err = shop("rollouts", "watch", "nyc_taxi", "--env", "prod")
    assert code == 1
    assert f"approval needed: wave 2 of 2: release {release.subject} is not approved" in err
    assert f"edgeferry approve {rollout} --wave 2 --env prod" in err
    assert f"then: edgeferry rollouts run {rollout} --env prod" in err
    code, _, err = shop("rollouts", "promote", rollout, "--env", "prod")
    assert (code, "rita made this release" in err) == (1, True), err
    assert list(ledger.entries("order")) == []
    shop.environment["EDGEFERRY_USER"] = "ann"
    told = shop.facts("rollouts", "promote", rollout, "--env", "prod")
    assert told["lacking"] == "1 of 2 people promote it (ann)"
