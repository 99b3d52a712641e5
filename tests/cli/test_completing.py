"""What the Tab key gives: names of models and devices, or nothing, but never a word of what went wrong."""

import json
import socket
import time
from pathlib import Path

import pytest

from edgeferry.cli.completing import PATIENCE_S
from tests.device.conftest import hub  # noqa: F401
from tests.typed import clean_environment, typed

TAXI = Path(__file__).parents[2] / "examples" / "taxi"


def press_tab(line, where=TAXI, **more):
    """(names, stderr) for a line that ends where the cursor is."""
    words = line.split(" ")
    asked = {"_EDGEFERRY_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = typed(environment=clean_environment(**asked, **more), where=where)
    return done.stdout.split(), done.stderr


@pytest.mark.parametrize(
    ("line", "names"),
    [
        pytest.param("edgeferry captures n", ["nyc_taxi"], id="a model that begins so"),
        pytest.param("edgeferry smoke run ", ["london_taxi", "nyc_taxi"], id="any model"),
        pytest.param("edgeferry rollout ny", ["nyc_taxi"], id="a release, by its model"),
        pytest.param("edgeferry logs c", ["companion"], id="a module"),
    ],
)
def test_models_of_the_project_are_completed(line, names):
    assert press_tab(line) == (names, "")


def test_a_project_that_is_named_on_the_line_is_the_one_that_counts(tmp_path):
    assert press_tab(f"edgeferry --project {TAXI} captures n", tmp_path) == (["nyc_taxi"], "")


def test_devices_are_completed_from_the_hub(hub):  # noqa: F811
    names = sorted(f"press-{number}" for number in range(3))
    for name in names:
        hub.create_device(name)
    said = json.loads((hub.state / "connection.json").read_text())["connection_string"]
    reached = {"EDGEFERRY_HUB__CONNECTION_STRING": said, "EDGEFERRY_HUB__CA_FILE": str(hub.ca_file)}
    assert press_tab("edgeferry captures nyc_taxi --device press-", **reached) == (names, "")


def test_where_nothing_can_be_found_nothing_is_said(tmp_path):
    (tmp_path / "edgeferry.toml").write_text("this is no TOML")
    assert press_tab("edgeferry captures ", tmp_path) == ([], "")
    nobody = "HostName=127.0.0.1:1;SharedAccessKeyName=x;SharedAccessKey=eA=="
    found = press_tab("edgeferry smoke run nyc_taxi -d ", EDGEFERRY_HUB__CONNECTION_STRING=nobody)
    assert found == ([], "")


def test_a_hub_that_is_silent_is_not_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        secret = f"HostName=127.0.0.1:{silent.getsockname()[1]};SharedAccessKeyName=x;SharedAccessKey=eA=="
        began = time.monotonic()
        found = press_tab("edgeferry smoke run nyc_taxi -d ", EDGEFERRY_HUB__CONNECTION_STRING=secret)
        took = time.monotonic() - began
    assert found == ([], "")
    assert took < PATIENCE_S + 15
