"""`edgeferry doctor` and a real sandbox: each seeded fault is found, its fix mends it, then it is silent."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import typer.testing

from edgeferry.cli.main import app, lift_root_options
from edgeferry.errors import EdgeferryError
from edgeferry.sandbox.process import Process
from edgeferry.settings import load_settings
from edgeferry.wiring import open_hub
from tests.engines import find_engine
from tests.needs import lack

ROOT = Path(__file__).parents[2]
IGNORED = ".edgeferry/\nsmall/\nelsewhere/\nnotes/\n"
SMALL = "small"
"""Where file systems of another kind are mounted."""
PROJECT = """[rollout]
waves = "100 %"
"""


@dataclass
class World:
    """A project with a sandbox of its own, and the shell of who works there."""

    root: Path
    bin: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.root / ".edgeferry"

    def doctor(self, *areas: str) -> dict[str, dict[str, str]]:
        """What is a blocker or a warning, by check."""
        arguments = ["doctor", "-o", "json", *(word for area in areas for word in ("--only", area))]
        document = json.loads(self.run(*arguments))
        assert document["checks"]
        return {one["check"]: one for one in document["checks"] if one["grade"] in ("blocker", "warning")}

    def run(self, *arguments: str) -> str:
        done = typer.testing.CliRunner().invoke(
            app, lift_root_options(["--project", str(self.root), *arguments]), env={**self.env}
        )
        if isinstance(done.exception, EdgeferryError):
            raise done.exception
        return done.stdout

    def shell(self, command: str) -> None:
        """What a fix says, pasted."""
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-euc", command],
            cwd=self.root,
            env={**os.environ, "PATH": path, **self.env},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    find_engine()
    folder = tmp_path_factory.mktemp("doctor")
    world = World(folder / "project", folder / "bin")
    world.write("edgeferry.toml", PROJECT)
    for part in ("models/nyc_taxi", "shared"):
        shutil.copytree(ROOT / "examples/taxi" / part, world.root / part)
    world.bin.mkdir()
    (world.bin / "edgeferry").write_text(f'#!/bin/sh\nexec {sys.executable} -m edgeferry "$@"\n')
    (world.bin / "edgeferry").chmod(0o755)
    world.write(".gitignore", IGNORED)
    world.shell("git init --quiet")
    world.shell("edgeferry up --devices 1; edgeferry devices tag device-1 models.nyc_taxi=true")
    yield world
    world.shell("edgeferry down --wipe")


@pytest.fixture
def world(sandbox: World) -> Iterator[World]:
    sandbox.env.clear()
    yield sandbox
    sandbox.env.clear()
    sandbox.write("edgeferry.toml", PROJECT)
    sandbox.write(".gitignore", IGNORED)
    if os.path.ismount(sandbox.root / SMALL):
        subprocess.run(["umount", str(sandbox.root / SMALL)], check=True)


Mend = Callable[[str], None]
"""Does what the fix says, which it is given."""


def edit(path: str, old: str, new: str) -> Callable[[World], Mend]:
    """One text of a file is another; by the fix it is edited back."""

    def seed(world: World) -> Mend:
        before = (world.root / path).read_text()
        assert old in before
        (world.root / path).write_text(before.replace(old, new, 1))
        return lambda fix: world.write(path, before)

    return seed


def setting(**env: str) -> Callable[[World], Mend]:
    """Environment variables that nobody should have set; by the fix they are unset."""

    def seed(world: World) -> Mend:
        world.env.update({f"EDGEFERRY_{name}": text for name, text in env.items()})
        return lambda fix: world.env.clear()

    return seed


def typed(command: str) -> Callable[[World], Mend]:
    """Somebody typed that; the fix is typed too."""

    def seed(world: World) -> Mend:
        world.shell(command)
        return lambda fix: world.shell(fix.partition(";")[0])

    return seed


def another_environment(world: World) -> Mend:
    world.env["EDGEFERRY_ENV"] = "prod"
    return lambda fix: world.write("environments/prod.toml", "")


def approver_without_key(world: World) -> Mend:
    world.write("edgeferry.toml", PROJECT + '[gate]\napprovers = "ann"\n')

    def mend(fix: str) -> None:
        theirs = world.root / "ann"
        world.shell(
            f"mkdir -p {theirs}/keys {world.state}/trust; openssl ecparam -name prime256v1 -genkey -noout | "
            f"openssl ec -pubout -out {theirs}/keys/ann.pub.pem"
        )
        words = fix.split(" of their state folder to ")
        world.shell(f"cp {theirs}/{words[0].removeprefix('copy ')} {words[1]}")

    return mend


def folder_without_keys(world: World) -> Mend:
    (world.root / "keys").mkdir()
    world.write("edgeferry.toml", PROJECT + '[ledger]\ntrusted_keys = "keys"\n')

    def mend(fix: str) -> None:
        source, target = fix.removeprefix("copy ").split(" of the state folders of those who approve to ")
        assert (source, Path(target).parent.name) == ("keys/NAME.pub.pem", "keys")
        world.shell(
            "openssl ecparam -name prime256v1 -genkey -noout | openssl ec -pubout -out "
            + target.replace("NAME", "ann")
        )

    return mend


def state_that_is_a_file(world: World) -> Mend:
    (world.root / "notes").write_text("a file")
    world.env["EDGEFERRY_STATE"] = "notes"
    return lambda fix: world.shell("mv notes notes.old")  # "move what is there out of the way"


def loose_key(world: World) -> Mend:
    world.shell("mkdir -p .edgeferry/keys; touch .edgeferry/keys/bob.pem; chmod 644 .edgeferry/keys/bob.pem")
    return lambda fix: world.shell(fix)


def committed_state(world: World) -> Mend:
    world.write(".gitignore", "")
    return lambda fix: world.shell(fix)


def without(program: str) -> Callable[[World], Mend]:
    """A machine that lacks the program; installing it brings it back."""

    def seed(world: World) -> Mend:
        if program == "mmdebstrap" and shutil.which(program) is None:
            lack("mmdebstrap")
        path = world.root.parent / "path"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        for folder in ("/usr/bin", "/bin", "/usr/sbin"):
            for name in ("git", "mmdebstrap", "docker-registry"):
                if name != program and Path(folder, name).exists() and not (path / name).exists():
                    (path / name).symlink_to(Path(folder, name))
        world.env["PATH"] = str(path)
        return lambda fix: (path / program).symlink_to(str(shutil.which(program, path="/usr/bin:/bin")))

    return seed


def mounted(options: str) -> Callable[[World], Mend]:
    """The state folder is on a file system of that kind."""

    def seed(world: World) -> Mend:
        if os.geteuid() != 0:
            lack("mounting needs root")
        (world.root / SMALL).mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(world.root / SMALL)], check=False
        )
        if done.returncode:
            lack("this machine does not let us mount")
        world.env["EDGEFERRY_STATE"] = f"{SMALL}/state"

        def mend(fix: str) -> None:
            world.env["EDGEFERRY_STATE"] = "elsewhere/state"  # "set EDGEFERRY_STATE to …"
            subprocess.run(["umount", str(world.root / SMALL)], check=True)

        return mend

    return seed


def few_files(world: World) -> Mend:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))

    def mend(fix: str) -> None:
        assert fix == "ulimit -n 1024"  # a shell's word, for itself and its children
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(fix.split()[-1]), hard))

    return mend


def stopped(process: str) -> Callable[[World], Mend]:
    def seed(world: World) -> Mend:
        assert Process(world.state, process).stop()

        def mend(fix: str) -> None:
            assert "edgeferry up" in fix
            world.shell("edgeferry up --devices 1")

        return mend

    return seed


def full_hub(world: World) -> Mend:
    settings = load_settings(world.root)
    modules = {"$edgeAgent": {"properties.desired.x": 1}}
    with open_hub(settings, print) as hub:
        for number in range(100):
            hub.create_configuration(
                {
                    "id": f"old-{number}",
                    "priority": 1,
                    "targetCondition": "",
                    "content": {"modulesContent": modules},
                }
            )

    def mend(fix: str) -> None:
        listed = json.loads(world.run("deployments", "list", "-o", "json"))
        assert len(listed) >= 100
        for number in range(15):
            world.run("deployments", "delete", f"old-{number}", "--yes")

    return mend


def pull_only_login(world: World) -> Mend:
    known = json.loads((world.state / "sandbox.json").read_text())
    world.env |= {
        "EDGEFERRY_REGISTRY__USERNAME": "devices",
        "EDGEFERRY_REGISTRY__PASSWORD": known["puller_password"],
    }
    return lambda fix: world.env.clear()


def other_key(world: World) -> Mend:
    known = json.loads((world.state / "sandbox.json").read_text())["settings"]["hub.connection_string"]
    world.env["EDGEFERRY_HUB__CONNECTION_STRING"] = (
        known.partition("SharedAccessKey=")[0] + "SharedAccessKey=AAAA"
    )
    return lambda fix: world.env.clear()


def moved_ledger(world: World) -> Mend:
    """`edgeferry up` makes one where there is none, as the fix says."""
    shutil.rmtree(world.state / "ledger.git")
    return lambda fix: world.shell("edgeferry up --devices 1")


def silent_tracking(world: World) -> Mend:
    world.env |= {"EDGEFERRY_TRACKING__URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    return lambda fix: world.env.clear()


def nobody_has_it(world: World) -> Mend:
    world.run("devices", "tag", "device-1", "models.nyc_taxi=null")
    return lambda fix: world.shell(fix)


def silent_device(world: World) -> Mend:
    world.run("devices", "create", "press-9", "--tag", "edgeferry=true")
    return lambda fix: world.run("devices", "delete", "press-9", "--yes")


SEEDS = [
    pytest.param("settings", ["machine"], edit("edgeferry.toml", "waves", "wafes"), id="a setting misspelt"),
    pytest.param(
        "settings",
        ["machine"],
        edit("edgeferry.toml", "[rollout]", '[train]\nplace = "azure"\n[rollout]'),
        id="a value that is no choice",
    ),
    pytest.param(
        "settings",
        ["machine"],
        edit("edgeferry.toml", "[rollout]", '[registry]\npassword = "hunter2"\n[rollout]'),
        id="a secret in a file of the project",
    ),
    pytest.param("settings", ["machine"], another_environment, id="an environment without a file"),
    pytest.param("settings", ["machine"], setting(HUB__HOTS="x"), id="an unknown environment variable"),
    pytest.param("rollout", ["project"], edit("edgeferry.toml", "100 %", "ten %"), id="waves that are none"),
    pytest.param("gate", ["project"], setting(GATE__METRICS="good"), id="metric rules that are none"),
    pytest.param(
        "gate",
        ["project"],
        setting(GATE__APPROVERS="me", GATE__APPROVALS="2"),
        id="more approvals than people",
    ),
    pytest.param("gate.keys", ["project"], approver_without_key, id="an approver without a key"),
    pytest.param("gate.keys", ["project"], folder_without_keys, id="a folder of keys without a key"),
    pytest.param("rollout", ["project"], edit("edgeferry.toml", "100 %", "many"), id="a wave of a bare name"),
    pytest.param(
        "models",
        ["project"],
        edit("models/nyc_taxi/model.yaml", "latency_ms", "latency"),
        id="an unknown key",
    ),
    pytest.param(
        "models",
        ["project"],
        edit("models/nyc_taxi/pipeline.yml", "train.yml", "trane.yml"),
        id="a component that is not there",
    ),
    pytest.param("state", ["machine"], state_that_is_a_file, id="a state folder that is a file"),
    pytest.param("state.keys", ["machine"], loose_key, id="a key that others may read"),
    pytest.param("state.git", ["machine"], committed_state, id="a state folder that git would take"),
    pytest.param("program.git", ["machine"], without("git"), id="no git"),
    pytest.param("program.mmdebstrap", ["machine"], without("mmdebstrap"), id="no mmdebstrap"),
    pytest.param("disk", ["machine"], mounted("size=64m"), id="a full disk"),
    pytest.param("state.exec", ["machine"], mounted("noexec,size=6g"), id="a state folder without programs"),
    pytest.param("open-files", ["machine"], few_files, id="few open files"),
    pytest.param("engine", ["machine"], setting(ENGINE__URL="tcp://127.0.0.1:9"), id="no engine there"),
    pytest.param(
        "images.mirror", ["machine"], setting(IMAGES__MIRROR="http://127.0.0.1:9"), id="no mirror there"
    ),
    pytest.param("hub", ["servers"], stopped("hub"), id="a hub that does not run"),
    pytest.param(
        "hub",
        ["servers"],
        other_key,
        id="another hub's key",
    ),
    pytest.param(
        "hub", ["servers"], setting(HUB__CA_FILE="/etc/ssl/certs/ca-certificates.crt"), id="a hub's CA"
    ),
    pytest.param("hub", ["servers"], setting(HUB__CA_FILE="nowhere.pem"), id="a CA file that is not there"),
    pytest.param("hub.quota", ["servers"], full_hub, id="a hub that is full"),
    pytest.param("registry", ["servers"], setting(REGISTRY__PASSWORD="wrong"), id="a wrong password"),
    pytest.param("registry", ["servers"], pull_only_login, id="a login that may only pull"),
    pytest.param(
        "registry", ["servers"], setting(REGISTRY__HOST="127.0.0.1:9"), id="a registry that does not run"
    ),
    pytest.param("registry", ["servers"], setting(REGISTRY__CA_FILE="nowhere.pem"), id="a registry's CA"),
    pytest.param("ledger", ["servers"], moved_ledger, id="a ledger that is not there"),
    pytest.param(
        "tracking",
        ["servers"],
        silent_tracking,
        id="tracking that is not there",
    ),
    pytest.param("fleet", ["fleet"], setting(ROLLOUT__FLEET_CONDITION="tags.site = 'x'"), id="no devices"),
    pytest.param(
        "fleet", ["fleet"], setting(ROLLOUT__TARGET_CONDITION="tags.site ="), id="a condition that is none"
    ),
    pytest.param("model.nyc_taxi", ["fleet"], nobody_has_it, id="a model for nobody"),
    pytest.param("fleet.connection", ["fleet"], stopped("device-1"), id="a device that is away"),
    pytest.param("fleet.agents", ["fleet"], silent_device, id="a device that never was"),
    pytest.param(
        "fleet.architecture",
        ["fleet"],
        setting(IMAGES__ARCHITECTURE="arm64"),
        id="images of another processor",
    ),
]


def test_a_healthy_set_up_has_neither_blocker_nor_warning(world):
    assert world.doctor() == {}


@pytest.mark.parametrize(("check", "areas", "seed"), SEEDS)
def test_a_seeded_fault_is_found_and_its_fix_mends_it(world, check, areas, seed):
    mend = seed(world)
    found = world.doctor(*areas)
    assert set(found) == {check}
    assert found[check]["seen"]
    assert "DEVICE" not in found[check]["fix"], "there is but one, which is named"
    mend(found[check]["fix"])
    assert world.doctor(*areas) == {}
