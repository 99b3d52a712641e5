"""The agent's own update, done: `domain.agent_update` decides, here it is carried out once per pass.

Only the agent that holds the device calls `step`; what the other one does meanwhile stands in `turns`.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

from edgeferry.device.agent_container import HOME_LABEL, MARK_LABEL, NEXT, PULLED_LABEL, render_successor
from edgeferry.device.agent_record import UpdateRecord
from edgeferry.device.pulls import Pulls
from edgeferry.device.state_copy import drop_copy, keep_copy
from edgeferry.domain.agent_update import (
    AGENT_LABEL,
    Action,
    Discard,
    Fetch,
    Forget,
    Found,
    GiveUp,
    HandOver,
    Launch,
    Leave,
    Nothing,
    Phase,
    Prepare,
    Prove,
    Settle,
    Sight,
    Successor,
    Update,
    choose_desired,
    decide,
)
from edgeferry.domain.device_rules import UpdateRules
from edgeferry.domain.manifest import RegistryLogin
from edgeferry.engine import ContainerFacts, Engine
from edgeferry.errors import EngineError

_CRASHES = 2
_LINES = 5
_WORDS = 200
_STOP_S = 10
_HURRY_S = 1.0
_PULL_AGAIN_S = 60.0
_MOST_ACTIONS = 4
"""In one pass, of those that lead to the next at once."""

_log = logging.getLogger(__name__)


def find_agent(engine: Engine, mark: str) -> ContainerFacts | None:
    """The container of the agent with that mark, or None."""
    return next(iter(engine.containers({MARK_LABEL: mark})), None) if mark else None


def see_successor(engine: Engine, record: UpdateRecord, mark: str) -> Successor | None:
    """What is seen of the successor, or None where its container is gone or was never started."""
    facts = find_agent(engine, mark)
    if facts is None or facts.status == "created":
        return None
    ended = ""
    if facts.restart_count >= _CRASHES or facts.status in ("exited", "dead"):
        ended = f"ended by itself{_last_words(engine, facts.id)}"
    spoke, problem = record.heard(mark)
    return Successor(ended=ended, ready=spoke and not problem, problem=problem)


def _last_words(engine: Engine, container: str) -> str:
    """Its last line, as the end of a sentence."""
    lines = [line.strip() for line in engine.logs(container, _LINES).splitlines() if line.strip()]
    return f": {lines[-1][:_WORDS]}" if lines else " without a word"


def discard_successor(engine: Engine, update: Update) -> None:
    """The successor's container is gone, and its image where the update had brought it."""
    facts = find_agent(engine, update.after)
    if facts is None:
        return
    engine.remove(facts.id)
    if update.pulled:
        remove_image(engine, update.image)


def remove_image(engine: Engine, image: str) -> None:
    """The image is gone, unless somebody else uses it."""
    try:
        engine.remove_image(image)
    except EngineError as error:
        _log.info("image=%s stays: %s", image, error.problem)


class SelfUpdate:
    """One agent's part in its own update.

    `mark`: what its container carries; empty where it is installed as a program. `pulls`: of its own.
    `leave` is called when the turn passes to another agent: the device must be let go of soon.
    """

    def __init__(
        self,
        engine: Engine,
        record: UpdateRecord,
        mark: str,
        rules: UpdateRules,
        pulls: Pulls,
        leave: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._record = record
        self._mark = mark
        self._rules = rules
        self._pulls = pulls
        self._leave = leave
        self._own: ContainerFacts | None = None
        self._also = ""
        """Another reference of the image that it runs in: the one that is desired."""
        self._passes = 0
        self._fetched = ""
        self._problem = ""
        self._pull_at = 0.0
        self._phase: tuple[str, Phase] | None = None
        self._since = 0.0
        self.leaving = False
        """Whether another agent goes on: this one has nothing to report at its end."""
        self.failed = False
        """Whether what `step` said last is bad news."""
        self.given_up = False
        """Whether it is that the image is not run, and not tried again."""
        self._soon = False

    def step(self, image: str, logins: Sequence[RegistryLogin], *, connected: bool) -> str:
        """What is to be told of the agent's own image `image` (that of `edgeAgent`, empty when unknown), or
        an empty text. `connected`: whether the hub is. EngineError when the engine does not answer."""
        self._passes += 1
        self._soon, self.given_up = True, False
        for _ in range(_MOST_ACTIONS):
            sight = self._look(image, connected)
            action = decide(sight, self._rules)
            if isinstance(action, Nothing):
                self.failed = self.given_up = action.failed
                self._soon = sight.update is not None and sight.update.phase is not Phase.FAILED
                return action.reason
            if isinstance(action, Fetch):
                self._soon = False  # the end of the pull wakes the agent
                return self._fetch(sight.desired, logins)
            _log.info("agent update %s reason=%s", type(action).__name__.lower(), action.reason)
            self._do(action, sight)
            if self.leaving:
                break
        self.failed = False
        return f"the agent changes to {sight.desired}"

    @property
    def own(self) -> tuple[str, str] | None:
        """The image that it runs in, its reference and the id that the engine has for it, empty while that is
        not known; None where it is installed as a program."""
        if not self._mark:
            return None
        return (self._also or self._own.image, self._own.image_id) if self._own else ("", "")

    def next_due(self) -> float:
        """When the next pass is wanted, on the monotonic clock; infinity when it is not in a hurry."""
        return time.monotonic() + _HURRY_S if self._soon else float("inf")

    def _look(self, image: str, connected: bool) -> Sight:
        if self._own is None and self._mark:
            self._own = find_agent(self._engine, self._mark)
        update = self._record.load()
        phase = (update.after, update.phase) if update else None
        if phase != self._phase:
            self._phase, self._since = phase, time.monotonic()
        home = self._own.labels.get(HOME_LABEL, "") if self._own else ""
        desired, successor = choose_desired(image, home), None
        if update is not None and update.after and update.after != self._mark:
            successor = see_successor(self._engine, self._record, update.after)
        found = self._find(desired) if self._own and update is None else None
        self._also = desired if found and self._own and found.id == self._own.image_id else ""
        return Sight(
            own=self._mark if self._own else "",
            own_image=self._own.image if self._own else "",
            own_image_id=self._own.image_id if self._own else "",
            desired=desired,
            update=update,
            found=found,
            successor=successor,
            waited_s=time.monotonic() - self._since,
            connected=connected,
            passes=self._passes,
        )

    def _find(self, image: str) -> Found | None:
        facts = self._engine.image(image) if image else None
        return Found(facts.id, facts.labels.get(AGENT_LABEL) == "true") if facts else None

    def _fetch(self, image: str, logins: Sequence[RegistryLogin]) -> str:
        """What is to be told while the image is not there."""
        if self._fetched and self._fetched != image:
            self._pulls.stop(self._fetched)
        ended = self._pulls.harvest()
        if image in ended:
            self._problem = ended[image]
            self._pull_at = time.monotonic() + _PULL_AGAIN_S
        if not self._pulls.is_running(image) and (
            self._fetched != image or time.monotonic() >= self._pull_at
        ):
            self._fetched, self._problem = image, ""
            _log.info("pull image=%s reason=desired for the agent itself", image)
            self._pulls.start(image, logins)
        self.failed = bool(self._problem)
        return self._problem or f"the agent {image} is being pulled"

    def _do(self, action: Action, sight: Sight) -> None:
        update = sight.update
        if isinstance(action, Prepare):
            pulled = self._fetched == sight.desired
            fresh = Update(Phase.PREPARED, self._mark, uuid.uuid4().hex, sight.desired, pulled)
            self._record.move(None, fresh)
        elif isinstance(action, GiveUp):
            refused = Update(Phase.FAILED, self._mark, "", sight.desired)
            self._record.move(update, replace(update or refused, phase=Phase.FAILED, reason=action.reason))
            if update is None and self._fetched == sight.desired:
                remove_image(self._engine, sight.desired)
        elif isinstance(action, Leave):
            self._go()
        elif update is not None:
            self._move_on(action, update, sight.connected)

    def _move_on(self, action: Action, update: Update, connected: bool) -> None:
        match action:
            case Launch():
                self._launch(update)
            case HandOver():
                handed = replace(update, phase=Phase.HANDED, connected=connected)
                keep_copy(self._record.folder)
                if self._record.move(update, handed):
                    self._go()
            case Discard():
                discard_successor(self._engine, update)
            case Forget():
                discard_successor(self._engine, update)
                self._record.move(update, None)
            case Prove():
                self._record.move(update, replace(update, phase=Phase.PROVEN))
            case Settle():
                self._settle(update)

    def _go(self) -> None:
        self.leaving = True
        self._leave()

    def _launch(self, update: Update) -> None:
        """The successor's container runs, or the image has failed."""
        own = self._engine.made_from(self._own.id) if self._own else None
        own_image = self._engine.image(self._own.image_id) if self._own else None
        if self._own is None or own is None or own_image is None:
            self._own = None  # looked for anew in the next pass
            return
        facts = find_agent(self._engine, update.after)
        name = self._own.name.removesuffix(NEXT) + NEXT
        try:
            if facts is None:
                self._engine.remove(name)
                body = render_successor(own, own_image, update.image, update.after, pulled=update.pulled)
                self._engine.create(name, body)
            self._engine.start(name)
        except EngineError as error:
            if error.retryable:
                raise
            self._engine.remove(name)
            reason = f"the new agent's container does not start: {error.problem}"
            self._record.move(update, replace(update, phase=Phase.FAILED, reason=reason))

    def _settle(self, update: Update) -> None:
        """The predecessor is gone, its name is this container's, and nothing is on record."""
        assert self._own is not None
        before = find_agent(self._engine, update.before)
        name = self._own.name.removesuffix(NEXT)
        if before is not None:
            name = before.name
            self._engine.stop(before.id, _STOP_S)
            self._engine.remove(before.id)
            if before.labels.get(PULLED_LABEL) == "true":
                remove_image(self._engine, before.image)
        if self._own.name != name:
            self._engine.rename(self._own.id, name)
        drop_copy(self._record.folder)
        self._own = find_agent(self._engine, self._mark)
        self._record.move(update, None)
