"""Deployments over REST, and the content of one applied to a single device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from starlette.responses import Response

from edgeferry.domain.condition import parse_condition
from edgeferry.domain.query import parse_query
from edgeferry.errors import ConditionError
from edgeferry.hub.assigner import Assigner
from edgeferry.hub.configurations import Configurations
from edgeferry.hub.content import Content
from edgeferry.hub.core import Core, section_of
from edgeferry.hub.rest.call import Call, done, ok
from edgeferry.wire.hub import render_etag


@dataclass(frozen=True)
class ConfigurationHandlers:
    """Answers about configurations."""

    core: Core
    configurations: Configurations
    content: Content
    assigner: Assigner

    async def list_all(self, call: Call) -> Response:
        stored = self.core.store.configurations()
        configurations = islice(stored, call.top(len(stored)))
        return ok([self.configurations.show(one) for one in configurations])

    async def show(self, call: Call) -> Response:
        return self._shown(call.path("configuration"))

    async def put(self, call: Call) -> Response:
        self.configurations.put(call.path("configuration"), call.json(), call.if_match)
        await self.assigner.settled()
        return self._shown(call.path("configuration"))

    async def delete(self, call: Call) -> Response:
        self.configurations.delete(call.path("configuration"), call.if_match)
        await self.assigner.settled()
        return done()

    async def test_queries(self, call: Call) -> Response:
        body = call.json()
        condition = body.get("targetCondition")
        queries = section_of(body, "customMetricQueries") or {}
        errors = {name: _find_fault(parse_query, text) for name, text in queries.items()}
        return ok(
            {
                "targetConditionError": None
                if condition is None
                else _find_fault(parse_condition, condition),
                "customMetricQueryErrors": {name: error for name, error in errors.items() if error},
            }
        )

    async def apply_content(self, call: Call) -> Response:
        self.content.apply(call.device, call.json())
        await self.assigner.settled()
        return done()

    def _shown(self, name: str) -> Response:
        configuration = self.configurations.configuration(name)
        return ok(self.configurations.show(configuration), etag=render_etag(configuration.etag))


def _find_fault(parse: Callable[[str], object], text: Any) -> str | None:
    if not isinstance(text, str):
        return "not a text"
    try:
        parse(text)
    except ConditionError as error:
        return f"{error.problem}. {error.fix}" if error.fix else error.problem
    return None
