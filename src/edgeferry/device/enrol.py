"""A machine becomes a device: what the token says is written down, and what the agent will need is tried."""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote

import httpx

from edgeferry.device.state import DEVICE_FILE, Enrolment, Store, load_enrolment
from edgeferry.device.wipe import KEPT, decommission, finish, is_decommissioned
from edgeferry.engine import Engine
from edgeferry.errors import EngineError, OutsideError, RefusedError, UsageError
from edgeferry.wire.enrolment import DECOMMISSIONED, DeviceFile, Token, render_device_file
from edgeferry.wire.sas import render_sas
from edgeferry.wire.topics import API_VERSION, resource

CA_FILE = "enrolled-ca.pem"
MOST_SKEW_S = 240.0
"""Hubs take signatures of clocks that are wrong by up to five minutes."""
_TIMEOUT_S = 10.0
_TOKEN_S = 600


@dataclass(frozen=True)
class Check:
    """One thing that the agent needs; `problem` and `fix` are empty when it is there."""

    what: str
    found: str = ""
    problem: str = ""
    fix: str = ""


def enrol(folder: Path, token: Token, engine: str, *, force: bool = False) -> Enrolment:
    """What the folder (mode 0700) now holds for the agent: this device. RefusedError where it holds another
    one, which `force` wipes first; UsageError where it is not a device's own, since one day it is erased."""
    _must_be_a_devices(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    _make_room(folder, token.connection.device_id or "", force)
    ca_file = folder / CA_FILE if token.hub_ca else None
    if ca_file:
        _write(ca_file, token.hub_ca)
    else:
        (folder / CA_FILE).unlink(missing_ok=True)
    here = replace(token.surroundings, engine=engine)
    file = DeviceFile(token.connection, str(ca_file.absolute()) if ca_file else "", here)
    _write(folder / DEVICE_FILE, json.dumps(render_device_file(file), indent=2))
    (folder / DECOMMISSIONED).unlink(missing_ok=True)
    return load_enrolment(folder)


def check(enrolment: Enrolment, now: Callable[[], float] = time.time) -> tuple[Check, ...]:
    """What was tried: the engine, the hub with the device's own credential, and the clock."""
    return (_check_engine(enrolment.engine), *_check_hub(enrolment, now))


def _must_be_a_devices(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if names & {DEVICE_FILE, DECOMMISSIONED}:
        return
    ours = KEPT | {CA_FILE, f"{CA_FILE}.new", f"{DEVICE_FILE}.new"}  # of an enrolment that was cut off
    if strange := sorted(names - ours):
        raise UsageError(
            f"{folder} holds other things, such as {strange[0]}; nothing was changed",
            fix="name a folder that is empty or not there yet: it is the device's alone",
        )


def _make_room(folder: Path, device: str, force: bool) -> None:
    if is_decommissioned(folder):
        if problems := finish(folder).problems:
            raise OutsideError(
                f"an earlier device is still here: {problems[0]}", fix="start the engine first"
            )
        return
    if not (folder / DEVICE_FILE).exists():
        return
    try:
        other = load_enrolment(folder)
    except UsageError:  # of no use to anybody
        return
    if other.device == device:
        return
    if not force:
        raise RefusedError(
            f"{folder} holds another device, {other.device}; nothing was changed",
            fix="choose another folder with --state, or wipe that device from this machine with --force",
        )
    store = Store(folder)
    store.open()
    try:
        if problems := decommission(other, store).problems:
            raise OutsideError(f"{other.device} is not wiped: {problems[0]}", fix="start the engine first")
    finally:
        store.close()


def _check_engine(url: str) -> Check:
    engine = Engine(url)
    try:
        info = engine.ping()
    except EngineError as error:
        return Check("engine", "", error.problem, error.fix)
    finally:
        engine.close()
    return Check("engine", f"{info.version} ({info.architecture}) at {url}")


def _check_hub(enrolment: Enrolment, now: Callable[[], float]) -> tuple[Check, ...]:
    own, device = enrolment.connection, enrolment.device
    ca_file = enrolment.hub_ca_file
    token = render_sas(resource(own.host_name, device), own.key, int(now()) + _TOKEN_S)
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        with httpx.Client(verify=context, trust_env=False, timeout=_TIMEOUT_S) as client:
            response = client.get(
                f"https://{own.host_name}/devices/{quote(device)}/modules/$edgeAgent",
                params={"api-version": API_VERSION},
                headers={"Authorization": token},
            )
    except (httpx.HTTPError, OSError) as error:
        fix = "is it reachable from here, and is this machine's clock right?"
        return (Check("hub", "", f"the hub at {own.host_name} does not answer: {error}", fix),)
    clock = _check_clock(response.headers.get("date", ""), now())
    if response.status_code == 200:
        return Check("hub", f"{own.host_name} knows {device}"), clock
    if response.status_code == 404:
        fix = f"edgeferry devices adopt {device} makes it one"
        return Check("hub", "", f"{device} is no edge device at {own.host_name}", fix), clock
    problem = f"the hub at {own.host_name} answered {response.status_code} to {device}'s credential"
    return Check("hub", "", problem, "is it enabled, and the token the newest one? adopt it again"), clock


def _check_clock(date: str, now: float) -> Check:
    try:
        ahead_s = now - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return Check("clock", "the hub does not say what time it is")
    if abs(ahead_s) <= MOST_SKEW_S:
        return Check("clock", "right")
    wrong = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the hub's"
    return Check("clock", "", f"this machine's clock is {wrong}", "set the clock, for example by NTP")


def _write(path: Path, text: str) -> None:
    """The file holds the text, whole whenever anybody looks; only its owner can ever read it."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
