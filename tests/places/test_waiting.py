"""Waiting through bad times: a place that fails and comes back, and one that does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import uv

from edgeferry.adapters.local_place import LocalPlace
from edgeferry.adapters.runner import LocalRunner
from edgeferry.adapters.runs import RunsFolder
from edgeferry.adapters.tracking import MlflowTracking
from edgeferry.errors import PlaceError, RefusedError, TrackingError, UsageError
from edgeferry.ports import Services, show_nobody
from edgeferry.workflows.train import submit, train, wait
from tests.azureml_stub.proxy import Answer
from tests.azureml_stub.workspace import Azure
from tests.places.conftest import Model, azure_place

BROKEN = Answer(500, {"error": {"code": "InternalServerError", "message": "oops"}})


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def services(
    azure: Azure, model: Model, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Services:
    """Those of training, with a clock that jumps a minute with every pause."""
    monkeypatch.setattr("time.sleep", lambda _: None)  # the SDK's pauses
    azure.add_compute("cpu-cluster")
    nothing = cast(Any, None)
    fields = {**dict.fromkeys(Services.__dataclass_fields__, nothing), "work": show_nobody}
    clock = [0.0]

    def sleep(_: float) -> None:
        clock[0] += 60

    return replace(
        Services(**fields),
        project=model.project,
        place=azure_place([]),
        runs=RunsFolder(tmp_path / "runs"),
        now=lambda: clock[0],
        sleep=sleep,
        new_id=lambda: "0123456789abcdef",
        say=said.append,
    )


def test_a_place_that_comes_back_is_asked_again(
    services: Services, azure: Azure, model: Model, said: list[str]
) -> None:
    definition, _ = model.load()
    model.write("src/copy.py", "raise SystemExit('odd')")
    run = submit(services, definition, {})
    assert run == "demo-0123456789ab"
    azure.trouble(10, f"/jobs/{run}", BROKEN)
    with pytest.raises(RefusedError, match="step copy failed"):
        wait(services, definition, run)
    assert [line for line in said if "asking again: Azure ML answers 500" in line]


def test_a_place_that_stays_away_ends_the_waiting_and_not_the_run(
    services: Services, azure: Azure, model: Model, said: list[str]
) -> None:
    definition, _ = model.load()
    run = submit(services, definition, {})
    azure.trouble(10**6, f"/jobs/{run}", BROKEN)
    with pytest.raises(PlaceError, match="answers 500"):
        wait(services, definition, run)
    assert len([line for line in said if "asking again" in line]) == 11
    assert f"edgeferry runs wait {run}" in said[-1]
    assert azure.asked("/cancel") == []


def test_a_run_of_which_nothing_was_sent_is_not_remembered(
    services: Services, azure: Azure, model: Model
) -> None:
    model.write("src/deploy.pem", "a key")
    with pytest.raises(UsageError, match="nothing was sent"):
        submit(services, model.load()[0], {})
    assert services.runs.list_all() == []


def test_a_run_is_remembered_before_it_is_submitted(services: Services, azure: Azure, model: Model) -> None:
    definition, _ = model.load()
    azure.trouble(1, "PUT management.azure.com", Answer(403, {"error": {"message": "no"}}))
    with pytest.raises(PlaceError):
        submit(services, definition, {"word": "bye"})
    (record,) = services.runs.list_all()
    assert (record.model, record.place, dict(record.inputs)) == ("demo", "azureml", {"word": "bye"})
    with pytest.raises(UsageError, match=f"has no run {record.id}"):
        services.place.poll(record.id)


@pytest.mark.parametrize(
    ("inputs", "file", "problem"),
    [
        pytest.param({"word": "AccountKey=c2VjcmV0c2VjcmV0"}, "", "holds a secret", id="a secret"),
        pytest.param({"words": "x"}, "", "no input `words`", id="an input that is none"),
        pytest.param({}, "src/.env", "looks? like keys", id="a key in the code"),
    ],
)
def test_what_cannot_be_submitted_is_not_remembered(
    services: Services, azure: Azure, model: Model, inputs: dict[str, str], file: str, problem: str
) -> None:
    definition, _ = model.load()
    if file:
        model.write(file, "x")
    with pytest.raises(UsageError, match=problem):
        submit(services, definition, inputs)
    assert services.runs.list_all() == []
    assert azure.requests == []


def test_a_log_that_was_told_to_its_end_is_not_fetched_again(
    services: Services, azure: Azure, model: Model
) -> None:
    definition, _ = model.load()
    model.write("src/count.py", "import time\ntime.sleep(1)\nraise SystemExit('odd')")
    run = submit(services, definition, {})
    lines: list[str] = []
    with pytest.raises(RefusedError, match="step count failed"):
        wait(services, definition, run, lambda step, line: lines.append(f"{step} {line}"))
    assert lines == ["copy copied with hello", "count odd"]
    children = azure.jobs[run].children
    asked = [request.path.split("/")[-2] for request in azure.asked("/details")]
    later = asked[asked.index(children["count"].id) :]
    assert len(later) > 3
    assert children["copy"].id in asked
    assert children["copy"].id not in later


def test_of_a_run_that_there_is_not_nobody_says_it_goes_on(
    services: Services, model: Model, said: list[str]
) -> None:
    definition, _ = model.load()
    with pytest.raises(UsageError, match="has no run demo-9"):
        wait(services, definition, "demo-9")
    assert said == []


def test_a_run_on_this_machine_that_broke_is_not_asked_again(
    services: Services, model: Model, said: list[str], tmp_path: Path
) -> None:
    tracking = MlflowTracking("http://127.0.0.1:9", tmp_path / "artifacts", tmp_path / "downloads")
    place = LocalPlace(LocalRunner(tmp_path / "state", tracking, uv.find_uv_bin(), print))
    definition, _ = model.load()
    with pytest.raises(TrackingError) as caught:
        train(replace(services, place=place), definition, {})
    assert caught.value.retryable
    assert not [line for line in said if "asking again" in line]
