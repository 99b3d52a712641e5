"""What a device's containers did, from the engine's events: when which ran, and what was started."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import docker

from tests.chaos.sights import Moment, Start

LAYER_LABEL = "chaos.layer"
MODULE_LABEL = "edgeferry.module"


class Watcher:
    """Follows the containers that carry `labels` until `stop`, over an engine that comes and goes."""

    def __init__(self, url: str, labels: dict[str, str]) -> None:
        self._url = url
        self._labels = [f"{name}={value}" for name, value in labels.items()]
        self._lock = threading.Lock()
        self._running: dict[str, tuple[str, int]] = {}
        self._moments: list[Moment] = []
        self._starts: set[Start] = set()
        self._stopping = threading.Event()
        self._stream: Any = None
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """It follows no more."""
        self._stopping.set()
        deadline = time.monotonic() + 10
        while self._thread.is_alive() and time.monotonic() < deadline:
            if (stream := self._stream) is not None:
                with contextlib.suppress(Exception):  # it may have ended by itself just now
                    stream.close()
            self._thread.join(0.1)

    def moments(self) -> list[Moment]:
        """What ran when, since the last `forget`; the first is what ran then."""
        with self._lock:
            return list(self._moments)

    def starts(self) -> set[Start]:
        """What was started since the last `forget`."""
        with self._lock:
            return set(self._starts)

    def forget(self) -> None:
        """Only what runs now is remembered."""
        with self._lock:
            self._moments = [Moment(time.monotonic(), frozenset(self._running.values()))]
            self._starts.clear()

    def _follow(self) -> None:
        while not self._stopping.is_set():
            client = None
            try:
                client = docker.APIClient(base_url=self._url, version="auto", timeout=30)
                self._read(client)
            except Exception:  # noqa: BLE001 - an engine that was killed ends a stream in many ways
                self._stream = None
            finally:
                if client is not None:
                    client.close()
            self._stopping.wait(0.1)

    def _read(self, client: docker.APIClient) -> None:
        since = int(time.time()) - 1
        self._look(client)
        filters = {"type": "container", "label": self._labels}
        client.timeout = None
        self._stream = client.events(since=since, filters=filters, decode=True)
        try:
            for event in self._stream:
                if self._stopping.is_set():
                    return
                if event.get("Action") in ("start", "die", "destroy"):
                    self._look(client)
        finally:
            stream, self._stream = self._stream, None
            if stream is not None:
                stream.close()

    def _look(self, client: docker.APIClient) -> None:
        """What runs now; asked anew at each event, since events come late under load."""
        rows = client.containers(all=True, filters={"label": self._labels})
        running, starts = {}, set()
        for row in rows:
            if row["State"] == "running":
                labels = row["Labels"]
                running[row["Id"]] = (labels.get(MODULE_LABEL, ""), int(labels.get(LAYER_LABEL, -1)))
            if row["State"] in ("running", "exited"):
                starts.add(Start(row["Image"], row["ImageID"]))
        with self._lock:
            self._starts |= starts
            if not self._moments or running != self._running:
                self._running = running
                self._moments.append(Moment(time.monotonic(), frozenset(running.values())))
