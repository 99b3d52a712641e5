"""How rollouts look that were taken back: by what serves now."""

from __future__ import annotations

from typing import Any

import pytest
from rich.table import Table

from edgeferry.cli.console import short
from edgeferry.cli.watching import record_facts, record_table, reverted_tables, rollout_table, story_tables
from edgeferry.domain.rollout import Outcome, State
from edgeferry.domain.rollout_record import Serving, render_end
from edgeferry.domain.rollout_state import fold
from edgeferry.workflows.rollback import Reverted
from edgeferry.workflows.rollout import RolloutResult
from edgeferry.workflows.rollouts import Record
from tests.domain.rollout_worlds import ID, RELEASE, START_S, a_start, an_entry

NEW, OLD = (Outcome("d1", State.SUCCEEDED, "5 cases", f"sha256:{letter * 64}") for letter in "ba")
BEFORE = Serving("taxi-v1", (OLD,))


def cells(table: Table) -> list[list[Any]]:
    """Its rows."""
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


@pytest.fixture
def record() -> Record:
    """One that had succeeded, and was taken back."""
    entries = (
        a_start(),
        an_entry("wave", {"wave": 1, "event": "started", "condition": ""}, START_S),
        an_entry("end", render_end(State.SUCCEEDED, "measured on 1 device", [NEW]), START_S),
        an_entry("order", {"order": "revert", "reason": ""}, START_S),
        an_entry("end", render_end(State.REVERTED, "reverted by ana; l was removed", (), BEFORE), START_S),
    )
    return Record(entries[0], fold(entries), entries)


def test_the_list_says_of_a_rollout_that_it_was_taken_back(record: Record) -> None:
    said = [ID, "ended", "1", "Reverted", "reverted by ana; l was removed"]
    assert cells(record_table([record])) == [said]
    facts = record_facts(record)
    assert (facts["state"], facts["serves"]["release"]) == ("Reverted", "taxi-v1")
    assert facts["serves"]["devices"][0]["digest"] == OLD.digest


def test_its_story_ends_with_the_proof_of_what_serves_again(record: Record) -> None:
    entries, devices, serves = story_tables(record)
    assert isinstance(entries, Table)
    assert isinstance(serves, Table)
    assert cells(entries)[-1][-1] == "Reverted: reverted by ana; l was removed"
    assert isinstance(devices, Table)
    assert [devices.title, serves.title] == ["Devices", "taxi-v1 serves again"]
    assert cells(serves)[0][:2] == ["d1", "Succeeded"]


def test_what_a_rollback_shows_is_titled_by_what_serves_now() -> None:
    back = Reverted("taxi-v2", "taxi-v1", State.SUCCEEDED, "measured on 1 device", (OLD,), True)
    table, reason = reverted_tables(back)
    assert isinstance(table, Table)
    assert (table.title, reason) == ("taxi-v1 serves again", "measured on 1 device")
    gone = Reverted("taxi-v2", "", State.REVERTED, "there is no earlier release", (), True)
    assert reverted_tables(gone) == ["there is no earlier release"]


@pytest.mark.parametrize(
    ("state", "title", "digest"),
    [
        pytest.param(State.REVERTED, "taxi-v1 serves again", OLD.digest, id="a person took it back"),
        pytest.param(State.FAILED, RELEASE, NEW.digest, id="it failed: which devices, and why"),
    ],
)
def test_a_rollout_that_was_taken_back_shows_what_matters(state: State, title: str, digest: str) -> None:
    result = RolloutResult(RELEASE, "l", state, "", (NEW,), False, serving=BEFORE)
    table = rollout_table(result)
    assert table.title == title
    assert cells(table)[0][2] == short(digest)
