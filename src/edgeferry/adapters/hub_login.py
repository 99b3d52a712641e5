"""Logins at a hub: a policy's shared access key, or Microsoft Entra.

Shared access signatures as in Microsoft's "Control access to IoT Hub with shared access signatures"; Entra as
in "Control access to IoT Hub by using Microsoft Entra ID" (Authorization: Bearer, audience
https://iothubs.azure.net).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edgeferry.adapters.entra import HUB_SCOPE
from edgeferry.errors import UsageError
from edgeferry.wire.connection import parse_connection_string
from edgeferry.wire.sas import render_sas

_TOKEN_S = 3600
_SPARE_S = 300


class HubLogin(Protocol):
    """Who we are to the hub."""

    @property
    def host(self) -> str:
        """The hub's host name, with a port where it is not 443."""

    def authorization(self) -> str:
        """The header's value for the next request."""

    def renew(self) -> bool:
        """After a refusal: whether another try makes sense, with a login that was fetched afresh."""

    def explain(self, status: int) -> str:
        """What to do about a refusal (401 or 403)."""


class SharedKeyLogin:
    """A policy's key, from `fetch(afresh)`, which gives a connection string."""

    def __init__(self, fetch: Callable[[bool], str], now: Callable[[], float]) -> None:
        self._fetch = fetch
        self._now = now
        self._text = fetch(False)
        self._connection = parse_connection_string(self._text)
        if self._connection.device_id:
            raise UsageError(
                f"hub.connection_string is the device {self._connection.device_id}'s, not a service's",
                fix="give a policy's, with SharedAccessKeyName=…, e.g. of 'edgeferry hub connection-string'",
            )
        self._token = ""
        self._expires_at = 0.0

    @property
    def host(self) -> str:
        """As the connection string says."""
        return self._connection.host_name

    def authorization(self) -> str:
        """A signature with more than five minutes to go."""
        now = self._now()
        if now > self._expires_at - _SPARE_S:
            connection, expires_at = self._connection, now + _TOKEN_S
            try:
                self._token = render_sas(
                    connection.host_name, connection.key, int(expires_at), connection.policy
                )
            except ValueError as error:
                raise UsageError(
                    "the key in the hub's connection string is not base64",
                    fix="copy the connection string again, whole",
                ) from error
            self._expires_at = expires_at
        return self._token

    def renew(self) -> bool:
        """True when the connection string has been rotated since."""
        text = self._fetch(True)
        if text == self._text:
            return False
        self._text, self._connection, self._expires_at = text, parse_connection_string(text), 0.0
        return True

    def explain(self, status: int) -> str:
        """The rights that a policy must have."""
        if status == 401:
            return "check EDGEFERRY_HUB__CONNECTION_STRING: the policy's key, and this machine's clock"
        return "use a policy with registry read, registry write and service connect rights"


class EntraHubLogin:
    """Microsoft Entra at the hub `host`: `token(scope)` gives a bearer token, `identity(scope)` its owner."""

    def __init__(self, host: str, token: Callable[[str], str], identity: Callable[[str], str]) -> None:
        self.host = host
        self._fetch = token
        self._identity = identity
        self._last = ""

    def authorization(self) -> str:
        """The token, renewed before it expires by who keeps it."""
        self._last = self._fetch(HUB_SCOPE)
        return f"Bearer {self._last}"

    def renew(self) -> bool:
        """True when the token has been renewed since the refused one."""
        return self._fetch(HUB_SCOPE) != self._last

    def explain(self, status: int) -> str:
        """The role that is missing (Azure tells 401 and 403 alike for it)."""
        return (
            f"give {self._identity(HUB_SCOPE)} the role 'IoT Hub Data Contributor' on the hub {self.host}; "
            "a new assignment takes some minutes"
        )
