"""The anchor and its leases on a real hub."""

from __future__ import annotations

import threading

import pytest

from edgeferry.adapters.anchor import TwinAnchor
from edgeferry.adapters.hub import HubClient
from edgeferry.domain.anchor import DEVICE, AnchorState


@pytest.fixture
def anchor(client: HubClient) -> TwinAnchor:
    return TwinAnchor(client, "/srv/ledger.git", "ledger")


def test_a_hub_that_was_never_told_remembers_nothing(anchor: TwinAnchor, client: HubClient) -> None:
    assert anchor.read() == AnchorState()
    assert client.delete_devices([DEVICE]) == {DEVICE: "missing"}, "reading makes nothing"


def test_the_identity_is_disabled_and_no_edge_device(anchor: TwinAnchor, client: HubClient) -> None:
    anchor.move("a" * 40, 1, {})
    identity = client.device(DEVICE)
    assert identity["status"] == "disabled"
    assert identity["capabilities"]["iotEdge"] is False
    assert client.devices() == []
    assert client.devices("NOT is_defined(tags.edgeferry)") == []


def test_an_identity_left_enabled_by_a_crash_is_disabled(anchor: TwinAnchor, client: HubClient) -> None:
    client.create_devices([DEVICE], False, {})
    anchor.move("a" * 40, 1, {})
    assert client.device(DEVICE)["status"] == "disabled"
    assert anchor.read().head == "a" * 40


def test_it_moves_forward_only_and_learns_new_authors_only(anchor: TwinAnchor) -> None:
    anchor.move("b" * 40, 2, {"ann": ["SHA256:a"]})
    anchor.move("a" * 40, 1, {"ann": ["SHA256:x"], "ben.c": ["SHA256:b", "SHA256:c"]})
    state = anchor.read()
    assert (state.head, state.count) == ("b" * 40, 2)
    assert state.fingerprints == {"ann": ("SHA256:a",), "ben.c": ("SHA256:b", "SHA256:c")}


def test_it_is_replaced_by_a_persons_word(anchor: TwinAnchor) -> None:
    anchor.move("b" * 40, 2, {"ann": ["SHA256:a"], "ben.c": ["SHA256:b"]})
    state = anchor.replace("a" * 40, 1, {"ann": ["SHA256:x"]})
    assert (state.head, state.count, state.fingerprints) == ("a" * 40, 1, {"ann": ("SHA256:x",)})


def test_another_ledger_on_the_same_hub_is_another_anchor(anchor: TwinAnchor, client: HubClient) -> None:
    anchor.move("a" * 40, 9, {})
    other = TwinAnchor(client, "/srv/other.git", "ledger")
    assert other.read().head == ""
    other.move("b" * 40, 1, {})
    assert (anchor.read().head, other.read().head) == ("a" * 40, "b" * 40)


def test_a_lease_is_one_holders_until_it_runs_out_or_is_dropped(anchor: TwinAnchor) -> None:
    assert anchor.take_lease("nyc_taxi-v1.0", "one", 130, 100)
    assert not anchor.take_lease("nyc_taxi-v1.0", "two", 150, 129)
    assert anchor.take_lease("nyc_taxi-v1.0", "one", 160, 130), "its holder has it for longer"
    assert anchor.take_lease("london_taxi", "two", 150, 129), "another lease is another's"
    assert anchor.take_lease("nyc_taxi-v1.0", "two", 190, 160), "it ran out"
    anchor.drop("nyc_taxi-v1.0", "one")
    assert not anchor.take_lease("nyc_taxi-v1.0", "one", 200, 170), "who has it not cannot drop it"
    anchor.drop("nyc_taxi-v1.0", "two")
    assert anchor.take_lease("nyc_taxi-v1.0", "one", 200, 170)


def test_of_many_at_once_one_gets_the_lease_and_no_word_is_lost(anchor: TwinAnchor) -> None:
    got: list[str] = []

    def run(number: int) -> None:
        if anchor.take_lease("x", f"holder-{number}", 200, 100):
            got.append(f"holder-{number}")
        anchor.move(f"{number:040d}", number, {f"author-{number}": [f"SHA256:{number}"]})

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = anchor.read()
    assert len(got) == 1
    assert (state.count, len(state.fingerprints)) == (6, 6)
