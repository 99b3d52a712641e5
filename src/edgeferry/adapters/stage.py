"""Runs an assembled image on this machine's engine, held to a device's limits, and removes every trace.

The engine gets the very blobs that would be pushed, in one archive, and must report their digest as what it
runs: what was verified is what is pushed.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from edgeferry.adapters.archive import load_image
from edgeferry.domain.device_class import DeviceClass
from edgeferry.domain.image import Image
from edgeferry.engine import Engine
from edgeferry.errors import EngineError
from edgeferry.ports_models import Reply
from edgeferry.wire.deployment import render_limits

LABEL = "edgeferry.sandbox"
_REPLY_S = 30


@dataclass(frozen=True)
class RunningContainer:
    """Implements the `RunningModule` port."""

    engine: Engine
    container: str
    image_id: str
    client: httpx.Client

    def ask(self, method: str, path: str, body: bytes = b"", media_type: str = "application/json") -> Reply:
        """Its answer over HTTP; EngineError, retryable, while there is none."""
        headers = {"content-type": media_type} if body else {}
        since = time.perf_counter()
        try:
            answer = self.client.request(method, path, content=body or None, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise EngineError(
                f"{self.container} does not answer: {str(error) or type(error).__name__}",
                fix="read the module's log",
                retryable=True,
            ) from error
        return Reply(answer.status_code, answer.content, (time.perf_counter() - since) * 1000)

    def logs(self) -> str:
        """The last lines it wrote."""
        return self.engine.logs(self.container)

    def state(self) -> str:
        """The container's own word: `running`, or `exited (1)` and the like."""
        facts = self.engine.inspect(self.container)
        if facts is None:
            return "gone"
        if facts.running:
            return facts.status
        killed = ", out of memory" if facts.oom_killed else ""
        return f"{facts.status} ({facts.exit_code}{killed})"


class EngineStage:
    """Implements the `Stage` port. `open_engine` gives a connected engine, asked for when it is needed;
    archives are written to `scratch`."""

    def __init__(self, open_engine: Callable[[], Engine], scratch: Path) -> None:
        self._open_engine = open_engine
        self._scratch = scratch

    @contextmanager
    def run(
        self, image: Image, env: Mapping[str, str], limits: DeviceClass, port: int
    ) -> Iterator[RunningContainer]:
        """The running module; container and image are gone when the context ends, unless the engine had the
        image before. EngineError when what would run is not this image."""
        engine = self._open_engine()
        try:
            engine.ping()
            yield from self._run(engine, image, env, limits, port)
        finally:
            engine.close()

    def _run(
        self, engine: Engine, image: Image, env: Mapping[str, str], limits: DeviceClass, port: int
    ) -> Iterator[RunningContainer]:
        mark = f"verify-{secrets.token_hex(4)}"
        # A name of our own: removing it takes the layers along only when nobody else holds the image.
        name = f"edgeferry.invalid/{image.name}:{mark}"
        container = f"edgeferry.{mark}.{image.name}"
        try:
            load_image(engine, image, name, self._scratch)
            engine.create(container, _render_body(name, mark, env, limits, port))
            image_id = self._check(engine, image, container)
            engine.start(container)
            facts = engine.inspect(container)
            host_port = (facts.host_ports if facts else {}).get(f"{port}/tcp", 0)
            with httpx.Client(
                base_url=f"http://127.0.0.1:{host_port}", trust_env=False, timeout=_REPLY_S
            ) as client:
                yield RunningContainer(engine, container, image_id, client)
        finally:
            engine.remove(container)
            engine.remove_image(name)

    @staticmethod
    def _check(engine: Engine, image: Image, container: str) -> str:
        facts = engine.inspect(container)
        found = facts.image_id if facts else "nothing"
        if found not in (image.config_digest, image.digest):
            raise EngineError(
                f"the engine would run {found}, not {image.config_digest} of {image.name}",
                fix="look at the engine's log; remove the folder `images` of the state folder, package again",
            )
        return found


def _render_body(
    name: str, mark: str, env: Mapping[str, str], limits: DeviceClass, port: int
) -> dict[str, Any]:
    body = render_limits(limits, port=port, publish=True)
    host = {
        **body["HostConfig"],
        "Init": True,
        "MemorySwap": limits.memory_bytes,
        "PortBindings": {f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
    }
    return {
        **body,
        "Image": name,
        "Env": [f"{key}={value}" for key, value in env.items()],
        "Labels": {LABEL: mark},
        "HostConfig": host,
    }
