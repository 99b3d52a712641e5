"""The one client of a container engine (Docker Engine API, through docker-py's low-level client).

Values in, values out: what the engine says becomes `ContainerFacts` and `ImageFacts`, what goes wrong
becomes an `EngineError`. The engine answers 500 for nearly every cause, so the cause is read from its text.
The first call opens the connection; the object is not for several threads at once: make one for each.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import docker
import requests
from docker import errors as docker_errors
from docker.auth import encode_header
from docker.utils import parse_repository_tag

from edgeferry.domain.pull_progress import Progress
from edgeferry.engine_stream import BROKEN, Stream, ended_by
from edgeferry.errors import EngineError
from edgeferry.wire.pull_progress import Layer, read_line, sum_up

T = TypeVar("T")
_BUILD_LINES = 10
_BUILD_S = 600
_NO_SHELL = (
    'that base has no shell: write RUN ["/usr/bin/python3", "-c", "…"], or name a base with one in FROM'
)


@dataclass(frozen=True)
class EngineInfo:
    """Which engine answers."""

    version: str
    api_version: str
    architecture: str


@dataclass(frozen=True)
class ImageFacts:
    """An image as the engine holds it; `id` is the config digest (newer engines: the manifest's)."""

    id: str
    repo_digests: tuple[str, ...]
    size_bytes: int
    labels: Mapping[str, str]
    env: tuple[str, ...] = ()
    """`NAME=value`, as every container made from it starts with."""


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


@dataclass(frozen=True)
class _Cause:
    needles: tuple[str, ...]
    problem: str
    fix: str
    retryable: bool


_CAUSES = (
    _Cause(
        ("no basic auth credentials", "unauthorized", "authentication required", "denied: ", "access denied"),
        "the registry refused the login",
        "check user name and password of this registry where the device or command gets them",
        False,
    ),
    _Cause(
        ("manifest unknown", "manifest for", "repository does not exist", "name unknown"),
        "the registry has no such image",
        "push it, or correct the image reference",
        False,
    ),
    _Cause(
        ("no such host", "server misbehaving"),
        "the registry's name does not resolve",
        "correct the registry's address or the name server",
        True,
    ),
    _Cause(
        ("x509:", "certificate"),
        "the engine does not trust the registry's certificate",
        "put the registry's CA into /etc/docker/certs.d/HOST:PORT/ca.crt on the engine's machine",
        False,
    ),
    _Cause(
        ("connection refused", "no route to host", "network is unreachable", "connection reset"),
        "the registry does not answer",
        "start the registry, or correct its address",
        True,
    ),
    _Cause(
        ("i/o timeout", "context deadline exceeded", "client.timeout", "tls handshake timeout"),
        "the registry answers too slowly",
        "try again; look at the network between the engine and the registry",
        True,
    ),
    _Cause(
        (
            "toomanyrequests",
            "received unexpected http status",
            "unexpected eof",
            "unexpected end of json input",
            "filesystem layer verif",
            "manifest verification failed",
        ),
        "the registry did not deliver the image",
        "try again; look at the registry's log",
        True,
    ),
    _Cause(
        ("no space left on device",),
        "the engine's disk is full",
        "free space, for example with `docker image prune`",
        True,
    ),
    _Cause(
        ("port is already allocated", "address already in use"),
        "a host port is taken",
        "leave HostPort empty in createOptions, or stop what holds the port",
        True,
    ),
    _Cause(
        ("non-overlapping ipv4 address pool",),
        "the engine has no address range left for another network",
        "remove unused networks with `docker network prune`, or give this one a subnet",
        False,
    ),
    _Cause(
        ("pool overlaps with other one",),
        "the network's address range is taken",
        "choose another subnet, or remove the network that holds it",
        False,
    ),
    _Cause(
        ("is already in use by container",),
        "the container's name is taken",
        "remove the container of that name",
        False,
    ),
    _Cause(
        ("no such image",),
        "the engine does not have the image",
        "pull or load it before creating containers",
        False,
    ),
    _Cause(
        ("no such container", "no such network"),
        "the engine does not have it",
        "look with `docker ps -a`",
        False,
    ),
    _Cause(
        ("oci runtime create failed", "failed to create shim", "executable file not found"),
        "the container cannot start",
        "correct the image's entry point or the module's createOptions",
        False,
    ),
)
START_IT = "start Docker, or correct the engine's address"


def explain(doing: str, text: str, status: int = 0) -> EngineError:
    """The error for what the engine said (`text`, HTTP `status`) while `doing` something."""
    said = " ".join(text.split())
    for cause in _CAUSES:
        if any(needle in said.lower() for needle in cause.needles):
            return EngineError(f"{doing}: {cause.problem}: {said}", fix=cause.fix, retryable=cause.retryable)
    return EngineError(
        f"{doing}: the engine answered {status or 'with an error'}: {said}",
        fix="look at the engine's log",
        retryable=status in (0, 503),
    )


class Engine:
    """A container engine at `url` (`unix:///path` or `tcp://host:port`). `start_it`: what to do where none
    answers."""

    def __init__(self, url: str, timeout_s: int = 60, start_it: str = START_IT) -> None:
        self.url = url
        self._start_it = start_it
        self._timeout_s = timeout_s
        self._client: docker.APIClient | None = None

    def close(self) -> None:
        """Ends the connection; the next call opens another."""
        if self._client is not None:
            self._client.close()
            self._client = None

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

    # images

    def load(self, path: Path) -> None:
        """The image archive at `path` (`docker load`) is on the engine."""

        def load(client: Any) -> None:
            with path.open("rb") as archive:
                self._read_progress(f"loading {path.name}", client.load_image(archive))

        self._do(f"loading {path.name}", load)

    def pull(
        self,
        reference: str,
        username: str = "",
        password: str = "",
        on_progress: Callable[[Progress], None] | None = None,
        given_up: Callable[[], str] | None = None,
    ) -> None:
        """The image `reference` is on the engine; never uses logins stored on this machine.

        `given_up` is asked several times a second: once it gives a reason, the engine is told to let the pull
        be, and EngineError (retryable) says the reason.
        """
        doing = f"pulling {reference}"
        login = {"username": username, "password": password} if username else {}
        repository, tag = parse_repository_tag(reference)
        query = urlencode({"fromImage": repository, "tag": tag or "latest"})
        headers = {"X-Registry-Auth": encode_header(login).decode()}
        layers: dict[str, Layer] = {}
        problem = ""
        for line in self._stream(doing, "POST", f"/images/create?{query}", headers, given_up):
            problem = problem or _problem_of(line)
            name = str(line.get("id") or "")
            layer = read_line(layers.get(name), line)
            if layer and on_progress:
                layers[name] = layer
                on_progress(sum_up(layers.values()))
        if problem:
            raise explain(doing, problem)

    def build(self, context: Path, tag: str, args: Mapping[str, str]) -> None:
        """The image that the Dockerfile at the top of the tar `context` makes is on the engine as `tag`.

        EngineError with the last lines of the build when it fails.
        """
        doing = f"building {tag}"

        def build(client: Any) -> None:
            said: list[str] = []
            problem = ""
            with context.open("rb") as body:
                progress = client.build(
                    fileobj=body,
                    custom_context=True,
                    tag=tag,
                    buildargs=dict(args),
                    rm=True,
                    forcerm=True,
                    decode=True,
                    timeout=_BUILD_S,
                )
                for line in progress:  # to its end, which frees the connection
                    said += str(line.get("stream") or "").splitlines()
                    problem = problem or str(line.get("error") or "")
            if problem:
                said = [each for each in said if each.strip()][-_BUILD_LINES:]
                raise EngineError(
                    f"{doing}: {problem}; its last lines: {' | '.join(said)}",
                    fix=_NO_SHELL if "/bin/sh" in problem else "correct the Dockerfile, or what it fetches",
                )

        self._do(doing, build)

    def save(self, reference: str, path: Path) -> None:
        """The image is in the archive at `path`, as `docker save` writes it."""

        def save(client: Any) -> None:
            with path.open("wb") as archive:
                for chunk in client.get_image(reference):
                    archive.write(chunk)

        self._do(f"saving {reference}", save)

    def image(self, reference: str) -> ImageFacts | None:
        """The image under that reference, digest or id, or None."""
        said = self._look(f"inspecting image {reference}", lambda c: c.inspect_image(reference))
        if said is None:
            return None
        return ImageFacts(
            id=said["Id"],
            repo_digests=tuple(said.get("RepoDigests") or ()),
            size_bytes=int(said.get("Size") or 0),
            labels=dict((said.get("Config") or {}).get("Labels") or {}),
            env=tuple((said.get("Config") or {}).get("Env") or ()),
        )

    def images(self, labels: Mapping[str, str]) -> list[str]:
        """The ids of all images that carry all these labels, the newest first."""
        wanted = {"label": [f"{key}={value}" for key, value in labels.items()]}
        rows = self._do("listing images", lambda c: c.images(filters=wanted))
        return [str(row["Id"]) for row in sorted(rows, key=lambda row: -int(row.get("Created") or 0))]

    def repo_digests(self) -> frozenset[str]:
        """The references by digest of all images here, such as `host/name@sha256:…`."""
        rows = self._do("listing images", lambda c: c.images())
        return frozenset(digest for row in rows for digest in row.get("RepoDigests") or ())

    def remove_image(self, reference: str) -> None:
        """The reference is gone, its layers too when nothing else uses them; absent is fine."""
        self._look(f"removing image {reference}", lambda c: c.remove_image(reference))

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

    # answers that are read while they are written

    def _stream(
        self,
        doing: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        given_up: Callable[[], str] | None,
    ) -> Iterator[Mapping[str, Any]]:
        stream = self._connect_stream(doing)
        with ended_by(stream, given_up) as reason:
            try:
                self._ask(stream, doing, method, path, headers)
                yield from stream.lines()
            except BROKEN as error:
                if not reason():
                    raise self._gone(doing) from error
            if reason():
                raise EngineError(
                    f"{doing}: given up: {reason()}", fix="it is tried again by itself", retryable=True
                )

    def _open(self, doing: str, method: str, path: str, headers: Mapping[str, str]) -> Stream:
        stream = self._connect_stream(doing)
        try:
            self._ask(stream, doing, method, path, headers)
        except (*BROKEN, EngineError) as error:
            stream.close()
            raise error if isinstance(error, EngineError) else self._gone(doing) from error
        return stream

    def _connect_stream(self, doing: str) -> Stream:
        try:
            return Stream(self.url)
        except BROKEN as error:
            raise self._gone(doing) from error

    def _ask(self, stream: Stream, doing: str, method: str, path: str, headers: Mapping[str, str]) -> None:
        status = stream.ask(method, path, headers)
        if status >= 400:
            said = next(stream.lines(), {})
            raise explain(doing, _problem_of(said) or "nothing", status)

    def _gone(self, doing: str) -> EngineError:
        return EngineError(
            f"{doing}: no engine answers at {self.url}, or it ended meanwhile",
            fix="start Docker, or correct the engine's address",
            retryable=True,
        )

    # the border: docker-py's exceptions end here

    def _connected(self) -> docker.APIClient:
        if self._client is None:
            _must_listen(self.url)
            self._client = docker.APIClient(base_url=self.url, version="auto", timeout=self._timeout_s)
        return self._client

    def _do(self, doing: str, call: Callable[[Any], T]) -> T:
        try:
            return call(self._connected())
        except docker_errors.APIError as error:
            status = error.status_code or 0
            raise explain(doing, str(error.explanation or error), status) from error
        except requests.exceptions.Timeout as error:
            raise EngineError(
                f"{doing}: the engine at {self.url} did not answer within {self._timeout_s} s",
                fix="look at the engine's load and log",
                retryable=True,
            ) from error
        except (docker_errors.DockerException, requests.exceptions.RequestException) as error:
            raise EngineError(
                f"no engine answers at {self.url}",
                fix=self._start_it,
                retryable=True,
            ) from error

    def _look(self, doing: str, call: Callable[[Any], T]) -> T | None:
        """`_do`, but None when the engine has no such thing."""
        try:
            return self._do(doing, call)
        except EngineError as error:
            if isinstance(error.__cause__, docker_errors.NotFound):
                return None
            raise

    @staticmethod
    def _read_progress(doing: str, progress: Iterable[Mapping[str, Any]]) -> None:
        """Reads the progress to its end, which frees the connection; EngineError for an error told in it."""
        problem = ""
        for line in progress:
            problem = problem or _problem_of(line)
        if problem:
            raise explain(doing, problem)


def _must_listen(url: str) -> None:
    """Somebody listens at a url of this machine; DockerException when nobody does. docker-py would leave the
    socket open that it tried."""
    if not url.startswith("unix://"):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
        try:
            tried.connect(url.removeprefix("unix://"))
        except OSError as error:
            raise docker_errors.DockerException(str(error)) from error


def _problem_of(line: Mapping[str, Any]) -> str:
    return str(line.get("error") or line.get("message") or "")


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
