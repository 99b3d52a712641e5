"""Agents that run as containers, and images of theirs that differ by how they start."""

import contextlib
import json
import uuid
from dataclasses import dataclass, field

import docker
import docker.errors
import httpx

from edgeferry.cli.agent_service import run_container
from edgeferry.device.agent_container import STATE_LABEL
from edgeferry.device.agent_record import UpdateRecord
from edgeferry.domain.image import Image
from edgeferry.engine import ContainerFacts
from tests.device.conftest import wait_until
from tests.device.worlds import World
from tests.engines import RunningRegistry, digest_of

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
PYTHON = "/usr/bin/python3"
PATIENCE_S = 120.0


@dataclass
class AgentImages:
    """The agent's image in a registry, and others that share its layers."""

    image: Image
    registry: RunningRegistry
    name: str = "edge/agent"
    configs: dict[str, str] = field(default_factory=dict)
    """The digest of each image's config, by its reference."""

    def push(self, script: str = "", labels: dict | None = None) -> str:
        """The reference of an image that runs the agent, or that Python script instead."""
        config = json.loads(self.image.config)
        config["config"]["Labels"] |= {"note": uuid.uuid4().hex, **(labels or {})}
        if script:
            config["config"]["Entrypoint"] = [PYTHON, "-c", script]
        body = json.dumps(config).encode()
        manifest = json.loads(self.image.manifest)
        manifest["config"] |= {"digest": digest_of(body), "size": len(body)}
        said = json.dumps(manifest).encode()
        with httpx.Client(
            base_url=f"http://{self.registry.address}", auth=self.registry.login, trust_env=False
        ) as client:
            for layer in self.image.layers:
                if client.head(f"/v2/{self.name}/blobs/{layer.digest}").status_code != 200:
                    with open(layer.path, "rb") as file:
                        self._upload(client, layer.digest, file.read())
            self._upload(client, digest_of(body), body)
            put = client.put(
                f"/v2/{self.name}/manifests/{digest_of(said)}",
                content=said,
                headers={"Content-Type": MANIFEST},
            )
            put.raise_for_status()
        reference = f"{self.registry.address}/{self.name}@{digest_of(said)}"
        self.configs[reference] = digest_of(body)
        return reference

    def _upload(self, client: httpx.Client, digest: str, body: bytes) -> None:
        place = client.post(f"/v2/{self.name}/blobs/uploads/").headers["location"]
        params = {**httpx.URL(place).params, "digest": digest}
        client.put(place, params=params, content=body).raise_for_status()


@dataclass
class Boxed:
    """A world whose agent runs as a container."""

    world: World
    name: str = ""

    def start(self, image: str) -> None:
        """The first agent runs."""
        self.name, fresh = run_container(self.world.folder, image)
        assert fresh

    def agents(self) -> list[ContainerFacts]:
        return self.world.engine.containers({STATE_LABEL: str(self.world.folder)})

    def phase(self) -> str:
        update = UpdateRecord(self.world.folder).load()
        return update.phase.value if update else ""

    def want(self, image: str) -> int:
        """The desired version that names this image for the agent."""
        settings = {"type": "docker", "settings": {"image": image, "createOptions": "{}"}}
        return self.world.want_raw({"schemaVersion": "1.1", "systemModules": {"edgeAgent": settings}})

    def told(self, version: int, code: int) -> dict:
        """What is reported once that version was carried out with that code; a busy machine has its time."""

        def said() -> dict | None:
            reported = self.world.reported()
            status = reported.get("lastDesiredStatus", {}).get("code")
            return reported if (reported.get("lastDesiredVersion"), status) == (version, code) else None

        try:
            return wait_until(said, PATIENCE_S, f"desired version {version} with {code}")
        except AssertionError as error:
            raise AssertionError(
                f"{error}\n{json.dumps(self.world.reported(), indent=1)}\n{self.logs()}"
            ) from error

    def settle(self, image: str) -> None:
        """One agent runs, that of the image, under the name of the first, and nothing is on record."""

        def done() -> bool:
            found = self.agents()
            if len(found) != 1 or self.phase():
                return False
            return (found[0].name, found[0].image, found[0].running) == (self.name, image, True)

        try:
            wait_until(done, what=f"one agent of {image}", timeout_s=PATIENCE_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\nphase {self.phase()!r}\n{self.logs()}") from error

    def logs(self) -> str:
        return "\n".join(
            f"== {one.name} {one.status}\n{self.world.engine.logs(one.id)}" for one in self.agents()
        )

    def cut_power(self) -> None:
        """All agents were killed at once, and start again, as after a power cut."""
        client = docker.APIClient(base_url=self.world.engine.url)
        with contextlib.closing(client):
            for facts in self.agents():
                with contextlib.suppress(docker.errors.APIError):  # it ended meanwhile
                    client.kill(facts.id)
            for facts in self.agents():
                client.start(facts.id)

    def close(self) -> None:
        """No agent of this device is left."""
        while agents := self.agents():
            for facts in agents:
                self.world.engine.remove(facts.id)
