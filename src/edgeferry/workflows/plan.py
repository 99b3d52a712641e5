"""Plan: what a release would do to the fleet, worked out from what hub and registry hold now; nothing is
touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeferry.domain.claims import NOTHING, Claims, find_claims
from edgeferry.domain.condition import Condition, matches
from edgeferry.domain.fleet import Fleet
from edgeferry.domain.layering import Deployment, is_base
from edgeferry.domain.limits import AZURE_SIZES
from edgeferry.domain.model import DEVICE_AGENT, RESERVED
from edgeferry.domain.notation import render_path
from edgeferry.domain.plan_conflicts import (
    Quota,
    Subject,
    find_device_conflicts,
    find_fixed,
    find_fleet_conflicts,
    find_over_quota,
    find_unread,
    find_untagged,
    sort_conflicts,
)
from edgeferry.domain.plan_groups import (
    DeviceChange,
    Group,
    Merged,
    Touched,
    find_path_changes,
    group_devices,
    iterate_images,
    join_changes,
    sort_devices,
)
from edgeferry.domain.release import Entry
from edgeferry.domain.rollout import DeviceFacts
from edgeferry.domain.rollout_plan import RolloutPlan
from edgeferry.domain.rollout_policy import RolloutPolicy, parse_policy
from edgeferry.domain.twin import SECTION_BYTES, TAGS_BYTES, size_of
from edgeferry.domain.wave import Member, Wave, cut_waves, parse_waves, read_member
from edgeferry.domain.wave_budget import keep_budget
from edgeferry.errors import ConditionError, DesiredError
from edgeferry.ports import Json, Services
from edgeferry.wire.configuration import parse_deployment
from edgeferry.wire.connection import azure_hub_name
from edgeferry.wire.deployment import ModelLayer, base_name, hash_content, parse_layers, render_base
from edgeferry.wire.edge import parse_module
from edgeferry.wire.pull_login import next_pull_layer, placeholder_login, render_pull_layer
from edgeferry.workflows.agent_base import copy_base
from edgeferry.workflows.layers import (
    choose_layer,
    find_image,
    first_companion,
    render_layer,
)
from edgeferry.workflows.pull_login import pull_layers
from edgeferry.workflows.reports import Reports

EVALUATION_S = 300.0
"""How often Azure's hub looks at its deployments ("IoT Edge automatic deployments", Microsoft)."""
_EDIT_S = 3.0
"""Between two edits of deployments: Azure takes 20 a minute."""
_LATEST = "9999-12-31T23:59:59Z"
"""When what is not on the hub yet will have been created, as the merge sees it."""
_QUERY = "SELECT deviceId FROM devices WHERE capabilities.iotEdge = true AND ()"
"""What a hub asks around a target condition; the whole counts against its limit."""
_QUERY_CHARACTERS = 8192
_UNDEPLOYED = 417
"""What an agent reports that has no desired properties yet."""

Blobs = Callable[[str], Mapping[str, int] | None]


@dataclass(frozen=True)
class Scene:
    """The fleet with what the rollout would put on the hub."""

    release: Entry
    fleet: Fleet
    documents: Sequence[Json]
    """The twins of all edge devices."""
    before: tuple[Deployment, ...]
    after: tuple[Deployment, ...]
    """The same values for deployments that stay as they are."""
    added: tuple[Deployment, ...]
    """Those that the rollout makes or changes, in order."""
    subject: Subject
    content_sha256: str
    unread: Mapping[str, str]
    """Deployments that we cannot read, and why."""
    fixed: Sequence[str]
    """Devices whose agent no image can update, where that is what is rolled out."""
    slow: bool
    """Whether the hub looks at its deployments now and then only."""


def make_plan(
    services: Services, release: Entry, condition: str, fleet: Fleet, policy: Mapping[str, str]
) -> RolloutPlan:
    """The plan of rolling the release out to `condition` by the `policy`, texts of settings by name.
    UsageError for a policy or condition that cannot be read; OutsideError where hub or registry does not
    answer."""
    parse_policy(policy)
    return draw_plan(look(services, release, condition, fleet), policy, services.registry.blob_sizes)


def look(services: Services, release: Entry, condition: str, fleet: Fleet) -> Scene:
    """What the plan is made from, read from the hub."""
    existing = services.hub.configurations()
    documents = services.hub.devices()
    before: dict[str, Deployment] = {}
    unread: dict[str, str] = {}
    for one in existing:
        try:
            if deployment := parse_deployment(one):
                before[deployment.id] = deployment
        except ConditionError as error:
            unread[str(one["id"])] = error.problem
    layer = choose_layer(services, release, condition, fleet, existing)
    base = None
    if layer.model == DEVICE_AGENT:
        base, above = copy_base(layer, fleet, existing, documents)
        layer = layer if layer.name in before else above
    document = render_layer(services, release, layer, fleet, base)
    ours = before.get(layer.name)
    if ours is None or (ours.condition.text, ours.priority) != (layer.target_condition, layer.priority):
        kept = {} if ours is None else {"content": {"modulesContent": ours.modules}}
        ours = _parse({**document, **kept}, ours.created_at if ours else _LATEST)
    beneath = _render_beneath(services, release, fleet, existing, before.values(), documents, ours)
    added = [_parse(one, _LATEST) for one in beneath]
    added += [ours] if before.get(ours.id) is not ours else []
    layers = parse_layers(filter(fleet.owns, existing))
    kinds = ("base", DEVICE_AGENT)
    bases = [one["id"] for one in existing if (one.get("labels") or {}).get("edgeferry") in kinds]
    bare = render_layer(services, release, replace(layer, nonce=""), fleet, base)
    return Scene(
        release=release,
        fleet=fleet,
        documents=documents,
        before=tuple(before.values()),
        after=tuple({**before, **{one.id: one for one in added}}.values()),
        added=tuple(added),
        subject=Subject(
            layer.model,
            find_image(services, release, layer),
            ours,
            frozenset({ours.id, *(one.name for one in layers if _is_kin(one, layer))}),
            frozenset({base_name(fleet), *bases}),
        ),
        content_sha256=hash_content(bare),
        unread=unread,
        fixed=_find_fixed(services, ours.condition, documents) if layer.model == DEVICE_AGENT else (),
        slow=bool(azure_hub_name(services.hub.host)),
    )


def draw_plan(scene: Scene, policy: Mapping[str, str], fetch_blobs: Blobs) -> RolloutPlan:
    """The plan for the scene; `fetch_blobs` is the registry's `blob_sizes`."""
    rules = parse_policy(policy)
    subject, condition = scene.subject, scene.subject.layer.condition
    group_tag = rules.budget.tag if rules.budget else None
    members = [
        read_member(one, rules.stratum, group_tag) for one in scene.documents if matches(condition, one)
    ]
    waves = cut_waves(condition.text, members, parse_waves(rules.waves), rules.stratum)
    if rules.budget:
        waves = keep_budget(waves, members, rules.budget.most)
    groups = group_devices(scene.before, scene.after, scene.documents)
    quotas = tuple(_quotas(scene, groups, waves, members))
    conflicts = [
        *find_fleet_conflicts(subject, len(members), len(scene.documents)),
        *find_device_conflicts(subject, groups, scene.added, _claims_reader()),
        *find_fixed(scene.fixed),
        *find_untagged(_find_missing_tags(members, rules) if len(waves) > 1 else {}),
        *find_over_quota(quotas),
        *find_unread(scene.unread),
    ]
    return RolloutPlan(
        release=scene.release.subject,
        release_signature=scene.release.signature,
        environment=scene.fleet.environment,
        condition=condition.text,
        layer=subject.layer.id,
        content_sha256=scene.content_sha256,
        waves=waves,
        strata={one.device: one.stratum for one in members},
        groups={one.device: one.group for one in members} if group_tag else {},
        **sort_devices(groups, subject.model, subject.image),
        changes=join_changes(_changes(scene, groups, fetch_blobs)),
        conflicts=sort_conflicts(conflicts),
        quotas=quotas,
        wave_seconds=tuple(rules.soak_s + (EVALUATION_S + _EDIT_S if scene.slow else 0) for _ in waves),
        policy=dict(policy),
    )


def find_group(scene: Scene, device: str) -> Group | None:
    """What the deployments make of the device before and after; None when there is no such edge device."""
    documents = [one for one in scene.documents if one["deviceId"] == device]
    return next(iter(group_devices(scene.before, scene.after, documents)), None)


def _render_beneath(
    services: Services,
    release: Entry,
    fleet: Fleet,
    existing: Sequence[Json],
    before: Iterable[Deployment],
    documents: Sequence[Json],
    layer: Deployment,
) -> Iterator[Json]:
    """What a rollout would put beneath the layer, as far as it is not there; the login with a placeholder."""
    names = {one["id"] for one in existing}
    bases = [one for one in before if is_base(one.modules)]
    if base_name(fleet) not in names and any(
        matches(layer.condition, one) and not any(matches(base.condition, one) for base in bases)
        for one in documents
    ):
        yield render_base(fleet)
    if fleet.runtime.kind == "iotedge" and services.pull_login():
        login = placeholder_login(services.registry.host)
        if not (earlier := pull_layers(filter(fleet.owns, existing), login.address)):
            yield render_pull_layer(next_pull_layer(login, fleet, earlier), fleet)
    if first := first_companion(services, release, fleet, existing):
        yield render_layer(services, release, first, fleet)


def _is_kin(one: ModelLayer, ours: ModelLayer) -> bool:
    """Whether a layer is no stranger to ours: of the same module, or a model's, by which a program is
    judged."""
    return ours.model == one.model or ours.model in RESERVED


def _find_fixed(services: Services, condition: Condition, documents: Sequence[Json]) -> Sequence[str]:
    """The targeted devices whose agent is surely a program: it reports an image, and not what that was made
    of; or nothing was deployed to it yet, when a container reports its own all the same."""
    targeted = [str(one["deviceId"]) for one in documents if matches(condition, one)]
    reports = Reports(services, DEVICE_AGENT).read(targeted)
    return [device for device, report in reports if _is_program(report.facts)]


def _is_program(facts: DeviceFacts) -> bool:
    without_any = facts.status_code == _UNDEPLOYED and facts.runtime_status == "unknown"
    return not facts.image_hash and (bool(facts.image and facts.status_code) or without_any)


def _parse(document: Json, created_at: str) -> Deployment:
    deployment = parse_deployment({**document, "createdTimeUtc": created_at})
    assert deployment is not None
    return deployment


def _claims_reader() -> Callable[[str, Any], Claims]:
    """What a module's entry claims. Layers are merged over and over, and what stands in an entry is not
    copied: it is read once."""
    known: dict[tuple[int, str], tuple[Any, Claims]] = {}

    def read(name: str, entry: Any) -> Claims:
        if not isinstance(entry, Mapping):
            return NOTHING
        settings = entry.get("settings")
        key = (id(settings), str(entry.get("status")))
        if key not in known:
            try:
                claims = find_claims(parse_module(name, entry))
            except DesiredError:
                claims = NOTHING
            known[key] = (settings, claims)  # held, so that no other has its id
        return known[key][1]

    return read


def _changes(scene: Scene, groups: Iterable[Group], fetch_blobs: Blobs) -> Iterator[DeviceChange]:
    known: dict[str, Mapping[str, int] | None] = {}
    touched: Touched = {}

    def blobs(image: str) -> Mapping[str, int] | None:
        if image not in known:
            known[image] = fetch_blobs(image)
        return known[image]

    # Our agent reports IoT Edge's system modules and runs neither.
    kinds = ("modules", "systemModules") if scene.fleet.runtime.kind == "iotedge" else ("modules",)

    def images(merged: Merged) -> set[str]:
        return {*iterate_images(merged, kinds), merged.image_of(scene.subject.model)} - {""}

    for group in groups:
        if not group.changes or not (paths := find_path_changes(group, touched)):
            continue
        present = images(group.before)
        fresh = sorted(images(group.after) - present)
        held = {digest for image in present for digest in blobs(image) or ()} if fresh else set()
        pulled = {digest: size for image in fresh for digest, size in (blobs(image) or {}).items()}
        yield DeviceChange(
            devices=group.devices,
            base=group.after.base.id if group.after.base else "",
            replaces=group.before.image_of(scene.subject.model),
            paths=paths,
            pull_bytes=sum(size for digest, size in pulled.items() if digest not in held),
            unknown_images=tuple(image for image in fresh if blobs(image) is None),
        )


def _quotas(
    scene: Scene, groups: Iterable[Group], waves: Sequence[Wave], members: Sequence[Member]
) -> Iterator[Quota]:
    limits = AZURE_SIZES
    yield Quota("deployments", len(scene.after) + len(scene.unread), limits.configurations or 0)
    targeted = [group for group in groups if group.changes or group.after.has(scene.subject.layer)]
    most = max(((len(group.after.modules) + 2, group.devices[0]) for group in targeted), default=(0, ""))
    yield Quota("modules of a device", most[0], limits.modules or 0, most[1])
    size = _sizes_reader()
    desired = (
        (size(values), f"{module} of {group.devices[0]}")
        for group in targeted
        for module, values in group.after.desired.items()
    )
    yield Quota("desired properties", *_most(desired, SECTION_BYTES))
    tags = ((size_of(one.document.get("tags") or {}), one.device) for one in members)
    yield Quota("tags", *_most(tags, TAGS_BYTES))
    longest = ((len(_QUERY) + len(wave.condition), f"wave {wave.number}") for wave in waves)
    yield Quota("target condition", *_most(longest, _QUERY_CHARACTERS))


def _most(found: Iterable[tuple[int, str]], limit: int) -> tuple[int, int, str]:
    used, where = max(found, key=lambda one: one[0], default=(0, ""))
    return used, limit, where


def _sizes_reader() -> Callable[[Mapping[str, Any]], int]:
    """`size_of` for merged properties, which share their entries: each of those is counted once."""
    known: dict[int, tuple[Any, int]] = {}

    def size(values: Mapping[str, Any], depth: int = 0) -> int:
        total = 0
        for name, value in values.items():
            total += len(name) if name.isascii() else len(name.encode())
            if not isinstance(value, dict):
                total += size_of(value)
            elif depth == 0:
                total += size(value, 1)
            else:
                if id(value) not in known:
                    known[id(value)] = (value, size_of(value))
                total += known[id(value)][1]
        return total

    return size


def _find_missing_tags(members: Iterable[Member], rules: RolloutPolicy) -> Mapping[str, Sequence[str]]:
    missing: dict[str, list[str]] = {}
    for one in members:
        if one.bucket is None:
            missing.setdefault("tags.rollout_bucket", []).append(one.device)
        if rules.stratum and not one.stratum:
            missing.setdefault(render_path(*rules.stratum.segments), []).append(one.device)
    return missing
