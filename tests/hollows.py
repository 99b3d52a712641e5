"""Hollow devices at a real hub, and all that a rollout to them needs: a git ledger with its anchor, releases
whose images nobody pulls. It lives in a thread, so that controllers can be in processes of their own."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

from edgeferry.adapters.anchor import TwinAnchor
from edgeferry.adapters.anchored_ledger import AnchoredLedger
from edgeferry.adapters.hub import HubClient
from edgeferry.adapters.hub_login import SharedKeyLogin
from edgeferry.adapters.ledger import GitLedger
from edgeferry.adapters.signer import KeyFolder
from edgeferry.device.hollow import Clock, HollowFleet
from edgeferry.device.hollow_session import HubPlace
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.gate_policy import GatePolicy
from edgeferry.domain.hollow_device import Hollow, Pace
from edgeferry.domain.hollow_faults import Fault
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import Outcome
from edgeferry.domain.smoke import CaseSet, EqualCase, Tolerance
from edgeferry.ports import Services, show_nobody
from edgeferry.wire.cases import CASES_TYPE, render_cases
from edgeferry.wire.deployment import ModelLayer
from edgeferry.workflows.approve import approve, make_offer
from edgeferry.workflows.begin import Rules, rollout
from edgeferry.workflows.placing import list_layers
from edgeferry.workflows.plan import make_plan
from edgeferry.workflows.rollout import RolloutResult
from tests.hubs import RunningHub

FLEET = Fleet("tags.edgeferry = true")
CONDITION = "tags.models.taxi = true"
GATE = GatePolicy(evidence=(), self_approval=True)


def cases_of(version: str) -> CaseSet:
    """The smoke cases of a release."""
    case = EqualCase("one", ((1.0,),), (5.0,))
    return CaseSet("taxi", version, Tolerance(1e-9, 0.0), 1000.0, (case,))


def _render(digest: str) -> bytes:
    return render_cases(cases_of(str(int(digest.removeprefix("sha256:"), 16))))


_REGISTRY = SimpleNamespace(
    host="r",
    reference=lambda name, digest: f"r/{name}@{digest}",
    has=lambda name, digest: True,
    find_tag=lambda name, tag: "",
    attached=lambda name, digest, kind: [_render(digest)] if kind == CASES_TYPE else [],
    blob_sizes=lambda reference: None,
    remove=lambda name, digest: None,
)


def open_services(
    state: Path, folder: Path, say: Callable[[str], None] = lambda _: None, clock: Clock | None = None
) -> Services:
    """What a controller on this machine has: the hub whose state folder that is, and the ledger in `folder`;
    each controller reads the ledger through a cache of its own. Its time is that of `clock`."""
    clock = clock or Clock(time.time())
    text = json.loads((state / "connection.json").read_text())["connection_string"]
    hub = HubClient(SharedKeyLogin(lambda afresh: text, time.time), str(state / "ca.pem"))
    url = str(folder / "ledger.git")
    if not (folder / "ledger.git").exists():
        subprocess.run(["git", "init", "--quiet", "--bare", url], check=True)
    keys = KeyFolder(folder / "keys", folder / "trust", may_trust=True)
    anchor = TwinAnchor(hub, url, "ledger")
    ledger = GitLedger(url, "ledger", folder / f"cache-{uuid4().hex[:8]}", keys, clock.now)
    return cast(
        Services,
        SimpleNamespace(
            project=SimpleNamespace(model_names=lambda: ["taxi"]),
            hub=hub,
            registry=_REGISTRY,
            ledger=AnchoredLedger(ledger, anchor, say),
            anchor=anchor,
            pull_login=lambda: None,
            now=clock.now,
            sleep=lambda seconds: time.sleep(clock.world_s(seconds)),
            new_id=lambda: uuid4().hex,
            say=say,
            work=show_nobody,
            alarm=lambda body: None,
        ),
    )


@dataclass
class ListedLedger:
    """Entries in a list: a git ledger takes a dozen processes for each, and has a bench of its own."""

    now: Callable[[], float]
    listed: list[Entry] = field(default_factory=list)

    def entries(self, kind: str, subject: str = "") -> Sequence[Entry]:
        return [one for one in self.listed if one.kind == kind and subject in ("", one.subject)]

    def all_entries(self) -> Sequence[Entry]:
        return list(self.listed)

    def append(self, kind: str, subject: str, body: dict[str, Any], author: str) -> Entry:
        at = datetime.fromtimestamp(self.now(), UTC).isoformat(timespec="milliseconds")
        self.listed.append(Entry(f"{len(self.listed):06}", kind, subject, at, author, body, "", ""))
        return self.listed[-1]

    def append_unless(
        self, kind: str, subject: str, body: dict[str, Any], author: str, found: Callable[..., Entry | None]
    ) -> tuple[Entry, bool]:
        there = found(self.all_entries())
        return (there, False) if there else (self.append(kind, subject, body, author), True)

    def distrust(self, entry: Entry) -> str:
        return ""

    def require_keys(self, entries: Sequence[Entry]) -> None:
        pass

    def trusted(self) -> Mapping[str, Sequence[str]]:
        return {}


def companion_digest(version: int) -> str:
    """Of the companion's image of that version."""
    return f"sha256:{version:08x}{'c' * 56}"


def release_companion(services: Services, version: int) -> Entry:
    """A release of the companion; the one that is there, if there is."""
    digest = companion_digest(version)
    name = f"companion-v{version}-{version:08x}"
    body = {"model": "companion", "version": str(version), "digest": digest, "config_digest": digest}
    known = services.ledger.entries("release", name)
    return (
        known[-1] if known else services.ledger.append("release", name, {**body, "cases_sha256": ""}, "ann")
    )


def release(
    services: Services, version: int, companion: Entry | None = None, *, model: str = "taxi"
) -> Entry:
    """A release of the model, with the companion that a fleet without any would get."""
    companion = companion or release_companion(services, 1)
    digest = f"sha256:{version:064x}"
    body: dict[str, Any] = {
        "model": model,
        "version": str(version),
        "digest": digest,
        "config_digest": digest,
        "cases_sha256": hashlib.sha256(_render(digest)).hexdigest(),
        "companion": {"release": companion.subject, "digest": companion.body["digest"]},
    }
    return services.ledger.append("release", f"{model}-v{version}-{version:08x}", body, "ann")


def layers_of(services: Services, module: str) -> list[ModelLayer]:
    """The layers of a model, or the companion, the lowest first."""
    found = [layer for layer in list_layers(services) if layer.model == module]
    return sorted(found, key=lambda layer: layer.priority)


def rules(**texts: str) -> Rules:
    """Rules with these texts of `rollout.…`; what is proven is proven within seconds here."""
    given = {"timeout_s": "30", **texts}
    return Rules({f"rollout.{name}": text for name, text in given.items()}, GATE)


def say_yes(services: Services, entry: Entry, by: Rules, condition: str = CONDITION) -> None:
    """Ann approves it by the plan of now."""
    plan = make_plan(services, entry, condition, FLEET, by.planned)
    approve(services, make_offer(services, entry, plan, by.gate, ""), "ann", yes=True)


def roll(
    services: Services, entry: Entry, by: Rules, condition: str = CONDITION, **more: Any
) -> RolloutResult:
    """The rollout's end."""
    ignore: Callable[[Outcome], None] = lambda _: None  # noqa: E731
    return rollout(services, entry, condition, fleet=FLEET, rules=by, user="ann", on_change=ignore, **more)


@dataclass
class Hollows:
    """Hollow devices that live at `hub` until `stop`."""

    hub: RunningHub
    names: Sequence[str]
    faults: Mapping[str, Sequence[Fault]] = field(default_factory=dict)
    pace: Pace = field(default_factory=lambda: Pace(pull_s=0.2, ask_s=0.1, report_s=1.0))
    _fleet: HollowFleet | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None

    def start(self, tags: Mapping[str, Mapping[str, Any]] | None = None) -> Hollows:
        """They are enrolled, with `tags` by name, and connect."""
        began_at = time.time()
        keys = {}
        for name in self.names:
            keys[name] = self.hub.create_device(name)
            own = {"edgeferry": True, "models": {"taxi": True}, **(tags or {}).get(name, {})}
            self.hub.ask("PATCH", f"/twins/{name}", {"tags": own})
        context = ssl.create_default_context(cafile=str(self.hub.ca_file))
        place = HubPlace(self.hub.host_name, self.hub.address, self.hub.mqtt_port, context)
        hollows = [
            replace(Hollow(name, 1, began_at, tuple(self.faults.get(name, ()))), pace=self.pace)
            for name in self.names
        ]
        self._fleet = HollowFleet(
            place, Clock(began_at), lambda request: cases_of(request.version), hollows, keys
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, args=(self._fleet,), daemon=True)
        self._thread.start()
        return self

    def hollow(self, name: str) -> Hollow:
        """The device as it is."""
        assert self._fleet
        return self._fleet.devices[name].hollow

    def _live(self, fleet: HollowFleet) -> None:
        assert self._loop
        try:
            self._loop.run_until_complete(fleet.live())
        except asyncio.CancelledError:
            pass
        finally:
            self._loop.close()

    def stop(self) -> None:
        """They are gone from the hub, and so is what was deployed to them."""
        assert self._loop
        assert self._thread
        for task in asyncio.all_tasks(self._loop):
            self._loop.call_soon_threadsafe(task.cancel)
        self._thread.join(10)
        for name in self.names:
            self.hub.ask("DELETE", f"/devices/{name}")
        for one in self.hub.ask("GET", "/configurations", top="100"):
            self.hub.ask("DELETE", f"/configurations/{one['id']}")
