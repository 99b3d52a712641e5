"""The smoke cases of releases, as they were attached to their images."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

from edgeferry.domain.model import RESERVED
from edgeferry.domain.rollout import DeviceFacts, Wanted
from edgeferry.domain.smoke import CaseSet
from edgeferry.errors import EdgeferryError, OutsideError, UsageError
from edgeferry.ports import Services
from edgeferry.wire.cases import CASES_TYPE, parse_cases

ASK_S = 10.0
"""How soon the registry is asked again for cases that it did not have, or did not tell."""
_Key = tuple[str, str, str]
"""Model, digest and sha256."""
_WORD = "without them no companion's verdict counts"


class Cases:
    """The cases that whoever watches devices has met so far. What was found is kept; what is missing is asked
    for again, as it may come while devices are watched, and said once."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._found: dict[_Key, CaseSet] = {}
        self._missing: dict[_Key, tuple[float, str]] = {}
        """Since when, and why."""

    def add(self, facts: DeviceFacts) -> DeviceFacts:
        """The facts with the cases of each model that the companion is to ask, as far as they are at hand."""
        asked = []
        for one in facts.asked:
            key = (one.request.model, one.request.digest, one.request.cases_sha256)
            asked.append(replace(one, cases=self._find(key)))
        return replace(facts, asked=tuple(asked))

    def complete(self, wanted: Wanted) -> Wanted:
        """The same with the release's cases, as far as they are at hand; companion and agent have none."""
        if wanted.cases is not None or wanted.module in RESERVED:
            return wanted
        return replace(wanted, cases=self._find((wanted.module, wanted.digest, wanted.cases_sha256)))

    def _find(self, key: _Key) -> CaseSet | None:
        since_s, said = self._missing.get(key, (-math.inf, ""))
        now_s = self._services.now()
        if key in self._found or now_s - since_s < ASK_S:
            return self._found.get(key)
        try:
            cases, why = _read_cases(self._services, *key)
        except (OutsideError, UsageError) as error:
            cases, why = None, explain_unread(key[0], error)
        if cases is not None:
            self._found[key] = cases
            return cases
        if why != said:
            self._services.say(why)
        self._missing[key] = now_s, why
        return None


def fetch_cases(services: Services, model: str, digest: str, cases_sha256: str) -> CaseSet | None:
    """The cases of that sha256; None when the registry has none for the image, or does not answer, which is
    said: then no companion's verdict can be checked."""
    try:
        return load_cases(services, model, digest, cases_sha256)
    except (OutsideError, UsageError) as error:
        services.say(explain_unread(model, error))
        return None


def explain_unread(model: str, error: EdgeferryError) -> str:
    """Why the cases were not read, and what that means."""
    return f"the smoke cases of {model} were not read: {error.problem}; {_WORD}"


def load_cases(services: Services, model: str, digest: str, cases_sha256: str) -> CaseSet | None:
    """The same; the registry's error when it does not answer."""
    cases, why = _read_cases(services, model, digest, cases_sha256)
    if why:
        services.say(why)
    return cases


def _read_cases(services: Services, model: str, digest: str, cases_sha256: str) -> tuple[CaseSet | None, str]:
    """The cases, or why there are none."""
    for body in services.registry.attached(model, digest, CASES_TYPE):
        if hashlib.sha256(body).hexdigest() == cases_sha256.removeprefix("sha256:"):
            try:
                return parse_cases(body), ""
            except UsageError as error:
                return None, f"the smoke cases of {model} cannot be read: {error.problem}; {_WORD}"
    return None, f"no smoke cases of {model} are attached to its image; {_WORD}"
