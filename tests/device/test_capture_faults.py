"""A model server that is killed, or whose disk fails: predictions go on, captures say what became of them.

A small sample of `./run bench capture`, which does the same for longer, and worse.
"""

import json
import time
from contextlib import ExitStack, contextmanager

import pytest

from tests.device.conftest import answers, end, start_server, wait_until, write_model
from tests.device.crowds import Answers, Audit, Captured, Crowd, fetch
from tests.device.disks import StallingDisk, fill, lacks_for_stalls, refusing_writes, tiny_disk

AT_ONCE = 40


def asked(number):
    return [[float(number), 0.5]]


def right(number):
    return [2.0 * number + 1.5]


def body(number):
    return json.dumps({"data": asked(number)}).encode()


def port_of(url):
    return int(url.rpartition(":")[2])


class Clients:
    """Four clients of a server that captures; each of their questions is answered, and rightly."""

    def __init__(self, server):
        self.port, self.pages_port = port_of(server.url), port_of(server.captures_url)
        self.answers = Answers("p")

    def ask(self):
        """Some more questions."""
        first = len(self.answers.good)
        said = Crowd(self.port, body, clients=4, first=first, most=AT_ONCE, prefix="p", patient=False).wait()
        assert not said.failures
        assert len(said.good) == AT_ONCE
        assert all(json.loads(answer) == right(number) for number, answer in said.good.items())
        self.answers.good.update(said.good)

    def told(self):
        """What `/health` says, once it has counted each of the questions."""

        def counted():
            said = fetch(self.port, "/health")["captures"]
            return said if said["written"] + said["dropped"] >= len(self.answers.good) else None

        said = wait_until(counted)
        assert said["written"] + said["dropped"] == len(self.answers.good)
        return said

    def ask_until(self, fact):
        """Questions go on until it is so; what is told then."""
        deadline = time.monotonic() + 60
        while not fact(said := self.told()):
            assert time.monotonic() < deadline, said
            self.ask()
        return said

    def check(self):
        """What is told to be written can be read, once, as it was answered; the ids' numbers."""
        said, counts = self.told(), fetch(self.pages_port, "/captures/count")
        assert (counts["user"], counts["dropped"]) == (said["written"], said["dropped"])
        audit = Audit(asked, right)
        for record in Captured(self.pages_port).read():
            audit.add(record, {"p": self.answers})
        assert not audit.wrong
        assert not audit.twice()
        assert len(audit.seen) == said["written"]
        return sorted(int(each.rpartition("-")[2]) for each in audit.seen)


@pytest.fixture
def model(tmp_path):
    write_model(tmp_path / "model")
    return tmp_path / "model"


@contextmanager
def serving(model, store):
    started = start_server(model, captures=store)
    try:
        wait_until(lambda: answers(started.url + "/health"))
        yield Clients(started)
    finally:
        end(started.process)


def test_what_was_answered_before_a_kill_is_read_once_and_nothing_torn_is(tmp_path, model):
    store = tmp_path / "captures"
    store.mkdir()
    audit, captured, lives = Audit(asked, right), Captured(0), {}
    for life in range(4):
        started = start_server(model, captures=store)
        wait_until(lambda started=started: answers(started.url + "/health"))
        captured.port = port_of(started.captures_url)
        for record in captured.read():
            audit.add(record, lives)
        if life < 3:
            crowd = Crowd(port_of(started.url), body, clients=4, prefix=f"k{life}", patient=False)
            wait_until(lambda crowd=crowd, life=life: len(crowd.answers.good) > 100 * life)
            started.process.kill()
            lives[f"k{life}"] = crowd.wait()
        end(started.process)
    for said in lives.values():
        audit.miss(said)
    assert not audit.lost
    assert not audit.wrong
    assert not audit.twice()


def test_a_full_disk_costs_records_and_no_answers(tmp_path, model):
    with tiny_disk(tmp_path / "disk", "256k") as folder:
        store = folder / "captures"
        store.mkdir()
        with serving(model, store) as clients:
            clients.ask()
            assert clients.told()["dropped"] == 0
            filler = fill(folder)
            full = clients.ask_until(lambda said: said["dropped"])
            filler.unlink()
            clients.ask_until(lambda said: said["written"] > full["written"])
            assert clients.check()[:AT_ONCE] == list(range(AT_ONCE))


def test_a_disk_that_takes_no_writes_costs_records_until_it_does(tmp_path, model):
    with tiny_disk(tmp_path / "disk", "256k") as folder:
        store = folder / "captures"
        store.mkdir()
        with ExitStack() as stack:
            with refusing_writes(folder):
                clients = stack.enter_context(serving(model, store))
                clients.ask()
                assert clients.told()["dropped"] == AT_ONCE
            clients.ask_until(lambda said: said["written"])
            clients.check()


def test_a_disk_that_does_not_answer_keeps_no_client_waiting(tmp_path, model):
    if lacking := lacks_for_stalls():
        pytest.skip(lacking)
    with StallingDisk(tmp_path) as disk, serving(model, disk.folder) as clients, ExitStack() as at_last:
        at_last.callback(disk.calm)
        clients.ask()
        disk.hang()
        clients.ask()
        disk.calm()
        clients.ask()
        assert clients.told()["dropped"] == 0
        assert clients.check() == list(range(3 * AT_ONCE))
        disk.slow_down()
        clients.ask()
        disk.calm()
        clients.check()
