"""One attempt to bring one image to the engine: is there room, is it allowed now, does it come."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Callable

from edgeferry.device.announced import PATIENCE_S, Announced, ask_announced, held_layers
from edgeferry.device.image_check import check_image
from edgeferry.device.pull_relay import Passage, Relay, is_left_over
from edgeferry.device.registry_line import RegistryLine, split_reference
from edgeferry.domain.device_rules import PullRules
from edgeferry.domain.manifest import RegistryLogin
from edgeferry.domain.pull_progress import Progress
from edgeferry.engine import Engine
from edgeferry.errors import EngineError
from edgeferry.wire.oci import is_digest

_log = logging.getLogger(__name__)


def is_on_this_machine(engine_url: str) -> bool:
    """Whether that engine runs here, so that it sees this machine's disk and loopback."""
    return engine_url.startswith("unix://")


class Attempt:
    """`run` in a thread of its own; `give_up` and `progress` from any."""

    def __init__(
        self,
        engine_url: str,
        image: str,
        login: RegistryLogin | None,
        rules: PullRules,
        relay: Relay | None,
        forbidden: Callable[[], str],
    ) -> None:
        self.image = image
        self.progress = Progress()
        self._engine_url = engine_url
        self.login = login
        self._rules = rules
        self._relay = relay
        self._forbidden = forbidden
        self._passage: Passage | None = None
        self.wanted = True
        self._reason = ""
        self._moved = 0
        self._moved_at = time.monotonic()

    def give_up(self, reason: str) -> None:
        """The pull ends within a second, with that reason; how it ended is of no interest any more."""
        self.wanted = False
        self._reason = reason

    def run(self) -> None:
        """The image is on the engine, with the digest that was asked for; EngineError when it is not."""
        engine = Engine(self._engine_url)
        try:
            if is_on_this_machine(self._engine_url):
                self._bring(engine)
            else:
                self._pull(engine, self.image)
            problem = check_image(engine.image(self.image), self.image)
            if problem:
                raise EngineError(problem, fix="look at what the registry serves under it", retryable=True)
        finally:
            engine.close()

    def _bring(self, engine: Engine) -> None:
        host, name, target = split_reference(self.image)
        architecture = engine.ping().architecture
        with contextlib.closing(RegistryLine(host, name, self.login)) as line:
            patience_s = min(PATIENCE_S, self._rules.progress_s)
            announced = ask_announced(line, target, architecture, time.time(), patience_s)
            if announced.retry_after_s:
                raise EngineError(
                    f"pulling {self.image}: the registry asks to wait {announced.retry_after_s:.0f} s",
                    fix="it is tried again by itself",
                    retryable=True,
                )
            self._check_room(engine, line, announced, architecture)
            if self._relay is None:
                self._pull(engine, self.image)
                return
            digest = announced.digest or (target if is_digest(target) else "")
            if not digest:
                raise EngineError(
                    f"pulling {self.image}: the registry answered {announced.status or 'nothing'} "
                    "when it was asked which image that is",
                    fix="look at the registry, and at the login",
                    retryable=True,
                )
            self._pull_through(engine, self._relay, line, digest)

    def _check_room(
        self, engine: Engine, line: RegistryLine, announced: Announced, architecture: str
    ) -> None:
        """EngineError when what is missing of the image would leave too little free."""
        root = engine.root()
        if not root.is_dir():  # the engine sees another file system than we do
            return
        least = self._rules.least_free_bytes
        brings = sum(announced.layers.values())
        free = shutil.disk_usage(root).free
        if free < brings + least:
            self._remove_left_over(engine)
            brings = self._missing(engine, line, announced, architecture)
            free = shutil.disk_usage(root).free
        if free < brings + least:
            raise EngineError(
                f"pulling {self.image}: not started, the disk is too full: "
                f"{_megabytes(free)} are free in {root}, the image brings {_megabytes(brings)}, "
                f"and {_megabytes(least)} must stay free",
                fix="free space on the device, or lower pull.least_free_bytes in agent.toml",
                retryable=True,
            )

    def _missing(self, engine: Engine, line: RegistryLine, announced: Announced, architecture: str) -> int:
        """Bytes of the layers that no image of the same repository brought already."""
        if not announced.layers:
            return 0
        repository = self.image.partition("@")[0]
        digests = [each for each in engine.repo_digests() if each.partition("@")[0] == repository]
        held = held_layers(line, [each.partition("@")[2] for each in digests], architecture, time.time())
        return sum(size for layer, size in announced.layers.items() if layer not in held)

    def _pull_through(self, engine: Engine, relay: Relay, line: RegistryLine, digest: str) -> None:
        """Pulls by the relay, then by the image's own name, for which every layer is there."""
        self._passage = passage = relay.open(line, digest)
        try:
            self._pull(engine, passage.reference)
            relayed = self.progress
            self._pull(engine, self.image)
            self.progress = relayed
        except EngineError as error:
            problem = error.problem.replace(passage.reference, self.image)
            raise EngineError(problem, fix=error.fix, retryable=error.retryable) from error
        finally:
            relay.end(passage)
        self._remove_left_over(engine)

    def _remove_left_over(self, engine: Engine) -> None:
        """Names by relays are gone. Until a pull succeeds they keep what came already."""
        for reference in engine.repo_digests():
            if is_left_over(reference, self._relay):
                with contextlib.suppress(EngineError):
                    engine.remove_image(reference)

    def _pull(self, engine: Engine, reference: str) -> None:
        login = self.login if reference == self.image else None
        self._moved_at = time.monotonic()
        engine.pull(
            reference,
            login.username if login else "",
            login.password if login else "",
            on_progress=self._note,
            given_up=self._given_up,
        )

    def _note(self, progress: Progress) -> None:
        self.progress = progress

    def _given_up(self) -> str:
        """Why the pull must end now, or ""."""
        reason = self._reason or self._forbidden()
        if reason:
            return reason
        moved = self.progress.moved + (self._passage.moved if self._passage else 0)
        now = time.monotonic()
        if moved != self._moved:
            self._moved, self._moved_at = moved, now
        if now - self._moved_at > self._rules.progress_s:
            return f"no byte came for {self._rules.progress_s:g} s"
        return ""


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
