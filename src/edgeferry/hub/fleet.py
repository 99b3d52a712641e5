"""What can be asked of the hub about devices, modules, twins and deployments, whoever asks and however.

Each change is one transaction, the assignment that follows from it included; what it means for connected
clients is announced after the commit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeferry.domain.condition import matches, parse_condition
from edgeferry.domain.layering import AGENT, HUB, MAX_MODULES, Deployment, find_content_fault
from edgeferry.domain.query import aggregate, parse_query, project
from edgeferry.domain.twin import (
    SECTION_BYTES,
    TAGS_BYTES,
    Json,
    Twin,
    diff_for_client,
    find_fault,
    is_same,
    patch_desired,
    patch_reported,
    patch_tags,
    replace_desired,
    replace_tags,
    strip_hub_members,
)
from edgeferry.errors import ConditionError
from edgeferry.hub.assigner import MANAGED, DesiredChanged, Event, IdentityGone, assign, new_identity
from edgeferry.hub.store import Store
from edgeferry.wire.hub import (
    Configuration,
    Identity,
    Presence,
    RefusalError,
    is_key,
    render_configuration,
    render_etag,
    render_identity,
    render_system_queries,
    render_twin,
)

MAX_CONFIGURATIONS = 100
_SYSTEM_MODULES = (AGENT, HUB)
_DEVICE_ID = re.compile(r"[A-Za-z0-9\-.%_*?!(),=@$']{1,128}")
_MODULE_ID = re.compile(r"[A-Za-z0-9\-.%_*?!(),=@'][A-Za-z0-9\-.%_*?!(),=@$']{0,127}")
_CONFIGURATION_ID = re.compile(r"[a-z0-9\-:+%_#*?!(),=@;']{1,128}")
_RESERVED_DEVICE_IDS = ("query", "keys", ".", "..")


@dataclass(frozen=True)
class Page:
    """Rows of a query; `next_after` continues it, None at the end."""

    rows: Sequence[Json]
    item_type: str
    next_after: tuple[str, str] | None


@dataclass(frozen=True)
class Fleet:
    """The fleet behind both of the hub's doors. `now` gives ISO 8601 UTC with microseconds."""

    store: Store
    now: Callable[[], str]
    new_key: Callable[[], str]
    presence: Callable[[str, str | None], Presence]
    announce: Callable[[Sequence[Event]], None]

    # identities

    def identity(self, device: str, module: str | None = None) -> Identity:
        """The identity; RefusalError DeviceNotFound or ModuleNotFound."""
        identity = self.store.identity(device, module)
        if identity is not None:
            return identity
        if module is None or self.store.identity(device) is None:
            raise RefusalError("DeviceNotFound", f"there is no device {device!r}", fix="create it first")
        raise RefusalError(
            "ModuleNotFound", f"device {device!r} has no module {module!r}", fix="create it first"
        )

    def show(self, identity: Identity) -> Json:
        """The identity's document."""
        return render_identity(identity, self._presence(identity))

    def put_device(self, device: str, body: Json, if_match: str | None) -> Identity:
        """The device created (without If-Match) or updated (with it)."""
        _check_id(body, "deviceId", device)
        old = self.store.identity(device)
        _check_put(old, if_match, "DeviceAlreadyExists", "DeviceNotFound", f"device {device!r}")
        now = self.now()
        if old is None and (not _DEVICE_ID.fullmatch(device) or device in _RESERVED_DEVICE_IDS):
            raise _invalid(f"{device!r} cannot be a device id", "use letters, digits, '-', '_' and '.'")
        identity = old or new_identity(device, None, now, self.new_key)
        identity = _with_keys(identity, body, self.new_key)
        identity = _with_status(identity, body, now)
        identity = _with_capabilities(identity, body)
        if old is not None:
            identity = replace(identity, etag=old.etag + 1)
        with self.store.transaction():
            self.store.save_identity(identity)
            if identity.is_edge:
                for name in _SYSTEM_MODULES:
                    if self.store.identity(device, name) is None:
                        module = new_identity(device, name, now, self.new_key)
                        self.store.save_identity(replace(module, managed_by=MANAGED))
            events = [*_gone(old, identity, self.store), *self._assign([identity], now)]
        self.announce(events)
        return identity

    def put_module(self, device: str, name: str, body: Json, if_match: str | None) -> Identity:
        """The module created (without If-Match) or updated (with it)."""
        _check_id(body, "deviceId", device)
        _check_id(body, "moduleId", name)
        self.identity(device)
        old = self.store.identity(device, name)
        _check_put(old, if_match, "ModuleAlreadyExistsOnDevice", "ModuleNotFound", f"module {device}/{name}")
        if old is None and (not _MODULE_ID.fullmatch(name) or name in (".", "..")):
            raise _invalid(f"{name!r} cannot be a module id", "use letters, digits, '-', '_' and '.'")
        if old is None and len(self.store.modules(device)) >= MAX_MODULES:
            raise RefusalError(
                "TooManyModulesOnDevice",
                f"device {device!r} has {MAX_MODULES} modules already",
                fix="delete one first",
            )
        module = _with_keys(old or new_identity(device, name, self.now(), self.new_key), body, self.new_key)
        managed_by = body.get("managedBy")
        if managed_by is not None and not isinstance(managed_by, str):
            raise _invalid("managedBy is not a text", "leave it out, or give IotEdge")
        if name not in _SYSTEM_MODULES and managed_by is not None:
            module = replace(module, managed_by=managed_by)
        if old is not None:
            module = replace(module, etag=old.etag + 1)
        with self.store.transaction():
            self.store.save_identity(module)
        self.announce(_gone(old, module, self.store))
        return module

    def delete(self, device: str, module: str | None, if_match: str | None) -> None:
        """The identity is gone, with its modules if it is a device, and may not stay connected."""
        identity = self.identity(device, module)
        _check_etag(if_match, render_etag(identity.etag), f"{device}/{module}" if module else device)
        if module in _SYSTEM_MODULES:
            raise RefusalError(
                "SystemModuleModifyUnauthorizedAccess",
                f"{module} belongs to the hub",
                fix="delete the device to be rid of it",
            )
        events = [IdentityGone(device, module)]
        if module is None:
            events += [IdentityGone(device, one.module) for one in self.store.modules(device)]
        with self.store.transaction():
            self.store.delete_identity(device, module)
        self.announce(events)

    # twins

    def show_twin(self, identity: Identity) -> Json:
        """The twin's document."""
        return render_twin(identity, self._presence(identity))

    def write_twin(
        self, device: str, module: str | None, body: Json, if_match: str | None, whole: bool
    ) -> Identity:
        """The identity with tags and desired properties merged, or the given ones replaced when `whole`."""
        old = self.identity(device, module)
        _check_etag(if_match, render_etag(old.twin.version), f"the twin of {device}")
        properties = body.get("properties") or {}
        if not isinstance(properties, dict):
            raise _invalid("properties is not an object", "send {'properties': {'desired': {…}}}")
        tags, desired = _section(body, "tags"), _section(properties, "desired")
        now = self.now()
        twin = old.twin
        if tags is not None:
            twin = replace_tags(twin, tags) if whole else patch_tags(twin, tags)
            _check_values("tags", twin.tags, TAGS_BYTES)
        if desired is not None:
            twin = replace_desired(twin, desired, now) if whole else patch_desired(twin, desired, now)
            _check_values("properties.desired", twin.desired.values, SECTION_BYTES)
        new = replace(old, twin=twin)
        events: list[Event] = []
        if desired is not None:
            whole_patch = diff_for_client(old.twin.desired.values, twin.desired.values)
            patch = whole_patch if whole else strip_hub_members(desired)
            events.append(DesiredChanged(device, module, patch, twin.desired.version))
        with self.store.transaction():
            self.store.save_identity(new)
            if module is None:
                events += self._assign([new], now)
        self.announce(events)
        return new

    def report(self, device: str, module: str | None, patch: Any) -> int:
        """The version of the reported properties after the identity's own patch of them."""
        old = self.identity(device, module)
        if not isinstance(patch, dict):
            raise _invalid("reported properties must be a JSON object", "send an object")
        now = self.now()
        twin = patch_reported(old.twin, patch, now)
        _check_values("properties.reported", twin.reported.values, SECTION_BYTES)
        new = replace(old, twin=twin)
        with self.store.transaction():
            self.store.save_identity(new)
            events = self._assign([new], now) if module is None else []
        self.announce(events)
        return twin.reported.version

    def twin(self, device: str, module: str | None) -> Twin:
        return self.identity(device, module).twin

    # queries

    def query(self, text: str, after: tuple[str, str] | None, limit: int) -> Page:
        """One page of the query's rows; RefusalError ArgumentInvalid with the column."""
        try:
            query = parse_query(text)
        except ConditionError as error:
            raise RefusalError("ArgumentInvalid", error.problem, fix=error.fix) from error
        twins = {
            (identity.device, identity.module or ""): self.show_twin(identity)
            for identity in self._identities(query.collection)
        }
        selected = [key for key, document in twins.items() if matches(query.condition, document)]
        if query.is_aggregate:
            return Page(aggregate(query, (twins[key] for key in selected)), "Raw", None)
        waiting = [key for key in selected[: query.top] if after is None or key > after]
        rows = [project(query, twins[key]) for key in waiting[:limit]]
        next_after = waiting[limit - 1] if len(waiting) > limit else None
        return Page(rows, "Raw" if query.columns else "Twin", next_after)

    def statistics(self) -> tuple[int, int, int]:
        """How many devices there are, are enabled, are connected."""
        devices = self.store.devices()
        enabled = sum(device.status == "enabled" for device in devices)
        return len(devices), enabled, sum(self._presence(device).connected for device in devices)

    # configurations

    def configuration(self, name: str) -> Configuration:
        """The configuration; RefusalError ConfigurationNotFound."""
        configuration = self.store.configuration(name)
        if configuration is None:
            raise RefusalError(
                "ConfigurationNotFound", f"there is no configuration {name!r}", fix="create it first"
            )
        return configuration

    def show_configurations(self, configurations: Sequence[Configuration]) -> Sequence[Json]:
        """The documents, with metrics counted now."""
        documents = {
            name: [self.show_twin(identity) for identity in self._identities(name)]
            for name in ("devices", "devices.modules")
        }
        return [
            render_configuration(
                one,
                _counts(render_system_queries(one.deployment), documents),
                _counts(one.metric_queries, documents),
            )
            for one in configurations
        ]

    def put_configuration(self, name: str, body: Json, if_match: str | None) -> Configuration:
        """The configuration created (without If-Match) or updated (with it), and assigned."""
        _check_id(body, "id", name)
        old = self.store.configuration(name)
        what = f"configuration {name!r}"
        _check_put(old, if_match, "ConfigurationAlreadyExists", "ConfigurationNotFound", what)
        if old is None and len(self.store.configurations()) >= MAX_CONFIGURATIONS:
            raise RefusalError(
                "ConfigurationCountLimitExceeded",
                f"there are {MAX_CONFIGURATIONS} configurations already",
                fix="delete one first",
            )
        now = self.now()
        new = _parse_configuration(name, body, old, now)
        with self.store.transaction():
            self.store.save_configuration(new)
            events = self._assign(self.store.devices(), now)
        self.announce(events)
        return new

    def delete_configuration(self, name: str, if_match: str | None) -> None:
        """The configuration is gone, and what it gave is taken back where another base applies."""
        configuration = self.configuration(name)
        _check_etag(if_match, render_etag(configuration.etag), f"configuration {name!r}")
        with self.store.transaction():
            self.store.delete_configuration(name)
            events = self._assign(self.store.devices(), self.now())
        self.announce(events)

    def _assign(self, devices: Sequence[Identity], now: str) -> list[Event]:
        deployments = [one.deployment for one in self.store.configurations()]
        return [
            event
            for device in devices
            if device.module is None
            for event in assign(self.store, device, deployments, now, self.new_key)
        ]

    def _identities(self, collection: str) -> Sequence[Identity]:
        return self.store.devices() if collection == "devices" else self.store.modules()

    def _presence(self, identity: Identity) -> Presence:
        return self.presence(identity.device, identity.module)


def _counts(queries: Mapping[str, str], documents: Mapping[str, Sequence[Json]]) -> Mapping[str, int]:
    counts = {}
    for name, text in queries.items():
        if not text:
            counts[name] = 0
            continue
        query = parse_query(text)
        counts[name] = sum(matches(query.condition, document) for document in documents[query.collection])
    return counts


def _invalid(problem: str, fix: str) -> RefusalError:
    return RefusalError("ArgumentInvalid", problem, fix=fix)


def _check_id(body: Json, member: str, expected: str) -> None:
    if body.get(member, expected) != expected:
        raise _invalid(f"{member} {body[member]!r} is not the one in the address", f"make it {expected!r}")


def _check_put(old: object, if_match: str | None, exists: str, missing: str, what: str) -> None:
    """A PUT without If-Match only creates; with it, it only updates."""
    if old is not None and if_match is None:
        raise RefusalError(exists, f"{what} exists already", fix="send If-Match to update it")
    if old is None and if_match is not None:
        raise RefusalError(missing, f"there is no {what}", fix="leave If-Match out to create it")
    if isinstance(old, Identity | Configuration):
        _check_etag(if_match, render_etag(old.etag), what)


def _check_etag(if_match: str | None, etag: str, what: str) -> None:
    if if_match not in (None, "*", etag):
        raise RefusalError(
            "PreconditionFailed", f"{what} has etag {etag}, not {if_match}", fix="read it again, then write"
        )


def _section(body: Json, member: str) -> Json | None:
    value = body.get(member)
    if value is not None and not isinstance(value, dict):
        raise _invalid(f"{member} is not an object", f"send {member} as a JSON object")
    return value


def _check_values(section: str, values: Json, limit_bytes: int) -> None:
    fault = find_fault(values, limit_bytes)
    if fault:
        raise _invalid(f"{section}: {fault}", "keep to IoT Hub's limits for twins")


def _with_keys(identity: Identity, body: Json, new_key: Callable[[], str]) -> Identity:
    """With the keys in the body; empty or missing ones leave what is there."""
    authentication = body.get("authentication") or {}
    if not isinstance(authentication, dict) or authentication.get("type") not in (None, "sas"):
        raise _invalid("authentication is not of type sas", "use authentication by symmetric keys")
    keys = authentication.get("symmetricKey") or {}
    if not isinstance(keys, dict):
        raise _invalid("symmetricKey is not an object", "give primaryKey and secondaryKey")
    primary, secondary = keys.get("primaryKey"), keys.get("secondaryKey")
    for key in (primary, secondary):
        if key and not (isinstance(key, str) and is_key(key)):
            raise _invalid(
                "a symmetric key is not base64 of 16 to 64 bytes", "leave keys out to get new ones"
            )
    return replace(
        identity,
        primary_key=primary or identity.primary_key,
        secondary_key=secondary or identity.secondary_key,
    )


def _with_status(identity: Identity, body: Json, now: str) -> Identity:
    status = body.get("status") or identity.status
    reason = body.get("statusReason", identity.status_reason)
    if status not in ("enabled", "disabled"):
        raise _invalid(f"status {status!r} is unknown", "use enabled or disabled")
    if reason is not None and (not isinstance(reason, str) or len(reason) > 128):
        raise _invalid("statusReason is not a text of at most 128 characters", "shorten it")
    if status == identity.status:
        return replace(identity, status_reason=reason)
    return replace(identity, status=status, status_reason=reason, status_updated_at=now)


def _with_capabilities(identity: Identity, body: Json) -> Identity:
    capabilities = body.get("capabilities") or {}
    is_edge = capabilities.get("iotEdge") if isinstance(capabilities, dict) else "?"
    scope = body.get("deviceScope") or identity.scope
    parents = body.get("parentScopes") or list(identity.parent_scopes)
    if is_edge not in (None, True, False):
        raise _invalid("capabilities.iotEdge is neither true nor false", "say whether it is an edge device")
    if identity.is_edge and is_edge is False:
        raise _invalid(f"{identity.device!r} is an edge device", "delete it and create it anew")
    if not isinstance(scope, str) or not isinstance(parents, list) or len(parents) > 1:
        raise _invalid("deviceScope is not a text, or parentScopes not a list of one", "leave both out")
    if (is_edge or identity.is_edge) and not identity.scope:
        scope = f"ms-azure-iot-edge://{identity.device}-{identity.generation}"
    return replace(
        identity,
        is_edge=identity.is_edge or bool(is_edge),
        scope=scope,
        parent_scopes=tuple(str(parent) for parent in parents),
    )


def _gone(old: Identity | None, new: Identity, store: Store) -> Sequence[Event]:
    """Connections that a change of keys or status ends."""
    if old is None:
        return []
    gone: list[Event] = []
    if (old.primary_key, old.secondary_key) != (new.primary_key, new.secondary_key):
        gone.append(IdentityGone(new.device, new.module))
    if new.module is None and new.status != "enabled" and old.status == "enabled":
        gone.append(IdentityGone(new.device, None))
        gone += [IdentityGone(new.device, module.module) for module in store.modules(new.device)]
    return gone


def _parse_configuration(name: str, body: Json, old: Configuration | None, now: str) -> Configuration:
    modules = _parse_content(name, body, old)
    condition = body.get("targetCondition") or ""
    priority = body.get("priority") or 0
    labels = body.get("labels") or {}
    metrics = body.get("metrics") or {}
    queries = (metrics.get("queries") or {}) if isinstance(metrics, dict) else None
    if not isinstance(priority, int) or isinstance(priority, bool) or not 0 <= priority <= 2**31 - 1:
        raise _invalid(f"priority {priority!r} is not a whole number from 0", "give a higher one to win")
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise _invalid("labels are not texts by name", "send {'name': 'text'}")
    if not isinstance(condition, str):
        raise _invalid("targetCondition is not a text", "send text, e.g. tags.environment='test'")
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


def _parse_content(name: str, body: Json, old: Configuration | None) -> Mapping[str, Mapping[str, Any]]:
    content = body.get("content")
    if content is None and old is not None:
        return old.deployment.modules
    if not _CONFIGURATION_ID.fullmatch(name):
        raise _invalid(f"{name!r} cannot be a configuration id", "use lower-case letters, digits and '-'")
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
    fault = find_content_fault(modules)
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
