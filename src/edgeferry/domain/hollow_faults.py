"""What goes wrong on hollow devices: which of them, what, from when until when. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from edgeferry.domain.chance import draw, make_key
from edgeferry.domain.condition import matches, parse_condition
from edgeferry.domain.model import COMPANION
from edgeferry.errors import ConditionError, UsageError

KINDS: Mapping[str, str] = {
    "dead": "the module ends as soon as it was started, again and again",
    "flapping": "the module ends every few seconds and is up between",
    "slow_start": "the module answers only `seconds` after it was started",
    "wrong_digest": "the engine reports an image of another content",
    "image_404": "the registry has no such image",
    "registry_down": "the registry does not answer; pulls go on when it does again",
    "http_500": "the module answers every request with 500",
    "wrong_predictions": "the module's answers are wrong",
    "leaves_band": "`rate` of the answers lie outside the predecessor's band, or are another text",
    "answers_texts": "the module answers users with texts in place of numbers",
    "errors": "`rate` of the requests are answered with an error",
    "quiet": "`rate` of the usual requests arrive (0: none)",
    "offline": "the device is not connected; its modules go on",
    "stale_twin": "the device is connected and reports nothing new",
    "no_companion": "the companion does not run",
    "lying_digest": "the companion's verdict names another digest",
    "lying_cases": "the companion's verdict names other cases",
    "lying_nonce": "the companion's verdict names another rollout's nonce",
    "lying_hand": "a verdict stands in another module's twin than the companion's",
    "lying_verdict": "the companion says Passed, whatever was answered",
    "asks_nothing": "the companion says Passed and has asked nothing",
    "agent_fails": "the new agent does not come up, and the one before goes on",
    "agent_breaks": "models answer every request with 500 while this agent runs",
    "agent_fixed": "the agent is a program, which no image updates",
}
ABOUT_MODULES = frozenset(
    {
        "dead",
        "flapping",
        "slow_start",
        "wrong_digest",
        "image_404",
        "registry_down",
        "http_500",
        "wrong_predictions",
        "leaves_band",
        "answers_texts",
        "errors",
        "quiet",
        "agent_fails",
    }
)
"""Kinds that `module` and `digest` narrow."""
ABOUT_COMPANIONS = frozenset({"lying_digest", "lying_cases", "lying_nonce", "lying_verdict", "asks_nothing"})
"""Kinds that `digest` narrows to companions of such an image."""
ABOUT_AGENTS = frozenset({"agent_breaks"})
"""Kinds that `digest` narrows to devices whose agent is of such an image."""
_KEYS = ("devices", "kind", "from_s", "until_s", "module", "digest", "rate", "seconds")


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong; seconds since the simulation began."""

    kind: str
    condition: str = "*"
    """Which devices, as a target condition; `names` and `share` narrow it."""
    names: frozenset[str] | None = None
    share: float = 1.0
    """Of those devices, from 0 to 1; the seed draws which."""
    from_s: float = 0.0
    until_s: float = math.inf
    module: str = ""
    """Which module; "": every one but the companion."""
    digest: str = ""
    """Only while the module, of a fault of the companion's word the companion, of an agent's the agent, is of
    an image whose digest begins so; "": of any."""
    rate: float = 1.0
    """Of the requests, from 0 to 1: those that it happens to; of `quiet`, those that come all the same."""
    seconds: float = 0.0
    """By how much later a module of `slow_start` answers."""

    def is_on(self, at_s: float) -> bool:
        """Whether it is the case that many seconds after the beginning."""
        return self.from_s <= at_s < self.until_s

    def hits(self, module: str, image: str) -> bool:
        """Whether it is about this module, of this image (a reference with a digest)."""
        is_it = module == self.module if self.module else module != COMPANION
        return is_it and image.partition("@")[2].startswith(self.digest)


def parse_faults(said: object, source: str = "the faults") -> tuple[Fault, ...]:
    """The faults of a list of mappings; UsageError naming the item and its key."""
    if said in (None, {}):
        return ()
    if not isinstance(said, list):
        raise UsageError(f"{source}: this is no list", fix="begin each fault with `- kind: …`")
    return tuple(_parse_fault(one, f"{source}, item {number}") for number, one in enumerate(said, start=1))


def choose_faults(
    faults: Sequence[Fault], device: str, twin: Mapping[str, Any], seed: int
) -> tuple[Fault, ...]:
    """Those of the faults that this device has; which devices make up a share follows from the seed."""
    return tuple(
        fault
        for number, fault in enumerate(faults)
        if (fault.names is None or device in fault.names)
        and matches(parse_condition(fault.condition), twin)
        and (fault.share >= 1 or draw(make_key(seed, "share", number, device)) < fault.share)
    )


def _parse_fault(said: object, where: str) -> Fault:
    if not isinstance(said, Mapping):
        raise UsageError(f"{where}: this is no mapping", fix="write {devices: 1 %, kind: dead}")
    for key in said:
        if key not in _KEYS:
            near = get_close_matches(str(key), _KEYS, 1)
            raise UsageError(
                f"{where}: nothing reads {key!r}",
                fix=f"did you mean {near[0]}?" if near else f"keys are {', '.join(_KEYS)}",
            )
    kind = said.get("kind")
    if kind not in KINDS:
        near = get_close_matches(str(kind), KINDS, 1)
        raise UsageError(
            f"{where}: kind {kind!r} is unknown",
            fix=f"did you mean {near[0]}?" if near else f"kinds are {', '.join(KINDS)}",
        )
    condition, names, share = _parse_devices(said.get("devices", "*"), where)
    from_s, until_s = _number(said, "from_s", 0.0, where), _number(said, "until_s", math.inf, where)
    if until_s <= from_s:
        raise UsageError(f"{where}: until_s is not after from_s", fix="leave it out for a fault without end")
    rate = _number(said, "rate", 1.0, where)
    if rate > 1:
        raise UsageError(f"{where}: rate {rate:g} is more than 1", fix="write a share, such as 0.07")
    return Fault(
        kind=str(kind),
        condition=condition,
        names=names,
        share=share,
        from_s=from_s,
        until_s=until_s,
        module=str(said.get("module", "")),
        digest=str(said.get("digest", "")),
        rate=rate,
        seconds=_number(said, "seconds", 0.0, where),
    )


def _parse_devices(said: object, where: str) -> tuple[str, frozenset[str] | None, float]:
    """(condition, names, share): a number or `1 %` is a share, a list names devices, a text selects them."""
    if isinstance(said, list):
        return "*", frozenset(map(str, said)), 1.0
    share: float | None = None
    if isinstance(said, int | float) and not isinstance(said, bool):
        share = float(said)
    elif isinstance(said, str) and said.strip().endswith("%"):
        try:
            share = float(said.strip()[:-1]) / 100
        except ValueError:
            share = None
    if share is not None:
        if not 0 <= share <= 1:
            raise UsageError(f"{where}: devices {said!r} is no share", fix="write 0.005 or 0.5 %")
        return "*", None, share
    if not isinstance(said, str):
        raise UsageError(
            f"{where}: devices {said!r} selects nothing",
            fix="write a condition, a list of names, or a share such as 0.5 %",
        )
    try:
        parse_condition(said)
    except ConditionError as error:
        raise UsageError(f"{where}: devices: {error.problem}", fix=error.fix) from error
    return said, None, 1.0


def _number(said: Mapping[str, Any], key: str, default: float, where: str) -> float:
    value = said.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value) or value < 0:
        raise UsageError(f"{where}: {key} {value!r} is no number, 0 or more", fix=f"write {key}: 30")
    return float(value)
