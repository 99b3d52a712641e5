"""What goes wrong turns exactly its own step red, on each platform; what comes after it does not run, and
what was found out by then is kept. What takes minutes goes wrong on one platform: the steps are the same."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import docker
import pytest

from edgeferry.sandbox.process import Process
from tests.ci.conftest import PLATFORMS, Factory
from tests.ci.pipelines import Pipeline
from tests.ci.steps import Run, Start
from tests.e2e.test_3_faults import DOCKERFILE, FAILS_ON_DEVICES

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

TRAIN = Start("build", "Train")
PACKAGE = Start("build", "Package")
VERIFY = Start("build", "Verify")
PUSH = Start("build", "Push model and companion")
APPROVE = Start("rollout", "Record the approval")
ROLL_OUT = Start("rollout", "Roll out")
SMOKE = Start("rollout", "Smoke test")
on_one_platform = pytest.mark.parametrize("pipeline", PLATFORMS[1:], indirect=True)


def expect(pipeline: Pipeline, run: Run, red: str, says: str) -> None:
    """Exactly the step `red` failed, saying `says`; after it ran only what keeps its own job's findings."""
    assert run.red == [red], str(run)
    assert says in run.output(red), run.output(red)
    at = [step.title for step in run.steps].index(red)
    assert {step.state for step in run.steps[:at]} <= {"succeeded"}, str(run)
    job = run.steps[at].stage
    states = {(step.stage, step.title): step.state for step in run.steps[at + 1 :]}
    kept = {step: "succeeded" for step in states if step[0] == job and step[1] in pipeline.always}
    assert len(kept) == 1, str(run)
    assert states == {**dict.fromkeys(states, "skipped"), **kept}, str(run)
    assert job != "build" or "evidence-1/train.json" in run.artifacts


@contextlib.contextmanager
def edited(path: Path, edit: Callable[[str], str]) -> Iterator[None]:
    """The file, edited and mended again; a file that is new goes again."""
    kept = path.read_text() if path.exists() else None
    path.write_text(edit(kept or ""))
    try:
        yield
    finally:
        if kept is None:
            path.unlink()
        else:
            path.write_text(kept)


def test_training_that_fails(pipeline: Pipeline) -> None:
    fault = "raise RuntimeError('the road is closed')\n"
    with edited(pipeline.sources / "shared/src/regression/train.py", lambda text: text + fault):
        run = pipeline.run(TRAIN)
    expect(pipeline, run, "Train", "the road is closed")


@on_one_platform
def test_a_model_that_answers_otherwise_than_predicted(pipeline: Pipeline) -> None:
    def shift(text: str) -> str:
        lines = text.splitlines()
        row = lines[7].split(",")
        at = lines[0].split(",").index("predicted_fareAmount")
        row[at] = str(float(row[at]) + 0.5)
        return "\n".join([*lines[:7], ",".join(row), *lines[8:], ""])

    state = Path(pipeline.green.ahead["build", "build", "Verify"].variables["EDGEFERRY_STATE"])
    (predictions,) = (state / "mlflow" / "artifacts").glob("*/artifacts/predictions/predictions.csv")
    with edited(predictions, shift):
        run = pipeline.run(VERIFY)
    expect(pipeline, run, "Verify", "row 7: expected")


def test_a_registry_that_cannot_store(factory: Factory, pipeline: Pipeline) -> None:
    broken = (
        factory.home / "state" / "registry" / "data" / "docker" / "registry" / "v2" / "repositories" / "full"
    )
    broken.write_text("a file where a folder should be made")
    try:
        run = pipeline.run(PUSH, variables={"EDGEFERRY_REGISTRY__PREFIX": "full"})
    finally:
        broken.unlink()
    expect(pipeline, run, "Push model and companion", "500")


def test_a_registry_that_is_down(factory: Factory, pipeline: Pipeline) -> None:
    factory.send("registry", signal.SIGKILL)
    registry = Process(factory.home / "state", "registry")
    try:
        until(lambda: not registry.is_running())
        run = pipeline.run(PUSH)
    finally:
        factory("up", "--devices", "2")
    expect(pipeline, run, "Push model and companion", "does not answer")


def test_a_rollout_that_nobody_approved(pipeline: Pipeline) -> None:
    with pipeline.unapproved():
        run = pipeline.run(APPROVE)
    expect(pipeline, run, "Record the approval", "no approval check")


def test_nobody_targeted(factory: Factory, pipeline: Pipeline) -> None:
    factory("devices", "tag", "device-1", "models.nyc_taxi=")
    try:
        run = pipeline.run(ROLL_OUT)
    finally:
        factory("devices", "tag", "device-1", "models.nyc_taxi=true")
    expect(pipeline, run, "Roll out", "nobody targeted")
    (failure,) = [child for case in run.cases for child in case if case.get("name") == "(nobody)"]
    assert "nobody targeted" in (failure.get("message") or "")


def test_wrong_credentials_of_the_hub(pipeline: Pipeline) -> None:
    name = pipeline.spell("hub-connection-string")
    right = pipeline.secrets[name]
    wrong = right.rpartition("SharedAccessKey=")[0] + "SharedAccessKey=d3Jvbmc="
    with mock.patch.dict(pipeline.secrets, {name: wrong}):
        run = pipeline.run(ROLL_OUT)
    expect(pipeline, run, "Roll out", "401")


def test_a_device_that_takes_too_long(factory: Factory, pipeline: Pipeline) -> None:
    factory.send("device-2", signal.SIGSTOP)
    factory("devices", "tag", "device-2", "models.nyc_taxi=true")
    try:
        run = pipeline.run(ROLL_OUT, variables={"EDGEFERRY_ROLLOUT__TIMEOUT_S": "4"})
    finally:
        factory("devices", "tag", "device-2", "models.nyc_taxi=")
        factory.send("device-2", signal.SIGCONT)
    expect(pipeline, run, "Roll out", "TimedOut")
    problems = {case.get("name"): [child.tag for child in case] for case in run.cases}
    assert problems["device-2"] == ["error"]


def test_a_module_that_died_after_the_rollout(factory: Factory, pipeline: Pipeline) -> None:
    known = json.loads((factory.home / "state" / "sandbox.json").read_text())
    container = f"nyc_taxi.edgeferry.{known['id']}.device-1"
    with contextlib.closing(docker.APIClient(base_url=known["engine"])) as engine:
        until(lambda: bool(engine.containers(filters={"name": container})))
        factory.send("device-1", signal.SIGSTOP)  # so that its agent does not start it again
        try:
            engine.kill(container)
            run = pipeline.run(SMOKE)
        finally:
            factory.send("device-1", signal.SIGCONT)
    expect(pipeline, run, "Smoke test", "device-1")
    assert [child.tag for case in run.cases if case.get("name") == "device-1" for child in case] != []


@on_one_platform
def test_a_model_that_fails_its_smoke_test_on_the_device(pipeline: Pipeline) -> None:
    pipeline.ask_anew()
    folder = pipeline.sources / "models" / "nyc_taxi"
    with (
        edited(folder / "Dockerfile", lambda _: DOCKERFILE),
        edited(folder / "sitecustomize.py", lambda _: FAILS_ON_DEVICES),
    ):
        run = pipeline.run(PACKAGE)
    expect(pipeline, run, "Roll out", "smoke test failed")
    assert "serves again: Succeeded" in run.output("Roll out")
    (failure,) = [child for case in run.cases for child in case]
    assert failure.tag == "failure"


def until(holds: Callable[[], bool]) -> None:
    """It holds; whatever an earlier fault has broken is mended again within a minute."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
