"""Each invariant of the chaos run sees the world that breaks it, and none in a sound one."""

from dataclasses import replace

import pytest

from tests.chaos.invariants import (
    find_flattery,
    find_leftovers,
    find_mixed,
    find_remade,
    find_secrets,
    find_steps_back,
    find_unconverged,
    find_unserved,
    find_unverified,
    longest_gap_s,
    longest_mixed_s,
)
from tests.chaos.running import judge
from tests.chaos.sights import Container, Layer, Moment, Sight, Start

KEY = "c2VjcmV0IG9mIGE="
NAME = "edgeferry.x.d"


def container(module: str, layer: int = 2, **members) -> Container:
    members = {
        "id": f"id-{module}",
        "name": f"{NAME}.{module}",
        "image_id": f"sha-{module}-{layer}",
        **members,
    }
    return Container(module=module, layer=layer, running=members.pop("running", True), **members)


def said(module: str, layer: int = 2, status: str = "running") -> dict:
    return {"runtimeStatus": status, "settings": {"imageHash": f"sha-{module}-{layer}"}}


def reported(version: int = 7, code: int = 200, **modules) -> dict:
    modules = modules or {"a": said("a"), "b": said("b")}
    return {
        "lastDesiredVersion": version,
        "lastDesiredStatus": {"code": code, "description": ""},
        "modules": modules,
    }


SOUND = Sight(
    wanted=Layer(2, {"a": "sha-a-2", "b": "sha-b-2"}),
    version=7,
    code=200,
    containers=(
        container("a", env=(f"EdgeHubConnectionString=HostName=h;SharedAccessKey={KEY}",)),
        container("b"),
    ),
    reported=reported(),
    networks=(NAME,),
    images=("r/a@2", "r/b@2", "r/a@1"),
    known={"r/a@0": "a", "r/a@1": "a", "r/b@1": "b", "r/a@2": "a", "r/b@2": "b"},
    files=("desired.json", "journal.jsonl", "lock"),
    texts={"the log": "desired version=7", "the report": "{}"},
    secrets={"key of a": KEY, "key of the device": "ZGV2aWNl", "key of b": ""},
)
A, B = SOUND.containers


def test_a_sound_device_has_nothing_wrong() -> None:
    assert judge(SOUND) == []


@pytest.mark.parametrize(
    ("find", "sight", "word"),
    [
        pytest.param(
            find_mixed, replace(SOUND, containers=(A, container("b", 1))), "I1 mixed", id="one old, one new"
        ),
        pytest.param(
            find_mixed,
            replace(SOUND, containers=(A, container("b", running=False))),
            "I1 mixed",
            id="one runs, one does not",
        ),
        pytest.param(
            find_unconverged, replace(SOUND, containers=(A,)), "I3 b is not there", id="one is missing"
        ),
        pytest.param(
            find_unconverged,
            replace(SOUND, containers=(container("a", 1), container("b", 1))),
            "I3 a runs layer 1",
            id="still the old layer",
        ),
        pytest.param(
            find_unconverged,
            replace(SOUND, containers=(container("a", image_id="sha-other"), B)),
            "I3 a runs layer",
            id="another image",
        ),
        pytest.param(
            find_unconverged,
            replace(SOUND, reported=reported(6)),
            "I3 reported (6, 200)",
            id="an older version",
        ),
        pytest.param(
            find_unconverged,
            replace(SOUND, reported=reported(7, 500)),
            "I3 reported (7, 500)",
            id="another code",
        ),
        pytest.param(
            find_unconverged,
            replace(SOUND, others={"c": "sha-c"}),
            "I3 c of another layer",
            id="another layer's module",
        ),
        pytest.param(
            find_flattery,
            replace(SOUND, containers=(A, container("b", running=False))),
            "I2 b is reported running and does not run",
            id="reported running",
        ),
        pytest.param(
            find_flattery,
            replace(SOUND, containers=(A, container("b", health="unhealthy"))),
            "I2 b is reported running and is unhealthy",
            id="reported healthy",
        ),
        pytest.param(
            find_flattery,
            replace(SOUND, containers=(A, container("b", image_id="sha-b-1"))),
            "I2 b is reported with another image",
            id="reported with the new image",
        ),
        pytest.param(
            find_flattery,
            replace(SOUND, containers=(container("a", 1), B), reported=reported(a=said("a", 1), b=said("b"))),
            "I2 reported as done",
            id="reported as done",
        ),
        pytest.param(
            find_secrets,
            replace(SOUND, texts={"the log": f"key={KEY}"}),
            "I8 key of a in the log",
            id="key in a log",
        ),
        pytest.param(
            find_secrets,
            replace(SOUND, containers=(A, replace(B, labels={"made": f"from {KEY}"}))),
            "I8 key of a in labels of b",
            id="key in a label",
        ),
        pytest.param(
            find_secrets,
            replace(SOUND, containers=(replace(A, env=(*A.env, f"OTHER={KEY}")), B)),
            "I8 key of a in variables of a",
            id="own key elsewhere",
        ),
        pytest.param(
            find_secrets,
            replace(
                SOUND, containers=(replace(A, env=("EdgeHubConnectionString=x;SharedAccessKey=ZGV2aWNl",)), B)
            ),
            "I8 key of the device in connection of a",
            id="the device's key in a module",
        ),
        pytest.param(
            find_leftovers,
            replace(SOUND, containers=(A, B, container("b", name=f"{NAME}.b-next"))),
            "I9 container",
            id="two of a module",
        ),
        pytest.param(
            find_leftovers,
            replace(SOUND, containers=(A, B, container("c"))),
            "I9 container",
            id="no longer wanted",
        ),
        pytest.param(
            find_leftovers,
            replace(SOUND, containers=(A, container("b", name=f"{NAME}.b-next", is_named=False))),
            "I9 container edgeferry.x.d.b-next has a passing name",
            id="a passing name",
        ),
        pytest.param(
            find_leftovers,
            replace(SOUND, images=("r/a@0", *SOUND.images)),
            "I9 3 images of a",
            id="an image too many",
        ),
        pytest.param(
            find_leftovers, replace(SOUND, networks=("one", "two")), "I9 networks", id="two networks"
        ),
        pytest.param(
            find_leftovers,
            replace(SOUND, files=("desired.json.new",)),
            "I9 file desired.json.new",
            id="a draft",
        ),
    ],
)
def test_an_invariant_sees_the_world_that_breaks_it(find, sight, word) -> None:
    assert [one for one in find(sight) if one.startswith(word)], find(sight)
    assert find(SOUND) == []


def test_containers_made_anew_are_seen() -> None:
    assert find_remade((A, B), (A, B)) == []
    assert find_remade((A, B), (A, replace(B, id="another"))) == ["I4 b was made anew"]
    assert find_remade((A, B), (A,)) == ["I4 b was made anew"]


def test_versions_that_fall_are_seen() -> None:
    assert find_steps_back((0, 3, 3, 5)) == []
    assert find_steps_back((3, 5, 4, 6)) == ["I5 version 4 was reported after 5"]


def test_an_image_that_was_not_pushed_is_seen() -> None:
    known = {"r/a@1": "sha-1"}
    assert find_unverified([Start("r/a@1", "sha-1")], known) == []
    assert find_unverified([Start("r/a@1", "sha-2")], known) == ["I7 r/a@1 was started as sha-2"]
    assert find_unverified([Start("r/a@9", "sha-1")], known) == ["I7 r/a@9 was started as sha-1"]


def moments(*many: tuple[float, str]) -> list[Moment]:
    """Seconds, and what ran from then on: `a1 b2`."""
    return [Moment(at, frozenset((one[0], int(one[1:])) for one in text.split())) for at, text in many]


def test_the_longest_absence_counts() -> None:
    seen = moments((0, "a1 b1"), (2, "b1"), (5, "a2"), (6, "a2 b2"), (8, "b2"))
    assert longest_gap_s(seen, "a", 9) == 3
    assert longest_gap_s(seen, "a", 20) == 12
    assert longest_gap_s(seen, "b", 20) == 1
    assert find_unserved(seen, ("a", "b"), 9, 2.5) == ["I1 a was away for 3.0 s"]
    assert find_unserved(seen, ("a", "b"), 9, 3.5) == []


def test_the_longest_mixture_counts() -> None:
    seen = moments((0, "a1 b1"), (2, "a2 b1"), (2.5, "a2"), (4, "a2 b2"))
    assert longest_mixed_s(seen, ("a", "b"), 9) == 0.5
    assert longest_mixed_s(moments((0, "a1 b2")), ("a", "b"), 9) == 9
