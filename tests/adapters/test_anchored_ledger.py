"""The ledger joined with its anchor on a real hub: what may be done to the branch, and is found."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeferry.adapters.anchor import TwinAnchor
from edgeferry.adapters.anchored_ledger import AnchoredLedger
from edgeferry.adapters.hub import HubClient
from edgeferry.adapters.hub_login import SharedKeyLogin
from edgeferry.domain.anchor import DEVICE, AnchorState
from edgeferry.errors import HubError, RefusedError
from edgeferry.ports import Anchor, Services
from edgeferry.workflows.rollouts import load_record, load_rollouts
from tests.adapters.ledgers import edit, find, make_remote, open_ledger, tamper

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ledger: release, plan, yes, a rollout and its verdict, entries 1 to 5."""
    folder = tmp_path_factory.mktemp("filled")
    ledger = open_ledger(folder, make_remote(folder))
    ledger.append("release", "taxi-v1-aa", {"model": "taxi", "digest": "sha256:aa"}, "ann")
    ledger.append("plan", "taxi-v1-aa", {"waves": []}, "ann")
    ledger.append("approval", "taxi-v1-aa", {"decision": "yes"}, "ben")
    ledger.append("rollout", "taxi-v1-aa-01", {"release": "taxi-v1-aa", "plan": "p"}, "ann")
    verdict = {"state": "fail", "reason": "it crashes"}
    ledger.append("wave", "taxi-v1-aa-01", {"wave": 1, "event": "judged", "verdict": verdict}, "ann")
    return folder


class Scene:
    """A copy of that ledger which the hub knows, and machines that open it."""

    def __init__(self, filled: Path, folder: Path, client: HubClient) -> None:
        shutil.copytree(filled, folder, dirs_exist_ok=True)
        self.folder = folder
        self.remote = folder / "ledger.git"
        self.anchor = TwinAnchor(client, str(self.remote), "ledger")
        self.said: list[str] = []
        known = open_ledger(folder, self.remote)
        known.refresh()
        self.anchor.move(known.head, known.count, known.trusted())

    def open(self, machine: str = "one", *, may_trust: bool = True) -> AnchoredLedger:
        ledger = open_ledger(self.folder, self.remote, machine, may_trust=may_trust)
        return AnchoredLedger(ledger, self.anchor, self.said.append)

    def breaches(self) -> list[tuple[str, str]]:
        return [(one.where, one.reason) for one in self.open("auditor").verify().breaches]


@pytest.fixture
def scene(filled: Path, tmp_path: Path, client: HubClient) -> Scene:
    return Scene(filled, tmp_path, client)


def test_a_ledger_that_only_grew_is_whole_and_the_hub_knows_its_head(scene: Scene) -> None:
    check = scene.open("auditor").verify()
    assert check.breaches == ()
    assert (check.count, check.anchor.count, check.anchor.head) == (5, 5, check.head)
    assert set(check.anchor.fingerprints) == {"ann", "ben"}
    assert scene.said == []


def remove(number: int) -> Change:
    return lambda work: find(work, number).unlink()


def swap(work: Path) -> None:
    """The rollout stands before the approval."""
    first, second = find(work, 3), find(work, 4)
    texts = first.read_text(), second.read_text()
    for path, number, text in ((second, 3, texts[1]), (first, 4, texts[0])):
        target = path.with_name(f"{number:06d}{path.name[6:]}")
        path.unlink(missing_ok=True)
        target.write_text(text)


def replay(work: Path) -> None:
    """The old release once more, as the newest."""
    first = find(work, 1)
    (first.parent / f"000006{first.name[6:]}").write_text(first.read_text())


def passed(work: Path) -> None:
    verdict = {"wave": 1, "event": "judged", "verdict": {"state": "pass", "reason": "all is well"}}
    edit(find(work, 5), body=verdict)


TAMPERS: list = [
    pytest.param(
        lambda work: edit(find(work, 1), body={"model": "taxi", "digest": "sha256:bb"}),
        0,
        "000001",
        "does not fit the content",
        id="edited release",
    ),
    pytest.param(
        lambda work: edit(find(work, 3), body={"decision": "no"}),
        0,
        "000003",
        "does not fit the content",
        id="edited approval",
    ),
    pytest.param(passed, 0, "000005", "does not fit the content", id="forged verdict"),
    pytest.param(
        lambda work: edit(find(work, 3), author="ann"),
        0,
        "000003",
        "another key than the trusted one",
        id="approval in another's name",
    ),
    pytest.param(replay, 0, "000006", "does not follow", id="replayed old release"),
    pytest.param(remove(2), 0, "000003", "entry 2 is missing", id="deleted entry"),
    pytest.param(remove(5), 0, "anchor", "entries were removed", id="deleted last entry"),
    pytest.param(lambda _: None, 1, "anchor", "removed or rewritten", id="branch pushed back"),
    pytest.param(swap, 0, "000003", "does not follow", id="reordered entries"),
    pytest.param(
        lambda work: find(work, 4).write_text("no JSON"), 0, "000004", "cannot be read", id="garbage"
    ),
]


@pytest.mark.parametrize(("change", "back", "where", "why"), TAMPERS)
def test_what_was_done_to_the_branch_is_found_with_its_reason(
    scene: Scene, change: Change, back: int, where: str, why: str
) -> None:
    tamper(scene.remote, change, back=back)
    found = scene.breaches()
    assert any(place.startswith(where) and why in reason for place, reason in found), found


@pytest.mark.parametrize("change", [remove(5), remove(2), passed])
def test_the_commit_that_did_it_is_named(scene: Scene, change: Change) -> None:
    tamper(scene.remote, change)
    deed = "changes it" if change is passed else "takes it away"
    assert any(reason.startswith("commit ") and reason.endswith(deed) for _, reason in scene.breaches())


@pytest.mark.parametrize(
    ("change", "back"),
    [
        pytest.param(remove(5), 0, id="deleted last entry"),
        pytest.param(lambda _: None, 1, id="branch pushed back"),
    ],
)
def test_nothing_is_decided_on_a_branch_that_lost_its_newest_entries(
    scene: Scene, change: Change, back: int
) -> None:
    """What is left is whole and signed: only the hub knows better."""
    early = scene.open()
    assert len(early.all_entries()) == 5
    tamper(scene.remote, change, back=back)
    for ledger in (early, scene.open("two")):
        with pytest.raises(RefusedError, match="tampered with: the hub remembers 5 entries") as caught:
            ledger.all_entries()
        assert "audit verify" in caught.value.fix
        with pytest.raises(RefusedError, match="tampered with"):
            ledger.append("order", "taxi-v1-aa-01", {"order": "promote"}, "ann")
    assert scene.anchor.read().count == 5, "the hub does not forget"


def test_a_whole_other_ledger_in_its_place_is_found(scene: Scene) -> None:
    shutil.rmtree(scene.remote)
    make_remote(scene.folder)
    ledger = open_ledger(scene.folder, scene.remote, "other")
    for number in range(6):
        ledger.append("release", f"v{number}", {}, "ann")
    assert any(where == "anchor" and "removed or rewritten" in why for where, why in scene.breaches())


def test_a_crash_between_push_and_anchor_is_not_called_tampering(scene: Scene) -> None:
    entry = open_ledger(scene.folder, scene.remote).append("end", "taxi-v1-aa-01", {}, "ann")
    check = scene.open("auditor").verify()
    assert check.breaches == ()
    assert (check.count, check.anchor.count) == (6, 5)
    two = scene.open("two")
    assert list(two.entries("end")) == [entry]
    two.append("release", "taxi-v2-bb", {}, "cid")
    assert scene.anchor.read().count == 7


def test_a_writer_who_was_overtaken_does_not_take_the_anchor_back(scene: Scene) -> None:
    before = scene.anchor.read()
    scene.open("two").append("release", "taxi-v2-bb", {}, "cid")
    scene.anchor.move(before.head, before.count, {})
    assert scene.breaches() == []


def exchange(folder: Path) -> None:
    """Somebody puts their key in the place of another's."""
    shutil.copy(folder / "trust" / "ben.pem", folder / "trust" / "ann.pem")


def slip_in(folder: Path) -> None:
    shutil.copy(folder / "trust" / "ben.pem", folder / "trust" / "eve.pem")


@pytest.mark.parametrize(
    ("change", "where", "why"),
    [
        pytest.param(exchange, "key of ann", "and the hub has", id="exchanged"),
        pytest.param(slip_in, "key of eve", "the hub has no fingerprint", id="slipped in"),
        pytest.param(
            lambda folder: (folder / "trust" / "ben.pem").unlink(),
            "key of ben",
            "not among the trusted keys",
            id="taken away",
        ),
    ],
)
def test_a_trusted_key_that_the_hub_does_not_know_is_found(
    scene: Scene, change: Change, where: str, why: str
) -> None:
    change(scene.folder)
    assert any(place == where and why in reason for place, reason in scene.breaches())


def test_a_person_may_accept_the_ledger_as_it_is(scene: Scene) -> None:
    tamper(scene.remote, lambda _: None, back=1)
    slip_in(scene.folder)
    state = scene.open("two").accept()
    assert (state.count, set(state.fingerprints)) == (4, {"ann", "ben", "eve"})
    assert scene.breaches() == []


def test_a_hub_that_remembers_nothing_vouches_for_nothing(scene: Scene, client: HubClient) -> None:
    client.delete_devices([DEVICE])
    assert [where for where, _ in scene.breaches()] == ["anchor"]
    scene.open().append("release", "taxi-v2-bb", {}, "ann")
    assert scene.breaches() == []


def test_without_a_hub_the_ledger_goes_on_and_says_so_once(scene: Scene) -> None:
    text = "HostName=127.0.0.1:1;SharedAccessKeyName=owner;SharedAccessKey=a2V5"
    away = TwinAnchor(HubClient(SharedKeyLogin(lambda _: text, time.time)), str(scene.remote), "ledger")
    ledger = AnchoredLedger(open_ledger(scene.folder, scene.remote), away, scene.said.append)
    ledger.append("release", "taxi-v1-aa", {}, "ann")
    ledger.append("release", "taxi-v2-bb", {}, "ann")
    assert len(ledger.all_entries()) == 7
    (said,) = scene.said
    assert "without its anchor at the hub: the hub 127.0.0.1:1 did not answer" in said
    with pytest.raises(HubError):
        ledger.verify()


class Blinking:
    """The anchor at a hub that is away while `away` says so."""

    def __init__(self, anchor: TwinAnchor) -> None:
        self._anchor = anchor
        self.away = True
        self.asked = 0

    def read(self) -> AnchorState:
        self.asked += 1
        if self.away:
            raise HubError("the hub is away", fix="wait", retryable=True)
        return self._anchor.read()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._anchor, name)


def test_a_hub_that_was_away_once_is_asked_again_before_reading(scene: Scene) -> None:
    anchor, clock = Blinking(scene.anchor), [0.0]
    ledger = AnchoredLedger(
        open_ledger(scene.folder, scene.remote),
        cast(Anchor, anchor),
        scene.said.append,
        clock=lambda: clock[0],
    )
    for _ in range(3):
        assert len(ledger.all_entries()) == 5
    assert (anchor.asked, len(scene.said)) == (1, 1), "who is without a hub does not wait for it at each look"
    anchor.away = False
    tamper(scene.remote, remove(5))
    clock[0] += 60
    with pytest.raises(RefusedError, match="tampered with"):
        ledger.all_entries()
    anchor.away = True
    with pytest.raises(RefusedError, match="tampered with"):
        scene.open("two").all_entries()
    ledger.all_entries()
    assert len(scene.said) == 2, "it is away again, and that is said again"


def test_an_entry_whose_key_only_the_hub_knows_is_not_passed_over(scene: Scene) -> None:
    known, forged = scene.open("two"), scene.open("three", may_trust=False)
    order = known.append("order", "taxi-v1-aa-01", {"order": "revert"}, "cid")
    other = forged.append("order", "taxi-v1-aa-01", {"order": "promote"}, "mallory")
    key = scene.folder / "trust" / "cid.pem"
    key.rename(key.with_suffix(".away"))
    ledger = scene.open("four", may_trust=False)
    ledger.require_keys([other])
    assert "no trusted key" in ledger.distrust(order)
    with pytest.raises(
        RefusedError, match=rf"000006-order.*the key of cid, {re.escape(order.key)}"
    ) as caught:
        ledger.require_keys([other, order])
    assert f"put its public half into {key}" in caught.value.fix
    services = cast(Services, SimpleNamespace(ledger=ledger))
    for decide in (lambda: load_record(services, "taxi-v1-aa-01"), lambda: load_rollouts(services)):
        with pytest.raises(RefusedError, match="the key of cid"):
            decide()
    key.with_suffix(".away").rename(key)
    assert [one.order for one in load_record(services, "taxi-v1-aa-01").state.orders] == ["revert"]


def test_a_file_of_the_branch_that_is_no_entry_is_passed_over(scene: Scene) -> None:
    tamper(scene.remote, lambda work: (work / "README.md").write_text(json.dumps("hello")) and None)
    assert scene.breaches() == []
