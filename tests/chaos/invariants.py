"""What must hold of a device after every fault. Each function gives what is wrong, in words; nothing is fine.

Their numbers are those of the report: I1 served, I2 honest, I3 converged, I4 idempotent, I5 only forward,
I7 nothing unverified, I8 no secret, I9 no leftovers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from tests.chaos.sights import Container, Layer, Moment, Sight, Start

DRAFTS = (".new", ".tmp", ".draft", ".part")
CONNECTION_VARIABLES = ("EdgeHubConnectionString=", "IotHubConnectionString=")
"""What a module's own credential stands in; nothing else may hold a key."""


def find_mixed(sight: Sight) -> list[str]:
    """I1: the layer's modules run all of one layer, whichever it is."""
    layers = {one.module: one.layer for one in sight.containers if one.running and one.module}
    of_it = {layers.get(module) for module in sight.wanted.images}
    return [f"I1 mixed: {layers}"] if len(of_it) > 1 else []


def find_unserved(
    moments: Sequence[Moment], modules: Sequence[str], until: float, most_s: float
) -> list[str]:
    """I1: no module was away for longer than `most_s`."""
    gaps = {module: longest_gap_s(moments, module, until) for module in modules}
    return [f"I1 {module} was away for {gap:.1f} s" for module, gap in gaps.items() if gap > most_s]


def find_unconverged(sight: Sight) -> list[str]:
    """I3: what runs is what is wanted, and the device says so."""
    found = {one.module: one for one in sight.containers}
    wrong = []
    for module, image_id in sight.wanted.images.items():
        one = found.get(module)
        if one is None:
            wrong.append(f"I3 {module} is not there")
        elif not one.running:
            wrong.append(f"I3 {module} does not run")
        elif (one.layer, one.image_id) != (sight.wanted.number, image_id):
            wrong.append(f"I3 {module} runs layer {one.layer}, not {sight.wanted.number}")
    for module, image_id in sight.others.items():
        if module not in found or not found[module].running or found[module].image_id != image_id:
            wrong.append(f"I3 {module} of another layer does not run")
    status = (sight.reported.get("lastDesiredStatus") or {}).get("code")
    said = (sight.reported.get("lastDesiredVersion"), status)
    if said != (sight.version, sight.code):
        wrong.append(f"I3 reported {said}, not {(sight.version, sight.code)}")
    return wrong


def find_flattery(sight: Sight) -> list[str]:
    """I2: what is reported is no better than what is: no module runs at the hub that does not run here, none
    with another image, and no version is done whose layer is not here."""
    found = {one.module: one for one in sight.containers}
    wrong = []
    for module, said in (sight.reported.get("modules") or {}).items():
        one = found.get(module)
        if said.get("runtimeStatus") != "running":
            continue
        if one is None or not one.running:
            wrong.append(f"I2 {module} is reported running and does not run")
        elif one.health == "unhealthy":
            wrong.append(f"I2 {module} is reported running and is unhealthy")
        elif said.get("settings", {}).get("imageHash") not in (None, one.image_id):
            wrong.append(f"I2 {module} is reported with another image than it runs")
    status = sight.reported.get("lastDesiredStatus") or {}
    if status.get("code") == 200 and sight.reported.get("lastDesiredVersion", 0) >= sight.version:
        wrong += [f"I2 reported as done, but: {one[3:]}" for one in _find_absent(sight.wanted, found)]
    return wrong


def _find_absent(layer: Layer, found: Mapping[str, Container]) -> list[str]:
    return [
        f"I3 {module} of layer {layer.number} does not run"
        for module in layer.images
        if not (module in found and found[module].running and found[module].layer == layer.number)
    ]


def find_remade(before: Sequence[Container], after: Sequence[Container]) -> list[str]:
    """I4: applying the same again made no container anew."""
    ids = {one.module: one.id for one in after}
    return [f"I4 {one.module} was made anew" for one in before if ids.get(one.module) != one.id]


def find_steps_back(versions: Sequence[int]) -> list[str]:
    """I5: the version a device says it carried out never falls."""
    return [
        f"I5 version {after} was reported after {before}"
        for before, after in pairwise(versions)
        if after < before
    ]


def find_unverified(starts: Sequence[Start], known: Mapping[str, str]) -> list[str]:
    """I7: every container that started has the image that was pushed under its reference."""
    return [
        f"I7 {one.image} was started as {one.image_id}"
        for one in starts
        if known.get(one.image) != one.image_id
    ]


def find_secrets(sight: Sight) -> list[str]:
    """I8: no secret stands in a text, a label or a variable; a module's own key may in its own connection."""
    places = dict(sight.texts)
    for one in sight.containers:
        places[f"labels of {one.module}"] = " ".join(f"{key}={text}" for key, text in one.labels.items())
        own = [row for row in one.env if row.startswith(CONNECTION_VARIABLES)]
        places[f"variables of {one.module}"] = " ".join(row for row in one.env if row not in own)
        allowed = f"key of {one.module}"
        others = [secret for name, secret in sight.secrets.items() if secret and name != allowed]
        found = [secret for secret in others if any(secret in row for row in own)]
        places[f"connection of {one.module}"] = " ".join(found)
    return [
        f"I8 {name} in {place}"
        for place, text in places.items()
        for name, secret in sight.secrets.items()
        if secret and secret in text
    ]


def find_leftovers(sight: Sight) -> list[str]:
    """I9: one container for each module and no other, one network, no image beyond current and previous, no
    draft of a file."""
    wrong = []
    modules = [one.module for one in sight.containers]
    for one in sight.containers:
        if one.module not in {*sight.wanted.images, *sight.others} or modules.count(one.module) > 1:
            wrong.append(f"I9 container {one.name} is left over")
        elif not one.is_named:
            wrong.append(f"I9 container {one.name} has a passing name")
    held = Counter(sight.known.get(image, f"nobody ({image})") for image in sight.images)
    wrong += [
        f"I9 {many} images of {whose} are left over" for whose, many in held.items() if many > _most(whose)
    ]
    if len(sight.networks) > 1:
        wrong.append(f"I9 networks {', '.join(sight.networks)}")
    return wrong + [f"I9 file {name} is left over" for name in sight.files if name.endswith(DRAFTS)]


def _most(whose: str) -> int:
    """Current and previous."""
    return 0 if whose.startswith("nobody") else 2


def longest_gap_s(moments: Sequence[Moment], module: str, until: float) -> float:
    """The longest time in which no container of the module ran, from the first moment on."""
    return _longest_s(moments, until, lambda one: module not in {name for name, _ in one.running})


def longest_mixed_s(moments: Sequence[Moment], modules: Sequence[str], until: float) -> float:
    """The longest time in which modules of different layers ran beside each other."""

    def mixed(one: Moment) -> bool:
        return len({layer for name, layer in one.running if name in modules}) > 1

    return _longest_s(moments, until, mixed)


def _longest_s(moments, until, bad) -> float:
    longest, since = 0.0, None
    for one in moments:
        if bad(one) and since is None:
            since = one.at
        elif not bad(one) and since is not None:
            longest, since = max(longest, one.at - since), None
    return longest if since is None else max(longest, until - since)
