"""Files and command lines for the Azure CLI. `az` is a stand-in that writes down what it was given: the real
one needs an Azure subscription."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgeferry.wire.azure_cli import render_command, render_file
from tests.iot_edge import AGENT, IOT_EDGE, RUNTIMES, documents
from tests.needs import lack

AZ = """#!/usr/bin/env python3
import json, sys
words = sys.argv[1:]
flags = {}
while words:
    word = words.pop(0)
    if word.startswith("--"):
        flags[word] = True if not words or words[0].startswith("--") else words.pop(0)
for name in ("--content", "--metrics"):
    if name in flags:
        flags[name] = json.load(open(flags[name]))
print(json.dumps({"words": sys.argv[1:5], "line": sys.argv, "flags": flags}))
"""


def run(command: str, folder: Path, **environment: str) -> dict[str, Any]:
    """What `az` was given when bash ran the command in `folder`."""
    (folder / "az").write_text(AZ)
    (folder / "az").chmod(0o755)
    env = {"PATH": f"{folder}:/usr/local/bin:/usr/bin:/bin", **environment}
    ended = subprocess.run(["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    said: dict[str, Any] = json.loads(ended.stdout)
    return said


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_command_gives_az_the_deployment_that_a_rollout_would_create(
    runtime: Any, tmp_path: Path
) -> None:
    condition = "tags.site = 'a' AND tags.models.nyc_taxi = true"
    for kind, document in documents(runtime, condition).items():
        if kind == "pull":
            continue
        file = f"with space {document['id']}.json"
        (tmp_path / file).write_text(render_file(document))
        given = run(render_command(document, file, "edgeops"), tmp_path)
        flags = given["flags"]
        assert given["words"] == ["iot", "edge", "deployment", "create"]
        assert flags.pop("--content")["content"] == document["content"]
        assert json.loads(flags.pop("--labels")) == document["labels"]
        queries = document["metrics"]["queries"]
        assert flags.pop("--metrics", {"metrics": {"queries": {}}})["metrics"] == {"queries": queries}
        assert flags == {
            "--hub-name": "edgeops",
            "--deployment-id": document["id"],
            "--target-condition": condition,
            "--priority": str(document["priority"]),
            **({} if kind == "base" else {"--layered": True}),
        }


def test_without_a_hubs_name_the_command_asks_the_shell_for_it(tmp_path: Path) -> None:
    base = documents(AGENT)["base"]
    (tmp_path / "base.json").write_text(render_file(base))
    given = run(render_command(base, "base.json"), tmp_path, IOTHUB_NAME="edgeops")
    assert given["flags"]["--hub-name"] == "edgeops"


def test_the_login_is_filled_in_on_its_way_and_is_on_no_command_line(tmp_path: Path) -> None:
    if not shutil.which("envsubst"):
        lack("envsubst (package gettext-base) is not here")
    document = documents(IOT_EDGE)["pull"]
    (tmp_path / "pull.json").write_text(render_file(document))
    login = {"REGISTRY_PULL_USERNAME": "puller", "REGISTRY_PULL_PASSWORD": "s3cret $HOME"}
    given = run(render_command(document, "pull.json", "edgeops"), tmp_path, **login)
    [sent] = given["flags"]["--content"]["content"]["modulesContent"]["$edgeAgent"].values()
    assert sent == {"address": "taxi.azurecr.io", "username": "puller", "password": "s3cret $HOME"}
    assert "s3cret" not in json.dumps(given["line"])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_no_file_and_no_command_holds_a_secret(runtime: Any) -> None:
    for document in documents(runtime).values():
        assert "pull-secret" not in render_file(document) + render_command(document, "x.json")
