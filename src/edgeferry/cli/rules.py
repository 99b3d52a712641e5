"""What the settings of an environment demand of a rollout and its approval."""

from __future__ import annotations

from edgeferry.domain.gate_policy import GatePolicy, parse_gate_policy
from edgeferry.domain.rollout_policy import POLICY_SETTINGS, parse_policy
from edgeferry.settings import Settings
from edgeferry.settings_table import KNOWN
from edgeferry.workflows.begin import Rules


def read_gate(settings: Settings) -> GatePolicy:
    """What the environment's gate asks for; UsageError names the setting that cannot be read."""
    return parse_gate_policy({name: settings[name] for name in KNOWN if name.startswith("gate.")})


def read_rules(settings: Settings) -> Rules:
    """What the environment demands of a rollout and its approval; UsageError names the setting that cannot
    be read."""
    texts = {name: settings[name] for name in POLICY_SETTINGS}
    parse_policy(texts)
    return Rules(texts, read_gate(settings))


def read_rollout(settings: Settings) -> dict[str, str]:
    """What a plan holds of the settings `rollout.…`."""
    return read_rules(settings).planned
