import pytest

from edgeferry.domain.device_plan import (
    Create,
    Present,
    Pull,
    Remove,
    Start,
    Wanted,
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
            ["pull a@sha256:1", "create taxi", "start taxi"],
            id="new module is pulled, created, started",
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
            ["pull a@sha256:2", "remove taxi", "create taxi", "start taxi"],
            id="new image is pulled before the old container goes",
        ),
        pytest.param([], [RUNNING], [], ["remove taxi"], id="module that is no longer desired goes"),
        pytest.param(
            [want("b", order=1), want("a", order=2), want("c", image="c:1", order=0)],
            [Present("old", "h", "running")],
            [],
            [
                "pull c:1",
                "pull a@sha256:1",
                "remove old",
                "create c",
                "start c",
                "create b",
                "start b",
                "create a",
                "start a",
            ],
            id="all pulls, then removals, then starts in startup order",
        ),
        pytest.param(
            [want("a"), want("b")],
            [],
            [],
            ["pull a@sha256:1", "create a", "start a", "create b", "start b"],
            id="an image two modules need is pulled once, same order goes by name",
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


def test_waits_double_from_ten_seconds_up_to_five_minutes():
    assert [wait_s(failures) for failures in (0, 1, 2, 4, 5, 6, 1000)] == [10, 20, 40, 160, 300, 300, 300]


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
