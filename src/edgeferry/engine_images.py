"""The images of a container engine: loaded, pulled, built, saved, looked at and removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from docker.auth import encode_header
from docker.utils import parse_repository_tag

from edgeferry.domain.pull_progress import Progress
from edgeferry.engine_causes import explain, problem_of
from edgeferry.engine_connection import EngineConnection
from edgeferry.errors import EngineError
from edgeferry.wire.pull_progress import Layer, read_line, sum_up

_BUILD_LINES = 10
_BUILD_S = 600
_NO_SHELL = (
    'that base has no shell: write RUN ["/usr/bin/python3", "-c", "…"], or name a base with one in FROM'
)


@dataclass(frozen=True)
class ImageFacts:
    """An image as the engine holds it; `id` is the config digest (newer engines: the manifest's)."""

    id: str
    repo_digests: tuple[str, ...]
    size_bytes: int
    labels: Mapping[str, str]
    env: tuple[str, ...] = ()
    """`NAME=value`, as every container made from it starts with."""


class EngineImages(EngineConnection):
    """The part of `Engine` that is about images."""

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
            problem = problem or problem_of(line)
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

    @staticmethod
    def _read_progress(doing: str, progress: Iterable[Mapping[str, Any]]) -> None:
        """Reads the progress to its end, which frees the connection; EngineError for an error told in it."""
        problem = ""
        for line in progress:
            problem = problem or problem_of(line)
        if problem:
            raise explain(doing, problem)
