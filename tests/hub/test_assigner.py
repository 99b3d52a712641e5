"""The assigner by itself, where its store or what it holds fails it."""

import asyncio
from contextlib import closing
from dataclasses import replace

from edgeferry.domain.condition import parse_condition
from edgeferry.domain.layering import AGENT, HUB, Deployment
from edgeferry.hub.assigner import Assigner, new_identity
from edgeferry.hub.core import Core
from edgeferry.hub.server import new_key
from edgeferry.hub.store import open_store
from edgeferry.wire.hub import Configuration, Presence

NOW = "2026-01-01T00:00:00.000000Z"
BASE = {AGENT: {"properties.desired": {"modules": {}}}, HUB: {"properties.desired": {}}}


def open_core(store, said) -> Core:
    return Core(
        store,
        now=lambda: NOW,
        new_key=new_key,
        presence=lambda _device, _module: Presence(),
        announce=lambda _events: None,
        log=lambda event, **facts: said.append((event, facts.get("device"))),
    )


def test_a_device_that_cannot_be_assigned_holds_up_no_other(tmp_path):
    said = []
    broken = {**BASE, AGENT: {"properties.desired": [1]}}
    with closing(open_store(tmp_path / "hub.db")) as store:
        assigner = Assigner(open_core(store, said))
        with store.transaction():
            for name in ("a", "b", "c"):
                store.save_identity(replace(new_identity(name, None, NOW, new_key), is_edge=True))
            for name, condition, content in (("fine", "*", BASE), ("broken", "deviceId = 'b'", broken)):
                deployment = Deployment(name, len(name), NOW, parse_condition(condition), content)
                store.save_configuration(Configuration(deployment, "1.0", {}, NOW, {}))
            store.add_pending(["a", "b", "c"])
        assigner.wake()
        assert said == [("assignment failed", "b"), ("assigned", None)]
        assert store.pending(10) == []
        assert store.modules("b") == []
        for name in ("a", "c"):
            assert [one.deployments for one in store.modules(name)] == [{"fine": "Applied"}] * 2


def test_a_store_that_fails_delays_the_assignment_and_fails_nobody(tmp_path):
    said = []
    with closing(open_store(tmp_path / "hub.db")) as store:
        core = open_core(store, said)
        deployment = Deployment("base", 0, NOW, parse_condition("*"), BASE)
        with store.transaction():
            store.save_identity(replace(new_identity("d", None, NOW, new_key), is_edge=True))
            store.save_configuration(Configuration(deployment, "1.0", {}, NOW, {}))
            store.add_pending(["d"])
        assigner = Assigner(core)

        async def fail_and_recover():
            store._connection.execute("PRAGMA query_only = ON")
            assigner.wake()
            assert said == [("assignment delayed", None)]
            store._connection.execute("PRAGMA query_only = OFF")
            await assigner.settled()

        asyncio.run(fail_and_recover())
        assert [one.deployments for one in store.modules("d")] == [{"base": "Applied"}] * 2
