import pytest

from edgeferry.device.retries import Failures, Restarts
from edgeferry.domain.manifest import ModuleSpec
from edgeferry.engine import ContainerFacts

SPEC = ModuleSpec(name="taxi", image="a:1")


def wait_s(failures):
    return 10.0 * 2**failures


def facts(status="running", exit_code=0, id_="c1", health=""):
    return ContainerFacts(
        id=id_,
        name="n",
        image_id="sha256:1",
        image="a:1",
        status=status,
        running=status == "running",
        exit_code=exit_code,
        health=health,
        started_at="",
        finished_at="",
        restart_count=0,
        labels={},
        host_ports={},
        addresses={},
        oom_killed=False,
    )


def test_a_failed_action_waits_longer_each_time():
    failures = Failures(wait_s)
    assert failures.is_due("x", 0)
    failures.note("x", "no", 0)
    assert [failures.is_due("x", now) for now in (9.9, 10)] == [False, True]
    failures.note("x", "still no", 10)
    assert [failures.is_due("x", now) for now in (29.9, 30)] == [False, True]
    assert failures.reasons() == ["still no"]
    assert failures.next_due() == 30


def test_success_or_another_wish_clears_a_failure():
    failures = Failures(wait_s)
    failures.note("x", "no", 0)
    failures.note("y", "no", 0)
    failures.clear("x")
    assert "x" not in failures
    failures.keep_only({"z"})
    assert failures.reasons() == []
    assert failures.next_due() == float("inf")


def test_a_container_that_ends_waits_ten_seconds_then_twenty():
    restarts = Restarts(wait_s)
    assert not restarts.is_due(SPEC, facts(), 0)
    assert [restarts.is_due(SPEC, facts("exited", 1), now) for now in (5, 14.9, 15)] == [False, False, True]
    restarts.note("taxi", "t1")
    assert not restarts.is_due(SPEC, facts(), 16)
    assert [restarts.is_due(SPEC, facts("exited", 1), now) for now in (20, 39.9, 40)] == [False, False, True]
    restarts.note("taxi", "t2")
    assert (restarts.history("taxi").total, restarts.history("taxi").restarted_at) == (2, "t2")


def test_a_container_that_ends_between_two_looks_waits_as_well():
    restarts = Restarts(wait_s)
    restarts.is_due(SPEC, facts(), 0)
    restarts.is_due(SPEC, facts("exited"), 1)
    restarts.note("taxi", "t")
    assert [restarts.is_due(SPEC, facts("exited"), now) for now in (11, 30, 31)] == [False, False, True]


def test_a_container_that_had_ended_before_the_agent_came_is_due_at_once():
    assert Restarts(wait_s).is_due(SPEC, facts("exited", 143), 0)


def test_ten_good_minutes_start_the_count_anew():
    restarts = Restarts(wait_s)
    restarts.is_due(SPEC, facts(), 0)
    for now in (10.0, 60.0, 200.0):
        restarts.is_due(SPEC, facts("exited", 1), now)
        restarts.note("taxi", "t")
        restarts.is_due(SPEC, facts(), now + 1)
    restarts.is_due(SPEC, facts("exited", 1), 801)
    assert restarts.is_due(SPEC, facts("exited", 1), 811)


@pytest.mark.parametrize("policy", ["always", "on-unhealthy"])
def test_an_unhealthy_container_is_restarted_after_its_wait(policy):
    spec = ModuleSpec(name="taxi", image="a:1", restart_policy=policy)
    restarts = Restarts(wait_s)
    restarts.is_due(spec, facts(), 0)
    due = [restarts.is_due(spec, facts(health="unhealthy"), now) for now in (5, 14, 15)]
    assert due == [False, False, True]


def test_recovering_in_time_cancels_the_restart():
    restarts = Restarts(wait_s)
    restarts.is_due(SPEC, facts(), 0)
    restarts.is_due(SPEC, facts(health="unhealthy"), 5)
    assert not restarts.is_due(SPEC, facts(), 10)
    assert not restarts.is_due(SPEC, facts(health="unhealthy"), 16)


def test_a_new_container_has_no_history():
    restarts = Restarts(wait_s)
    restarts.is_due(SPEC, facts(), 0)
    restarts.is_due(SPEC, facts("exited"), 1)
    restarts.note("taxi", "t")
    restarts.is_due(SPEC, facts(id_="c2"), 2)
    assert restarts.history("taxi").total == 0
    restarts.keep_only(set())
    assert restarts.next_due() == float("inf")
