"""What goes wrong turns exactly its own step red, and what comes after it does not run."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from edgeferry.sandbox.process import Process
from tests.ci.conftest import MAIN, PROJECT, Factory
from tests.ci.runner import Run, Start
from tests.e2e.test_3_faults import DOCKERFILE, FAILS_ON_DEVICES

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

TRAIN = Start("build", "Train")
PACKAGE = Start("build", "Package")
PUSH = Start("build", "Push model and companion")
APPROVE = Start("rollout", "Record the approval")
ROLL_OUT = Start("rollout", "Roll out")
SMOKE = Start("rollout", "Smoke test")
ALWAYS = {"Keep the evidence", "Publish the results"}


@pytest.fixture(autouse=True)
def trained(merged: Run, factory: Factory) -> Iterator[None]:
    """Each fault starts in what the green run left, just before the step it is meant for."""
    assert merged.red == [], str(merged)
    evidence = factory.machine.folder / "agents" / "build.build" / "a"
    kept = {path: path.read_bytes() for path in evidence.glob("*.json")}
    assert "train.json" in {path.name for path in kept}
    yield
    for path, body in kept.items():
        path.write_bytes(body)


def expect(run: Run, red: str, says: str) -> None:
    """Exactly the step `red` failed, saying `says`; of what comes after it, only what always runs ran."""
    assert run.red == [red], str(run)
    assert says in run.output(red), run.output(red)
    titles = [step.title for step in run.steps]
    after = run.steps[titles.index(red) + 1 :]
    assert {step.title for step in after if step.state != "skipped"} <= ALWAYS
    assert all(step.state == "succeeded" for step in run.steps[: titles.index(red)])


@contextlib.contextmanager
def edited(sources: Path, file: str, edit: Callable[[str], str]) -> Iterator[None]:
    """The file of the agent's sources, edited and mended again; a file that is new goes again."""
    path = sources / PROJECT / file
    kept = path.read_text() if path.exists() else None
    path.write_text(edit(kept or ""))
    try:
        yield
    finally:
        if kept is None:
            path.unlink()
        else:
            path.write_text(kept)


@pytest.fixture
def sources(factory: Factory) -> Path:
    return factory.machine.folder / "agents" / "build.build" / "s"


def test_training_that_fails(factory: Factory, sources: Path) -> None:
    fault = "raise RuntimeError('the road is closed')\n"
    with edited(sources, "shared/src/regression/train.py", lambda text: text + fault):
        run = factory.machine.run(MAIN, TRAIN)
    expect(run, "Train", "the road is closed")


def test_a_model_that_answers_otherwise_than_predicted(factory: Factory, sources: Path) -> None:
    def shift(text: str) -> str:
        right = "model.predict(inputs)"
        assert right in text
        return text.replace(right, f"[each + 0.5 * (row == 6) for row, each in enumerate({right})]")

    with edited(sources, "shared/src/regression/predict.py", shift):
        run = factory.machine.run(MAIN, TRAIN)
    expect(run, "Verify", "row 7: expected")


def test_a_registry_that_cannot_store(factory: Factory) -> None:
    broken = (
        factory.home / "state" / "registry" / "data" / "docker" / "registry" / "v2" / "repositories" / "full"
    )
    broken.write_text("a file where a folder should be made")
    try:
        run = factory.machine.run(MAIN, PUSH, variables={"EDGEFERRY_REGISTRY__PREFIX": "full"})
    finally:
        broken.unlink()
    expect(run, "Push model and companion", "500")


def test_a_registry_that_is_down(factory: Factory) -> None:
    factory.send("registry", signal.SIGKILL)
    gone(factory, "registry")
    try:
        run = factory.machine.run(MAIN, PUSH)
    finally:
        factory("up", "--devices", "2")
    expect(run, "Push model and companion", "does not answer")


def test_a_stage_that_nobody_approved(factory: Factory) -> None:
    kept, factory.platform.approvals = factory.platform.approvals, {}
    try:
        run = factory.machine.run(MAIN, APPROVE)
    finally:
        factory.platform.approvals = kept
    expect(run, "Record the approval", "no approval check")


def test_nobody_targeted(factory: Factory) -> None:
    factory("devices", "tag", "device-1", "models.nyc_taxi=")
    try:
        run = factory.machine.run(MAIN, ROLL_OUT)
    finally:
        factory("devices", "tag", "device-1", "models.nyc_taxi=true")
    expect(run, "Roll out", "nobody targeted")
    (failure,) = [child for case in run.cases for child in case if case.get("name") == "(nobody)"]
    assert "nobody targeted" in (failure.get("message") or "")


def test_wrong_credentials_of_the_hub(factory: Factory) -> None:
    group = factory.machine.groups["edgeferry-factory"]
    right = group["hub-connection-string"]
    group["hub-connection-string"] = right.rpartition("SharedAccessKey=")[0] + "SharedAccessKey=d3Jvbmc="
    try:
        run = factory.machine.run(MAIN, ROLL_OUT)
    finally:
        group["hub-connection-string"] = right
    expect(run, "Roll out", "401")


def test_a_device_that_takes_too_long(factory: Factory) -> None:
    factory.send("device-2", signal.SIGSTOP)
    factory("devices", "tag", "device-2", "models.nyc_taxi=true")
    try:
        run = factory.machine.run(MAIN, ROLL_OUT, variables={"EDGEFERRY_ROLLOUT__TIMEOUT_S": "4"})
    finally:
        factory("devices", "tag", "device-2", "models.nyc_taxi=")
        factory.send("device-2", signal.SIGCONT)
    expect(run, "Roll out", "TimedOut")
    problems = {case.get("name"): [child.tag for child in case] for case in run.cases}
    assert problems["device-2"] == ["error"]


def test_a_module_that_died_after_the_rollout(factory: Factory) -> None:
    known = json.loads((factory.home / "state" / "sandbox.json").read_text())
    engine = docker.APIClient(base_url=known["engine"])
    factory.send("device-1", signal.SIGSTOP)  # so that its agent does not start it again
    engine.kill(f"nyc_taxi.edgeferry.{known['id']}.device-1")
    try:
        run = factory.machine.run(MAIN, SMOKE)
    finally:
        factory.send("device-1", signal.SIGCONT)
        engine.close()
    expect(run, "Smoke test", "device-1")
    assert [child.tag for case in run.cases if case.get("name") == "device-1" for child in case] != []


def test_a_model_that_fails_its_smoke_test_on_the_device(factory: Factory, sources: Path) -> None:
    factory.ask_anew()
    folder = "models/nyc_taxi"
    with (
        edited(sources, f"{folder}/Dockerfile", lambda _: DOCKERFILE),
        edited(sources, f"{folder}/sitecustomize.py", lambda _: FAILS_ON_DEVICES),
    ):
        run = factory.machine.run(MAIN, PACKAGE)
    expect(run, "Roll out", "smoke test failed")
    assert "serves again: Succeeded" in run.output("Roll out")
    (failure,) = [child for case in run.cases for child in case]
    assert failure.tag == "failure"


def gone(factory: Factory, name: str) -> None:
    process = Process(factory.home / "state", name)
    deadline = time.monotonic() + 60
    while process.is_running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not process.is_running()
