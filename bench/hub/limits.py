"""What this machine does at best: TLS without a hub, commits without a fleet, JSON without a question."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import sqlite3
import ssl
import time
from collections.abc import Sequence
from pathlib import Path


def serve_echo(certificate: Path, key: Path, address: str, port: int) -> None:
    """Answers every byte with itself over TLS, for ever."""

    class Echo(asyncio.Protocol):
        def connection_made(self, transport) -> None:  # type: ignore[no-untyped-def]
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    async def serve() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server = await asyncio.get_running_loop().create_server(Echo, address, port, ssl=context)
        await server.serve_forever()

    asyncio.run(serve())


def measure_echo(certificate: Path, key: Path, ca_file: Path, address: str) -> tuple[float, list[float]]:
    """(TLS connections a second, seconds of each round trip of 100 bytes) with an echo server."""
    port = 9443
    process = multiprocessing.get_context("spawn").Process(
        target=serve_echo, args=(certificate, key, address, port), daemon=True
    )
    process.start()
    try:
        return asyncio.run(_visit(ca_file, address, port))
    finally:
        process.kill()
        process.join()


async def _visit(ca_file: Path, address: str, port: int) -> tuple[float, list[float]]:
    context = ssl.create_default_context(cafile=str(ca_file))
    deadline = time.monotonic() + 20
    while True:
        try:
            reader, writer = await asyncio.open_connection(address, port, ssl=context)
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
    took = []
    for _ in range(500):
        began = time.monotonic()
        writer.write(b"x" * 100)
        await reader.readexactly(100)
        took.append(time.monotonic() - began)
    writers = [writer]
    turn = asyncio.Semaphore(50)

    async def connect() -> None:
        async with turn:
            writers.append((await asyncio.open_connection(address, port, ssl=context))[1])

    began = time.monotonic()
    await asyncio.gather(*(connect() for _ in range(500)))
    rate = 500 / (time.monotonic() - began)
    for one in writers:
        one.transport.abort()
    return rate, took


def measure_commits(folder: Path, count: int = 300) -> list[float]:
    """Seconds of each durable commit of one small row."""
    connection = sqlite3.connect(folder / "limit.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT)")
    took = []
    for number in range(count):
        began = time.monotonic()
        connection.execute("INSERT INTO rows VALUES (?, ?)", (number, "x" * 500))
        took.append(time.monotonic() - began)
    connection.close()
    return took


def measure_parse(documents: Sequence[str]) -> float:
    """Seconds to parse all these JSON texts, doing nothing with them."""
    began = time.monotonic()
    for text in documents:
        json.loads(text)
    return time.monotonic() - began
