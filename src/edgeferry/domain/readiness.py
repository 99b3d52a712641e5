"""Whether gate, hub and fleet are ready for a rollout, and what to do if not. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from edgeferry.domain.diagnosis import Diagnosis
from edgeferry.domain.gate_policy import GatePolicy
from edgeferry.domain.image import name_architecture
from edgeferry.domain.limits import AZURE_SIZES

MOST_SKEW_S = 60.0
"""A soak is minutes long, an approval's age hours; beyond five minutes signatures are refused too."""
_NEARLY_FULL = 0.9
_ENDED = ("1.0.", "1.1.", "1.2.", "1.3.", "1.4.")
"""Releases of IoT Edge without support: 1.4 ended on 2024-11-12 (Microsoft's page "Azure IoT Edge supported
platforms")."""


@dataclass(frozen=True)
class DeviceSeen:
    """What a device's `$edgeAgent` twin says of it."""

    device: str
    connected: bool
    runtime: str
    """`edgeferry 0.1.0` of our agent, `1.5.3` of IoT Edge; "" before it ever reported."""
    architecture: str
    """`amd64`, `x86_64`; "" where unknown."""


def judge_gate(
    policy: GatePolicy, trusted: Sequence[str], folder: str, *, grows: bool = False
) -> Iterator[Diagnosis]:
    """Whether as many people can say yes as the gate asks for; `trusted` are the names whose keys count, in
    `folder`. `grows`: that is the state folder's own, where a key counts as soon as it is made."""
    able = [name for name in policy.approvers or trusted if name in trusted]
    lacking = [name for name in policy.approvers if name not in trusted]
    if policy.approvers and len(policy.approvers) < policy.approvals:
        yield Diagnosis(
            "gate",
            "blocker",
            f"the gate wants {policy.approvals} approvals, and gate.approvers names {len(policy.approvers)}",
            "name more people in gate.approvers, or lower gate.approvals",
        )
    elif lacking:
        few = len(able) < policy.approvals
        yield Diagnosis(
            "gate.keys",
            "blocker" if few else "warning",
            f"no trusted key of {', '.join(lacking)}, whose yes does not count"
            + (f": {len(able)} of {policy.approvals} can approve" if few else ""),
            f"copy keys/{lacking[0]}.pub.pem of their state folder to {folder}/{lacking[0]}.pem",
        )
    elif len(able) < policy.approvals and not grows:
        yield Diagnosis(
            "gate.keys",
            "blocker",
            f"the gate wants {policy.approvals} approval{'s' * (policy.approvals != 1)}, and the keys that "
            f"count, in {folder}, are those of {', '.join(able) or 'nobody'}",
            f"copy keys/NAME.pub.pem of the state folders of those who approve to {folder}/NAME.pem",
        )
    else:
        few = len(able) < policy.approvals
        who = [str(len(able))] * bool(able) + ["whoever signs first"] * few
        wanted = f"approvals wanted: {policy.approvals}"
        yield Diagnosis("gate", "fine", f"{wanted}; people who can give one: {' and '.join(who)}")


def find_skew(skew_s: float | None) -> str:
    """How far this machine's clock is off the hub's where that is too much for a rollout, or "". `skew_s`:
    how far it is ahead; None where that is not known."""
    if skew_s is None or abs(skew_s) <= MOST_SKEW_S:
        return ""
    return f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} the hub's"


def judge_clock(skew_s: float | None) -> Diagnosis:
    """The same as a diagnosis."""
    if skew_s is None:
        return Diagnosis("hub.clock", "note", "the hub's answers do not say what time it is")
    if not (skew := find_skew(skew_s)):
        return Diagnosis("hub.clock", "fine", f"{abs(skew_s):.0f} s from the hub's")
    return Diagnosis(
        "hub.clock",
        "blocker",
        f"this machine's clock is {skew}: rollouts decide nothing",
        "sudo timedatectl set-ntp true",
    )


def judge_quota(deployments: int) -> Diagnosis:
    """How many more deployments the hub takes: Azure's quota of 100, which ours keeps too."""
    most = AZURE_SIZES.configurations or 0
    seen = f"{deployments} of {most} deployments"
    fix = "edgeferry deployments list; edgeferry deployments delete NAME of those that nobody needs"
    if deployments >= most:
        return Diagnosis("hub.quota", "blocker", f"{seen}: no rollout can add its own", fix)
    if deployments >= most * _NEARLY_FULL:
        return Diagnosis("hub.quota", "warning", seen, fix)
    return Diagnosis("hub.quota", "fine", seen)


def judge_fleet(
    seen: Sequence[DeviceSeen],
    condition: str,
    ours: str,
    architecture: str,
    here: Collection[str] = (),
    fix: str = "",
) -> Iterator[Diagnosis]:
    """The devices that `condition` picks; `ours` is this client's version, `architecture` that of images;
    `here` are those that `edgeferry up` runs on this machine; `fix` lets one match where none does."""
    if not seen:
        yield Diagnosis(
            "fleet",
            "warning",
            f"no device matches {condition or 'anything'}",
            f"{fix}; or edgeferry up",
        )
        return
    yield Diagnosis("fleet", "fine", f"devices: {len(seen)}")
    silent = [one.device for one in seen if not one.runtime]
    away = [one.device for one in seen if one.runtime and not one.connected]
    ended = [name for name in (*silent, *away) if name in here]
    silent, away = ([name for name in names if name not in here] for names in (silent, away))
    yield from _about("fleet.connection", ended, "not connected, of this machine", "edgeferry up")
    yield from _about(
        "fleet.agents",
        silent,
        "never reported to the hub",
        "start its agent there: sudo edgeferry agent install",
    )
    yield from _about("fleet.connection", away, "not connected", "look at the device: edgeferry agent status")
    old = [
        one.device
        for one in seen
        if one.runtime.startswith("edgeferry ") and one.runtime != f"edgeferry {ours}"
    ]
    yield from _about(
        "fleet.versions",
        old,
        f"with an agent that is not {ours}",
        "there: pip install --upgrade edgeferry; sudo edgeferry agent install",
    )
    outdated = [one.device for one in seen if one.runtime.startswith(_ENDED)]
    yield from _about(
        "fleet.iotedge", outdated, "with an IoT Edge past its support", "update it to IoT Edge 1.5 or newer"
    )
    others = [
        one.device for one in seen if one.architecture and name_architecture(one.architecture) != architecture
    ]
    yield from _about(
        "fleet.architecture",
        others,
        f"whose processor is not {architecture}, which images are made for",
        "set images.architecture to theirs, in an environment of their own",
    )


def judge_aim(model: str, condition: str, count: int, fix: str) -> Diagnosis:
    """Whether any device would get the model; `fix` lets one match."""
    if count:
        return Diagnosis(f"model.{model}", "fine", f"devices that match: {count}")
    return Diagnosis(f"model.{model}", "warning", f"no device matches {condition}", fix)


def _about(check: str, devices: Sequence[str], what: str, fix: str) -> Iterator[Diagnosis]:
    if devices:
        shown = ", ".join(devices[:5]) + (f" and {len(devices) - 5} more" if len(devices) > 5 else "")
        yield Diagnosis(check, "warning", f"{len(devices)} {what}: {shown}", fix)
