"""The agent's own container: what the engine gets to make it, by hand or as the successor of another."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeferry.engine_images import ImageFacts

Json = dict[str, Any]

NAME = "edgeferry-agent"
NEXT = ".next"
"""What the successor's name ends in until it is proven."""
MARK_LABEL = "edgeferry.agent.mark"
"""By which an agent finds its own container, however it is called."""
STATE_LABEL = "edgeferry.agent.state"
HOME_LABEL = "edgeferry.agent.home"
"""Of agents that an update brought: the image that the device was installed with."""
PULLED_LABEL = "edgeferry.agent.pulled"
"""Of agents whose image an update brought, so that the next may remove it."""


def render_agent(image: str, state: Path, mark: str, engine_url: str, ca_file: Path | None) -> Json:
    """The raw create body of an agent's container: the machine's network, the engine's socket, the state
    folder at its own path, and the hub's CA certificate where that lies elsewhere."""
    binds = [f"{state}:{state}"]
    if engine_url.startswith("unix://"):
        socket = engine_url.removeprefix("unix://")
        binds.append(f"{socket}:{socket}")
    if ca_file is not None and not ca_file.is_relative_to(state):
        binds.append(f"{ca_file}:{ca_file}:ro")
    return {
        "Image": image,
        "Cmd": ["--state", str(state), "--mark", mark],
        "Labels": {MARK_LABEL: mark, STATE_LABEL: str(state)},
        "HostConfig": {
            "NetworkMode": "host",
            "RestartPolicy": {"Name": "unless-stopped"},
            "Binds": binds,
        },
    }


def render_successor(
    own: Mapping[str, Any], own_image: ImageFacts, image: str, mark: str, *, pulled: bool
) -> Json:
    """The raw create body of the agent that follows the one made from `own`: the same mounts, network and
    arguments, and of the environment and labels what its image did not bring."""
    labels = {key: value for key, value in own["Labels"].items() if own_image.labels.get(key) != value}
    before = labels.get(MARK_LABEL, "")
    return {
        **own,
        "Image": image,
        "Cmd": [mark if word == before else word for word in own.get("Cmd") or ()],
        "Env": [entry for entry in own.get("Env") or () if entry not in own_image.env],
        "Labels": {
            HOME_LABEL: str(own["Image"]),
            **labels,
            MARK_LABEL: mark,
            PULLED_LABEL: "true" if pulled else "false",
        },
    }


def render_command(name: str, body: Mapping[str, Any]) -> str:
    """The `docker run` that makes the container of `render_agent`."""
    host = body["HostConfig"]
    words = ["docker", "run", "--detach", "--name", name, "--network", host["NetworkMode"]]
    words += ["--restart", host["RestartPolicy"]["Name"]]
    words += _each("--volume", host["Binds"])
    words += _each("--label", [f"{key}={value}" for key, value in body["Labels"].items()])
    return shlex.join([*words, body["Image"], *body["Cmd"]])


def _each(option: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (option, value)]
