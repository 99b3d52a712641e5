"""Models living together on devices: versions replace each other, neighbours are left alone, all is kept."""

from __future__ import annotations

import csv
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from edgeferry.sandbox.traffic import send_rows
from tests.e2e.conftest import CommandLine, Devices, Ran, other_trips

pytestmark = [pytest.mark.e2e, pytest.mark.engine]


def ship(edgeferry: CommandLine, *arguments: str) -> Any:
    ran = edgeferry("ship", "nyc_taxi", "--approve-as", "ann", "--output", "json", *arguments)
    assert ran.code == 0, ran.err
    return ran.facts


def test_a_new_version_and_a_new_companion_replace_the_old_ones_and_leave_the_neighbour_alone(
    edgeferry: CommandLine, devices: Devices, tmp_path: Path
) -> None:
    neighbour = devices.container("device-3", "london_taxi")
    verdict = devices.verdict("device-3", "london_taxi")
    before = devices.container("device-3", "nyc_taxi")
    companion = devices.container("device-3", "companion")
    shipped = ship(edgeferry, "--input", other_trips(edgeferry, tmp_path / "trips", 40))
    after = devices.container("device-3", "nyc_taxi")
    assert after.id != before.id
    assert after.image.endswith(shipped["digest"])
    still = devices.container("device-3", "london_taxi")
    assert (still.id, still.started_at) == (neighbour.id, neighbour.started_at)
    assert devices.verdict("device-3", "london_taxi") == verdict
    assert devices.verdict("device-3", "nyc_taxi")["digest"] == shipped["digest"]
    assert devices.container("device-3", "companion").id == companion.id
    roll_out_the_companion(edgeferry, devices)


def roll_out_the_companion(edgeferry: CommandLine, devices: Devices) -> None:
    """By itself: it replaces itself alone, and each model answers it afresh."""
    before = {name: devices.container("device-3", name) for name in ("companion", "nyc_taxi", "london_taxi")}
    verdict = devices.verdict("device-3", "london_taxi")
    assert edgeferry("release", "companion").code == 0
    assert edgeferry("approve", "companion", "--by", "ann").code == 0
    ran = edgeferry("rollout", "companion", "--output", "json")
    assert ran.code == 0, ran.err
    assert {each["device"]: each["reason"] for each in ran.facts["devices"]} == {
        "device-1": "1 model passed through it",
        "device-2": "1 model passed through it",
        "device-3": "2 models passed through it",
    }
    after = {name: devices.container("device-3", name) for name in before}
    assert [name for name in before if after[name].id != before[name].id] == ["companion"]
    told = devices.verdict("device-3", "london_taxi")
    assert told["nonce"] == verdict["nonce"]
    assert told["companion"] != verdict["companion"]
    assert ran.facts["rollout"].endswith(told["companion"][:8])
    shown = edgeferry("releases", "show", "companion", "--output", "json").facts
    weights = {each["kind"]: each["state"] for each in shown["evidence"]}
    assert [weights[kind] for kind in ("image", "verification", "metrics")] == ["held"] * 3


def test_what_is_older_than_the_previous_release_is_cleaned_up(
    edgeferry: CommandLine, devices: Devices, tmp_path: Path
) -> None:
    reference, _, first = devices.container("device-1", "nyc_taxi").image.partition("@")
    (*_, before) = devices.layers("nyc_taxi")
    second = ship(edgeferry, "--input", other_trips(edgeferry, tmp_path / "second", 60))
    assert devices.layers("nyc_taxi") == [before, second["release"]]
    third = ship(edgeferry, "--input", other_trips(edgeferry, tmp_path / "third", 80))
    assert devices.layers("nyc_taxi") == [second["release"], third["release"]]
    manifests = {
        path.name
        for path in (edgeferry.state / "registry" / "data").rglob(
            "taxi/nyc_taxi/_manifests/revisions/sha256/*"
        )
        if (path / "link").exists()
    }
    assert first.removeprefix("sha256:") not in manifests
    assert {each["digest"].removeprefix("sha256:") for each in (second, third)} <= manifests
    assert devices.engine.image(f"{reference}@{first}") is None
    assert devices.engine.image(f"{reference}@{second['digest']}") is not None


def test_an_earlier_release_can_be_shipped_again(edgeferry: CommandLine, devices: Devices, demo: Ran) -> None:
    again = ship(edgeferry)
    (shipment,) = [each for each in demo.facts["shipments"] if each["model"] == "nyc_taxi"]
    assert again["release"] == shipment["release"]
    assert devices.container("device-1", "nyc_taxi").image.endswith(shipment["digest"])


def test_every_request_is_captured_with_the_answer_the_client_got(
    edgeferry: CommandLine, devices: Devices, tmp_path: Path
) -> None:
    """1,000 requests from 16 clients to each of two models on one device: 2,000 records."""
    for model in ("nyc_taxi", "london_taxi"):
        rows = distinct_rows(devices, model)
        counted = edgeferry("captures", model, "--device", "device-3", "--count", "--output", "json")
        before = counted.facts[0]["records"]
        answers = send_rows(devices.url("device-3", model), rows, clients=16)
        ran = edgeferry("captures", model, "--device", "device-3", "--limit", "0", "--output", "json")
        assert ran.code == 0, ran.err
        records = ran.facts[before:]
        assert len(records) == 1000
        told = {json.dumps(row): answer for row, answer in zip(rows, answers, strict=True)}
        assert len(told) == 1000
        assert {json.dumps(record["inputs"][0]): record["output"][0] for record in records} == told
        sequences = [record["sequence"] for record in ran.facts]
        assert sequences == sorted(set(sequences))
        file, after = tmp_path / f"{model}.csv", str(records[0]["sequence"] - 1)
        to_file = edgeferry("captures", model, "--device", "device-3", "--after", after, "--to", str(file))
        assert to_file.code == 0, to_file.err
        with file.open(newline="") as lines:
            written = list(csv.DictReader(lines))
        assert [int(line["sequence"]) for line in written] == [record["sequence"] for record in records]
        assert [float(line["output"]) for line in written] == [record["output"][0] for record in records]


def distinct_rows(devices: Devices, model: str) -> list[list[float]]:
    """A thousand rows, no two the same, made from a row of the model's own smoke cases."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{devices.url('device-3', model)}/cases", timeout=10) as answer:
        cases = json.load(answer)["cases"]
    good = next(case["rows"][0] for case in cases if case.get("expected"))
    return [[good[0] + number / 1000, *good[1:]] for number in range(1000)]
