from dataclasses import replace

import pytest

from edgeferry.domain.device_plan import (
    Create,
    HandOver,
    Present,
    Pull,
    Remove,
    Start,
    Wanted,
    find_changes,
    plan,
    runtime_status,
    wait_s,
    wants_restart,
)
from edgeferry.domain.manifest import ModuleSpec


def want(name, image="a@sha256:1", hash_="h1", order=10, **members):
    return Wanted(ModuleSpec(name=name, image=image, startup_order=order, **members), hash_)


def brief(action):
    match action:
        case Pull(image):
            return f"pull {image}"
        case Remove(module):
            return f"remove {module}"
        case Create(module):
            return f"create {module}"
        case Start(module):
            return f"start {module}"
        case HandOver(module):
            return f"hand over {module}"


TAXI = want("taxi")
TAXI2 = want("taxi", image="a@sha256:2", hash_="h2")
RUNNING = Present("taxi", "h1", "running")


@pytest.mark.parametrize(
    ("desired", "current", "images", "actions"),
    [
        pytest.param([TAXI], [RUNNING], [], [], id="settled device is left alone"),
        pytest.param([], [], [], [], id="nothing desired on an empty device"),
        pytest.param(
            [TAXI],
            [],
            [],
            ["pull a@sha256:1"],
            id="new module is pulled before anything else",
        ),
        pytest.param(
            [TAXI],
            [],
            ["a@sha256:1"],
            ["create taxi", "start taxi"],
            id="an image that is there is not pulled",
        ),
        pytest.param(
            [TAXI2],
            [RUNNING],
            ["a@sha256:1"],
            ["pull a@sha256:2"],
            id="the old container serves while the new image is pulled",
        ),
        pytest.param(
            [TAXI2],
            [RUNNING],
            ["a@sha256:2"],
            ["remove taxi", "create taxi", "start taxi"],
            id="then it goes, and the new one starts",
        ),
        pytest.param(
            [replace(TAXI2, hands_over=True)],
            [RUNNING],
            ["a@sha256:2"],
            ["hand over taxi"],
            id="unless its successor is to answer first",
        ),
        pytest.param(
            [replace(TAXI2, hands_over=True)],
            [Present("taxi", "h1", "exited")],
            ["a@sha256:2"],
            ["remove taxi", "create taxi", "start taxi"],
            id="what does not run has nothing to hand over",
        ),
        pytest.param([], [RUNNING], [], ["remove taxi"], id="module that is no longer desired goes"),
        pytest.param(
            [want("b", order=1), want("a", order=2), want("c", image="c:1", order=0)],
            [Present("old", "h", "running")],
            ["c:1", "a@sha256:1"],
            [
                "remove old",
                "create c",
                "start c",
                "create b",
                "start b",
                "create a",
                "start a",
            ],
            id="removals, then starts in startup order",
        ),
        pytest.param(
            [want("a"), want("b")],
            [],
            [],
            ["pull a@sha256:1"],
            id="an image two modules need is pulled once",
        ),
        pytest.param(
            [want("b"), want("a")],
            [],
            ["a@sha256:1"],
            ["create a", "start a", "create b", "start b"],
            id="same order goes by name",
        ),
        pytest.param(
            [want("taxi", status="stopped", hash_="h3")],
            [RUNNING],
            ["a@sha256:1"],
            ["remove taxi", "create taxi"],
            id="module desired stopped is there but not started",
        ),
        pytest.param(
            [want("taxi", status="stopped")], [Present("taxi", "h1", "created")], [], [], id="and stays so"
        ),
        pytest.param(
            [TAXI],
            [Present("taxi", "h1", "created")],
            [],
            ["start taxi"],
            id="container that was created but never started",
        ),
        pytest.param(
            [TAXI], [Present("taxi", "h1", "exited")], [], [], id="container that ended is left to the policy"
        ),
        pytest.param(
            [TAXI],
            [Present("taxi", "h1", "dead")],
            ["a@sha256:1"],
            ["remove taxi", "create taxi", "start taxi"],
            id="dead container is made anew",
        ),
        pytest.param(
            [want("taxi", image_pull_policy="never")],
            [],
            [],
            ["create taxi", "start taxi"],
            id="image that must not be pulled is not",
        ),
    ],
)
def test_plan(desired, current, images, actions):
    found = plan({wanted.spec.name: wanted for wanted in desired}, current, set(images))
    assert [brief(action) for action in found] == actions
    assert all(action.reason for action in found)


PAIR = [
    want("a", image="a:2", hash_="a2"),
    want("b", image="b:2", hash_="b2"),
    want("c", image="c:2", hash_="c2"),
]


@pytest.mark.parametrize(
    ("images", "actions"),
    [
        pytest.param([], ["pull a:2", "pull b:2", "pull c:2"], id="nothing there"),
        pytest.param(["a:2", "c:2"], ["pull b:2", "remove c", "create c", "start c"], id="a waits for b"),
        pytest.param(
            ["a:2", "b:2"],
            ["pull c:2", "remove a", "remove b", "remove old", "create a", "start a", "create b", "start b"],
            id="c holds up neither",
        ),
    ],
)
def test_modules_of_one_unit_are_touched_together(images, actions):
    current = [Present(name, "old", "running") for name in ("a", "b", "c", "old")]
    found = plan({one.spec.name: one for one in PAIR}, current, set(images), [{"a", "b", "old"}, {"c"}])
    assert [brief(action) for action in found] == actions


def test_waits_double_from_a_second_up_to_five_minutes():
    assert [wait_s(failures) for failures in (0, 1, 2, 8, 9, 1000)] == [1, 2, 4, 256, 300, 300]


@pytest.mark.parametrize(("in_a_row", "word"), [(0, "backoff"), (2, "backoff"), (3, "failed"), (9, "failed")])
def test_a_crash_loop_is_called_failed(in_a_row, word):
    assert runtime_status(ModuleSpec("taxi", "a:1"), "exited", 1, "", in_a_row) == word


@pytest.mark.parametrize(
    ("policy", "status", "exit_code", "health", "restart", "word"),
    [
        ("always", "running", 0, "", False, "running"),
        ("always", "exited", 0, "", True, "backoff"),
        ("always", "exited", 1, "", True, "backoff"),
        ("always", "running", 0, "unhealthy", True, "unhealthy"),
        ("on-failure", "exited", 0, "", False, "stopped"),
        ("on-failure", "exited", 137, "", True, "backoff"),
        ("on-failure", "running", 0, "unhealthy", False, "unhealthy"),
        ("on-unhealthy", "running", 0, "unhealthy", True, "unhealthy"),
        ("never", "exited", 0, "", False, "stopped"),
        ("never", "exited", 1, "", False, "failed"),
        ("always", "created", 0, "", False, "stopped"),
        ("always", "paused", 0, "", False, "stopped"),
        ("always", "dead", 1, "", True, "dead"),
    ],
)
def test_restart_policy_and_reported_word(policy, status, exit_code, health, restart, word):
    spec = ModuleSpec(name="taxi", image="a:1", restart_policy=policy)
    assert wants_restart(spec, status, exit_code, health) is restart
    assert runtime_status(spec, status, exit_code, health) == word


def test_module_desired_stopped_is_never_restarted():
    spec = ModuleSpec(name="taxi", image="a:1", status="stopped")
    assert not wants_restart(spec, "exited", 1, "")
    assert runtime_status(spec, "exited", 1, "") == "stopped"


@pytest.mark.parametrize(
    ("present", "reason"),
    [
        pytest.param([], "desired and not there", id="no container"),
        pytest.param([Present("a", "h2", "running")], "desired differently now", id="another container"),
        pytest.param([Present("a", "h1", "dead")], "its container is dead", id="a dead one"),
        pytest.param([Present("a", "h1", "exited")], "", id="one that ended may start again"),
        pytest.param([Present("a", "h1", "running")], "", id="settled"),
    ],
)
def test_whose_image_is_looked_for_is_whose_container_may_not_stay(present, reason):
    assert find_changes({"a": want("a")}, present) == ({"a": reason} if reason else {})
