"""What the hub's documents say of a device, its agent and its modules, as `edgeferry devices` tells it."""

from __future__ import annotations

from collections.abc import Mapping

from edgeferry.domain.twin import merge
from edgeferry.ports import Json
from edgeferry.wire.hub import NEVER


def device_facts(twin: Json, agent: Json) -> Json:
    """The device in the list, with what its agent adds."""
    times = [str(one.get("lastActivityTime") or NEVER) for one in (twin, agent)]
    return {
        "device": twin["deviceId"],
        "edge": is_edge(twin),
        "connected": "Connected" in (twin.get("connectionState"), agent.get("connectionState")),
        "last_activity": max(times) if max(times)[:4] != NEVER[:4] else None,
        "tags": merge({}, twin.get("tags") or {}),
        "deployments": [name for name, status in statuses(agent).items() if status == "Applied"],
    }


def module_facts(module: Json, agent: Json) -> Json:
    """The module as it is wanted, and as the agent says that it runs."""
    name = module["moduleId"]
    properties = agent.get("properties") or {}
    wanted, runs = (_entry(properties.get(section) or {}, name) for section in ("desired", "reported"))
    return {
        "module": name,
        "connected": module.get("connectionState") == "Connected",
        "wanted": str(wanted.get("status") or ("running" if wanted else "")),
        "runs": str(runs.get("runtimeStatus") or ""),
        "image": str((wanted.get("settings") or {}).get("image") or ""),
        "given_by": str((wanted.get("configuration") or {}).get("id") or ""),
    }


def _entry(section: Json, name: str) -> Json:
    kind, key = ("systemModules", name[1:]) if name.startswith("$") else ("modules", name)
    found = (section.get(kind) or {}).get(key)
    return found if isinstance(found, dict) else {}


def statuses(agent: Json) -> Mapping[str, str]:
    """Where each deployment that targets the agent stands, by name."""
    return {
        name: str(one.get("status") or "")
        for name, one in sorted((agent.get("configurations") or {}).items())
        if isinstance(one, dict)
    }


def layer_facts(reported: Json) -> dict[str, dict[str, str]]:
    """What our agent says of each deployment's modules; {} of another agent."""
    return {
        name: {part: str(one.get(part) or "") for part in ("outcome", "reason")}
        for name, one in sorted((reported.get("layers") or {}).items())
        if isinstance(one, dict)
    }


def agent_lines(status: Json) -> list[str]:
    """How the device stands to what is desired, where its agent has said so."""
    if not status.get("code"):
        return []
    return [f"its agent says: {status['code']} {status.get('description') or ''}".rstrip()]


def is_edge(twin: Json) -> bool:
    """Whether the device has an agent."""
    return bool((twin.get("capabilities") or {}).get("iotEdge"))


def moment(text: str | None) -> str:
    """A time as tables have it."""
    return text[:19].replace("T", " ") if text else "never"
