"""Units on trial, without an engine: which trials end, and what is due."""

import math

import pytest

from edgeferry.device.memory import Memory
from edgeferry.device.state import Store
from edgeferry.device.trials import Trials
from edgeferry.domain.device_rules import Policy, Rules, TrialRules
from edgeferry.domain.device_state import Found
from edgeferry.domain.device_trial import Sight
from edgeferry.domain.manifest import ModuleSpec

WINDOW_S = 60.0
A1, A2 = (ModuleSpec(name="a", image=f"r/a:{number}", layer="L") for number in (1, 2))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def memory(tmp_path):
    return Memory(Store(tmp_path))


@pytest.fixture
def trials(memory, clock):
    return Trials(memory, Rules(trial=TrialRules(window_s=WINDOW_S)), clock)


def begin(trials, *specs):
    aims = trials.aims({spec.name: spec for spec in specs})
    trials.begin(aims, set(), 1, "")
    return aims


def judge(trials, aims, present=()):
    return trials.judge(aims, set(), set(present), lambda spec: Sight(spec, "running"), {})


def outcomes(trials, aims, held=None, coming=None):
    said = trials.layers(aims, held or {}, coming or {}, 1)
    return {name: (state.outcome, state.reason, state.progress) for name, state in said.items()}


def test_a_trial_that_another_takes_the_place_of_is_due_no_more(trials, clock):
    begin(trials, A1)
    clock.now = 10.0
    aims = begin(trials, A2)
    trials.aims({"a": A2})
    assert trials.next_due() == 10.0 + WINDOW_S
    clock.now = 11.0 + WINDOW_S
    judge(trials, aims)
    assert trials.next_due() == math.inf


def test_a_removal_is_not_proven_while_the_container_is_there(trials, memory):
    memory.note(Found({"a": A1}))
    aims = begin(trials)
    judge(trials, aims, present=["a"])
    assert (set(memory.state.good), trials.are_under_way) == ({"a"}, True)
    judge(trials, aims)
    assert (set(memory.state.good), trials.are_under_way) == (set(), False)


def test_a_trial_of_what_the_owner_no_longer_allows_has_ended(memory):
    risky = ModuleSpec(
        name="a", image="r/a:1", layer="L", create_options={"HostConfig": {"NetworkMode": "host"}}
    )
    begin(Trials(memory, Rules(policy=Policy(host_network=True))), risky)
    strict = Trials(memory, Rules())
    assert strict.are_under_way
    aims = strict.aims({"a": risky})
    assert ([aim.kind for aim in aims], strict.are_under_way) == (["refused"], False)


def test_a_layer_whose_image_comes_says_how_far_it_is(trials):
    aims = trials.aims({"a": A1})
    assert outcomes(trials, aims, {"a": "needed"}, {"r/a:1": "40 % of 12 MB", "r/b:1": "50 % of 1 MB"}) == {
        "L": ("Pulling", "needed", "r/a:1: 40 % of 12 MB")
    }


def test_a_layer_that_cannot_go_back_yet_says_so(trials, memory, clock):
    memory.note(Found({"a": A1}))
    aims = begin(trials, A2)
    assert trials.judge(aims, set(), {"a"}, lambda spec: Sight(spec, refused="no such file"), {})
    aims = trials.aims({"a": A2})
    reason = "module a does not start: no such file; not gone back yet: a needs it"
    assert outcomes(trials, aims, {"a": "a needs it"}) == {"L": ("RolledBack", reason, "")}
