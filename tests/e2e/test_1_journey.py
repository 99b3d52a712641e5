"""The whole journey as a user types it: real hub, registry, ledger, devices, containers."""

from __future__ import annotations

import csv
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeferry.settings import load_settings
from edgeferry.wiring import open_hub
from tests.e2e.conftest import REAL_TRIPS, CommandLine, Ran

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

STAGES = ["train", "package", "verify", "push", "release", "approve", "rollout", "smoke"]


def stages_of(shipment: dict[str, Any]) -> dict[str, str]:
    return {stage["stage"]: stage["state"] for stage in shipment["stages"]}


def twin_of(
    edgeferry: CommandLine, device: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    monkeypatch.setenv("EDGEFERRY_STATE", str(edgeferry.state))
    with open_hub(load_settings(edgeferry.project), print) as hub:
        return hub.module_twin(device, module) or {}


def score(port: int, rows: list[list[float]]) -> list[float]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/score",
        json.dumps({"data": rows}).encode(),
        {"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        values: list[float] = json.load(answer)
        return values


def test_the_demo_is_true_in_all_its_parts(demo: Ran) -> None:
    assert demo.code == 0, demo.err
    facts = demo.facts
    assert facts["ok"] is True
    digests = {shipment["model"]: shipment["digest"] for shipment in facts["shipments"]}
    assert list(digests) == ["nyc_taxi", "london_taxi"]
    for shipment in facts["shipments"]:
        assert list(stages_of(shipment)) == STAGES
        assert set(stages_of(shipment).values()) <= {"done", "unchanged"}
    assert [(each["device"], each["model"]) for each in facts["devices"]] == [
        ("device-1", "nyc_taxi"),
        ("device-2", "london_taxi"),
        ("device-3", "london_taxi"),
        ("device-3", "nyc_taxi"),
    ]
    for each in facts["devices"]:
        assert (each["state"], each["verdict"]) == ("Succeeded", "Passed")
        assert each["digest"] == digests[each["model"]]
        assert each["latency_ms"] > 0
        assert each["captured"] == each["sent"] == 50
    moves = [stage["detail"] for stage in facts["stages"] if stage["name"] == "move"]
    assert "device-1 received london_taxi by itself" in moves[0]
    assert "device-1 no longer runs nyc_taxi" in moves[0]
    assert "device-1 received nyc_taxi by itself" in moves[1]


def test_after_the_demo_each_device_runs_what_its_tags_say(edgeferry: CommandLine, demo: Ran) -> None:
    sightings = edgeferry("status", "--output", "json").facts
    assert [(s["device"], s["module"], s["state"]) for s in sightings if s["module"] != "companion"] == [
        ("device-1", "nyc_taxi", "running"),
        ("device-2", "london_taxi", "running"),
        ("device-3", "london_taxi", "running"),
        ("device-3", "nyc_taxi", "running"),
    ]
    assert [s["device"] for s in sightings if s["module"] == "companion"] == [
        "device-1",
        "device-2",
        "device-3",
    ]


def test_a_second_demo_finds_its_work_done_and_asks_afresh(edgeferry: CommandLine, demo: Ran) -> None:
    again = edgeferry("demo", "--output", "json")
    assert again.code == 0, again.err
    for shipment, before in zip(again.facts["shipments"], demo.facts["shipments"], strict=True):
        states = stages_of(shipment)
        assert states.pop("smoke") == "done"
        assert set(states.values()) == {"unchanged"}
        assert shipment["digest"] == before["digest"]


def test_all_models_are_shipped_at_once_each_with_its_own_lines(edgeferry: CommandLine, demo: Ran) -> None:
    both = edgeferry("ship", "--all", "--approve-as", "me", "--output", "json")
    assert both.code == 0, both.err
    shipped = {each["model"]: each for each in both.facts["models"]}
    assert set(shipped) == {"london_taxi", "nyc_taxi"}
    for each in shipped.values():
        assert (each["ok"], each["exit_code"], stages_of(each)["smoke"]) == (True, 0, "done")
    assert "nyc_taxi    │" in both.err
    assert "london_taxi │" in both.err


def test_the_logs_of_a_module_come_through_the_hub(edgeferry: CommandLine, demo: Ran) -> None:
    ran = edgeferry("logs", "nyc_taxi", "--device", "device-1")
    assert ran.code == 0, ran.err
    assert "serving model=nyc_taxi version=1 port=8080" in ran.out
    missing = edgeferry("logs", "nyc_taxi", "--device", "device-2")
    assert missing.code == 2
    assert "edgeferry status" in missing.err


def test_what_was_asked_of_a_release_and_what_became_of_it_can_be_looked_up(
    edgeferry: CommandLine, demo: Ran
) -> None:
    (shipment,) = [each for each in demo.facts["shipments"] if each["model"] == "nyc_taxi"]
    facts = edgeferry("smoke", "show", "nyc_taxi", "--output", "json").facts
    assert (facts["release"], facts["digest"]) == (shipment["release"], shipment["digest"])
    assert {each["device"] for each in facts["devices"]} == {"device-1", "device-3"}
    for each in facts["devices"]:
        assert (each["state"], each["is_about_this_release"]) == ("Passed", True)
        assert each["asked"] == len(facts["cases"])
    shown = edgeferry("smoke", "show", "nyc_taxi")
    assert "held-out-together" in shown.out
    assert "this release" in shown.out


def test_a_smoke_test_on_a_device_without_the_model_is_no_success(edgeferry: CommandLine, demo: Ran) -> None:
    ran = edgeferry("smoke", "run", "nyc_taxi", "--device", "device-2", "--output", "json")
    assert ran.code == 1
    assert ran.facts[0]["state"] == "Inconclusive"


def test_without_an_approval_nothing_is_rolled_out(edgeferry: CommandLine, demo: Ran) -> None:
    ran = edgeferry("rollout", "nyc_taxi", "-t", "tags.edgeferry = true", "--output", "json")
    assert ran.code == 1
    assert ran.facts["state"] == "Skipped"
    assert "not approved" in ran.facts["reason"]
    assert "edgeferry approve" in ran.facts["fix"]


def test_a_condition_that_matches_nobody_is_inconclusive(edgeferry: CommandLine, demo: Ran) -> None:
    condition = "tags.models.nothing = true"
    assert edgeferry("approve", "nyc_taxi", "--by", "ann", "-t", condition).code == 0
    ran = edgeferry("rollout", "nyc_taxi", "-t", condition, "--output", "json")
    assert ran.code == 1
    assert ran.facts["state"] == "Inconclusive"
    assert "nobody targeted" in ran.facts["reason"]
    human = edgeferry("rollout", "nyc_taxi", "-t", condition)
    assert "Inconclusive: nobody targeted" in human.err
    assert "devices tag device-1 models.nothing=true" in human.err


def test_a_no_shuts_the_gate(edgeferry: CommandLine, demo: Ran) -> None:
    condition = "tags.site = 'lab'"
    assert edgeferry("approve", "nyc_taxi", "--by", "ann", "-t", condition, "--no").code == 0
    ran = edgeferry("rollout", "nyc_taxi", "-t", condition)
    assert ran.code == 1
    assert "ann said no" in ran.err


@pytest.fixture
def wrong_predictions(edgeferry: CommandLine) -> Iterator[None]:
    """The pipeline's own prediction of one held-out row is changed behind its back."""
    source = edgeferry.project / "shared" / "src" / "regression" / "predict.py"
    kept = source.read_text()
    broken = kept.replace(".predict(", ".predict_shifted(")
    assert broken != kept
    shim = (
        "\n\nfrom sklearn.linear_model import LinearRegression as _L\n\n\n"
        "def _shifted(self, rows):\n    answers = self.predict(rows)\n    answers[6] += 0.5\n"
        "    return answers\n\n\n"
        "_L.predict_shifted = _shifted\n"
    )
    head, imports_end, rest = broken.partition("\n\n\ndef ")
    source.write_text(head + shim + imports_end + rest)
    yield
    source.write_text(kept)


def test_an_image_that_answers_wrongly_is_not_pushed(
    edgeferry: CommandLine, demo: Ran, wrong_predictions: None
) -> None:
    before = repository_files(edgeferry)
    ran = edgeferry("ship", "nyc_taxi", "--approve-as", "ann", "--output", "json")
    assert ran.code == 1, ran.err
    assert list(stages_of(ran.facts)) == ["train", "package", "verify"]
    assert stages_of(ran.facts)["verify"] == "refused"
    assert "row 7: expected" in ran.facts["problem"]
    assert "0.5" in ran.facts["problem"]
    assert repository_files(edgeferry) == before
    assert edgeferry("push", "nyc_taxi").code == 1
    assert repository_files(edgeferry) == before


def repository_files(edgeferry: CommandLine) -> set[Path]:
    return {path for path in (edgeferry.state / "registry" / "data").rglob("*") if path.is_file()}


def test_the_device_answers_real_trips_as_the_pipeline_predicted(
    edgeferry: CommandLine, demo: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not REAL_TRIPS.is_dir():
        pytest.skip("the real trips are not here: ../shared/data/tlc")
    ran = edgeferry(
        "ship", "nyc_taxi", "--input", f"raw_data={REAL_TRIPS}", "--approve-as", "ann", "--output", "json"
    )
    assert ran.code == 0, ran.err
    version = edgeferry("train", "nyc_taxi", "--input", f"raw_data={REAL_TRIPS}", "--output", "json").facts
    assert version["created"] is False
    assert version["metrics"]["r2"] == pytest.approx(0.888671258751, abs=1e-6)
    predictions = held_out(edgeferry, version["run_id"])[::292][:10]
    assert len(predictions) == 10
    reported = twin_of(edgeferry, "device-1", "$edgeAgent", monkeypatch)["properties"]["reported"]
    module = reported["modules"]["nyc_taxi"]
    assert module["settings"]["image"].endswith(ran.facts["digest"])
    answers = score(module["hostPorts"]["8080/tcp"], [row for row, _ in predictions])
    for answer, (_, expected) in zip(answers, predictions, strict=True):
        assert answer == pytest.approx(expected, rel=1e-9)


def held_out(edgeferry: CommandLine, run_id: str) -> list[tuple[list[float], float]]:
    (path,) = edgeferry.state.rglob(f"{run_id}/artifacts/predictions/predictions.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    outputs = ("fareAmount", "predicted_fareAmount")
    return [
        ([float(v) for name, v in row.items() if name not in outputs], float(row["predicted_fareAmount"]))
        for row in rows
    ]
