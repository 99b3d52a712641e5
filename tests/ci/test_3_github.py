"""The written GitHub workflows, run step by step on this machine.

Their shell is that of Azure's pipelines (tests/workflows/test_ci_github.py), which runs green, and red in the
right step for each of ten faults; here is what GitHub does in its own way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.ci.conftest import GITHUB_MAIN, GITHUB_PULL_REQUEST, PROJECT, Factory
from tests.ci.github_runner import Repository
from tests.ci.github_stub import TOKEN, review
from tests.ci.runner import Run, UnknownError
from tests.ci.test_1_green import content_of

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

CHECKS = ("check_london_taxi", "check_nyc_taxi")
ENVIRONMENT = "edgeferry-factory"


def test_a_pull_request_has_only_the_models_checked_that_it_touches(factory: Factory) -> None:
    run = factory.repository.run(GITHUB_PULL_REQUEST, pretend=CHECKS)
    assert run.red == [], str(run)
    assert "nyc_taxi/README.md" in run.output("What does it touch?")
    assert [step.stage for step in run.steps if step.state == "due"] == ["check_nyc_taxi"]
    assert {step.stage for step in run.steps if step.state == "skipped"} == {"check_london_taxi"}


@pytest.fixture(scope="module")
def release(factory: Factory, merged: Run) -> Mapping[str, Mapping[str, str]]:
    """What the build job put out: the release that the green run made."""
    assert merged.red == [], str(merged)
    return {"build": {"release": factory.released}}


@contextlib.contextmanager
def reviewed(factory: Factory, *reviews: object) -> Iterator[None]:
    kept, factory.github.reviews = factory.github.reviews, list(reviews)
    try:
        yield
    finally:
        factory.github.reviews = kept


def expect(run: Run, red: str, says: str) -> None:
    """Exactly the step `red` failed, saying `says`; what comes after it did not run, but for what is kept."""
    assert run.red == [red], str(run)
    assert says in run.output(red), run.output(red)
    titles = [step.title for step in run.steps]
    after = run.steps[titles.index(red) + 1 :]
    assert {step.title for step in after if step.state != "skipped"} <= {
        "Keep the evidence",
        "Keep the results",
    }


def test_a_release_goes_to_the_fleet_with_the_name_of_the_person_who_reviewed_it(
    factory: Factory, release: Mapping[str, Mapping[str, str]]
) -> None:
    with reviewed(factory, review("bea", ENVIRONMENT), review("eve", f"{ENVIRONMENT}-build")):
        run = factory.repository.run(GITHUB_MAIN, needs=release)
    assert run.red == [], str(run)
    assert {step.state for step in run.steps} == {"succeeded"}
    recorded = run.output("Record the approval")
    assert "approved by bea@github.com" in recorded
    assert "recorded by GitHub, https://github.com/contoso/fleet/actions/runs/30433642" in recorded
    assert "eve" not in recorded
    results = factory.repository.folder / "artifacts" / "results-1"
    assert sorted(path.name for path in results.iterdir()) == ["rollout.xml", "smoke.xml"]
    secrets = {
        name: text for name, text in factory.repository.secrets[ENVIRONMENT].items() if "USER" not in name
    }
    texts = [step.output.encode() for step in run.steps]
    texts += [content_of(path) for path in factory.repository.folder.rglob("*") if path.suffix != ".so"]
    for secret in [*secrets.values(), TOKEN]:
        assert not any(secret.encode() in text for text in texts)


def test_a_job_that_nobody_reviewed(factory: Factory, release: Mapping[str, Mapping[str, str]]) -> None:
    with reviewed(factory, review("eve", f"{ENVIRONMENT}-build"), review("app", ENVIRONMENT, kind="Bot")):
        run = factory.repository.run(GITHUB_MAIN, needs=release)
    expect(run, "Record the approval", "no approval check")


def test_nobody_targeted(factory: Factory, release: Mapping[str, Mapping[str, str]]) -> None:
    def untag(_: Path) -> None:
        factory("devices", "tag", "device-1", "models.nyc_taxi=")

    try:
        with reviewed(factory, review("bea", ENVIRONMENT)):
            run = factory.repository.run(GITHUB_MAIN, needs=release, before={"Roll out": untag})
    finally:
        factory("devices", "tag", "device-1", "models.nyc_taxi=true")
    expect(run, "Roll out", "nobody targeted")


def test_training_that_fails_ends_the_run_before_anything_is_pushed(factory: Factory) -> None:
    def close_the_road(sources: Path) -> None:
        for file in (sources / PROJECT / "models" / "nyc_taxi" / "src" / "nyc_taxi").glob("prepare.py"):
            file.write_text("raise RuntimeError('the road is closed')\n")

    run = factory.repository.run(GITHUB_MAIN, before={"Train": close_the_road})
    expect(run, "Train", "the road is closed")
    assert {step.state for step in run.steps if step.stage == "rollout"} == {"skipped"}


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
        pytest.param("environment: prod", "run: 'echo ${{ github.ref }}'", id="an expression in a script"),
        pytest.param("", "uses: actions/checkout@v6", id="an action that is not pinned"),
        pytest.param("", "run: 'true', if: failure()", id="a condition that is not known"),
    ],
)
def test_the_runner_refuses_what_it_does_not_know(tmp_path: Path, environment: str, step: str) -> None:
    (tmp_path / "w.yml").write_text(WORKFLOW.format(environment=environment, step=step))
    repository = Repository(tmp_path / "machine", tmp_path, {"prod": {"DOOR": "s3cret"}})
    with pytest.raises(UnknownError):
        repository.run("w.yml")


def test_the_runner_shows_a_secret_where_it_is_mapped_and_nowhere_else(tmp_path: Path) -> None:
    step = "run: 'echo \"<$SEEN>\"', env: {SEEN: '${{ secrets.DOOR }}'}"
    (tmp_path / "w.yml").write_text(WORKFLOW.format(environment="environment: prod", step=step))
    run = Repository(tmp_path / "machine", tmp_path, {"prod": {"DOOR": "s3cret"}}).run("w.yml")
    assert [each.output for each in run.steps] == ["<s3cret>\n", "<>\n"]
