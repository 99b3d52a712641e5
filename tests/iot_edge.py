"""Deployments for tests: everything a rollout would put on a hub, and Microsoft's schemas and a template of
theirs, where those lie beside the repository."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeferry.domain.condition import parse_condition
from edgeferry.domain.edge_runtime import EdgeRuntime
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.layering import Deployment, merge_layers
from edgeferry.domain.manifest import RegistryLogin
from edgeferry.domain.release import Entry
from edgeferry.ports import Services
from edgeferry.workflows.layers import render_all

SHARED = Path(__file__).parents[1] / ".." / "shared"
DIGEST = "sha256:" + "ab" * 32
ADDRESS = "taxi.azurecr.io"
AGENT = EdgeRuntime("agent")
IOT_EDGE = EdgeRuntime("iotedge")
PULL = RegistryLogin(ADDRESS, "puller", "pull-secret")
RUNTIMES = [pytest.param(AGENT, id="agent"), pytest.param(IOT_EDGE, id="iotedge")]
BODY = {
    "model": "nyc_taxi",
    "version": "1",
    "digest": DIGEST,
    "config_digest": "sha256:" + "cc" * 32,
    "cases_sha256": "cd" * 32,
    "companion": {"release": "companion-v1.0-efefefef", "digest": "sha256:" + "ef" * 32},
}
RELEASE = Entry("1", "release", "nyc_taxi-v1-abababab", "", "ann", BODY, "", "")


def find_shared(path: str) -> Path:
    """A file that is no part of the project; skips the test where it is not."""
    found = SHARED / path
    if not found.is_file():
        pytest.skip(f"no ../shared/{path} beside the repository")
    return found


def services(**ports: Any) -> Services:
    """Services with a registry that is only named, and whatever else a test gives."""
    registry = SimpleNamespace(host=ADDRESS, reference=lambda name, digest: f"{ADDRESS}/t/{name}@{digest}")
    given = {"registry": registry, "new_id": lambda: "n1", "say": print, "pull_login": lambda: PULL, **ports}
    return cast(Services, SimpleNamespace(**given))


def documents(runtime: EdgeRuntime, condition: str = "tags.x = true", existing: Any = ()) -> dict[str, Any]:
    """What a rollout of `RELEASE` would put on a hub, by kind."""
    return render_all(services(), RELEASE, condition, Fleet(condition, runtime=runtime), existing)


def content(document: dict[str, Any]) -> dict[str, Any]:
    """A deployment's `modulesContent`."""
    return cast(dict[str, Any], document["content"]["modulesContent"])


def merged(runtime: EdgeRuntime) -> dict[str, Any]:
    """The same for one device, merged into one complete deployment, as a person would write it: without
    `configuration`, which is the hub's."""
    condition = parse_condition("tags.x = true")
    deployments = [
        Deployment(one["id"], one["priority"], str(number), condition, content(one))
        for number, one in enumerate(documents(runtime).values())
    ]
    desired = merge_layers(deployments, {"tags": {"x": True}}).desired
    text = re.sub(r', "configuration": \{"id": "[^"]*"\}', "", json.dumps(desired))
    return {
        "modulesContent": {module: {"properties.desired": said} for module, said in json.loads(text).items()}
    }


def fill_template(**values: str) -> dict[str, Any]:
    """The reference accelerator's layered template, its placeholders filled in from its own model
    configuration, what a vault would give, and `values`; nothing else of it is changed."""
    folder = "reference/fixtures/reference-accelerator"
    models = json.loads(find_shared(f"{folder}/model_config.json").read_text())["models"]
    known = {
        **next(model for model in models if model["ML_MODEL_CONFIG_NAME"] == "nyc_taxi"),
        "CONTAINER_REGISTRY_NAME": "researchmlops",
        "CONTAINER_REGISTRY_USERNAME": "puller",
        "CONTAINER_REGISTRY_PASSWORD": "pull-secret",
        "CONTAINER_REGISTRY_ADDRESS": "researchmlops.azurecr.io",
        "ML_MODEL_DOCKER_IMAGE_NAME": "nyc_taxi",
        "ML_MODEL_DOCKER_VERSION": "7",
        "SMOKE_TEST_DOCKER_VERSION": "7",
        **values,
    }
    text = find_shared(f"{folder}/deployment.template.json").read_text()
    return cast(dict[str, Any], json.loads(re.sub(r"\$\{(\w+)\}", lambda name: known[name[1]], text)))
