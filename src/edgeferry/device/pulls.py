"""Bringing images to the engine beside the agent's loop, so that crashed modules are restarted meanwhile.

An image that is wished for is tried until it came or is wished no more: the oldest wish first, few at once,
in the download window only, after a failure not before its wait is over.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime

from edgeferry.device.pull_attempt import Attempt, is_on_this_machine
from edgeferry.device.pull_relay import Relay
from edgeferry.domain.backoff import wait_s
from edgeferry.domain.device_rules import PullRules
from edgeferry.domain.download_window import is_open, parse_window, say_closed
from edgeferry.domain.manifest import RegistryLogin
from edgeferry.domain.pull_progress import Progress
from edgeferry.errors import EdgeferryError
from edgeferry.wire.retry_after import find_wait

AT_ONCE = 2
_LONGEST_ASKED_S = 3600.0
_NOT_WANTED = "it is no longer wanted"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wish:
    """An image that is to come; times are seconds of a monotonic clock."""

    image: str
    login: RegistryLogin | None
    failures: int = 0
    problem: str = ""
    again_at: float = 0.0


def _jittered(failures: int) -> float:
    return wait_s(failures, random.random())


def _local_now() -> datetime:
    return datetime.now().astimezone()


class Pulls:
    """The pulls of one device. Each has a thread and an engine connection of its own, and sets `wake` at its
    end; UsageError when the rules' window is none. Nothing begins but in `start` and `harvest`, and when a
    pull ends."""

    def __init__(
        self,
        engine_url: str,
        wake: threading.Event,
        rules: PullRules | None = None,
        *,
        wait_s: Callable[[int], float] = _jittered,
        local_now: Callable[[], datetime] = _local_now,
    ) -> None:
        self._engine_url = engine_url
        self._wake = wake
        self._rules = rules or PullRules()
        self._window = parse_window(self._rules.window)
        self._wait_s = wait_s
        self._local_now = local_now
        self._lock = threading.Lock()
        self._wishes: dict[str, Wish] = {}
        self._running: dict[str, Attempt] = {}
        self._ended: dict[str, str] = {}
        self._relay: Relay | None = None
        self._closed = False
        if self.cap_problem:
            _log.warning("%s", self.cap_problem)

    @property
    def cap_problem(self) -> str:
        """Why the cap on bytes per second is not kept, or ""."""
        if not self._rules.bytes_per_s or is_on_this_machine(self._engine_url):
            return ""
        return f"pull.bytes_per_s is not kept: the engine at {self._engine_url} is on another machine"

    def is_running(self, image: str) -> bool:
        """Whether that image is being pulled now."""
        with self._lock:
            return image in self._running

    def start(self, image: str, logins: Sequence[RegistryLogin]) -> None:
        """The image is wished for, until it came or `stop`; the login is the one whose address is the image's
        registry. A wish that is there already only takes the new login."""
        registry = image.partition("/")[0]
        login = next((login for login in logins if login.address == registry), None)
        with self._lock:
            wish = self._wishes.get(image)
            changed = wish is not None and wish.login != login
            if wish is None or changed:  # with another login, what was refused is tried at once
                self._wishes[image] = Wish(image, login)
            closed = self._why_closed()
            if wish is None and closed:
                self._ended[image] = f"pulling {image}: {closed}"
                self._wake.set()
            self._advance()

    def stop(self, image: str) -> None:
        """The image is no longer wished for; its pull, if under way, is given up. That it came all the same
        is harvested, a problem is not."""
        with self._lock:
            self._wishes.pop(image, None)
            if self._ended.get(image):
                del self._ended[image]
            attempt = self._running.get(image)
        if attempt is not None:
            attempt.give_up(_NOT_WANTED)

    def keep_only(self, images: Set[str]) -> None:
        """All other images are no longer wished for."""
        with self._lock:
            others = (set(self._wishes) | set(self._running)) - set(images)
        for image in others:
            self.stop(image)

    def harvest(self) -> dict[str, str]:
        """Image to problem ("" when it came) of what was tried since the last call. One with a problem is
        still wished for and tried again by itself."""
        with self._lock:
            self._advance()
            ended, self._ended = self._ended, {}
        return ended

    def progress(self) -> Mapping[str, Progress]:
        """How far the pulls that run now have come, by image."""
        with self._lock:
            return {image: attempt.progress for image, attempt in self._running.items()}

    def waiting(self) -> Mapping[str, str]:
        """Why each image that is wished for is not being pulled now."""
        with self._lock:
            now, closed = time.monotonic(), self._why_closed()
            return {
                image: closed or _say_wait(wish, now)
                for image, wish in self._wishes.items()
                if image not in self._running
            }

    def next_due(self) -> float:
        """When `harvest` begins the next pull (monotonic clock); infinity when none waits for its time only:
        the end of another pull begins the next by itself, and a window opens at its own time."""
        with self._lock:
            if len(self._running) >= AT_ONCE or self._why_closed():
                return float("inf")
            due = [wish.again_at for image, wish in self._wishes.items() if image not in self._running]
        return min(due, default=float("inf"))

    def close(self, timeout_s: float = 5.0) -> None:
        """All pulls are given up; the engine was told so, or did not listen for `timeout_s`."""
        with self._lock:
            self._closed = True
            self._wishes.clear()
            attempts = list(self._running.values())
        for attempt in attempts:
            attempt.give_up("the agent ends")
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and any(self.is_running(each.image) for each in attempts):
            time.sleep(0.05)
        if self._relay is not None:
            self._relay.close()
            self._relay = None

    # with the lock held

    def _advance(self) -> None:
        """Begins what may begin now."""
        now = time.monotonic()
        if self._closed or self._why_closed():
            return
        for image, wish in self._wishes.items():
            if len(self._running) >= AT_ONCE:
                return
            if image in self._running or now < wish.again_at:
                continue
            attempt = Attempt(
                self._engine_url, image, wish.login, self._rules, self._open_relay(), self._why_closed
            )
            self._running[image] = attempt
            threading.Thread(target=self._run, args=(attempt,), name="pull", daemon=True).start()

    def _open_relay(self) -> Relay | None:
        if self._relay is None and self._rules.bytes_per_s and not self.cap_problem:
            self._relay = Relay(self._rules.bytes_per_s)
        return self._relay

    def _why_closed(self) -> str:
        window = self._window
        if window is None or is_open(window, self._local_now().time()):
            return ""
        return say_closed(window)

    def _note_end(self, attempt: Attempt, problem: str) -> None:
        image = attempt.image
        del self._running[image]
        wish = self._wishes.get(image)
        if not problem:
            self._wishes.pop(image, None)
            self._ended[image] = ""
        elif wish is not None and attempt.wanted:
            self._ended[image] = problem
            if attempt.login == wish.login and not self._why_closed():
                self._wishes[image] = self._after_failure(wish, problem)

    def _after_failure(self, wish: Wish, problem: str) -> Wish:
        wait = max(self._wait_s(wish.failures), min(find_wait(problem), _LONGEST_ASKED_S))
        again_at = time.monotonic() + wait
        return replace(wish, failures=wish.failures + 1, problem=problem, again_at=again_at)

    # in a pull's own thread

    def _run(self, attempt: Attempt) -> None:
        began = time.monotonic()
        problem = f"pulling {attempt.image}: it ended unexpectedly"
        try:
            attempt.run()
            problem = ""
            _log.info("pulled image=%s seconds=%.1f", attempt.image, time.monotonic() - began)
        except (EdgeferryError, OSError) as error:
            problem = str(error)
            _log.warning("pull failed image=%s: %s", attempt.image, problem)
        finally:
            with self._lock:
                self._note_end(attempt, problem)
                self._advance()
            self._wake.set()


def _say_wait(wish: Wish, now: float) -> str:
    if now < wish.again_at:
        return f"tried again in {wish.again_at - now:.0f} s: {wish.problem}"
    return f"waits for {AT_ONCE} others that are pulled first"
