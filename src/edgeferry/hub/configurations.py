"""Automatic deployments as objects of the service: created, changed, removed, shown with their metrics."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeferry.domain.condition import Condition, parse_condition
from edgeferry.domain.layering import Deployment, find_content_fault
from edgeferry.domain.limits import Sizes, is_full
from edgeferry.domain.query import parse_query
from edgeferry.domain.twin import is_same
from edgeferry.errors import ConditionError
from edgeferry.hub.assigner import Assigner
from edgeferry.hub.core import Core, check_etag, check_id, check_put, invalid
from edgeferry.hub.queries import Queries
from edgeferry.wire.hub import (
    CONFIGURATION_ID,
    Configuration,
    IfMatch,
    RefusalError,
    render_configuration,
    render_etag,
    render_system_queries,
)

Json = dict[str, Any]


@dataclass(frozen=True)
class Configurations:
    """Reads and writes of configurations."""

    core: Core
    queries: Queries
    assigner: Assigner

    def configuration(self, name: str) -> Configuration:
        """The configuration; RefusalError ConfigurationNotFound."""
        configuration = self.core.store.configuration(name)
        if configuration is None:
            raise RefusalError(
                "ConfigurationNotFound", f"there is no configuration {name!r}", fix="create it first"
            )
        return configuration

    def show(self, configuration: Configuration) -> Json:
        """The document, with metrics counted now."""
        return render_configuration(
            configuration,
            self._counts(render_system_queries(configuration.deployment)),
            self._counts(configuration.metric_queries),
        )

    def put(self, name: str, body: Json, if_match: IfMatch) -> Configuration:
        """The configuration created (without If-Match) or updated (with it); the devices that it concerns,
        now or until now, are to be assigned."""
        check_id(body, "id", name)
        store = self.core.store
        old = store.configuration(name)
        what = f"configuration {name!r}"
        check_put(old, if_match, "ConfigurationAlreadyExists", "ConfigurationNotFound", what)
        if old is None and is_full(len(store.configurations()), self.core.sizes.configurations):
            raise RefusalError(
                "ConfigurationCountLimitExceeded",
                f"there are {self.core.sizes.configurations} configurations already",
                fix="delete one first",
            )
        new = _parse_configuration(name, body, old, self.core)
        concerned: list[Condition] = []
        if old is None or _place(old) != _place(new):
            concerned = [one.deployment.condition for one in (old, new) if one is not None]
        with store.transaction():
            store.save_configuration(new)
            store.add_pending(self._selected(concerned))
        self.assigner.wake()
        return new

    def delete(self, name: str, if_match: IfMatch) -> None:
        """The configuration is gone, and what it gave is to be taken back where another base applies."""
        configuration = self.configuration(name)
        check_etag(if_match, render_etag(configuration.etag), f"configuration {name!r}")
        store = self.core.store
        with store.transaction():
            store.delete_configuration(name)
            store.add_pending(self._selected([configuration.deployment.condition]))
        self.assigner.wake()

    def _selected(self, conditions: Sequence[Condition]) -> Sequence[str]:
        selected = [self.queries.select_devices(condition) for condition in conditions]
        return list(dict.fromkeys(device for devices in selected for device in devices))

    def _counts(self, queries: Mapping[str, str]) -> Mapping[str, int]:
        return {name: self.queries.count(text) if text else 0 for name, text in queries.items()}


def _place(configuration: Configuration) -> tuple[str, int]:
    """What decides where a configuration applies and what it wins against."""
    return configuration.deployment.condition.text, configuration.deployment.priority


def _parse_configuration(name: str, body: Json, old: Configuration | None, core: Core) -> Configuration:
    modules, now = _parse_content(name, body, old, core.sizes), core.now()
    condition = body.get("targetCondition") or ""
    priority = body.get("priority") or 0
    labels = body.get("labels") or {}
    metrics = body.get("metrics") or {}
    queries = (metrics.get("queries") or {}) if isinstance(metrics, dict) else None
    if not isinstance(priority, int) or isinstance(priority, bool) or not 0 <= priority <= 2**31 - 1:
        raise invalid(f"priority {priority!r} is not a whole number from 0", "give a higher one to win")
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise invalid("labels are not texts by name", "send {'name': 'text'}")
    if not isinstance(condition, str):
        raise invalid("targetCondition is not a text", "send text, e.g. tags.environment='test'")
    try:
        parsed = parse_condition(condition)
    except ConditionError as error:
        raise RefusalError("InvalidConfigurationTargetCondition", error.problem, fix=error.fix) from error
    if not isinstance(queries, dict) or len(queries) > 5:
        raise RefusalError(
            "InvalidConfigurationCustomMetricsQuery",
            "metrics.queries is not an object of at most five queries",
            fix="send {'queries': {'name': 'SELECT …'}}",
        )
    for metric, text in queries.items():
        try:
            parse_query(text if isinstance(text, str) else "")
        except ConditionError as error:
            raise RefusalError(
                "InvalidConfigurationCustomMetricsQuery", f"metric {metric!r}: {error.problem}", fix=error.fix
            ) from error
    return Configuration(
        deployment=Deployment(
            id=name,
            priority=priority,
            created_at=old.deployment.created_at if old else now,
            condition=parsed,
            modules=modules,
        ),
        schema_version=str(body.get("schemaVersion") or "1.0"),
        labels=labels,
        updated_at=now,
        metric_queries=queries,
        etag=old.etag + 1 if old else 1,
    )


def _parse_content(
    name: str, body: Json, old: Configuration | None, sizes: Sizes
) -> Mapping[str, Mapping[str, Any]]:
    content = body.get("content")
    if content is None and old is not None:
        return old.deployment.modules
    if not re.fullmatch(CONFIGURATION_ID, name):
        raise invalid(f"{name!r} cannot be a configuration id", "use lower-case letters, digits and '-'")
    if not isinstance(content, dict):
        raise RefusalError("InvalidConfigurationContent", "content is missing", fix="send modulesContent")
    for other in ("deviceContent", "moduleContent"):
        if content.get(other) is not None:
            raise RefusalError(
                "InvalidConfigurationContent",
                f"{other} is not supported by this hub: it takes deployments to edge devices only",
                fix="send modulesContent",
            )
    modules = content.get("modulesContent")
    fault = find_content_fault(modules, sizes)
    if fault or modules is None:
        raise RefusalError(
            "InvalidConfigurationContent", str(fault), fix="write keys as properties.desired.…"
        )
    parsed: Mapping[str, Mapping[str, Any]] = modules
    if old is not None and not is_same(old.deployment.modules, parsed):
        raise RefusalError(
            "CannotModifyImmutableConfigurationContent",
            f"the content of configuration {name!r} cannot change",
            fix="create another configuration",
        )
    return parsed
