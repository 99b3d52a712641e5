"""What real clients send, and every word of what they get back."""

import re

import jsonschema
import pytest

from edgeferry.wire.hub import Json
from tests.hub.goldens import FOLDER, Replay, find_difference, load

STEPS = [(file.name, step) for file in sorted(FOLDER.iterdir()) for step in load(file.name)]


@pytest.fixture(scope="module")
def replay(service):
    replaying = Replay(service)
    yield replaying
    replaying.close()


def test_every_answer_is_word_for_word_the_golden_one(replay):
    """The steps are one conversation: later ones see what earlier ones wrote."""
    differences = []
    for file, step in STEPS:
        said = replay.ask(step)
        golden = replay.filled(step["response"])
        if step["request"]["path"] == "/openapi.json":
            golden["body"] = {**said["body"], **golden["body"]}
        if difference := find_difference(golden, said):
            differences.append(f"{file}: {step['what']}: {difference}")
    assert differences == []


def test_every_route_has_a_golden_success_and_a_golden_refusal(service):
    document = service.done("GET", "/openapi.json")
    seen: dict[tuple[str, str], set[bool]] = {}
    for _, step in STEPS:
        route = _route_of(document, step["request"])
        seen.setdefault(route, set()).add(step["response"]["status"] < 300)
    for path, item in document["paths"].items():
        for method in item.keys() - {"parameters"}:
            wanted = {True, False} if item[method]["security"] else {True}
            assert seen.get((method, path), set()) >= wanted, f"{method} {path}"


def test_every_golden_answer_is_as_described(service):
    document = service.done("GET", "/openapi.json")
    for _, step in STEPS:
        method, path = _route_of(document, step["request"])
        operation = document["paths"].get(path, {}).get(method)
        if operation is None:
            continue  # not there, and so not described
        said = step["response"]
        described = operation["responses"][str(said["status"])]
        assert ("body" in said) == ("content" in described), step["what"]
        if "body" in said and path != "/openapi.json":
            schema = described["content"]["application/json"]["schema"]
            jsonschema.validate(said["body"], {**schema, "components": document["components"]})


def test_a_difference_is_found():
    """The comparison itself: what it must not let pass."""
    golden = {"at": "<time>", "list": [1, {"a": None}]}
    fine = {"at": "2026-11-27T20:00:00.123456Z", "list": [1, {"a": None}]}
    assert find_difference(golden, fine) is None
    for other in (
        {**fine, "more": 1},
        {"at": fine["at"]},
        {**fine, "at": "yesterday"},
        {**fine, "list": [1]},
        {**fine, "list": [True, {"a": None}]},
        {**fine, "list": [1, {"a": 0}]},
    ):
        assert find_difference(golden, other) is not None, other


def _route_of(document: Json, request: Json) -> tuple[str, str]:
    """The most literal of the described paths that fits."""
    path = request["path"].partition("?")[0].rstrip("/")
    fitting = [one for one in document["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", one), path)]
    return request["method"].lower(), min(fitting, key=lambda one: one.count("{"), default="")
