"""A name that is nearly right gets the right one; `edgeferry` alone says what to type next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeferry.sandbox.process import Process
from tests.cli.shell import Shell
from tests.cli.test_ship import WRITES_NOTHING, add_model
from tests.repositories import make_repository

NOBODY = "HostName=127.0.0.1:9;SharedAccessKeyName=iothubowner;SharedAccessKey=AAAA"
TRAINED = ".failed/log.txt"
"""What a training that failed names."""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell in a project with an environment, beside a hub with one device."""
    home = tmp_path_factory.mktemp("near")
    project = home / "shop"
    (project / "environments").mkdir(parents=True)
    (project / "edgeferry.toml").write_text("")
    (project / "environments/prod.toml").write_text('[vault]\nname = "v"\n')
    model = project / "models/pump"
    model.mkdir(parents=True)
    (model / "model.yaml").write_text("prediction_column: power\n")
    (model / "pipeline.yml").write_text("type: pipeline\n")
    shell = Shell(home / "state", project)
    try:
        shell.start()
        shell.done("devices", "create", "device-1")
        yield shell
    finally:
        for record in home.rglob("run/hub.json"):
            Process(record.parents[1], "hub").stop()


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        pytest.param("shp pump", "Did you mean 'ship'?", id="a command"),
        pytest.param("devices shw device-1", "Did you mean 'show'?", id="a command of a group"),
        pytest.param("ship pmp", "did you mean `pump`?", id="a model"),
        pytest.param("smoke run pmp", "did you mean `pump`?", id="a model asked on devices"),
        pytest.param("devices show devce-1", "did you mean `device-1`?", id="a device"),
        pytest.param("logs pump --device devce-1", "did you mean `device-1`?", id="a device with logs"),
        pytest.param("captures pump --device devce-1", "did you mean `device-1`?", id="a device's captures"),
        pytest.param("config show --env prd", "did you mean prod?", id="an environment"),
        pytest.param("init --modle pump", "Possible options: --from-model, --model", id="an option"),
    ],
)
def test_a_name_that_is_nearly_right_gets_the_right_one(words: str, meant: str, shell: Shell) -> None:
    done = shell.run(*words.split())
    assert done.returncode == 2
    assert meant in done.stderr


def test_the_identity_that_holds_the_ledgers_anchor_is_offered_as_no_device(shell: Shell) -> None:
    shell.done("devices", "create", "edgeferry-ledger", "--no-edge")
    for name in ("press", "edgeferry-ledge"):
        done = shell.run("devices", "show", name)
        assert (done.returncode, "known here: device-1\n" in done.stderr) == (2, True), done.stderr


def test_a_setting_that_is_nearly_right_gets_the_right_one(shell: Shell) -> None:
    done = shell.run("config", "show", EDGEFERRY_ROLLOUT__WAVE="1")
    assert (done.returncode, "did you mean rollout.waves?" in done.stderr) == (2, True)


def test_ship_says_before_it_trains_that_nobody_would_get_the_model(shell: Shell, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "project")
    repository.write("edgeferry.toml", "")
    add_model(repository, "fan", WRITES_NOTHING)
    asked = {
        "where": tmp_path / "project",
        "EDGEFERRY_REGISTRY__HOST": "127.0.0.1:9",
        "EDGEFERRY_HUB__CA_FILE": shell.done("hub", "ca-file").strip(),
        "EDGEFERRY_HUB__CONNECTION_STRING": shell.done("hub", "connection-string").strip(),
    }
    warning = "warning: no device matches tags.models.fan = true, so nobody would get it; "
    told = shell.run("ship", "fan", **asked).stderr
    assert f"{warning}edgeferry devices tag device-1 models.fan=true" in told.partition(TRAINED)[0]
    assert TRAINED in told
    away = shell.run("ship", "fan", **{**asked, "EDGEFERRY_HUB__CONNECTION_STRING": NOBODY}).stderr
    assert TRAINED in away, "a hub that does not answer is in nobody's way yet"


def test_edgeferry_alone_says_what_to_type_next(shell: Shell, tmp_path: Path) -> None:
    assert "edgeferry init shop" in shell.done(where=tmp_path)
    told = shell.done()
    assert "edgeferry validate pump" in told  # its pipeline has no steps
    assert json.loads(shell.done("devices", "list", "--output", "json"))
