"""Hundreds of checks by Microsoft's own clients, unmodified: here against our hub, or against a real one.

With EDGEFERRY_TEST_AZURE_HUB_CONNECTION_STRING (a policy with all rights) no local hub is started: the same
checks run there, in names with a prefix of their own that are gone afterwards.
"""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from tests.hubs import RunningHub, free_address
from tests.iot_edge import IOT_EDGE, documents, fill_template
from tests.needs import lack
from tests.sdk.programs import PROGRAMS, Program, Run, prefix

AZURE = os.environ.get("EDGEFERRY_TEST_AZURE_HUB_CONNECTION_STRING", "")
pytestmark = [pytest.mark.sdk, *([pytest.mark.azure] if AZURE else [])]
CASES = [
    pytest.param(program, check, id=f"{program.name}-{check}")
    for program in PROGRAMS
    for check in program.checks()
]


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory) -> Iterator[dict[str, Run]]:
    """The programs that this session needs, all at work at once, each with a hub of its own."""
    wanted: dict[str, list[str]] = {}
    for item in request.session.items:
        if item.path == request.path and hasattr(item, "callspec"):
            given = item.callspec.params
            wanted.setdefault(given["program"].name, []).append(given["check"])
    programs = [one for one in PROGRAMS if one.name in wanted and not one.lacks()]
    with ExitStack() as stack:
        prepared = [prepare(program, wanted[program.name], tmp_path_factory) for program in programs]
        for one in prepared:
            if one.hub is not None:
                stack.callback(one.hub.stop)
        with ThreadPoolExecutor() as pool:
            list(pool.map(meet, prepared))
        yield {one.program.name: stack.enter_context(one.started()) for one in prepared}


def prepare(program: Program, checks: list[str], tmp_path_factory) -> Run:
    """The program, and the hub that it will drive where that is ours; neither is started."""
    folder = tmp_path_factory.mktemp(program.name)
    place = {"service": AZURE, "prefix": prefix(), "checks": checks, "deployments": deployments()}
    hub = None if AZURE else RunningHub(folder, free_address(), program.https_port, 8883)
    return Run(program, place, folder / "client-log", hub)


def meet(run: Run) -> None:
    """The hub serves, where it is ours, and the program knows it."""
    if run.hub is None:
        return
    run.hub.start()
    owner = json.loads((run.hub.state / "connection.json").read_text())["connection_string"]
    run.place["service"] = owner.replace(":443;", ";")  # Node's client takes no port
    run.place["gateway"] = run.hub.address
    run.place["ca_file"] = str(run.hub.ca_file)


def deployments() -> list[dict[str, Any]]:
    """What edgeferry puts on a hub, and the reference accelerator's layer where that lies beside us."""
    ours = list(documents(IOT_EDGE).values())
    with suppress(pytest.skip.Exception):
        ours.append({"id": "nyc", "content": fill_template(), "priority": 10})
    return ours


@pytest.mark.parametrize(("program", "check"), CASES)
def test_check(runs, program, check):
    if program.name not in runs:
        lack(program.lacks())
    said = runs[program.name].result(check)
    if "skipped" in said:
        pytest.skip(said["skipped"])
    if "failed" in said:
        pytest.fail(said["failed"], pytrace=False)


def test_there_are_hundreds():
    assert len(CASES) == len({case.id for case in CASES}) >= 100
