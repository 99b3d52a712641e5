"""The systemd unit of the device agent. Follows systemd.unit(5), systemd.service(5) and systemd.exec(5)."""

from __future__ import annotations

from collections.abc import Sequence

UNIT = "edgeferry-agent.service"
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:@/")


def render_agent_unit(command: Sequence[str], state: str) -> str:
    """The unit's text: an agent that is always there, with the rights that it needs and no others.

    It may write below `state` only; what it asks of the engine goes through the engine's socket.
    """
    return f"""\
[Unit]
Description=edgeferry device agent
Wants=network-online.target docker.service
After=network-online.target docker.service
StartLimitIntervalSec=0

[Service]
ExecStart={" ".join(_quote(word) for word in command)}
Restart=always
RestartSec=1
# ended by itself and well: told to, or its device was decommissioned
RestartPreventExitStatus=0
KillMode=mixed
TimeoutStopSec=60
UMask=0077
OOMScoreAdjust=-500
ReadWritePaths={_quote(state)}
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
NoNewPrivileges=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""


def _quote(word: str) -> str:
    """The word as systemd reads it back: specifiers and variables are none, spaces stay inside."""
    plain = word.replace("%", "%%").replace("$", "$$")
    if set(word) <= _PLAIN:
        return plain
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
