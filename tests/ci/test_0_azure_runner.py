"""The runner of pipelines is itself to be trusted: it refuses what it does not know, and red is red."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ci.azure_runner import Machine
from tests.ci.steps import Run, Start, UnknownError


def run(tmp_path: Path, text: str, start: Start | None = None, **variables: str) -> Run:
    (tmp_path / "repository").mkdir(exist_ok=True)
    (tmp_path / "repository" / "p.yml").write_text(text)
    group = {"edgeferry": {"door-key": "s3cret"}}
    machine = Machine(tmp_path / "machine", tmp_path / "repository", group)
    return machine.run("p.yml", start, variables=variables)


STEPS = "variables: [{group: edgeferry}, {name: plain.name, value: seen}]\njobs:\n- job: j\n  steps:\n"


def test_a_failing_step_ends_the_job_but_for_what_always_runs(tmp_path: Path) -> None:
    steps = "\n".join(
        f"  - {{bash: 'exit {code}', displayName: {name}{extra}}}"
        for name, code, extra in (
            ("one", 0, ""),
            ("two", 3, ""),
            ("three", 0, ""),
            ("four", 0, ", condition: always()"),
        )
    )
    done = run(tmp_path, STEPS + steps)
    assert [step.state for step in done.steps] == ["succeeded", "failed", "skipped", "succeeded"]


def test_a_stage_after_a_red_one_does_not_run(tmp_path: Path) -> None:
    job = "jobs: [{job: j, steps: [{bash: 'exit 1', displayName: x}]}]"
    done = run(tmp_path, f"stages:\n- stage: a\n  {job}\n- stage: b\n  {job}\n")
    assert [(step.stage, step.state) for step in done.steps] == [("a", "failed"), ("b", "skipped")]


def test_secrets_are_seen_only_where_they_are_mapped_and_unset_macros_stay(tmp_path: Path) -> None:
    script = 'echo "<$PLAIN_NAME> <${DOOR_KEY-}> <${MAPPED-}>"; echo $(echo ran)'
    steps = f"  - bash: {script!r}\n    displayName: one\n  - bash: {script!r}\n    displayName: two\n"
    done = run(tmp_path, f"{STEPS}{steps}    env: {{MAPPED: $(door-key)}}\n")
    assert done.output("one") == "<seen> <> <>\nran\n"
    assert done.output("two") == "<seen> <> <s3cret>\nran\n"


@pytest.mark.parametrize(
    "step",
    [
        "task: Elsewhere@1",
        "bash: 'true'\n    condition: eq(1, 1)",
        "task: UsePythonVersion@0\n    inputs: {versionSpec: '2.7'}",
        "task: Cache@2\n    inputs: {key: wheels, path: wheels}",
    ],
)
def test_what_is_not_simulated_is_refused(tmp_path: Path, step: str) -> None:
    with pytest.raises(UnknownError):
        run(tmp_path, f"{STEPS}  - {step}\n")


TOUCHED = """
jobs:
- job: affected
  steps:
  - bash: 'echo "##vso[task.setvariable variable=models;isOutput=true][\\"a\\"]"'
    displayName: look
    name: s
- job: check
  dependsOn: affected
  condition: CONDITION
  steps: [{bash: 'true', displayName: check}]
"""


@pytest.mark.parametrize(
    ("model", "reason", "state"),
    [
        pytest.param("a", "PullRequest", "succeeded", id="touched"),
        pytest.param("b", "PullRequest", "skipped", id="not touched"),
        pytest.param("b", "Manual", "succeeded", id="by hand"),
    ],
)
def test_a_job_runs_if_the_pull_request_touches_its_model(
    tmp_path: Path, model: str, reason: str, state: str
) -> None:
    touched = f"contains(dependencies.affected.outputs['s.models'], '\"{model}\"')"
    condition = f"and(succeeded(), or(ne(variables['Build.Reason'], 'PullRequest'), {touched}))"
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "p.yml").write_text(TOUCHED.replace("CONDITION", condition))
    machine = Machine(tmp_path / "machine", tmp_path / "repository", defaults={"Build.Reason": reason})
    assert machine.run("p.yml").state("check") == state


def test_outputs_reach_later_stages_and_a_run_can_start_in_the_middle(tmp_path: Path) -> None:
    text = """
stages:
- stage: a
  jobs:
  - job: j
    steps:
    - bash: echo "##vso[task.setvariable variable=name;isOutput=true]ferry"
      name: s
      displayName: tell
- stage: b
  jobs:
  - deployment: d
    environment: e
    variables: [{name: told, value: "$[ stageDependencies.a.j.outputs['s.name'] ]"}]
    strategy: {runOnce: {deploy: {steps: [{bash: 'echo "$TOLD" > kept', displayName: hear},
      {bash: 'echo "$TOLD $(cat kept)"', displayName: say}]}}}
"""
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "p.yml").write_text(text)
    (tmp_path / "repository" / "other.yml").write_text("jobs: [{job: j, steps: [{bash: 'true'}]}]")
    machine = Machine(tmp_path / "machine", tmp_path / "repository")
    assert machine.run("p.yml").output("say") == "ferry ferry\n"
    machine.run("other.yml")
    again = machine.run("p.yml", Start("b", "say"), variables={"told": "other"})
    assert [(step.title, step.output) for step in again.steps] == [("say", "other ferry\n")]


def test_who_starts_in_the_middle_finds_the_evidence_of_the_whole_run(tmp_path: Path) -> None:
    text = """
variables: [{name: EVIDENCE, value: $(Build.ArtifactStagingDirectory)}]
jobs:
- job: j
  steps:
  - {bash: 'echo "${FIRST-first}" > "$EVIDENCE"/one', displayName: one}
  - {bash: 'cat "$EVIDENCE"/*; echo later > "$EVIDENCE"/two', displayName: two}
"""
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "p.yml").write_text(text)
    machine = Machine(tmp_path / "machine", tmp_path / "repository")
    assert machine.run("p.yml").output("two") == "first\n"
    assert (
        machine.run("p.yml", Start("__default", "one"), variables={"FIRST": "other"}).output("two")
        == "other\n"
    )
    assert machine.run("p.yml", Start("__default", "two")).output("two") == "first\n"
