"""Who is connected, by itself."""

import asyncio

from edgeferry.hub.links import Link, Links
from edgeferry.hub.presence import Presences
from edgeferry.wire import topics


def test_a_connection_that_ends_is_not_asked_any_more():
    """It stays known until its last bytes are gone; who waits for its identity waits for the next one."""
    presences = Presences({}, lambda *_: None, "")
    links = Links(presences, lambda _device, _module: True, lambda *_, **__: None)
    link = Link("d", None, asyncio.Transport(), {topics.METHODS: 1}, True, "", expires_at=0, idle_s=0)
    links.live[link.key] = link
    assert asyncio.run(links.wait_for_methods("d", None, 0)) is link
    link.left = "does not read what it is sent"
    assert asyncio.run(links.wait_for_methods("d", None, 0)) is None
