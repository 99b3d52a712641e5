"""infra/: modules that fit together, descriptions, roles and nothing above them.

Read by pycep; where Microsoft's own compiler is installed, it lints them too."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pycep import BicepParser

from edgeferry.settings_table import KNOWN

INFRA = Path(__file__).parents[2] / "infra"
FILES = sorted(INFRA.glob("*.bicep"))
PARAMETERS = sorted(INFRA.glob("*.bicepparam"))
ROLES = {
    "8311e382-0749-4cb8-b61a-304f252e45ec": ("AcrPush", "registry"),
    "c2f4ef07-c644-48eb-af81-4b1b4947fb11": ("AcrDelete", "registry"),
    "4fc6c259-987e-4a07-842e-c321cc9d413f": ("IoT Hub Data Contributor", "hub"),
    "4633458b-17de-408a-b874-0445c86b69e6": ("Key Vault Secrets User", "vault"),
    "12338af0-0e69-4776-bea7-57ae8d297424": ("Key Vault Crypto User", "vault"),
    "f6c7c914-8db3-469d-8ca1-694a8f32e121": ("AzureML Data Scientist", "workspace"),
    "e503ece1-11d0-4e8e-8e2c-7a6c3bf38815": ("AzureML Compute Operator", "workspace"),
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": ("Storage Blob Data Contributor", "storage"),
}
"""All that may be given, and on what."""


def parse(file: Path) -> dict[str, Any]:
    return BicepParser().parse(file_path=file)


@pytest.fixture(scope="module")
def parsed() -> dict[str, dict[str, Any]]:
    return {file.name: parse(file) for file in FILES}


def description(thing: dict[str, Any]) -> str:
    return next((str(one["argument"]) for one in thing["decorators"] if one["type"] == "description"), "")


def assignments(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Each role assignment's body, and the names of the variables that hold its roles."""
    for resource in document.get("resources", {}).values():
        if resource["type"] == "Microsoft.Authorization/roleAssignments":
            config = resource["config"]
            if "loop_type" in config:
                yield config["config"], list(config["loop_type"]["detail"]["array_name"])
            else:
                parameters = config["properties"]["roleDefinitionId"]["function"]["parameters"]
                yield config, [parameters["resource_name_1"]]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_parameter_and_output_says_what_it_is(parsed, file):
    document = parsed[file.name]
    for part in ("parameters", "outputs"):
        for name, thing in document.get(part, {}).items():
            assert description(thing), f"{part} {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_nothing_is_declared_and_never_used(parsed, file):
    text = file.read_text()
    for part in ("parameters", "variables"):
        for name in parsed[file.name].get(part, {}):
            assert len(re.findall(rf"\b{name}\b", text)) >= 2, f"{part} {name}"


def test_each_module_gets_the_parameters_that_it_declares(parsed):
    modules = parsed["main.bicep"]["modules"]
    assert {module["detail"]["path"] for module in modules.values()} == set(parsed) - {"main.bicep"}
    for module in modules.values():
        config = module["config"].get("config", module["config"])
        assert set(config["params"]) == set(parsed[module["detail"]["path"]]["parameters"])


def test_only_known_roles_are_given_and_only_on_one_resource(parsed):
    given = set()
    for document in parsed.values():
        for body, roles in assignments(document):
            assert body["properties"]["principalType"] == "ServicePrincipal"
            assert body["name"]["function"]["type"] == "guid"
            for role in roles:
                identifier = document["variables"][role]["value"]
                assert ROLES[identifier][1] == body["scope"]
                given.add(identifier)
    assert given == set(ROLES)


def test_nobody_has_a_key_or_an_admin_login(parsed):
    registry = parsed["registry.bicep"]["resources"]["registry"]["config"]["properties"]
    vault = parsed["vault.bicep"]["resources"]["vault"]["config"]["properties"]
    storage = parsed["workspace.bicep"]["resources"]["storage"]["config"]["properties"]
    assert (registry["adminUserEnabled"], registry["anonymousPullEnabled"]) == (False, False)
    assert (vault["enableRbacAuthorization"], vault["enablePurgeProtection"]) == (True, True)
    assert storage["allowBlobPublicAccess"] is False
    for file in FILES:
        assert not re.search(r"listKeys|listCredentials|@secure|password\s*[:=]\s*'", file.read_text())


def test_the_test_device_takes_connections_from_nobody_unless_told(parsed):
    rules = parsed["device.bicep"]["resources"]["rules"]["config"]["properties"]["securityRules"]
    assert "sshFrom" in str(rules)
    assert parsed["main.bicep"]["parameters"]["testDeviceFrom"]["default"] == ""
    assert parsed["main.bicep"]["parameters"]["testDevice"]["default"] is False


def test_its_settings_are_settings_of_ours(parsed):
    settings = parsed["main.bicep"]["outputs"]["settings"]["value"]
    names = {f"{table}.{key}" for table, keys in settings.items() for key in keys}
    assert names <= set(KNOWN)


@pytest.mark.parametrize("file", PARAMETERS, ids=lambda file: file.stem)
def test_an_environments_parameters_are_those_of_main(parsed, file):
    declared = parsed["main.bicep"]["parameters"]
    text = file.read_text()
    given = re.findall(r"^param (\w+) =", text, re.MULTILINE)
    assert text.startswith("using 'main.bicep'")
    assert set(given) <= set(declared)
    assert {name for name, one in declared.items() if one["default"] is None} <= set(given)
    assert f"environment = '{file.stem}'" in text
    assert len(given) == len(set(given))


def test_what_the_device_runs_at_its_first_start_is_yaml():
    document = yaml.safe_load((INFRA / "device.yaml").read_text())
    assert (INFRA / "device.yaml").read_text().startswith("#cloud-config\n")
    assert any("aziot-edge" in command for command in document["runcmd"])


def test_microsofts_linter_finds_nothing():
    program = shutil.which("bicep")
    if program is None:
        pytest.skip("Microsoft's bicep is not installed")
    commands = [[program, "lint", str(file)] for file in FILES]
    commands += [[program, "build-params", str(file), "--stdout"] for file in PARAMETERS]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr, done.stderr
