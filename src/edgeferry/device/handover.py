"""A module is handed over: its successor answers before its predecessor stops, and its name moves in between.

What moves is the container's own name, which the engine's DNS follows while the container runs. Whoever
looked the name up a moment before still finds the predecessor serving; only then it is stopped. A network's
aliases could not move: the engine takes one away only after the process behind it has ended.

Names are all there is to remember: whatever step a crash ends at, `settle_names` reads from them which
container is the module's.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from edgeferry.device.containers import MODULE_LABEL, Place
from edgeferry.domain.device_handover import Probe, find_probe
from edgeferry.domain.device_rules import TrialRules
from edgeferry.engine import ContainerFacts, Engine
from edgeferry.errors import EdgeferryError, EngineError

Json = dict[str, Any]

DRAIN_S = 2.0
"""How long the predecessor serves on after its name moved: who looked it up before connects within this."""
POLL_S = 0.1
ANSWER_S = 2.0
"""How long one answer of the successor may take."""

_log = logging.getLogger(__name__)


def hand_over(
    engine: Engine,
    place: Place,
    module: str,
    old: ContainerFacts,
    body: Json,
    rules: TrialRules,
    meanwhile: Callable[[], None] = lambda: None,
    drain_s: float = DRAIN_S,
) -> None:
    """A container made from the create `body` serves as the module, and `old` is gone.

    `meanwhile` is called again and again while there is nothing to do but wait; what it raises ends the
    hand-over. EngineError or DesiredError with the reason when the successor does not start, or does not
    answer within `rules.ready_s`: then it is gone, and `old` serves as before.
    """
    try:
        for step in steps(engine, place, module, old, body, rules, meanwhile, drain_s):
            _log.info("hand over module=%s: %s", module, step)
    except Exception as error:
        with contextlib.suppress(EngineError):  # an engine that is away: whoever looks next settles it
            settle_names(engine, place)
            serving = engine.inspect(place.container(module))
            if serving is not None and serving.id != old.id and isinstance(error, EdgeferryError):
                _log.warning("handed over module=%s in spite of: %s", module, error)
                return
        raise


def steps(
    engine: Engine,
    place: Place,
    module: str,
    old: ContainerFacts,
    body: Json,
    rules: TrialRules,
    meanwhile: Callable[[], None] = lambda: None,
    drain_s: float = DRAIN_S,
) -> Iterator[str]:
    """The steps of a hand-over, each done when its name comes."""
    engine.remove(place.successor(module))
    successor = engine.create(place.successor(module), body)
    yield "created"
    engine.start(successor)
    yield "started"
    _await_answer(engine, place, module, successor, rules.ready_s, meanwhile)
    yield "answered"
    engine.rename(old.id, place.predecessor(module))
    yield "predecessor renamed"
    engine.rename(successor, place.container(module))
    yield "renamed"
    _wait(drain_s, meanwhile)
    yield "drained"
    engine.stop(old.id)
    yield "stopped"
    engine.remove(old.id)
    yield "removed"


def pick_serving(place: Place, found: Iterable[ContainerFacts]) -> dict[str, ContainerFacts]:
    """By module, the container that is the module's; those of a hand-over beside it are left out."""
    serving: dict[str, ContainerFacts] = {}
    for module, rows in _by_module(found).items():
        serving[module] = _ranked(place, module, rows)[0]
    return serving


def settle_names(engine: Engine, place: Place, found: Sequence[ContainerFacts] | None = None) -> bool:
    """Whether anything had to be done so that each module has one container, under its proper name.

    For the start, and after an error in a hand-over. `found` are the device's containers where they are
    known already.
    """
    found = engine.containers(place.labels) if found is None else found
    changed = False
    for module, rows in _by_module(found).items():
        chosen, *others = _ranked(place, module, rows)
        if chosen.name != place.container(module):
            _log.info("settle module=%s: %s is the module's container", module, chosen.name)
            engine.rename(chosen.id, place.container(module))
            changed = True
        for other in others:
            _log.info("settle module=%s: %s goes", module, other.name)
            if other.name != place.successor(module):  # that one served nobody yet
                engine.stop(other.id)
            engine.remove(other.id)
            changed = True
    return changed


def _by_module(found: Iterable[ContainerFacts]) -> dict[str, list[ContainerFacts]]:
    modules: dict[str, list[ContainerFacts]] = {}
    for facts in found:
        if module := facts.labels.get(MODULE_LABEL):
            modules.setdefault(module, []).append(facts)
    return modules


def _ranked(place: Place, module: str, rows: list[ContainerFacts]) -> list[ContainerFacts]:
    """The module's own container first: the one of its name; while none has it, the successor, which had
    answered when the name was taken from the predecessor, unless only the predecessor still runs."""
    proper, successor = place.container(module), place.successor(module)

    def rank(facts: ContainerFacts) -> tuple[bool, bool, bool, str]:
        return (facts.name != proper, not facts.running, facts.name != successor, facts.name)

    return sorted(rows, key=rank)


def _await_answer(
    engine: Engine, place: Place, module: str, container: str, ready_s: float, meanwhile: Callable[[], None]
) -> None:
    """The container answered 200; EngineError when it ended, or did not within `ready_s`."""
    deadline = time.monotonic() + ready_s
    said = "it has no address"
    while True:
        facts = engine.inspect(container)
        if facts is None or facts.status in ("exited", "dead"):
            raise _refusal(engine, module, facts)
        probe = find_probe(module, facts.labels, facts.exposed_ports)
        address = facts.addresses.get(place.network)
        if address:
            said = _ask(address, probe)
        if not said:
            return
        if time.monotonic() > deadline:
            raise EngineError(
                f"the successor of module {module} did not answer {probe.path} on port {probe.port} within "
                f"{ready_s:g} s: {said}",
                fix="look at why it is slow, or raise trial.ready_s in agent.toml",
            )
        meanwhile()
        time.sleep(POLL_S)


def _ask(address: str, probe: Probe) -> str:
    """Why that was no answer of a container that can serve; "" for 200."""
    connection = http.client.HTTPConnection(address, probe.port, timeout=ANSWER_S)
    try:
        connection.request("GET", probe.path, headers={"Connection": "close"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return "" if status == 200 else f"it answered {status}"


def _refusal(engine: Engine, module: str, facts: ContainerFacts | None) -> EngineError:
    why = "is gone"
    if facts is not None:
        last = "".join(engine.logs(facts.id, 1).strip().splitlines()[-1:])
        why = f"ended with exit code {facts.exit_code}" + (f": {last}" if last else "")
    return EngineError(
        f"the successor of module {module} {why}; it had not answered yet",
        fix="look at the module's log and correct the deployment",
    )


def _wait(seconds: float, meanwhile: Callable[[], None]) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        meanwhile()
        time.sleep(min(POLL_S, left))
