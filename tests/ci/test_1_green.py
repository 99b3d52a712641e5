"""The written pipelines, run step by step on this machine: what is good turns green, all of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ci.conftest import GITHUB_PULL_REQUEST, PULL_REQUEST, SHARED, Factory
from tests.ci.pipelines import Pipeline

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


def test_at_github_a_pull_request_has_only_the_models_checked_that_it_touches(factory: Factory) -> None:
    run = factory.repository.run(GITHUB_PULL_REQUEST, pretend=("check_london_taxi", "check_nyc_taxi"))
    assert run.red == [], str(run)
    assert "nyc_taxi/README.md" in run.output("What does it touch?")
    assert [step.stage for step in run.steps if step.state == "due"] == ["check_nyc_taxi"]
    assert {step.stage for step in run.steps if step.state == "skipped"} == {"check_london_taxi"}


def test_a_merged_model_goes_to_the_fleet_with_the_persons_name(factory: Factory, pipeline: Pipeline) -> None:
    run = pipeline.green
    print(run)
    assert {step.state for step in run.steps} == {"succeeded"}
    recorded = run.output("Record the approval")
    release = json.loads(run.artifacts["evidence-1/release.json"])["release"]
    assert f"{release} approved by {pipeline.person}" in recorded
    assert pipeline.recorded in recorded
    assert "eve" not in recorded
    assert [(case.get("name"), len(case)) for case in run.cases] == [("device-1", 0)] * 2
    report = json.loads(run.artifacts["evidence-1/verify.json"])
    assert report["problems"] in ([], ())
    running = json.loads(factory("status", "--output", "json"))
    assert [(each["device"], each["verdict"]) for each in running if each["module"] == "nyc_taxi"] == [
        ("device-1", "Passed")
    ]


def test_no_secret_is_in_a_log_an_artifact_or_a_file_of_the_workspace(
    factory: Factory, pipeline: Pipeline
) -> None:
    secrets = {name: text.encode() for name, text in pipeline.secrets.items()}
    del secrets[pipeline.spell("registry-username")]
    key, hub = (pipeline.spell(name) for name in ("ledger-signing-key", "hub-connection-string"))
    secrets[key] = secrets[key].splitlines()[1]
    secrets[hub] = secrets[hub].rpartition(b"SharedAccessKey=")[2]
    secrets["token"] = pipeline.token.encode()
    log = "\n".join(step.output for step in pipeline.green.steps).encode()
    kept = b"".join(pipeline.green.artifacts.values())
    assert [name for name, text in secrets.items() if text in log + kept] == []
    found = [
        f"{name} in {path.name}"
        for folder in (pipeline.folder, factory.machine.layers)
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
