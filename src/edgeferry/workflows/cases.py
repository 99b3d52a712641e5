"""The smoke cases of releases, as they were attached to their images."""

from __future__ import annotations

import hashlib
from collections.abc import MutableMapping
from dataclasses import replace

from edgeferry.domain.rollout import DeviceFacts
from edgeferry.domain.smoke import CaseSet
from edgeferry.errors import EdgeferryError, OutsideError, UsageError
from edgeferry.ports import Services
from edgeferry.wire.cases import CASES_TYPE, parse_cases

_WORD = "without them no companion's verdict counts"


Known = MutableMapping[tuple[str, str, str], CaseSet | None]
"""The cases of each release that was asked for, by model, digest and sha256."""


def add_cases(services: Services, facts: DeviceFacts, known: Known) -> DeviceFacts:
    """The facts with the cases of each model that the companion is to ask. Each are fetched once."""
    asked = []
    for one in facts.asked:
        key = (one.request.model, one.request.digest, one.request.cases_sha256)
        if key not in known:
            known[key] = fetch_cases(services, *key)
        asked.append(replace(one, cases=known[key]))
    return replace(facts, asked=tuple(asked))


def fetch_cases(services: Services, model: str, digest: str, cases_sha256: str) -> CaseSet | None:
    """The cases of that sha256; None when the registry has none for the image, or does not answer, which is
    said: then no companion's verdict can be checked."""
    try:
        return load_cases(services, model, digest, cases_sha256)
    except (OutsideError, UsageError) as error:
        say_unread(services, model, error)
        return None


def say_unread(services: Services, model: str, error: EdgeferryError) -> None:
    """Says why the cases were not read."""
    services.say(f"the smoke cases of {model} were not read: {error.problem}; {_WORD}")


def load_cases(services: Services, model: str, digest: str, cases_sha256: str) -> CaseSet | None:
    """The same; the registry's error when it does not answer."""
    bodies = services.registry.attached(model, digest, CASES_TYPE)
    for body in bodies:
        if hashlib.sha256(body).hexdigest() == cases_sha256.removeprefix("sha256:"):
            try:
                return parse_cases(body)
            except UsageError as error:
                services.say(f"the smoke cases of {model} cannot be read: {error.problem}; {_WORD}")
                return None
    services.say(f"no smoke cases of {model} are attached to its image; {_WORD}")
    return None
