"""The hub is what it says it is: asked at random, within its description and beyond."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

BASE = {"$edgeAgent": {"properties.desired": {"modules": {"camera": {}}}}}


@pytest.fixture(scope="module")
def example(service):
    """What the description's examples speak of."""
    service.done("PUT", "/devices/edge-1", {"capabilities": {"iotEdge": True}})
    service.done("PUT", "/devices/edge-1/modules/camera", {})
    service.deploy("base-1", "deviceId = 'edge-1'", BASE)


def test_the_description_is_one(service):
    document = service.ask("GET", "/openapi.json", token="", version=None).json()
    assert document["openapi"] == "3.1.0"
    for name, schema in document["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert f"#/components/schemas/{name}" in str(document), f"{name} is used nowhere"
    ids = [one["operationId"] for item in document["paths"].values() for one in _operations(item)]
    assert len(ids) == len(set(ids))


def test_every_described_route_asks_who_it_is(service):
    document = service.done("GET", "/openapi.json")
    refused = 0
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method == "parameters" or not operation["security"]:
                continue
            response = service.ask(method.upper(), path.replace("{", "").replace("}", ""), {}, token="")
            assert (response.status_code, response.headers["iothub-errorcode"]) == (
                401,
                "IotHubUnauthorizedAccess",
            ), (method, path)
            refused += 1
    assert refused > 25


@pytest.mark.usefixtures("example")
def test_the_hub_does_as_described_whatever_it_is_asked(hub, service, tmp_path):
    """What a schema cannot say (a condition's grammar, an id's device) is left to other tests."""
    hooks = Path(__file__).with_name("impatient.py")
    (tmp_path / "schemathesis.toml").write_text(f"hooks = {json.dumps(str(hooks))}\n")
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"https://{hub.host_name}/openapi.json",
            "--tls-verify",
            str(hub.ca_file),
            "--header",
            f"Authorization: {service.token()}",
            "--exclude-checks",
            "positive_data_acceptance,negative_data_rejection",
            "--phases",
            "examples,coverage,fuzzing,stateful",
            "--max-examples",
            "3",
            "--seed",
            "5",
            "--generation-database",
            "none",
            "--warnings",
            "off",
            "--no-color",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    log = (hub.state / "log").read_text()
    assert '"event": "failure"' not in log
    assert "Traceback" not in log


def _operations(item: dict) -> list[dict]:
    return [operation for method, operation in item.items() if method != "parameters"]
