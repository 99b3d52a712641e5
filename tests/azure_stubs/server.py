"""An HTTPS server in a thread, with a certificate of its own authority."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from edgeferry.authority import open_authority

ADDRESS = "127.0.0.1"


@contextmanager
def serve(app: ASGIApp, folder: Path, *, tls: bool = True) -> Iterator[str]:
    """The server's `https://127.0.0.1:PORT`; clients trust `folder/ca.pem`."""
    listener = socket.create_server((ADDRESS, 0))
    options = {}
    if tls:
        certificate, key = open_authority(folder).issue(folder, "stub", ("localhost",), (ADDRESS,))
        options = {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
    # Microsoft's clients keep connections open, and TLS says goodbye slowly: one answer a connection.
    headers = [("connection", "close")]
    server = uvicorn.Server(
        uvicorn.Config(app, headers=headers, log_level="warning", lifespan="off", **options)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline, "the stub did not start"
        time.sleep(0.01)
    try:
        yield f"http{'s' if tls else ''}://{ADDRESS}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
