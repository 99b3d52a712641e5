"""Clients in processes of their own, so that they do not slow each other or the hub's observer."""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import multiprocessing
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from edgeferry.wire import topics
from tests.hub.raw import LostError, RawClient

# As the hub may: asyncio's 256 KiB for each TLS connection would be the clients' memory, not the hub's.
CLIENT_BUFFER_BYTES = 16 * 1024


@dataclass(frozen=True)
class Credential:
    """A module to be."""

    device: str
    module: str
    key: str


@dataclass
class Crowd:
    """Clients of one hub, spread over processes."""

    place: tuple[str, int]
    host_name: str
    ca_file: Path
    processes: int = 2
    _workers: list[tuple[Any, Connection]] = field(default_factory=list)

    def __enter__(self) -> Crowd:
        spawn = multiprocessing.get_context("spawn")
        for _ in range(self.processes):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(
                target=_live, args=(theirs, self.place, self.host_name, str(self.ca_file)), daemon=True
            )
            process.start()
            self._workers.append((process, ours))
        return self

    def __exit__(self, *_: object) -> None:
        for process, connection in self._workers:
            connection.close()
            process.join(10)
            process.kill()

    def connect(self, credentials: Sequence[Credential]) -> list[float]:
        """Seconds that each connection took, from its first byte to its subscriptions."""
        parts = [credentials[index :: self.processes] for index in range(self.processes)]
        return [took for answer in self._ask("connect", parts) for took in answer]

    def arrivals(self) -> list[tuple[str, int, float]]:
        """(device, version, monotonic second) of every desired patch that came since the last time."""
        return [one for answer in self._ask("arrivals", [None] * self.processes) for one in answer]

    def publish(self, clients: int, messages: int, size: int) -> list[float]:
        """Seconds from each message of `size` bytes to its PUBACK; each client sends one after the other."""
        share = (clients // self.processes, messages, size)
        return [took for answer in self._ask("publish", [share] * self.processes) for took in answer]

    def _ask(self, verb: str, arguments: Sequence[Any]) -> list[Any]:
        for (_, connection), argument in zip(self._workers, arguments, strict=True):
            connection.send((verb, argument))
        return [connection.recv() for _, connection in self._workers]


def _live(connection: Connection, place: tuple[str, int], host_name: str, ca_file: str) -> None:
    asyncio.sslproto.SSLProtocol.max_size = CLIENT_BUFFER_BYTES
    asyncio.run(_serve(connection, _Worker(place, host_name, ssl.create_default_context(cafile=ca_file))))


async def _serve(connection: Connection, worker: _Worker) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            verb, argument = await loop.run_in_executor(None, connection.recv)
        except (EOFError, OSError):
            return
        connection.send(await getattr(worker, verb)(argument))


@dataclass
class _Worker:
    place: tuple[str, int]
    host_name: str
    context: ssl.SSLContext
    clients: list[RawClient] = field(default_factory=list)
    came: list[tuple[str, int, float]] = field(default_factory=list)

    async def connect(self, credentials: Sequence[Credential], at_once: int = 25) -> list[float]:
        turn = asyncio.Semaphore(at_once)

        async def one(credential: Credential) -> float:
            client = RawClient(
                self.place, self.host_name, self.context, credential.device, credential.key, credential.module
            )
            client.on_desired = lambda version, _patch: self.came.append(
                (credential.device, version, time.monotonic())
            )
            async with turn:
                began = time.monotonic()
                connack = await client.connect()
            if connack.return_code:
                raise LostError(f"CONNACK {connack.return_code}")
            self.clients.append(client)
            return time.monotonic() - began

        return list(await asyncio.gather(*map(one, credentials)))

    async def arrivals(self, _: None) -> list[tuple[str, int, float]]:
        came, self.came = self.came, []
        return came

    async def publish(self, share: tuple[int, int, int]) -> list[float]:
        clients, messages, size = share
        took: list[float] = []

        async def one(client: RawClient) -> None:
            topic = topics.render_telemetry(client.device, client.module, {})
            for _ in range(messages):
                began = time.monotonic()
                await client.publish(topic, b"x" * size)
                took.append(time.monotonic() - began)

        await asyncio.gather(*map(one, self.clients[:clients]))
        return took
