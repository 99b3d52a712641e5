"""`config/model_config.json` of microsoft/mlops-accelerator-for-edge: every key has a new place, or a reason
for being gone. Pure; the format is that of the template's own file, one entry a model and environment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from edgeferry.domain.accelerator import CONFIG_FILE, Edit, Entry, Origin, Placed
from edgeferry.domain.condition import parse_condition
from edgeferry.domain.finding import At, Fault, Report
from edgeferry.domain.notation import render_path
from edgeferry.errors import ConditionError

_MODEL, _ENVIRONMENT = "ML_MODEL_CONFIG_NAME", "ENV_NAME"
_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_SURE = 0.85
"""How alike an unknown key and a known one must be for the first to be a slip of the second."""


@dataclass(frozen=True)
class Key:
    """What becomes of a key: a setting of the environment, a value elsewhere, or nothing."""

    place: str
    """With MODEL and ENV for the entry's own; "" for gone."""
    reason: str
    setting: str = ""
    ending: str = ""
    """What the setting has behind the value."""


def _setting(name: str, reason: str, ending: str = "") -> Key:
    return Key(f"environments/ENV.toml: {name}", reason, name, ending)


KEYS: Mapping[str, Key] = {
    _MODEL: Key("models/MODEL/", "a model is a folder, and its name is the folder's"),
    _ENVIRONMENT: Key("environments/ENV.toml", "an environment is a file, chosen by --env ENV"),
    "AZURE_RM_SVC_CONNECTION": _setting("ci.service_connection", "one service connection is enough"),
    "CLUSTER_NAME": _setting("azureml.compute", "the cluster of the steps, made when it is missing"),
    "CLUSTER_REGION": Key("", "a cluster is made in the workspace's own region"),
    "CLUSTER_SIZE": _setting("azureml.compute_size", "the machines of a cluster that is made"),
    "CONDA_PATH": Key("models/MODEL/environment/conda.yml", "each component names it in its environment"),
    "DISPLAY_BASE_NAME": Key("models/MODEL/pipeline.yml: display_name", "as the pipeline function sets it"),
    "ENV_BASE_IMAGE_NAME": Key("models/MODEL/components/: environment.image", "each component names it"),
    "ENVIRONMENT_NAME": Key("", "an environment is known by what is in it, and needs no name"),
    "EXPERIMENT_BASE_NAME": Key("models/MODEL/pipeline.yml: experiment_name", "the runs' experiment"),
    "HOST_PORT_NUMBER": Key("", "the device chooses the host's port and reports it; modules use names"),
    "IOT_HUB_RESOURCE_GROUP": Key("", "the hub is reached by its host name alone"),
    "IOTHUB_NAME": _setting(
        "hub.host", "the hub's host name; Microsoft Entra is the login", ".azure-devices.net"
    ),
    "KEYVAULT_NAME": _setting("vault.name", "what keyvault://NAME means"),
    "ML_SCOPE_SVC_CONNECTION": Key("", "one service connection is enough: ci.service_connection"),
    "MODEL_BASE_NAME": Key("models/MODEL/model.yaml: registered_model", "the name of its versions in MLflow"),
    "REGISTRY_NAME": _setting(
        "registry.host", "the registry's host name; Microsoft Entra is the login", ".azurecr.io"
    ),
    "RESOURCE_GROUP_NAME": _setting("azure.resource_group", "of the Azure ML workspace"),
    "SCORE_FILE_NAME": Key("models/MODEL/serve/score.py", "our server calls its init() and run()"),
    "SMOKE_TEST_DOCKER_NAME": Key("", "the companion asks the models on each device"),
    "TARGET_CONDITION": Key("models/MODEL/model.yaml: target_condition", "which devices get the model"),
    "TEMP_CONTAINER_NAME": Key("", "verification names its container and removes it"),
    "TEMP_IMAGE_NAME": Key("", "images are known by digest, so none needs a name for a while"),
    "TEST_FILE_PATH": Key("models/MODEL/smoke/checks.yml", "the sample request is asked on every device"),
    "WORKSPACE_NAME": _setting("azure.workspace", "the Azure ML workspace"),
}


def parse_entries(
    document: Mapping[str, object], line: Callable[[At], int], report: Report
) -> tuple[Entry, ...]:
    """The entries, in order; reports what is no entry, slips in keys, a model twice in one environment."""
    models = document.get("models")
    if not isinstance(models, list) or not models:
        fix = 'write {"models": [{"ML_MODEL_CONFIG_NAME": …, "ENV_NAME": …, …}]}'
        report(Fault("missing-key", "there is no list `models` with entries", fix, ("models",)))
        return ()
    entries: list[Entry] = []
    seen: dict[tuple[str, str], int] = {}
    for index, given in enumerate(models):
        at: At = ("models", index)
        if not isinstance(given, dict):
            report(Fault("wrong-value", f"entry {index + 1} is no object", "write {…}", at))
            continue
        entry = _parse_entry(given, at, line, report)
        pair = (entry.model, entry.environment)
        if pair in seen:
            problem = f"{entry.model} stands twice for `{entry.environment}`: also in line {seen[pair]}"
            fix = "keep one of the two entries, or give one another ENV_NAME or ML_MODEL_CONFIG_NAME"
            report(Fault("duplicate-key", problem, fix, (*at, _MODEL)))
        seen[pair] = entry.lines.get(_MODEL, 0)
        entries.append(entry)
    return tuple(entries)


def _parse_entry(given: Mapping[str, object], at: At, line: Callable[[At], int], report: Report) -> Entry:
    values: dict[str, str] = {}
    own: dict[str, str] = {}
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            report(Fault("wrong-value", f"`{key}` is no text", "put it in quotes", (*at, key)))
            continue
        absent = [known for known in KEYS if known not in given]
        close = get_close_matches(key.upper(), absent, n=1, cutoff=_SURE)
        if key in KEYS:
            values[key] = str(value).strip()
        elif close:
            report(Fault("unknown-key", f"unknown key `{key}`", f"did you mean `{close[0]}`?", (*at, key)))
        else:
            own[key] = str(value)
    for key, pattern, example in (
        (_MODEL, _MODEL_NAME, "small letters, digits and _, such as nyc_taxi"),
        (_ENVIRONMENT, _ENVIRONMENT_NAME, "letters, digits, - and _, such as dev"),
    ):
        if not values.get(key):
            report(Fault("missing-key", f"`{key}` is missing or empty", f'add "{key}": "…"', (*at, key)))
        elif not pattern.fullmatch(values[key]):
            problem = (
                f"`{values[key]}` is no name that a {'folder' if key == _MODEL else 'file'} here can have"
            )
            report(Fault("wrong-name", problem, f"rename it: {example}", (*at, key)))
    if condition := values.get("TARGET_CONDITION"):
        try:
            parse_condition(condition)
        except ConditionError as error:
            report(
                Fault(
                    "wrong-value", f"TARGET_CONDITION: {error.problem}", error.fix, (*at, "TARGET_CONDITION")
                )
            )
    lines = {key: line((*at, key)) for key in given}
    return Entry(values.get(_MODEL, ""), values.get(_ENVIRONMENT, ""), values, own, lines)


def place_keys(entries: Sequence[Entry]) -> tuple[list[Placed], list[Edit]]:
    """Where each key of each entry went; and for keys that the template does not have, what to do."""
    placed: list[Placed] = []
    edits: list[Edit] = []
    for entry in entries:
        for key, value in entry.values.items():
            known = KEYS[key]
            place = known.place.replace("MODEL", entry.model).replace("ENV", entry.environment)
            placed.append(Placed(key, value, place, known.reason, entry.origin(key)))
        for key in entry.own:
            problem = f"`{key}` is a key of your own, and nothing here reads it"
            fix = f"write its value where it is used: grep -rn {key} in your devops/ and mlops/ shows where"
            edits.append(Edit(entry.origin(key), problem, fix))
    return placed, edits


def make_settings(entries: Sequence[Entry]) -> tuple[dict[str, str], list[Edit]]:
    """The settings of one environment, from all its entries; an edit where two models want another value."""
    settings: dict[str, str] = {}
    first: dict[str, Origin] = {}
    edits: list[Edit] = []
    for entry in entries:
        for key, value in entry.values.items():
            known = KEYS[key]
            if not known.setting or not value:
                continue
            wanted = value if value.endswith(known.ending) else value + known.ending
            if settings.setdefault(known.setting, wanted) == wanted:
                first.setdefault(known.setting, entry.origin(key))
                continue
            problem = (
                f"{entry.model} wants {key} {value}, and `{known.setting}` of {entry.environment} is "
                f"{settings[known.setting]}, from {first[known.setting]}"
            )
            fix = f"give {entry.model} an environment of its own: another ENV_NAME, and import again"
            edits.append(Edit(entry.origin(key), problem, fix))
    settings["train.place"] = "azureml"
    settings["device.runtime"] = "iotedge"
    if "vault.name" in settings and "registry.host" in settings:
        settings["registry.pull_username"] = "keyvault://registry-username"
        settings["registry.pull_password"] = "keyvault://registry-password"
    conditions = list(dict.fromkeys(entry.get("TARGET_CONDITION") for entry in entries))
    if all(conditions):
        settings["rollout.fleet_condition"] = join_conditions(conditions)
    if "azure.workspace" in settings:
        problem = (
            f"environment {entries[0].environment} has no subscription: the template took it from the login"
        )
        name = f"environments/{entries[0].environment}.toml"
        fix = f'{name}: write subscription_id = "…" below [azure]: az account show --query id -o tsv'
        edits.append(Edit(Origin(CONFIG_FILE, entries[0].lines.get("WORKSPACE_NAME", 0)), problem, fix))
    return settings, edits


def join_conditions(conditions: Sequence[str]) -> str:
    """The devices that any of them means."""
    if len(conditions) == 1:
        return conditions[0]
    return " OR ".join(f"({condition})" for condition in conditions)


def choose_target(entries: Sequence[Entry]) -> tuple[str, list[Edit]]:
    """The target condition of one model, from its entries of all environments; by its own tag where they
    differ, since environments narrow what the model says."""
    model = entries[0].model
    tag = f"{render_path('tags', 'models', model)} = true"
    conditions = list(dict.fromkeys(entry.get("TARGET_CONDITION") or tag for entry in entries))
    if len(conditions) == 1:
        return conditions[0], []
    where = ", ".join(f"{entry.environment}: {entry.get('TARGET_CONDITION')}" for entry in entries)
    problem = (
        f"{model} targets other devices in each environment ({where}), and model.yaml says one condition"
    )
    fix = (
        f"tag the devices that shall have it: edgeferry devices tag DEVICE models.{model}=true; the model's "
        "condition asks for that tag now"
    )
    return tag, [Edit(entries[0].origin("TARGET_CONDITION"), problem, fix)]
