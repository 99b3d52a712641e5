"""The runner of GitHub's workflows is to be trusted as Azure's is: it refuses what it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ci.github_runner import Repository
from tests.ci.steps import Start, UnknownError

WORKFLOW = """
permissions: {{}}
env: {{}}
jobs:
  j:
    defaults: {{run: {{shell: bash}}}}
    {environment}
    steps:
      - {{name: one, {step}}}
      - {{name: two, run: 'echo "<${{SEEN-}}>"'}}
"""


@pytest.mark.parametrize(
    ("environment", "step"),
    [
        pytest.param(
            "", "run: 'true', env: {X: '${{ secrets.DOOR }}'}", id="a secret without an environment"
        ),
        pytest.param("", "run: 'true', env: {X: '${{ needs.i.outputs.x }}'}", id="a job it does not need"),
        pytest.param("environment: prod", "run: 'echo ${{ github.ref }}'", id="an expression in a script"),
        pytest.param("", "uses: actions/checkout@v6", id="an action that is not pinned"),
        pytest.param("", "run: 'true', if: failure()", id="a condition that is not known"),
    ],
)
def test_what_is_not_simulated_is_refused(tmp_path: Path, environment: str, step: str) -> None:
    (tmp_path / "w.yml").write_text(WORKFLOW.format(environment=environment, step=step))
    repository = Repository(tmp_path / "machine", tmp_path, {"prod": {"DOOR": "s3cret"}})
    with pytest.raises(UnknownError):
        repository.run("w.yml")


def test_a_secret_is_seen_where_it_is_mapped_and_nowhere_else(tmp_path: Path) -> None:
    step = "run: 'echo \"<$SEEN>\"', env: {SEEN: '${{ secrets.DOOR }}'}"
    (tmp_path / "w.yml").write_text(WORKFLOW.format(environment="environment: prod", step=step))
    run = Repository(tmp_path / "machine", tmp_path, {"prod": {"DOOR": "s3cret"}}).run("w.yml")
    assert [each.output for each in run.steps] == ["<s3cret>\n", "<>\n"]


JOBS = """
permissions: {}
env: {}
jobs:
  a:
    defaults: {run: {shell: bash}}
    outputs: {name: '${{ steps.s.outputs.name }}'}
    steps:
      - name: begin
        run: mkdir "$RUNNER_TEMP"/e; echo "EVIDENCE=$RUNNER_TEMP/e" >> "$GITHUB_ENV"
      - {name: tell, id: s, run: 'echo "name=${NAME-ferry}" | tee "$EVIDENCE"/told >> "$GITHUB_OUTPUT"'}
      - {name: read, run: 'cat "$EVIDENCE"/*; echo > "$EVIDENCE"/more'}
      - {name: fail, run: 'exit "${CODE-0}"'}
      - {name: keep, if: always(), run: 'true'}
  b:
    needs: a
    defaults: {run: {shell: bash}}
    env: {TOLD: '${{ needs.a.outputs.name }}'}
    steps:
      - {name: hear, run: 'echo "$TOLD"'}
"""


def test_a_run_can_start_in_the_middle_of_what_the_whole_run_left(tmp_path: Path) -> None:
    (tmp_path / "w.yml").write_text(JOBS)
    repository = Repository(tmp_path / "machine", tmp_path)
    assert repository.run("w.yml").output("hear") == "ferry\n"
    other = repository.run("w.yml", Start("a", "tell"), variables={"NAME": "other"})
    assert (other.output("read"), other.output("hear")) == ("name=other\n", "other\n")
    again = repository.run("w.yml", Start("a", "read"))
    assert [step.title for step in again.steps] == ["read", "fail", "keep", "hear"]
    assert (again.output("read"), again.output("hear")) == ("name=ferry\n", "ferry\n")
    last = repository.run("w.yml", Start("b", "hear"))
    assert [(step.title, step.output) for step in last.steps] == [("hear", "ferry\n")]


def test_a_failing_step_ends_the_job_and_what_needs_it_but_for_what_always_runs(tmp_path: Path) -> None:
    (tmp_path / "w.yml").write_text(JOBS)
    run = Repository(tmp_path / "machine", tmp_path).run("w.yml", variables={"CODE": "3"})
    states = {step.title: step.state for step in run.steps[2:]}
    assert states == {"read": "succeeded", "fail": "failed", "keep": "succeeded", "hear": "skipped"}
