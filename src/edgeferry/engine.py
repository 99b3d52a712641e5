"""The one client of a container engine (Docker Engine API, through docker-py's low-level client).

Values in, values out: what the engine says becomes `ContainerFacts` and `ImageFacts`, what goes wrong
becomes an `EngineError`. The object is not for several threads at once: make one for each.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import docker

from edgeferry.engine_images import EngineImages
from edgeferry.engine_stream import Stream
from edgeferry.errors import EngineError


@dataclass(frozen=True)
class EngineInfo:
    """Which engine answers."""

    version: str
    api_version: str
    architecture: str


@dataclass(frozen=True)
class ContainerFacts:
    """A container as the engine sees it; times are the engine's own text (RFC 3339, UTC)."""

    id: str
    name: str
    image_id: str
    image: str
    status: str
    """created, running, paused, restarting, removing, exited or dead."""
    running: bool
    exit_code: int
    health: str
    """healthy, unhealthy, starting, or "" without a health check."""
    started_at: str
    finished_at: str
    restart_count: int
    labels: Mapping[str, str]
    host_ports: Mapping[str, int]
    """Port of the container (`8080/tcp`) to port of this machine; empty while it does not run."""
    addresses: Mapping[str, str]
    """Network name to the container's IP address in it; only while it runs."""
    oom_killed: bool
    exposed_ports: tuple[str, ...] = ()
    """Ports that image and createOptions name (`8080/tcp`), published or not."""


class Engine(EngineImages):
    """A container engine at `url` (`unix:///path` or `tcp://host:port`). `start_it`: what to do where none
    answers."""

    def ping(self) -> EngineInfo:
        """The engine's version; EngineError (retryable) when nothing answers at the url."""
        said = self._do("asking for its version", lambda c: c.version())
        return EngineInfo(said["Version"], said["ApiVersion"], said["Arch"])

    def root(self) -> Path:
        """The folder, on the engine's machine, where it keeps its images."""
        return Path(self._info()["DockerRootDir"])

    def limits_memory(self) -> bool:
        """Whether it can hold a container to a number of bytes."""
        return bool(self._info().get("MemoryLimit"))

    def _info(self) -> dict[str, Any]:
        return dict(self._do("asking what it can do", lambda c: c.info()))

    def events(self, labels: Mapping[str, str], kinds: Sequence[str]) -> Stream:
        """What happens to containers that carry these labels, from now on until the stream is closed; the
        reader reads `lines` of it. `kinds` are the engine's words, such as die or health_status."""
        doing = "listening to its events"
        filters = {
            "type": ["container"],
            "event": list(kinds),
            "label": [f"{key}={value}" for key, value in labels.items()],
        }
        return self._open(doing, "GET", f"/events?{urlencode({'filters': json.dumps(filters)})}", {})

    # containers

    def create(self, name: str, body: Mapping[str, Any]) -> str:
        """The id of a new container made from the raw create `body` (ContainerCreate of the API)."""
        said = self._do(f"creating {name}", lambda c: c.create_container_from_config(dict(body), name))
        return str(said["Id"])

    def start(self, container: str) -> None:
        """The container runs; one that already runs is left alone."""
        self._do(f"starting {container}", lambda c: c.start(container))

    def stop(self, container: str, timeout_s: int = 10) -> None:
        """The container has ended, killed after `timeout_s`; one that is gone or ended is fine."""
        self._look(f"stopping {container}", lambda c: c.stop(container, timeout=timeout_s))

    def remove(self, container: str) -> None:
        """The container and its anonymous volumes are gone, running or not; absent is fine."""
        self._look(f"removing {container}", lambda c: c.remove_container(container, v=True, force=True))

    def rename(self, container: str, name: str) -> None:
        """The container has that name, also in its networks' DNS; connections to it go on."""
        self._do(f"renaming {container} to {name}", lambda c: c.rename(container, name))

    def containers(self, labels: Mapping[str, str]) -> list[ContainerFacts]:
        """All containers, running or not, that carry all these labels, by name."""
        wanted = {"label": [f"{key}={value}" for key, value in labels.items()]}
        rows = self._do("listing containers", lambda c: c.containers(all=True, filters=wanted))
        found = (self.inspect(row["Id"]) for row in rows)
        return sorted((facts for facts in found if facts is not None), key=lambda facts: facts.name)

    def inspect(self, container: str) -> ContainerFacts | None:
        """The container of that name or id, or None."""
        said = self._look(f"inspecting {container}", lambda c: c.inspect_container(container))
        return None if said is None else _read_container(said)

    def made_from(self, container: str) -> dict[str, Any] | None:
        """The raw create body that would make such a container again (what its image says is in it too), or
        None without it."""
        said = self._look(f"inspecting {container}", lambda c: c.inspect_container(container))
        if said is None:
            return None
        kept = ("Image", "Cmd", "Env", "Labels", "StopSignal", "StopTimeout")
        config = {key: said["Config"][key] for key in kept if said["Config"].get(key)}
        return {**config, "HostConfig": said["HostConfig"]}

    def logs(self, container: str, tail: int = 100) -> str:
        """The last `tail` lines the container wrote, both streams."""
        said = self._do(f"reading the log of {container}", lambda c: c.logs(container, tail=tail))
        return bytes(said).decode("utf-8", "replace")

    def read_log(
        self,
        container: str,
        *,
        tail: int,
        since_s: float | None,
        until_s: float | None,
        streams: Collection[str],
        with_times: bool,
        most_bytes: int,
    ) -> bytes | None:
        """What the container wrote to these streams between two moments (seconds since 1970), the last `tail`
        lines of it, each after the time at which the engine got it (RFC 3339) if asked; None when it is more
        than `most_bytes`."""

        def read(client: Any) -> bytes | None:
            said = client.logs(
                container,
                stdout="stdout" in streams,
                stderr="stderr" in streams,
                stream=True,
                follow=False,
                timestamps=with_times,
                tail=tail,
                since=None if since_s is None else max(since_s, 0.001),
                until=None if until_s is None else max(until_s, 0.001),
            )
            body, size = bytearray(), 0
            for part in said:  # to its end, which frees the connection
                size += len(part)
                if size <= most_bytes:
                    body += part
            return bytes(body) if size <= most_bytes else None

        return self._do(f"reading the log of {container}", read)

    def follow_log(self, container: str, tail: int, *, follow: bool) -> Iterator[str]:
        """What the container wrote, piece by piece: the last `tail` lines, and with `follow` what comes."""
        pieces = self._do(
            f"reading the log of {container}",
            lambda c: c.logs(container, tail=tail, stream=True, follow=follow),
        )
        for piece in pieces:
            yield bytes(piece).decode("utf-8", "replace")

    # networks

    def ensure_network(self, name: str, labels: Mapping[str, str], subnet: str | None = None) -> str:
        """The gateway address of the bridge network `name`, created (in `subnet`) when absent."""
        said = self._network(name)
        if said is None:
            pool = []
            if subnet is not None:
                gateway = str(next(ipaddress.ip_network(subnet).hosts()))
                pool = [docker.types.IPAMPool(subnet=subnet, gateway=gateway)]
            ipam = docker.types.IPAMConfig(pool_configs=pool)
            self._do(
                f"creating network {name}",
                lambda c: c.create_network(
                    name, driver="bridge", check_duplicate=True, labels=dict(labels), ipam=ipam
                ),
            )
            said = self._network(name)
        configs = ((said or {}).get("IPAM") or {}).get("Config") or [{}]
        gateway = configs[0].get("Gateway", "").split("/")[0]
        if not gateway:
            raise EngineError(f"network {name} has no gateway", fix=f"remove it: docker network rm {name}")
        return str(gateway)

    def networks(self, labels: Mapping[str, str]) -> list[str]:
        """Names of the networks that carry all these labels."""
        wanted = {"label": [f"{key}={value}" for key, value in labels.items()]}
        rows = self._do("listing networks", lambda c: c.networks(filters=wanted))
        return sorted(row["Name"] for row in rows)

    def remove_network(self, name: str) -> None:
        """The network is gone; absent is fine, with containers in it it is refused."""
        self._look(f"removing network {name}", lambda c: c.remove_network(name))

    # volumes

    def volumes(self, prefix: str) -> list[str]:
        """Names of the volumes that begin with `prefix`."""
        said = self._do("listing volumes", lambda c: c.volumes(filters={"name": [prefix]}))
        return sorted(row["Name"] for row in said.get("Volumes") or () if row["Name"].startswith(prefix))

    def remove_volume(self, name: str) -> None:
        """The volume is gone; absent is fine, in use it is refused."""
        self._look(f"removing volume {name}", lambda c: c.remove_volume(name))

    def _network(self, name: str) -> dict[str, Any] | None:
        rows = self._do(f"looking for network {name}", lambda c: c.networks(names=[name]))
        return next((dict(row) for row in rows if row["Name"] == name), None)


def _read_container(said: Mapping[str, Any]) -> ContainerFacts:
    state = said["State"]
    network = said.get("NetworkSettings") or {}
    bound = {port: rows for port, rows in (network.get("Ports") or {}).items() if rows}
    joined = {name: (row or {}).get("IPAddress", "") for name, row in (network.get("Networks") or {}).items()}
    return ContainerFacts(
        id=said["Id"],
        name=said["Name"].lstrip("/"),
        image_id=said["Image"],
        image=said["Config"]["Image"],
        status=state["Status"],
        running=bool(state["Running"]),
        exit_code=int(state["ExitCode"]),
        health=(state.get("Health") or {}).get("Status", ""),
        started_at=state["StartedAt"],
        finished_at=state["FinishedAt"],
        restart_count=int(said.get("RestartCount") or 0),
        labels=dict(said["Config"].get("Labels") or {}),
        host_ports={port: int(rows[0]["HostPort"]) for port, rows in bound.items()},
        addresses={name: address for name, address in joined.items() if address},
        oom_killed=bool(state.get("OOMKilled")),
        exposed_ports=tuple(sorted(said["Config"].get("ExposedPorts") or ())),
    )
