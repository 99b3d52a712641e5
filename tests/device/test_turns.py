"""Whose turn it is, with real records and locks, and no engine."""

import threading

import pytest

from edgeferry.device.agent_record import UpdateRecord
from edgeferry.device.state import Store
from edgeferry.device.state_copy import FOLDER, keep_copy, restore_copy
from edgeferry.device.turns import Turns
from edgeferry.domain.agent_update import Phase, Update
from edgeferry.domain.device_rules import UpdateRules
from edgeferry.engine import Engine
from edgeferry.errors import OutsideError, UsageError

RULES = UpdateRules(ready_s=30, proven_s=0.2)


class Picky(Store):
    """A store of an old agent, to which newer files mean nothing."""

    def check(self) -> None:
        if (self.load_desired() or ({}, 0))[1] > 8:
            raise UsageError("this state is newer", fix="update")


@pytest.fixture
def store(tmp_path):
    store = Picky(tmp_path)
    yield store
    store.close()


@pytest.fixture
def record(tmp_path):
    return UpdateRecord(tmp_path)


def turns(store: Store, mark: str, stopping: threading.Event | None = None) -> Turns:
    engine = Engine("tcp://127.0.0.1:9")  # where nothing listens
    return Turns(store, engine, mark, RULES, stopping or threading.Event())


def takes(store: Store, mark: str, seconds: float) -> bool:
    """Whether the agent with that mark has its turn within that time."""
    stopping = threading.Event()
    timer = threading.Timer(seconds, stopping.set)
    timer.start()
    try:
        return turns(store, mark, stopping).take()
    finally:
        timer.cancel()


def update(phase: Phase) -> Update:
    return Update(phase, "a", "b", "r/agent:2")


@pytest.mark.parametrize(
    ("phase", "mark"),
    [(Phase.PREPARED, "a"), (Phase.HANDED, "b"), (Phase.PROVEN, "b"), (Phase.FAILED, "a")],
)
def test_who_has_the_turn_takes_the_device_and_the_other_waits(
    store, record, phase: Phase, mark: str
) -> None:
    record.move(None, update(phase))
    assert turns(store, mark).take()
    assert store.is_held()
    store.close()
    if (phase, mark) == (Phase.PROVEN, "b"):
        return  # a predecessor comes back when its proven successor is gone for good
    if phase is not Phase.HANDED:
        assert not takes(store, "ab".replace(mark, ""), 1.2)


def test_the_device_is_taken_back_when_time_is_up_without_an_engine_too(store, record) -> None:
    record.move(None, update(Phase.HANDED))
    assert takes(store, "a", 20)
    failed = record.load()
    assert failed is not None
    assert (failed.phase, "not proven within 0.2 s" in failed.reason) == (Phase.FAILED, True)


def test_without_an_update_a_second_agent_is_an_error(store, tmp_path) -> None:
    assert turns(store, "").take()
    with pytest.raises(OutsideError, match="another agent"):
        turns(Store(tmp_path), "c").take()


def test_a_state_that_a_failed_agent_wrote_anew_is_what_it_was(store, record, tmp_path) -> None:
    store.save_desired({"x": 1}, 7)
    keep_copy(tmp_path)
    store.save_desired({"x": 2}, 9)
    (tmp_path / "newer.json").write_text("{}")
    record.move(None, update(Phase.FAILED))
    assert turns(store, "a").take()
    assert store.load_desired() == ({"x": 1}, 7)
    assert not (tmp_path / "newer.json").exists()


def test_a_state_that_can_be_read_is_kept_as_the_failed_agent_left_it(store, record, tmp_path) -> None:
    keep_copy(tmp_path)
    store.save_desired({"x": 2}, 8)
    record.move(None, update(Phase.FAILED))
    assert turns(store, "a").take()
    assert store.load_desired() == ({"x": 2}, 8)


def test_a_copy_that_was_not_finished_is_not_used(tmp_path) -> None:
    (tmp_path / f"{FOLDER}.new").mkdir()
    assert not restore_copy(tmp_path)


def test_the_record_is_moved_on_by_one_agent_only(record) -> None:
    handed = update(Phase.HANDED)
    assert record.move(None, handed)
    assert record.move(handed, update(Phase.PROVEN))
    assert not record.move(handed, update(Phase.FAILED))
    loaded = record.load()
    assert loaded is not None
    assert loaded.phase is Phase.PROVEN
    record.say_ready("b", "")
    assert (record.heard("b"), record.heard("c")) == ((True, ""), (False, ""))
