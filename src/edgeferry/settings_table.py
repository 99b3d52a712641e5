"""Every setting that there is: what it means, its default, what it may be."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from edgeferry.errors import UsageError

REFERENCE = "keyvault://"
"""How a value begins that is the address of a secret instead of the secret."""
KEY_REFERENCE = "keyvault-key://"
"""How `ledger.signing_key` begins when it is the address of a key that never leaves its vault."""


@dataclass(frozen=True)
class Setting:
    """One known setting."""

    name: str
    default: str
    meaning: str
    secret: bool = False
    choices: tuple[str, ...] = ()
    """All that it may be; empty: any text."""


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "state",
        "",
        "folder for caches, keys and what runs on this machine (default: .edgeferry beside edgeferry.toml)",
    ),
    Setting("user", "", "who you are in the ledger (default: the login name)"),
    Setting(
        "hub.host",
        "",
        "the hub's host name; without a connection string Microsoft Entra is the login there",
    ),
    Setting(
        "hub.connection_string",
        "",
        "service connection string of the hub (iothubowner or a policy with the same rights)",
        secret=True,
    ),
    Setting(
        "hub.events_connection_string",
        "",
        "on Azure, where messages of devices are read: the hub's Event Hub-compatible endpoint",
        secret=True,
    ),
    Setting("hub.ca_file", "", "certificate authority of the hub; empty: the system's"),
    Setting(
        "hub.queries_per_minute",
        "20",
        "pages of queries that a rollout may read: Azure's S1 answers 20 for each unit; 0: any number, as a "
        "hub of this machine answers",
    ),
    Setting("registry.host", "", "host:port of the OCI registry"),
    Setting("registry.prefix", "edgeferry", "path before the model's name in image references"),
    Setting(
        "registry.username", "", "login that may push; empty: on Azure Container Registry, Microsoft Entra"
    ),
    Setting("registry.password", "", "its password", secret=True),
    Setting("registry.pull_username", "", "pull-only login for devices with IoT Edge"),
    Setting("registry.pull_password", "", "its password", secret=True),
    Setting("registry.ca_file", "", "certificate authority of the registry; empty: the system's"),
    Setting("ledger.url", "", "git repository of signed decisions"),
    Setting("ledger.branch", "ledger", "its branch"),
    Setting(
        "ledger.trusted_keys",
        "",
        "folder of public keys that count, NAME.pem each (default: trust in the state folder)",
    ),
    Setting(
        "ledger.signing_key",
        "",
        "private key that signs in the ledger, PEM, or keyvault-key://VAULT/NAME for a key that Key Vault "
        "signs with (default: a file in the state folder)",
        secret=True,
    ),
    Setting("tracking.uri", "", "MLflow tracking address (default: SQLite in the state folder)"),
    Setting("train.place", "local", "where pipelines run", choices=("local", "azureml")),
    Setting("azure.subscription_id", "", "subscription of the Azure ML workspace"),
    Setting("azure.resource_group", "", "its resource group"),
    Setting("azure.workspace", "", "the Azure ML workspace"),
    Setting("azureml.compute", "cpu-cluster", "compute cluster of the steps, made when it is missing"),
    Setting("azureml.compute_size", "Standard_DS3_v2", "machine size of a cluster that is made"),
    Setting("azureml.compute_nodes", "1", "the most machines of a cluster that is made"),
    Setting("azureml.poll_s", "10", "seconds between two looks at a run on Azure ML"),
    Setting("vault.name", "", "Key Vault that keyvault://NAME means; keyvault://VAULT/NAME names another"),
    Setting("engine.url", "", "container engine (default: DOCKER_HOST, else the engine that answers)"),
    Setting("images.mirror", "http://deb.debian.org", "where Debian packages come from"),
    Setting("images.architecture", "", "amd64 or arm64 (default: this machine's)"),
    Setting(
        "rollout.fleet_condition",
        "tags.edgeferry = true",
        "devices that get our base deployment, where they have none, and the companion",
    ),
    Setting(
        "rollout.target_condition",
        "",
        "this environment's devices: every model's own target condition is narrowed by it",
    ),
    Setting("rollout.timeout_s", "180", "seconds a wave's devices may take to prove the release"),
    Setting(
        "rollout.waves",
        "100 %",
        "how far each wave goes: counts, shares of each stratum, conditions: 1; 10 %; tags.ring = 'early'",
    ),
    Setting("rollout.success", "100 %", "share of each stratum that must prove the release"),
    Setting(
        "rollout.errors",
        "0",
        "devices of each stratum that may fail before the rollout goes back: a count, a share, 1 or 2 %",
    ),
    Setting("rollout.soak_s", "0", "seconds a wave is watched after its devices have proven the release"),
    Setting("rollout.stratum", "", "tag by whose values waves are cut and judged, e.g. tags.site"),
    Setting("rollout.budget", "", "devices of a group that may change at once: 2 per tags.site"),
    Setting("rollout.windows", "", "when waves may start, UTC: 22:00-05:00, or sat-sun 08:00-18:00"),
    Setting("rollout.approve_waves", "no", "whether a person is asked between waves", choices=("yes", "no")),
    Setting(
        "rollout.guard",
        "yes",
        "whether the answers of a wave's devices are compared with the predecessor's while it soaks",
        choices=("yes", "no"),
    ),
    Setting("rollout.guard_requests", "100", "requests of each stratum below which nothing is concluded"),
    Setting("rollout.guard_confidence", "0.99", "that a release which is no worse is not stopped"),
    Setting("rollout.guard_margin", "0.01", "share of requests by which worse is worse"),
    Setting(
        "rollout.webhook",
        "",
        "address that is told of a hold, a failure and a needed approval: JSON by POST",
        secret=True,
    ),
    Setting(
        "gate.approvers", "", "who may approve: names with commas; empty: everybody whose key is trusted"
    ),
    Setting("gate.approvals", "1", "how many people must say yes"),
    Setting(
        "gate.self_approval",
        "",
        "whether who made a release may approve it, yes or no (default: no in an environment, else yes)",
    ),
    Setting("gate.max_age_h", "72", "hours after which an approval has expired"),
    Setting(
        "gate.evidence",
        "verification",
        "what must be there and good: some of verification, metrics, sbom, signature, with commas",
    ),
    Setting(
        "gate.metrics",
        "",
        "what metrics must be, live being the version now live: r2 >= live - 0.02; rmse <= live * 1.05",
    ),
    Setting(
        "ci.service_connection",
        "",
        "service connection of pipelines in Azure DevOps (default: edgeferry-ENVIRONMENT)",
    ),
    Setting(
        "device.class", "small", "limits that images are verified under", choices=("small", "medium", "large")
    ),
    Setting(
        "device.runtime",
        "agent",
        "what runs modules on the devices: our agent, or IoT Edge",
        choices=("agent", "iotedge"),
    ),
)
KNOWN: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}


def find_setting(name: str, where: str) -> Setting:
    """The setting of that name; UsageError, naming `where` it stands, when there is none."""
    setting = KNOWN.get(name)
    if setting is None:
        near = difflib.get_close_matches(name, KNOWN, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(KNOWN)}"
        raise UsageError(f"{where}: unknown setting {name}", fix=hint)
    return setting


def is_reference(text: str) -> bool:
    """Whether the value is the address of a secret or of a key, which may stand in a file of the project."""
    return text.startswith((REFERENCE, KEY_REFERENCE))


def is_secret(name: str, text: str) -> bool:
    """Whether that value of the setting must not be shown, nor stand in a file of the project."""
    return KNOWN[name].secret and bool(text) and not is_reference(text)


def environment_name(name: str) -> str:
    """The environment variable that sets the setting."""
    return "EDGEFERRY_" + name.replace(".", "__").upper()
