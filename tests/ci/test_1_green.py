"""The written pipelines, run step by step on this machine: what is good turns green, all of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ci.conftest import PULL_REQUEST, SHARED, Factory
from tests.ci.runner import Run

pytestmark = [pytest.mark.e2e, pytest.mark.engine]


def test_a_good_pull_request_is_green_and_leaves_nothing_running(factory: Factory) -> None:
    run = factory.machine.run(PULL_REQUEST)
    print(run)
    assert run.red == [], str(run)
    assert {step.state for step in run.steps} == {"succeeded"}
    assert "nyc_taxi/README.md" in run.output("What does it touch?")
    assert "device-1: Succeeded" in run.output("Roll out to the device")
    names = [(case.get("classname"), case.get("name")) for case in run.cases]
    assert ("nyc_taxi", "device-1") in names
    assert len(names) > 5, "the model's own unit tests are published too"
    left = factory.machine.folder / "agents" / "__default.check" / "edgeferry" / "run"
    assert list(left.glob("*.json")) == []


def test_what_is_shared_is_checked(factory: Factory) -> None:
    run = factory.machine.run(SHARED)
    assert run.red == [], str(run)
    assert "environments/factory.toml" in run.output("Settings")


def test_a_merged_model_goes_to_the_fleet_with_the_persons_name(factory: Factory, merged: Run) -> None:
    run = merged
    print(run)
    assert run.red == [], str(run)
    assert {step.state for step in run.steps} == {"succeeded"}
    assert "approved by ann@contoso.com" in run.output("Record the approval")
    assert "recorded by Azure DevOps" in run.output("Record the approval")
    assert [(case.get("name"), len(case)) for case in run.cases] == [("device-1", 0), ("device-1", 0)]
    evidence = factory.machine.folder / "artifacts" / "evidence-1"
    report = json.loads((evidence / "verify.json").read_text())
    assert report["problems"] in ([], ())
    release = json.loads((evidence / "release.json").read_text())["release"]
    assert f"{release} approved by" in run.output("Record the approval")
    running = json.loads(factory("status", "--output", "json"))
    assert [(each["device"], each["verdict"]) for each in running if each["module"] == "nyc_taxi"] == [
        ("device-1", "Passed")
    ]


def test_no_secret_is_in_a_log_an_artifact_or_a_file_of_the_workspace(factory: Factory, merged: Run) -> None:
    secrets = {name: text.encode() for name, text in factory.machine.groups["edgeferry-factory"].items()}
    del secrets["registry-username"]
    secrets["ledger-signing-key"] = secrets["ledger-signing-key"].splitlines()[1]
    secrets["hub-connection-string"] = secrets["hub-connection-string"].rpartition(b"SharedAccessKey=")[2]
    secrets["token"] = factory.machine.token.encode()
    log = "\n".join(step.output for step in merged.steps).encode()
    assert [name for name, text in secrets.items() if text in log] == []
    found = [
        f"{name} in {path.name}"
        for folder in (factory.machine.folder, factory.machine.layers)
        for path in folder.rglob("*")
        if path.suffix not in (".so", ".gz")
        for content in [content_of(path)]
        for name, text in secrets.items()
        if text in content
    ]
    assert found == []


def content_of(path: Path) -> bytes:
    """What is in the file; nothing where it is none, is large, or another test has just moved it."""
    try:
        return path.read_bytes() if path.is_file() and path.stat().st_size < 1_000_000 else b""
    except FileNotFoundError:
        return b""
