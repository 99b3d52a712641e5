"""Serve: every open rollout of an environment goes on, for as long as this process lives."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

from edgeferry.domain.fleet import Fleet
from edgeferry.domain.rollout import Outcome
from edgeferry.errors import EdgeferryError
from edgeferry.ports import Services
from edgeferry.workflows.begin import Rules, resume
from edgeferry.workflows.rollouts import Record, load_open

LOOK_S = 5.0
"""Between two looks for rollouts that were begun elsewhere."""


def serve_rollouts(
    services: Services,
    *,
    fleet: Fleet,
    rules: Rules,
    user: str,
    on_change: Callable[[Outcome], None],
    lasts: Callable[[], bool] = lambda: True,
) -> None:
    """Returns when `lasts` says no. One rollout's trouble is said, tried again, and stops no other."""
    threads: dict[str, Thread] = {}
    while lasts():
        try:
            open_ = load_open(services, {"environment": [fleet.environment]})
        except EdgeferryError as error:
            services.say(f"the ledger was not read: {error.problem}")
            open_ = []
        for record in open_:
            thread = threads.get(record.id)
            if thread and thread.is_alive():
                continue
            threads[record.id] = Thread(
                target=_carry, args=(services, record, fleet, rules, user, on_change), daemon=True
            )
            threads[record.id].start()
        services.sleep(LOOK_S)


def _carry(
    services: Services,
    record: Record,
    fleet: Fleet,
    rules: Rules,
    user: str,
    on_change: Callable[[Outcome], None],
) -> None:
    services.say(f"going on with {record.id}")
    try:
        result = resume(
            services, record, fleet=fleet, rules=rules, user=user, on_change=on_change, patient=True
        )
        services.say(f"{record.id}: {result.state}: {result.reason}")
    except EdgeferryError as error:
        services.say(f"{record.id}: {error.problem}; fix: {error.fix}")
