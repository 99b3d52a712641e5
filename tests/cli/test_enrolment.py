"""`edgeferry devices enrol|adopt|decommission` and `edgeferry agent enrol`, on a real hub."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from edgeferry.device.enrol import check, enrol
from edgeferry.device.link import Handlers, Link
from edgeferry.device.state import load_enrolment
from edgeferry.domain.bucket import rollout_bucket
from edgeferry.wire.connection import ConnectionString
from edgeferry.wire.enrolment import parse_token
from edgeferry.workflows.enrol import enrol_device
from tests.cli.test_devices import clean, client, hub, ok, run  # noqa: F401
from tests.engines import find_engine
from tests.hubs import RunningHub

PULL = {"EDGEFERRY_REGISTRY__HOST": "registry.example", "EDGEFERRY_REGISTRY__PULL_USERNAME": "puller"}
PULL |= {"EDGEFERRY_REGISTRY__PULL_PASSWORD": "pull-password"}


def key_at(hub: RunningHub, device: str) -> str:  # noqa: F811
    text: str = hub.ask("GET", f"/devices/{device}")["authentication"]["symmetricKey"]["primaryKey"]
    return text


def on_device(line: str, *more: str) -> subprocess.CompletedProcess[str]:
    """What became of the line in a shell of the device."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("EDGEFERRY_")}
    environment = {**kept, "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}", "COLUMNS": "200"}
    return subprocess.run(
        ["sh", "-c", " ".join((line, *more))],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )


def here(hub: RunningHub, line: str, *words: str) -> tuple[int, str, str]:  # noqa: F811
    """The same without a shell: exit code, stdout, stderr."""
    return run(hub, "agent", "enrol", "-", *words, given=line.split()[2])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- at the hub


def test_a_device_is_created_with_its_tags_and_one_line_is_printed(clean: RunningHub) -> None:  # noqa: F811
    words = ("--class", "medium", "--tag", "site=berlin", "--platform", "linux/arm64")
    code, out, err = run(clean, "devices", "enrol", "press-1", *words, **PULL)
    assert code == 0, err
    assert clean.ask("GET", "/devices/press-1")["capabilities"] == {"iotEdge": True}
    assert clean.ask("GET", "/twins/press-1")["tags"] == {
        "edgeferry": True,
        "rollout_bucket": rollout_bucket("press-1"),
        "device_class": "medium",
        "platform": "linux/arm64",
        "site": "berlin",
    }
    assert out.count("\n") == 1
    assert len(out) < 4096, "what a terminal takes in one line"
    assert out.startswith("printf %s ")
    token, _, behind = out.removeprefix("printf %s ").partition(" | ")
    assert behind == "edgeferry agent enrol -\n", "no secret among a program's arguments"
    said = parse_token(token)
    assert said.connection.key == key_at(clean, "press-1")
    assert said.hub_ca == clean.ca_file.read_text()
    assert [login.username for login in said.surroundings.registries] == ["puller"]
    assert not [secret for secret in (said.connection.key, "pull-password", token) if secret in err]


def test_a_device_that_is_there_is_refused_and_adopted_as_it_is(clean: RunningHub) -> None:  # noqa: F811
    ok(clean, "devices", "create", "press-1", "--no-edge", "--tag", "site=paris", "--tag", "rollout_bucket=7")
    key = key_at(clean, "press-1")
    code, out, err = run(clean, "devices", "enrol", "press-1")
    assert (code, out) == (1, "")
    assert "devices adopt press-1" in err
    assert clean.ask("GET", "/twins/press-1")["tags"] == {"site": "paris", "rollout_bucket": 7}
    said = ok(clean, "devices", "adopt", "press-1", "--tag", "floor=2")
    tags = {"site": "paris", "rollout_bucket": 7, "floor": 2, "edgeferry": True, "device_class": "small"}
    assert (said["state"], said["tags"]) == ("adopted", tags)
    assert clean.ask("GET", "/twins/press-1")["tags"] == tags
    assert clean.ask("GET", "/devices/press-1")["capabilities"] == {"iotEdge": True}
    assert key_at(clean, "press-1") == key
    etag = clean.ask("GET", "/twins/press-1")["etag"]
    again = ok(clean, "devices", "adopt", "press-1")
    assert again["line"] == said["line"]
    assert clean.ask("GET", "/twins/press-1")["etag"] == etag, "nothing was missing, nothing is written"
    code, _, err = run(clean, "devices", "adopt", "press-01")
    assert (code, "did you mean `press-1`?" in err) == (2, True)


def test_a_sandboxs_devices_are_enrolled_the_same_way_however_often(clean: RunningHub) -> None:  # noqa: F811
    with closing(client(clean)) as opened:
        first = enrol_device(opened, "device-1", "small", {}, may_exist=True)
        again = enrol_device(opened, "device-1", "large", {}, may_exist=True)
    assert (first.state, again.state) == ("created", "adopted")
    assert first.tags == again.tags == clean.ask("GET", "/twins/device-1")["tags"]
    assert first.tags["rollout_bucket"] == rollout_bucket("device-1")
    assert first.identity["authentication"] == again.identity["authentication"]
    assert key_at(clean, "device-1") not in repr(first)


def test_a_token_file_is_its_owners_alone_and_nothing_is_printed(
    clean: RunningHub,  # noqa: F811
    tmp_path: Path,
) -> None:
    file = tmp_path / "press-1.token"
    code, out, err = run(clean, "devices", "enrol", "press-1", "--token-file", str(file), "-o", "json")
    assert (code, mode(file)) == (0, 0o600)
    token = file.read_text().strip()
    assert parse_token(token).connection.device_id == "press-1"
    assert token not in out + err
    assert json.loads(out)["line"] == "edgeferry agent enrol --file press-1.token"


# --- on the device


@pytest.mark.engine
def test_the_line_makes_a_machine_the_device_and_no_other_afterwards(
    clean: RunningHub,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder, engine = tmp_path / "device", find_engine()
    there = (f"--state {folder}", f"--engine {engine}")
    first = ok(clean, "devices", "enrol", "press-1")["line"]
    other = ok(clean, "devices", "enrol", "press-2")["line"]
    done = on_device(first, *there)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"edgeferry agent install --state {folder}" in done.stdout
    assert (mode(folder), mode(folder / "device.json")) == (0o700, 0o600)
    enrolment = load_enrolment(folder)
    assert (enrolment.device, enrolment.connection.key) == ("press-1", key_at(clean, "press-1"))
    assert (enrolment.engine, enrolment.sandbox) == (engine, "fleet")
    assert enrolment.hub_ca_file
    assert enrolment.hub_ca_file.read_text() == clean.ca_file.read_text()
    assert not [one for one in (enrolment.connection.key,) if one in done.stdout + done.stderr]

    words = ("--state", str(folder), "--engine", engine)
    assert here(clean, first, *words)[0] == 0, "the same device again"
    code, _, err = here(clean, other, *words)
    assert (code, "press-1" in err) == (1, True)
    assert load_enrolment(folder).device == "press-1"
    code, _, err = here(clean, other, *words, "--force")
    assert code == 0, err
    assert load_enrolment(folder).device == "press-2"


@pytest.mark.engine
def test_what_the_agent_would_lack_is_told(clean: RunningHub, tmp_path: Path) -> None:  # noqa: F811
    line = ok(clean, "devices", "enrol", "press-1")["line"]
    run(clean, "devices", "keys", "regenerate", "press-1")
    words = ("--state", str(tmp_path / "d"), "--engine", "tcp://127.0.0.1:1", "-o", "json")
    code, out, _ = here(clean, line, *words)
    assert code == 1
    checks = {one["what"]: one["problem"] for one in json.loads(out)["checks"]}
    assert "127.0.0.1:1" in checks["engine"]
    assert "401" in checks["hub"]
    assert checks["clock"] == ""


@pytest.mark.parametrize(("off_s", "word"), [(3600, "ahead of"), (-3600, "behind"), (60, "")])
def test_a_clock_that_is_wrong_is_told(
    clean: RunningHub,  # noqa: F811
    tmp_path: Path,
    off_s: int,
    word: str,
) -> None:
    line = ok(clean, "devices", "enrol", "press-1")["line"]
    enrolment = enrol(tmp_path / "d", parse_token(line.split()[2]), "tcp://127.0.0.1:1")
    clock = check(enrolment, lambda: time.time() + off_s)[-1]
    assert clock.what == "clock"
    assert word in clock.problem
    assert bool(clock.problem) == bool(word)


@pytest.mark.parametrize(
    ("words", "given"),
    [
        pytest.param(["-"], "x", id="no token"),
        pytest.param([], "", id="nothing named"),
        pytest.param(["--file", "/nowhere"], "", id="no file"),
        pytest.param(["eyJ2ZXJzaW9uIjox"], "", id="a token as an argument"),
    ],
)
def test_a_wrong_line_changes_nothing_and_repeats_nothing(
    hub: RunningHub,  # noqa: F811
    words: list[str],
    given: str,
    tmp_path: Path,
) -> None:
    code, _, err = run(hub, "agent", "enrol", *words, "--state", str(tmp_path / "d"), given=given)
    assert code == 2
    assert "fix" in err
    assert "eyJ2" not in err
    assert not (tmp_path / "d").exists()


def test_a_folder_that_holds_other_things_is_left_as_it_is(clean: RunningHub, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / "enrolled-ca.pem").write_text("of an enrolment that was cut off")
    tmp_path.chmod(0o755)
    line = ok(clean, "devices", "enrol", "press-1")["line"]
    code, _, err = here(clean, line, "--state", str(tmp_path))
    assert (code, "thesis.txt" in err, mode(tmp_path)) == (2, True, 0o755)
    (tmp_path / "thesis.txt").unlink()
    assert here(clean, line, "--state", str(tmp_path), "--engine", "tcp://127.0.0.1:1")[0] == 1, (
        "but enrolled"
    )
    assert load_enrolment(tmp_path).device == "press-1"


# --- out of the fleet


@contextmanager
def connected_agent(hub: RunningHub, device: str, status: int, answer: object) -> Iterator[list[object]]:  # noqa: F811
    """An agent that answers Decommission so; what it was asked."""
    asked: list[object] = []

    def on_method(name: str, payload: object) -> tuple[int, object]:
        asked.append((name, payload))
        return status, answer

    nothing = lambda *_: None  # noqa: E731
    own = hub.ask("GET", f"/devices/{device}/modules/$edgeAgent")
    connection = hub.connection(device, own["authentication"]["symmetricKey"]["primaryKey"], "$edgeAgent")
    link = Link(lambda _: connection, hub.ca_file, Handlers(nothing, nothing, nothing, on_method))
    link.start()
    try:
        deadline = time.monotonic() + 30
        while not link.connected:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield asked
    finally:
        link.stop()


@pytest.mark.parametrize(
    ("status", "answer", "wipe", "told"),
    [
        pytest.param(200, {"removed": {"containers": 2}, "problems": []}, "done", "2 containers", id="wiped"),
        pytest.param(
            500,
            {"removed": {"containers": 0}, "problems": ["no engine"]},
            "in part",
            "no engine",
            id="in part",
        ),
        pytest.param(400, {"message": "not found"}, "refused", "not found", id="another agent"),
    ],
)
def test_a_device_is_asked_to_wipe_itself_before_it_is_deleted(
    clean: RunningHub,  # noqa: F811
    status: int,
    answer: object,
    wipe: str,
    told: str,
) -> None:
    ok(clean, "devices", "enrol", "press-1")
    with connected_agent(clean, "press-1", status, answer) as asked:
        code, out, err = run(clean, "devices", "decommission", "press-1", "--yes")
    assert (code, asked) == (0, [("Decommission", {"device": "press-1"})]), err
    assert told in out
    assert "refused from now on" in out
    assert clean.ask("GET", "/devices") == []


def test_a_device_that_does_not_answer_is_deleted_all_the_same(clean: RunningHub) -> None:  # noqa: F811
    line = ok(clean, "devices", "enrol", "press-1")["line"]
    code, _, err = run(clean, "devices", "decommission", "press-1")
    assert (code, "--yes" in err) == (2, True)
    said = ok(clean, "devices", "decommission", "press-1", "--yes")
    assert (said["wipe"], said["deleted"]) == ("no answer", True)
    assert clean.ask("GET", "/devices") == []
    assert parse_token(line.split()[2]).connection.device_id == "press-1"
    code, _, err = run(clean, "devices", "decommission", "press-1", "--yes")
    assert (code, "no device" in err) == (2, True)


def test_tokens_hold_a_devices_own_credential_only(clean: RunningHub) -> None:  # noqa: F811
    line = ok(clean, "devices", "enrol", "press-1")["line"]
    connection: ConnectionString = parse_token(line.split()[2]).connection
    policies = json.loads((clean.state / "connection.json").read_text())["policies"]
    assert connection.policy is None
    assert not [key for key in policies.values() if key in line]
