"""What is done to a device, one function a fault. Each returns a note once the fault is over."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgeferry.domain.manifest import ModuleSpec
from edgeferry.wire import mqtt, topics
from tests.chaos.devices import MODULES, Device

HOUR_RATE = 240.0
REASON_S = 60.0
"""How long a device may take to say at the hub what is wrong."""
VERDICT_S = 75.0
"""A crash loop is called failed within a minute; what is reported comes a moment later."""


def when(device: Device, chance: random.Random, share: float = 1.2) -> float:
    """A moment of an update, in seconds from its begin."""
    return chance.uniform(0.0, device.pace_s * share)


# the agent dies


def kill_at_a_moment(device: Device, chance: random.Random, _: int) -> str:
    moment = when(device, chance)
    device.deploy()
    device.pause(moment)
    device.kill()
    device.start()
    return f"{moment:.3f} s"


def kill_at_step(kind: str) -> Callable[[Device, random.Random, int], str]:
    def act(device: Device, _: random.Random, index: int) -> str:
        steps = count_steps(device, kind)
        step, moment = index // 2 % steps + 1, ("before", "after")[index % 2]
        device.kill()
        device.deploy()
        device.start(("tests.chaos.mortal_agent", kind, str(step), moment))
        died = device.await_end(lambda: device.is_settled(), 60.0)
        device.kill()
        device.start()
        return f"{moment} {kind} step {step} of {steps}" + ("" if died else ", which was never reached")

    return act


def count_steps(device: Device, kind: str) -> int:
    """How many steps of that kind an agent does from its start until an update is settled."""
    known = device.grounds.steps
    with device.grounds.counting:
        if kind in known:
            return known[kind]
        answer = device.folder.parent / "steps"
        device.stop()
        device.deploy()
        device.start(("tests.chaos.mortal_agent", kind, "0", str(answer)))
        device.wait_for(device.is_settled, 60.0, "an update whose steps are counted")
        device.pause(3.0)
        device.stop()
        device.note_settled()
        known[kind] = int(answer.read_text())
        return known[kind]


def kill_twice(device: Device, chance: random.Random, _: int) -> str:
    moments = (when(device, chance), when(device, chance))
    device.deploy()
    for moment in moments:
        device.pause(moment)
        device.kill()
        device.start()
    return ", ".join(f"{moment:.3f} s" for moment in moments)


def start_twice(device: Device, chance: random.Random, _: int) -> str:
    device.deploy()
    device.pause(when(device, chance))
    prefix = device.machine.prefix if device.machine else []
    program = [*prefix, sys.executable, "-m", "edgeferry.device", "--state", str(device.folder)]
    others = [subprocess.Popen(program, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for other in others:
        try:
            _, said = other.communicate(timeout=60)
        finally:
            other.kill()
        assert other.returncode == 3, f"a second agent ended with {other.returncode}: {said}"
        assert "already runs" in said, said
    return "three more"


# its files


def damage_a_file(device: Device, chance: random.Random, _: int) -> str:
    older = device.folder.parent / "older"
    shutil.rmtree(older, ignore_errors=True)
    older.mkdir()
    for path in _own_files(device):
        shutil.copy2(path, older / path.name)
    device.deploy()
    device.pause(when(device, chance))
    device.kill()
    name, how = damage(device.folder, older, chance)
    device.start()
    return f"{name} {how}"


def _own_files(device: Device) -> list[Path]:
    """The files the agent keeps for itself."""
    mine = ("device.json", "agent.toml", "lock")
    return sorted(path for path in device.folder.iterdir() if path.is_file() and path.name not in mine)


def damage(folder: Path, older: Path, chance: random.Random) -> tuple[str, str]:
    """(file, what was done to it): one of the agent's own files is no longer what it was."""
    files = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.name not in ("device.json", "agent.toml", "lock")
    )
    previous = [path for path in files if path.name.endswith(".previous")]
    path = chance.choice(files)
    ways = ["torn", "empty", "gone", "stale", "garbage", "flipped"] + (["no previous"] if previous else [])
    how = chance.choice(ways)
    match how:
        case "torn":
            os.truncate(path, chance.randrange(path.stat().st_size + 1))
        case "empty":
            os.truncate(path, 0)
        case "gone":
            path.unlink()
        case "stale":
            if (older / path.name).exists():
                shutil.copy2(older / path.name, path)
        case "garbage":
            path.write_bytes(chance.randbytes(path.stat().st_size))
        case "flipped":
            body = bytearray(path.read_bytes())
            if body:
                body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
                path.write_bytes(bytes(body))
        case "no previous":
            for one in previous:
                one.unlink()
            os.truncate(path, chance.randrange(path.stat().st_size + 1)) if path.exists() else None
    return path.name, how


def damage_an_owners_file(device: Device, chance: random.Random, index: int) -> str:
    """The agent says so or goes on; modules run as before; it is right once the file is."""
    name = ("device.json", "agent.toml")[index % 2]
    path = device.folder / name
    whole = path.read_bytes()
    before = {one.id for one in device.containers()}
    device.kill()
    path.write_bytes(whole[: chance.randrange(len(whole))])
    try:
        device.start()
        ended = device.await_end(lambda: False, 12.0)
        assert {one.id for one in device.containers()} == before, "its modules were touched"
    finally:
        device.kill()
        path.write_bytes(whole)
    device.deploy()
    device.start()
    return f"{name} torn, the agent {'ended' if ended else 'went on'}"


# its disks


def fill_disk_at_pull(device: Device, chance: random.Random, _: int) -> str:
    assert device.machine is not None
    old = device.wanted.number
    filler = device.machine.data / "filler"
    pictures = {module: device.publish(chance.randbytes(8_000_000)) for module in MODULES}
    _fill(filler, leave=4_000_000)
    try:
        device.deploy(modules=pictures)
        reason = device.wait_for(lambda: _reason(device), REASON_S, "a reason is reported")
        assert device.runs(old), "the old layer does not run while the disk is full"
    finally:
        filler.unlink()
    return reason


def fill_disk_at_state_write(device: Device, chance: random.Random, _: int) -> str:
    filler = device.folder / "filler"
    moment = when(device, chance, 0.5) if chance.random() < 0.5 else 0.0
    if moment:
        device.deploy()
        device.pause(moment)
    _fill(filler, leave=chance.choice((0, 100, 4096)))
    try:
        if not moment:
            device.deploy()
        device.pause(8.0)
        killed = chance.random() < 0.5
        if killed:
            device.kill()
            device.start()
            device.pause(6.0)
        _must_serve(device)
        victim = next(one for one in device.containers() if one.module == "a" and one.running)
        device.client.kill(victim.id)
        device.pause(1.0)
        _must_serve(device)
    finally:
        filler.unlink()
    return "killed meanwhile" if killed else "not killed"


def _must_serve(device: Device) -> None:
    for module in MODULES:
        device.wait_for(lambda name=module: device.is_up(name), 30.0, f"{module} runs, the disk being full")


def _fill(path: Path, leave: int) -> None:
    """The disk under `path` has about `leave` bytes left."""
    space = os.statvfs(path.parent)
    size = max(0, space.f_bavail * space.f_frsize - leave)
    with path.open("wb") as file, contextlib.suppress(OSError):
        for _ in range(size // 65536):
            file.write(b"\0" * 65536)
        file.write(b"\0" * (size % 65536))
        file.flush()


# its registry


def registry_status(device: Device, _: random.Random, index: int) -> str:
    status = (401, 403, 404, 429, 500, 503)[index % 6]
    device.registry.status = status
    return f"{status}: {_fail_to_pull(device)}"


def registry_body(device: Device, _: random.Random, index: int) -> str:
    fault = ("half", "wrong", "manifest")[index % 3]
    device.registry.blob_fault = fault
    return f"{fault}: {_fail_to_pull(device)}"


def registry_slow(device: Device, _: random.Random, __: int) -> str:
    """It is so slow that the pull is given up, if the agent has a deadline; then it is right again."""
    device.registry.bytes_per_s = 20
    device.deploy()
    device.pause(30.0)
    return "20 bytes/s for 30 s"


def _fail_to_pull(device: Device) -> str:
    """Why the device says it does not pull; its old layer runs, and it does not ask without a pause."""
    old = device.wanted.number
    device.registry.requests.clear()
    began = time.monotonic()
    device.deploy()
    reason = device.wait_for(lambda: _reason(device), REASON_S, "a reason is reported")
    device.pause(max(0.0, 8.0 - (time.monotonic() - began)))
    asked, seconds = len(device.registry.requests), time.monotonic() - began
    assert device.runs(old), "the old layer does not run while the registry fails"
    assert asked < 40 + 4 * seconds, f"{asked} requests in {seconds:.0f} s: no pause between them"
    device.registry.heal()
    return reason


def _reason(device: Device) -> str:
    """What the device says is wrong with the newest version; "" when nothing yet."""
    said = device.reported()
    status = said.get("lastDesiredStatus") or {}
    if said.get("lastDesiredVersion") != device.version:
        return ""
    assert status.get("code") != 200, "reported as done, which it is not"
    return str(status.get("description") or "")[:300]


# its engine


def cut_power_in_pull(device: Device, chance: random.Random, _: int) -> str:
    assert device.machine is not None
    device.registry.bytes_per_s = 400_000
    moment = chance.uniform(1.0, 6.0)
    device.deploy(modules={module: device.publish(chance.randbytes(1_000_000)) for module in MODULES})
    device.pause(moment)
    device.machine.cut_power()
    device.pause(chance.uniform(0.5, 3.0))
    device.machine.start()
    device.registry.heal()
    return f"after {moment:.1f} s"


def engine_down(device: Device, chance: random.Random, _: int) -> str:
    assert device.machine is not None
    device.deploy()
    device.pause(when(device, chance))
    device.machine.cut_power()
    device.pause(20.0)
    device.machine.start()
    return "20 s"


def engine_hung(device: Device, chance: random.Random, _: int) -> str:
    assert device.machine is not None
    device.deploy()
    device.pause(when(device, chance))
    device.machine.hang()
    device.pause(20.0)
    device.machine.resume()
    return "20 s"


# its line and its hub


def cut_link(device: Device, chance: random.Random, _: int) -> str:
    assert device.machine is not None
    seconds = chance.uniform(3.0, 30.0)
    device.deploy()
    device.pause(when(device, chance))
    device.machine.cut_line()
    device.pause(seconds)
    device.machine.join_line()
    return f"{seconds:.0f} s"


def flap_link(device: Device, chance: random.Random, _: int) -> str:
    assert device.machine is not None
    device.deploy()
    for _ in range(5):
        device.machine.cut_line()
        device.pause(chance.uniform(0.5, 3.0))
        device.machine.join_line()
        device.pause(chance.uniform(0.5, 3.0))
    return "5 times"


def lose_and_delay(device: Device, chance: random.Random, _: int) -> str:
    """A satellite's line: 300 ms each way to the hub, 5 % of what comes is lost."""
    assert device.machine is not None
    device.relay.delay_s = 0.3
    device.machine.lose(0.05)
    device.relay.drop()
    device.deploy()
    device.settle(150.0)
    return "600 ms, 5 %"


def cut_one_way(device: Device, chance: random.Random, _: int) -> str:
    """What the device sends arrives, nothing comes back."""
    assert device.machine is not None
    seconds = chance.uniform(5.0, 25.0)
    device.deploy()
    device.pause(when(device, chance))
    device.machine.lose(1.0)
    device.pause(seconds)
    return f"{seconds:.0f} s"


def flap_hub(device: Device, chance: random.Random, _: int) -> str:
    device.relay.attempts.clear()
    began = time.monotonic()
    for _ in range(5):
        device.relay.refusing = True
        device.relay.drop()
        device.pause(chance.uniform(0.2, 1.5))
        device.relay.refusing = False
        device.pause(chance.uniform(0.2, 2.0))
    device.deploy()
    tried, seconds = len(device.relay.attempts), time.monotonic() - began
    assert tried <= 10 + 2 * seconds, f"{tried} connections in {seconds:.0f} s"
    return f"{tried} connections in {seconds:.0f} s"


def hub_gone_for_an_hour(device: Device, chance: random.Random, _: int) -> str:
    """By the agent's own clock, which runs faster: modules run, it asks seldom, and is back soon."""
    device.stop()
    before = {one.id for one in device.containers()}
    device.start(("tests.chaos.fast_agent", str(HOUR_RATE)))
    device.wait_for(lambda: device.connected(), 60.0, "the hurried agent connects")
    device.relay.refusing = True
    device.relay.drop()
    device.relay.attempts.clear()
    began = time.monotonic()
    device.deploy()
    device.pause(3600 / HOUR_RATE)
    tried = len(device.relay.attempts)
    assert {one.id for one in device.containers() if one.running} == before, "its modules were touched"
    assert 30 <= tried <= 1200, f"{tried} connections in an hour"
    device.relay.refusing = False
    back = len(device.relay.attempts)
    device.wait_for(lambda: len(device.relay.attempts) > back, 30.0, "the agent connects again")
    waited_s = (device.relay.attempts[back] - began) * HOUR_RATE - 3600
    device.settle(60.0)
    device.stop()
    device.start()
    return f"{tried} connections in the hour, back {waited_s:.0f} s after it"


# its desired properties


def mangle_desired(device: Device, chance: random.Random, index: int) -> str:
    how = ("twice", "reordered", "skipped", "old ones again")[index % 4]
    held: list[mqtt.Publish] = []
    seen: list[mqtt.Publish] = []

    def mangle(said: mqtt.Publish) -> list[mqtt.Publish]:
        if not said.topic.startswith(topics.DESIRED_PATCHES[:-1]):
            return [said]
        seen.append(said)
        match how:
            case "twice":
                return [said, replace(said, packet_id=said.packet_id, duplicate=True), said]
            case "reordered":
                if held:
                    return [said, held.pop()]
                held.append(said)
                return []
            case "skipped":
                return [] if len(seen) % 2 else [said]
            case _:
                return [*seen[::-1], said]

    device.relay.mangle = mangle
    for _ in range(4):
        device.deploy()
        device.pause(chance.uniform(0.0, 0.8))
    device.pause(1.0)
    device.relay.mangle = None
    if held or how == "skipped":
        device.deploy()
    return how


def change_midway(device: Device, chance: random.Random, _: int) -> str:
    times = chance.choice((1, 1, 2, 3))
    for _ in range(times):
        device.deploy()
        device.pause(when(device, chance, 0.9))
    if chance.random() < 0.3:
        device.kill()
        device.start()
    device.deploy()
    return f"{times} before"


def take_back_midway(device: Device, chance: random.Random, _: int) -> str:
    """The new layer goes at the hub before it is settled: the old one is wanted again."""
    moment = when(device, chance)
    device.deploy()
    device.pause(moment)
    device.take_back()
    return f"after {moment:.2f} s"


# its modules


def _health(test: str) -> dict:
    second = 1_000_000_000
    return {
        "Test": ["CMD", "/bin/busybox", "sh", "-c", test],
        "Interval": second,
        "Timeout": second,
        "Retries": 2,
        "StartPeriod": second,
    }


BAD: dict[str, dict] = {
    "exits 1": {"Cmd": ["exit 1"]},
    "exits 0 at once": {"Cmd": ["exit 0"]},
    "flaps": {"Cmd": ["sleep 2; exit 3"]},
    "never healthy": {"Healthcheck": _health("exit 1")},
    "health check hangs": {"Healthcheck": _health("sleep 100")},
    "cannot start": {"Entrypoint": ["/nothing"], "HostConfig": {"Init": False}},
    "killed by itself": {"Cmd": ["kill -9 $$"]},
}


def spoil(module: str, how: str) -> Callable[[str, ModuleSpec], ModuleSpec]:
    def change(name: str, spec: ModuleSpec) -> ModuleSpec:
        if name != module:
            return spec
        return replace(spec, create_options={**spec.create_options, **BAD[how]})

    return change


def bad_module(device: Device, chance: random.Random, index: int) -> str:
    """The device goes back to the old layer by itself and says so; then a sound one comes."""
    how = list(BAD)[index % len(BAD)]
    module = chance.choice(MODULES)
    with patient(device):
        seconds = fail(device, module, how)
        device.deploy()
        device.settle(120.0)
    return f"{module} {how}: back after {seconds:.0f} s"


def other_layer_beside_bad(device: Device, chance: random.Random, index: int) -> str:
    """While one layer is quarantined, another comes, runs and goes."""
    how = chance.choice(list(BAD))
    with patient(device):
        fail(device, chance.choice(MODULES), how)
        other = device.publish(f"{device.name} other {index} {device.number}".encode())
        device.add_other("c", other)
        device.wait_for(lambda: device.is_up("c"), VERDICT_S, "the other layer runs beside a quarantined one")
        device.wait_for(lambda: device.says(500), REASON_S, "the quarantined layer is still reported")
        assert device.runs(device.wanted.number), "the predecessor does not run beside the other layer"
        device.remove_other()
        device.deploy()
        device.settle(120.0)
    return how


def fail(device: Device, module: str, how: str) -> float:
    """A bad layer came and was rolled back; how long that took in seconds."""
    old = device.wanted.number
    began = time.monotonic()
    device.deploy(spoil(module, how))
    device.want(old, 500)
    device.wait_for(
        device.is_settled, VERDICT_S, f"{module} {how}: the device is back at its old layer and says so"
    )
    return time.monotonic() - began


@contextlib.contextmanager
def patient(device: Device):
    """Meanwhile a layer is proven only after a longer time; the one that runs is proven before."""
    device.wait_for(device.is_proven, 60.0, "the layer that runs is proven")
    device.stop()
    device.rule(window=12.0)
    device.start()
    try:
        yield
    finally:
        device.stop()
        device.rule()
        device.start()


def crash_while_pulling(device: Device, chance: random.Random, _: int) -> str:
    """A module of the layer that runs crashes while the next layer is pulled for long."""
    device.registry.bytes_per_s = 100_000
    device.deploy(modules={module: device.publish(chance.randbytes(1_500_000)) for module in MODULES})
    device.pause(3.0)
    victim = next(one for one in device.containers() if one.module == "a" and one.running)
    device.client.kill(victim.id)
    began = time.monotonic()
    device.wait_for(lambda: device.is_up("a"), 20.0, "the module runs again while another pulls")
    seconds = time.monotonic() - began
    device.registry.heal()
    return f"back after {seconds:.1f} s"


# its clock


def find_faketime() -> str:
    """The library that gives a process another clock; "" without it."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else ""


def clock_off(device: Device, chance: random.Random, index: int) -> str:
    """Ten years ahead or behind, from the start or all at once; modules are not touched, and all is well once
    the clock is right."""
    off = ("+3650d", "-3650d")[index % 2]
    jumps = index % 4 >= 2
    clock = device.folder.parent / "clock"
    clock.write_text("+0\n" if jumps else f"{off}\n")
    device.kill()
    device.start(
        env={
            "LD_PRELOAD": find_faketime(),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
    )
    if jumps:
        device.pause(3.0)
        clock.write_text(f"{off}\n")
        device.relay.drop()
    before = {one.id for one in device.containers() if one.running}
    device.pause(8.0)
    assert {one.id for one in device.containers() if one.running} == before, "its modules were touched"
    assert device.process is not None
    assert device.process.poll() is None, "the agent ended"
    device.deploy()
    device.pause(4.0)
    clock.write_text("+0\n")
    device.settle(100.0)
    device.kill()
    device.start()
    return f"{off} {'amid' if jumps else 'from the start'}"
